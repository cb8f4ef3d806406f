/** What an application had still to do when it was closed, and must not do any more. */
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { firstValueFrom, interval, tap, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { CapturedLogger, moduleOf, SECRET, SERVER, signalOf } from './support.js';

/** Keeps what it begins, and what it does later. */
@Controller()
class Works {
  readonly begun: unknown[] = [];
  readonly release = signalOf();
  produced = 0;
  read = 0;
  ended = 0;

  @EventPattern('event')
  async event(@Payload() data: unknown): Promise<void> {
    this.begun.push(data);
    await this.release.promise;
    this.ended += 1;
  }

  @MessagePattern('call')
  async call(@Payload() data: unknown): Promise<void> {
    this.begun.push(data instanceof Buffer ? data.length : data);
    await this.release.promise;
    this.ended += 1;
  }

  @MessagePattern('ticks')
  ticks(): Observable<number> {
    return interval(1).pipe(tap({ next: () => (this.produced += 1), finalize: () => (this.ended += 1) }));
  }

  @MessagePattern('generate')
  async *generate(): AsyncGenerator<number> {
    try {
      for (;;) {
        await new Promise(setImmediate);
        yield (this.produced += 1);
      }
    } finally {
      this.ended += 1;
    }
  }

  @MessagePattern('read')
  async readAll(@Payload() items: AsyncIterable<number>): Promise<void> {
    try {
      for await (const _ of items) this.read += 1;
    } finally {
      this.ended += 1;
    }
  }

  @MessagePattern('signal')
  async untilTold(@Ctx() context: GenRpcContext): Promise<void> {
    this.begun.push('signal');
    await new Promise((resolve) => context.getSignal().addEventListener('abort', resolve));
    this.ended += 1;
  }
}

interface Running {
  readonly works: Works;
  readonly node: GenRpcNode;
  readonly port: number;
  readonly close: () => Promise<void>;
}

type Start = (options: Partial<GenRpcOptions>) => Promise<Running>;

const QUIET = { logger: new CapturedLogger(), abortOnError: false };
const OPTIONS = { name: SERVER, secret: SECRET, listen: { port: 0 } };

const withStrategy: Start = async (options) => {
  const strategy = new GenRpcServer({ ...OPTIONS, ...options });
  const root = moduleOf({ controllers: [Works] });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(root, { strategy, ...QUIET });
  const { port } = (await app.listen()) as unknown as Endpoint;
  return { works: app.get(Works), node: strategy.unwrap(), port, close: () => app.close() };
};

const withModule: Start = async (options) => {
  @Module({ imports: [GenRpcModule.forRoot({ ...OPTIONS, ...options })], controllers: [Works] })
  class Root {}
  const app = await NestFactory.create(Root, QUIET);
  const strategy = app.get(GenRpcServer);
  app.connectMicroservice<MicroserviceOptions>({ strategy });
  await app.startAllMicroservices();
  const node = strategy.unwrap<GenRpcNode>();
  return { works: app.get(Works), node, port: node.endpoints()[0]?.port ?? 0, close: () => app.close() };
};

/** Several turns of the loop, for whatever might still come. */
async function turns(count = 30): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise(setImmediate);
}

function clientOf(port: number): GenRpcClient {
  return new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: port, callTimeout: 60_000 });
}

