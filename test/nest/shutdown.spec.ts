/** How an application ends while others call it: what runs may finish, and has what it needs until then. */
import { Controller, Inject, Injectable, Module, type OnModuleDestroy } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { firstValueFrom, interval, map, Observable, takeUntil, fromEvent } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { until } from '../support/door.js';
import { numbers, readOf } from '../support/streams.js';
import { CapturedLogger, itemsOf, pairOf, SECRET, SERVER } from './support.js';

/** What handlers use, and what it saw of them. */
class Store {
  open = true;
  uses = 0;
  /** Uses after the end. */
  misuses = 0;
  waiting: (() => void)[] = [];

  use(): void {
    if (this.open) this.uses += 1;
    else this.misuses += 1;
  }
}

@Injectable()
class StoreService extends Store implements OnModuleDestroy {
  onModuleDestroy(): void {
    this.open = false;
  }
}

@Module({ providers: [StoreService], exports: [StoreService] })
class StoreModule {}

@Controller()
class Reads {
  constructor(@Inject(StoreService) private readonly store: Store) {}

  @MessagePattern('read.slowly')
  async slowly(@Payload() value: unknown): Promise<unknown> {
    await new Promise<void>((resolve) => this.store.waiting.push(resolve));
    this.store.use();
    return value;
  }

  @MessagePattern('read.rows')
  async *rows(@Ctx() context: GenRpcContext): AsyncGenerator<number> {
    for (let n = 0; !context.getDrainSignal().aborted; n += 1) {
      this.store.use();
      yield n;
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.store.use();
    yield -1;
  }

  @MessagePattern('read.ticks')
  ticks(@Ctx() context: GenRpcContext): Observable<number> {
    return interval(1).pipe(
      map((n) => (this.store.use(), n)),
      takeUntil(fromEvent(context.getDrainSignal(), 'abort')),
    );
  }

  @MessagePattern('read.for-ever')
  forEver(): Observable<number> {
    return interval(1).pipe(map((n) => (this.store.use(), n)));
  }

  @EventPattern('read.event')
  async event(@Ctx() context: GenRpcContext): Promise<void> {
    await new Promise((resolve) => context.getDrainSignal().addEventListener('abort', resolve));
    this.store.use();
  }
}

/** An application whose store is destroyed with its module: in the root, or in one that it imports. */
async function startApp(options: Partial<GenRpcOptions>, where: 'root' | 'imported') {
  const given = { name: SERVER, secret: SECRET, listen: { port: 0 }, ...options };
  const own = { imports: [StoreModule], providers: [] };
  const root = { imports: [], providers: [StoreService] };
  const { imports, providers } = where === 'root' ? root : own;

  @Module({ imports: [GenRpcModule.forRoot(given), ...imports], providers, controllers: [Reads] })
  class AppModule {}

  const app = await NestFactory.create(AppModule, { logger: new CapturedLogger(), abortOnError: false });
  const microservice = app.connectMicroservice<MicroserviceOptions>({ strategy: app.get(GenRpcServer) });
  await app.init();
  const { port } = (await microservice.listen()) as unknown as Endpoint;
  const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: port, errors: 'gen_rpc' });
  return { app, client, store: app.get<Store>(StoreService) };
}

describe.each(['root', 'imported'] as const)('an application whose handlers use what its %s module owns', (where) => {
  it('G-09 ends its streams, and answers what runs, before that is gone', async () => {
    const { app, client, store } = await startApp({}, where);
    try {
      const slow = firstValueFrom(client.send('read.slowly', 7));
      const rows = readOf(client.stream('read.rows', {}));
      const ticks = itemsOf(client.send<number>('read.ticks', {}));
      await firstValueFrom(client.emit('read.event', {}));
      await until(() => store.waiting.length === 1 && store.uses > 10);
      const closed = app.close();
      store.waiting.forEach((go) => go());
      expect(await slow).toBe(7);
      const { items, error } = await rows;
      expect([items.at(-1), error]).toEqual([-1, undefined]);
      const ticked = await ticks;
      expect(ticked).toEqual(numbers(ticked.length));
      await closed;
      expect([store.open, store.misuses]).toEqual([false, 0]);
      expect(client.unwrap().stats().pendingCalls).toBe(0);
      await expect(firstValueFrom(client.send('read.slowly', 8))).rejects.toMatchObject({ maybeExecuted: false });
    } finally {
      await client.close();
    }
  });

  it('N-67 refuses what is new while that is still there, for those whose calls run', async () => {
    const { app, client, store } = await startApp({}, where);
    try {
      const slow = firstValueFrom(client.send('read.slowly', 7));
      await until(() => store.waiting.length === 1);
      const closed = app.close();
      await until(() => !client.unwrap().isConnected(SERVER));
      const refused = { code: 'node_down', maybeExecuted: false };
      await expect(firstValueFrom(client.send('read.slowly', 8))).rejects.toMatchObject(refused);
      expect([store.open, store.waiting.length]).toEqual([true, 1]);
      store.waiting.forEach((go) => go());
      expect(await slow).toBe(7);
      await closed;
      expect([store.open, store.uses, store.misuses]).toEqual([false, 1, 0]);
    } finally {
      await client.close();
    }
  });

  it('G-09 gives a stream that does not end an error when the grace period is over, and then it is gone', async () => {
    const { app, client, store } = await startApp({ gracePeriod: 100 }, where);
    try {
      const read = readOf(client.stream('read.for-ever', {}));
      await until(() => store.uses > 10);
      await app.close();
      const { items, error } = await read;
      expect(error).toBe('shutting_down');
      expect(items).toEqual(numbers(items.length));
      expect(store.misuses).toBe(0);
    } finally {
      await client.close();
    }
  });
});

describe('gracefulShutdown: false', () => {
  it.each([false, true])('G-03 ends what runs at once; with the module: %s', async (withModule) => {
    const options = { gracefulShutdown: false };
    const since = performance.now();
    if (withModule) {
      const { app, client, store } = await startApp(options, 'root');
      const told = expect(firstValueFrom(client.send('read.slowly', 7))).rejects.toMatchObject({
        code: 'shutting_down',
      });
      await until(() => store.waiting.length === 1);
      await app.close();
      await told;
      await client.close();
    } else {
      await using pair = await pairOf({ imports: [StoreModule], controllers: [Reads], options }, { errors: 'gen_rpc' });
      const store = pair.app.get<Store>(StoreService);
      const told = expect(firstValueFrom(pair.caller.send('read.slowly', 7))).rejects.toMatchObject({
        code: 'shutting_down',
      });
      await until(() => store.waiting.length === 1);
      await pair.app.close();
      await told;
      store.waiting.forEach((go) => go());
    }
    // Not the ten seconds of the grace period.
    expect(performance.now() - since).toBeLessThan(5000);
  });
});
