/** Starting and closing, over this library and over Nest's own TCP: nobody who swaps the one for the other may notice. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import {
  Controller,
  Get,
  Inject,
  Injectable,
  type CanActivate,
  type ExceptionFilter,
  type INestApplication,
  type ModuleMetadata,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  EventPattern,
  MessagePattern,
  Payload,
  type AsyncMicroserviceOptions,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { firstValueFrom, map, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { BOTH, Entries, Side, type AnyServer, type Transporter } from './both.js';
import { CapturedLogger, moduleOf } from './support.js';

@Injectable()
class Words {
  greet(name: string): string {
    return `hello ${name}`;
  }
}

@Controller()
class Greeter {
  constructor(@Inject(Words) private readonly words: Words) {}

  @MessagePattern('greet')
  greet(@Payload() name: string): string {
    return this.words.greet(name);
  }

  @MessagePattern('fail')
  fail(): never {
    throw new Error('hidden');
  }

  @Get('greet')
  overHttp(): string {
    return this.words.greet('http');
  }
}

const PARTS: ModuleMetadata = { controllers: [Greeter], providers: [Words] };
const [OURS, TCP] = BOTH as readonly [Transporter, Transporter];

/** What Nest makes an application of. Its own server is no `CustomTransportStrategy` under `exactOptionalPropertyTypes`. */
function optionsOf(strategy: AnyServer): MicroserviceOptions {
  return { strategy: strategy as never };
}

function hybrid(parts: ModuleMetadata = PARTS): Promise<INestApplication> {
  return NestFactory.create(moduleOf(parts), { logger: new CapturedLogger(), abortOnError: false });
}

/** One message and its reply, by a client of its own. */
async function ask(transport: Transporter, server: AnyServer, pattern = 'greet'): Promise<unknown> {
  const client = transport.client(await transport.portOf(server));
  try {
    return await firstValueFrom(client.send(pattern, 'you'));
  } finally {
    await client.close();
  }
}

/** One where nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Is somebody there who takes connections? */
function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

describe.each(BOTH)('over $name', (transport) => {
  it(`N-01 createMicroservice listens, and has resolved no sooner than it accepts, over ${transport.name}`, async () => {
    // Known before: who asks the server where it listens waits until it does.
    const port = await freePort();
    const server = transport.server(port);
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(PARTS), {
      ...optionsOf(server),
      logger: new CapturedLogger(),
    });
    await expect(accepts(port)).resolves.toBe(false);
    await app.listen();
    await expect(accepts(port)).resolves.toBe(true);
    await expect(ask(transport, server)).resolves.toBe('hello you');
    await app.close();
    await expect(accepts(port)).resolves.toBe(false);
  });

  it(`N-02 connectMicroservice answers beside HTTP, and closes with it, over ${transport.name}`, async () => {
    const [app, server] = [await hybrid(), transport.server()];
    app.connectMicroservice<MicroserviceOptions>(optionsOf(server));
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    await expect(ask(transport, server)).resolves.toBe('hello you');
    await expect((await fetch(`${await app.getUrl()}/greet`)).text()).resolves.toBe('hello http');
    const port = await transport.portOf(server);
    await app.close();
    await expect(accepts(port)).resolves.toBe(false);
  });

  it(`N-02 two strategies of one kind answer in one application, over ${transport.name}`, async () => {
    const app = await hybrid();
    const servers = [transport.server(), transport.server()];
    for (const server of servers) app.connectMicroservice<MicroserviceOptions>(optionsOf(server));
    await app.startAllMicroservices();
    const ports = await Promise.all(servers.map((server) => transport.portOf(server)));
    expect(new Set(ports).size).toBe(2);
    for (const server of servers) await expect(ask(transport, server)).resolves.toBe('hello you');
    await app.close();
  });

  it(`N-03 the strategy may come out of the container, by a factory, over ${transport.name}`, async () => {
    const STRATEGY = Symbol('STRATEGY');
    const providers = [Words, { provide: STRATEGY, useFactory: () => transport.server() }];
    const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(moduleOf({ ...PARTS, providers }), {
      inject: [STRATEGY],
      useFactory: (server: AnyServer) => optionsOf(server),
      logger: new CapturedLogger(),
    });
    await app.listen();
    await expect(ask(transport, app.get<AnyServer>(STRATEGY))).resolves.toBe('hello you');
    await app.close();
  });

  it(`N-04 two testing modules at port 0 answer in one process, each its own, over ${transport.name}`, async () => {
    const apps = await Promise.all(
      ['one', 'two'].map(async (name) => {
        const testing = await Test.createTestingModule(PARTS)
          .overrideProvider(Words)
          .useValue({ greet: () => name })
          .compile();
        const server = transport.server();
        const app = testing.createNestMicroservice<MicroserviceOptions>(optionsOf(server));
        await app.listen();
        return { app, server };
      }),
    );
    const answers = await Promise.all(apps.map(({ server }) => ask(transport, server)));
    expect(answers).toEqual(['one', 'two']);
    await Promise.all(apps.map(({ app }) => app.close()));
  });

  it(`N-07 a handler of one transport is bound by that alone, over ${transport.name}`, async () => {
    const other = transport === OURS ? TCP : OURS;
    @Controller()
    class Bound {
      @MessagePattern('mine', transport.id as symbol)
      mine(): string {
        return 'mine';
      }

      @MessagePattern('others', other.id as symbol)
      others(): string {
        return 'of others';
      }

      @EventPattern('others.event', other.id as symbol)
      event(_data: unknown): void {}

      @MessagePattern('any')
      any(): string {
        return 'of any';
      }
    }
    await using side = await Side.start(transport, { controllers: [Bound] });
    await expect(firstValueFrom(side.client.send('mine', {}))).resolves.toBe('mine');
    await expect(firstValueFrom(side.client.send('any', {}))).resolves.toBe('of any');
    await expect(firstValueFrom(side.client.send('others', {}))).rejects.toContain('no matching message handler');
    expect([...side.server.getHandlers().keys()].toSorted()).toEqual(['any', 'mine']);
  });

  it(`N-08 on() before listen is told after it, over ${transport.name}`, async () => {
    const server = transport.server();
    const entries = new Entries();
    server.on('listening', () => entries.add('listening'));
    server.on('close', () => entries.add('close'));
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(PARTS), {
      ...optionsOf(server),
      logger: new CapturedLogger(),
    });
    expect(entries.all).toEqual([]);
    await app.listen();
    expect(entries.all).toEqual(['listening']);
    await app.close();
    await expect(entries.of(2)).resolves.toEqual(['listening', 'close']);
  });

  it(`N-08 unwrap() gives what listens, while it does and when it is closed, over ${transport.name}`, async () => {
    const server = transport.server();
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(PARTS), {
      ...optionsOf(server),
      logger: new CapturedLogger(),
    });
    await app.listen();
    const listening = app.unwrap();
    expect(listening).toBeTypeOf('object');
    await app.close();
    expect(app.unwrap()).toBe(listening);
  });

  it(`N-09 status is replayed, has nothing twice, and ends disconnected, over ${transport.name}`, async () => {
    const server = transport.server();
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(PARTS), {
      ...optionsOf(server),
      logger: new CapturedLogger(),
    });
    const [early, late] = [new Entries(), new Entries()];
    app.status.subscribe((status) => early.add(status));
    await app.listen();
    app.status.subscribe((status) => late.add(status));
    expect(late.all).toEqual(['connected']);
    await ask(transport, server);
    await app.close();
    await expect(late.of(2)).resolves.toEqual(['connected', 'disconnected']);
    await app.close();
    expect(early.all).toEqual(['connected', 'disconnected']);
    await expect(firstValueFrom(app.status)).resolves.toBe('disconnected');
  });
});