describe.each<[string, Start]>([
  ['with a strategy of its own', withStrategy],
  ['with GenRpcModule', withModule],
])('an application %s that was closed', (_, start) => {
  const endings: [string, Partial<GenRpcOptions>][] = [
    ['after a grace period that was too short', { gracePeriod: 30 }],
    ['without any', { gracefulShutdown: false }],
  ];

  it.each(endings)('N-65 begins no event that still waited for room, %s', async (__, options) => {
    const { works, node, port, close } = await start({ ...options, concurrency: { casts: 1 } });
    const client = clientOf(port);
    for (let n = 0; n < 6; n += 1) client.emit('event', n);
    await until(() => node.stats().runningCalls === 6);
    await close();
    works.release.resolve();
    await turns();
    expect(works).toMatchObject({ begun: [0], ended: 1 });
    expect(node.stats()).toMatchObject({ runningCalls: 0, counts: { cast_failed: 5 } });
    await client.close();
  });

  it.each(endings)('N-65 begins no ordered event behind the one that ran, %s', async (__, options) => {
    const { works, node, port, close } = await start(options);
    const client = clientOf(port);
    const ordered = (n: number) => new GenRpcRecordBuilder(n).setOrdered().build();
    for (let n = 0; n < 6; n += 1) client.emit('event', ordered(n));
    await until(() => node.stats().runningCalls === 6);
    await close();
    works.release.resolve();
    await turns();
    expect(works).toMatchObject({ begun: [0], ended: 1 });
    expect(node.stats()).toMatchObject({ runningCalls: 0, counts: { ordered_cast_dropped: 5 } });
    await client.close();
  });

  it.each(endings)('N-65 begins no call of which only a part had come, %s', async (__, options) => {
    const { works, port, close } = await start(options);
    const proxy: Proxy = await Proxy.to(
      { port },
      { slice: () => 4096, alter: (link, way, bytes) => (link.passed[way] > 100_000 && proxy.hold(), bytes) },
    );
    await using _proxy = proxy;
    const client = clientOf(proxy.port);
    const lost = firstValueFrom(client.send('call', Buffer.alloc(1_000_000))).catch((error: unknown) => error);
    await until(() => (proxy.links[0]?.passed.up ?? 0) > 100_000);
    await close();
    proxy.release();
    await expect(lost).resolves.toBeInstanceOf(Error);
    await turns();
    expect(works.begun).toEqual([]);
    await client.close();
  });

  it.each(endings)('N-65 produces and reads nothing more of its streams, %s', async (__, options) => {
    const { works, node, port, close } = await start(options);
    const client = clientOf(port);
    const errors: unknown[] = [];
    const listen = { error: (error: unknown) => errors.push(error) };
    client.send('ticks', {}).subscribe(listen);
    client.send('generate', {}).subscribe(listen);
    client.send('read', interval(1)).subscribe(listen);
    await until(() => works.produced > 10 && works.read > 3);
    await close();
    const { produced, read } = works;
    await until(() => works.ended === 3 && errors.length === 3);
    await turns();
    expect(works).toMatchObject({ produced, read });
    expect(node.stats()).toMatchObject({ runningCalls: 0, stuckCalls: 0, bufferedBytes: 0 });
    await client.close();
  });

  it.each(endings)('N-65 has told whatever still runs, %s', async (__, options) => {
    const { works, port, close } = await start(options);
    const client = clientOf(port);
    const lost = firstValueFrom(client.send('signal', {})).catch((error: unknown) => error);
    await until(() => works.begun.length === 1);
    await close();
    expect(works.ended).toBe(1);
    await expect(lost).resolves.toMatchObject({ maybeExecuted: true });
    await client.close();
  });

  it.each(endings)('N-65 accepts nobody, whom it knew or did not, %s', async (__, options) => {
    const { works, port, close } = await start(options);
    const client = clientOf(port);
    await client.connect();
    await close();
    for (const caller of [client, clientOf(port)]) {
      await expect(firstValueFrom(caller.send('call', 1))).rejects.toThrow('is down');
      await expect(firstValueFrom(caller.emit('event', 1))).rejects.toThrow('is down');
      await caller.close();
    }
    expect(works.begun).toEqual([]);
  });
});

describe('an application that still handles what its node asks itself', () => {
  it.each([false, true])('N-65 begins none of its own events once it was closed (ordered: %s)', async (ordered) => {
    const { works, node, close } = await withModule({ gracePeriod: 30, concurrency: { casts: 1 } });
    for (let n = 0; n < 4; n += 1) node.cast(SERVER, '', 'event', [n], { ordered });
    await until(() => works.begun.length === 1);
    await close();
    works.release.resolve();
    await turns();
    expect(works).toMatchObject({ begun: [0], ended: 1 });
    expect(node.cast(SERVER, '', 'event', [9])).toBe(false);
    await turns();
    expect(works.begun).toEqual([0]);
  });
});

describe('a client that was closed', () => {
  it('N-65 tells its subscribers nothing more than that', async () => {
    const { works, port, close } = await withStrategy({});
    const client = clientOf(port);
    const heard: unknown[] = [];
    for (const pattern of ['ticks', 'generate']) {
      client.send(pattern, {}).subscribe({ next: () => heard.push(1), error: (error: unknown) => heard.push(error) });
    }
    await until(() => heard.length > 10);
    await client.close();
    const { length } = heard;
    expect(heard.slice(-2)).toMatchObject([{ code: 'cancelled' }, { code: 'cancelled' }]);
    await until(() => works.ended === 2);
    await turns();
    expect(heard).toHaveLength(length);
    await close();
  });
});