it('N-02 both kinds answer in one application beside HTTP', async () => {
  const app = await hybrid();
  const servers = BOTH.map((transport) => transport.server());
  for (const server of servers) app.connectMicroservice<MicroserviceOptions>(optionsOf(server));
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');
  const answers = await Promise.all(BOTH.map((transport, index) => ask(transport, servers[index] as AnyServer)));
  expect(answers).toEqual(['hello you', 'hello you']);
  await expect((await fetch(`${await app.getUrl()}/greet`)).text()).resolves.toBe('hello http');
  await app.close();
});

/** One of each kind; the pipe calls everybody by another name. */
function useGlobals(app: INestApplication, entries: Entries): void {
  const guard: CanActivate = {
    canActivate: () => {
      entries.add('guard');
      return true;
    },
  };
  const interceptor: NestInterceptor = {
    intercept: (_, next) => next.handle().pipe(map((value) => `${String(value)}!`)),
  };
  const pipe: PipeTransform = { transform: () => 'everybody' };
  const filter: ExceptionFilter = { catch: () => throwError(() => 'filtered') };
  app.useGlobalGuards(guard);
  app.useGlobalInterceptors(interceptor);
  app.useGlobalPipes(pipe);
  app.useGlobalFilters(filter);
}

describe.each(BOTH)('the global enhancers of a hybrid application over $name', (transport) => {
  const HIDDEN = { status: 'error', message: 'Internal server error' };

  /** What comes back where enhancers are made after the microservice was connected, or before. */
  async function answers(when: 'before' | 'after', options: object): Promise<unknown[]> {
    const [app, server, entries] = [await hybrid(), transport.server(), new Entries()];
    if (when === 'before') useGlobals(app, entries);
    app.connectMicroservice<MicroserviceOptions>(optionsOf(server), options);
    if (when === 'after') useGlobals(app, entries);
    await app.startAllMicroservices();
    const value = await ask(transport, server);
    const error: unknown = await ask(transport, server, 'fail').catch((cause: unknown) => cause);
    await app.close();
    return [value, error, entries.all.length];
  }

  it(`N-36 inheritAppConfig brings all of them, over ${transport.name}`, async () => {
    await expect(answers('before', { inheritAppConfig: true })).resolves.toEqual(['hello everybody!', 'filtered', 2]);
  });

  it(`N-36 without it there are none, over ${transport.name}`, async () => {
    await expect(answers('before', {})).resolves.toEqual(['hello you', HIDDEN, 0]);
  });

  it(`N-36 deferInitialization brings those that come later, over ${transport.name}`, async () => {
    const options = { inheritAppConfig: true, deferInitialization: true };
    await expect(answers('after', options)).resolves.toEqual(['hello everybody!', 'filtered', 2]);
  });
});
