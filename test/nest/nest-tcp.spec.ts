/** What Nest asks of its own TCP transport end to end, asked of that and of this one: hybrid applications, called by HTTP. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import {
  Body,
  Catch,
  Controller,
  HttpCode,
  Inject,
  Injectable,
  InternalServerErrorException,
  Module,
  Post,
  Query,
  RequestTimeoutException,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type INestApplication,
  type NestInterceptor,
  type PipeTransform,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Client,
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  ClientTCP,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  Transport,
  type AsyncMicroserviceOptions,
  type BaseRpcContext,
  type ClientOptions,
  type ClientProvider,
  type ClientsModuleOptionsFactory,
  type CustomClientOptions,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { catchError, firstValueFrom, from, lastValueFrom, of, scan, throwError, toArray, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { until } from '../support/door.js';
import { NEST } from '../support/nest-version.js';
import { CapturedLogger, moduleOf, SECRET, SERVER } from './support.js';

type Wire = ClientOptions | CustomClientOptions;

/** One transport: what is said of it when an application is made, and nowhere else. */
interface Kind {
  readonly server: (port: number) => MicroserviceOptions;
  readonly client: (port: number) => Wire;
  /** A client that makes an `RpcException` of every error. */
  readonly custom: (port: number) => Wire;
}

class RpcErrorsOfTcp extends ClientTCP {
  override serializeError(error: string | object): unknown {
    return new RpcException(error);
  }
}

class RpcErrors extends GenRpcClient {
  override serializeError(error: unknown): unknown {
    return new RpcException(error as object);
  }
}

const KINDS: Readonly<Record<string, Kind>> = {
  "Nest's own TCP": {
    server: (port) => ({ transport: Transport.TCP, options: { host: '127.0.0.1', port } }),
    client: (port) => ({ transport: Transport.TCP, options: { host: '127.0.0.1', port } }),
    custom: (port) => ({ customClass: RpcErrorsOfTcp, options: { host: '127.0.0.1', port } }),
  },
  GenRpc: {
    server: (port) => ({ strategy: new GenRpcServer({ name: SERVER, secret: SECRET, listen: { port } }) }),
    client: (port) => ({ customClass: GenRpcClient, options: { target: SERVER, secret: SECRET, clientPort: port } }),
    custom: (port) => ({ customClass: RpcErrors, options: { target: SERVER, secret: SECRET, clientPort: port } }),
  },
};

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const sumOf = (data: readonly number[]): number => data.reduce((sum, one) => sum + one, 0);

@Controller()
class Sums {
  readonly notified: unknown[] = [];

  @MessagePattern({ cmd: 'sum' })
  sum(@Payload() data: number[]): number {
    return sumOf(data);
  }

  @MessagePattern({ cmd: 'promise' })
  async promise(@Payload() data: number[]): Promise<number> {
    return sumOf(data);
  }

  @MessagePattern({ cmd: 'observable' })
  observable(@Payload() data: number[]): Observable<number> {
    return of(sumOf(data));
  }

  @MessagePattern({ cmd: 'each' })
  each(@Payload() data: number[]): Observable<number> {
    return from(data);
  }

  @MessagePattern({ cmd: 'twice' })
  first(): number {
    return 1;
  }

  @MessagePattern({ cmd: 'twice' })
  second(): number {
    return 2;
  }

  @MessagePattern({ cmd: 'fails' })
  fails(): never {
    throw new RpcException('on purpose');
  }

  @MessagePattern('metadata')
  metadata(@Payload() data: unknown, @Ctx() context: BaseRpcContext): unknown {
    return { data, metadata: metadataOf(context) ?? null };
  }

  @EventPattern<string>('notified')
  notify(@Payload() data: unknown, @Ctx() context: BaseRpcContext): void {
    this.notified.push([data, metadataOf(context)]);
  }
}

function metadataOf(context: object): unknown {
  return (context as { getMetadata?: () => unknown }).getMetadata?.();
}

/** An HTTP application that asks by a client of each manner, and answers itself. */
function hybridOf(kind: Kind, port: number): Type {
  const options = kind.client(port);

  @Controller()
  class Asking {
    @Client(options)
    client!: ClientProxy;

    constructor(
      @Inject('REGISTERED') private readonly registered: ClientProxy,
      @Inject('FACTORY') private readonly factory: ClientProxy,
      @Inject('CLASS') private readonly ofClass: ClientProxy,
      @Inject('CUSTOM') private readonly custom: ClientProxy,
    ) {}

    @Post()
    @HttpCode(200)
    ask(@Query('by') by: string, @Query('command') cmd: string, @Body() data: number[]): Observable<number> {
      const { registered, factory, ofClass } = this;
      const client = { registered, factory, class: ofClass }[by] ?? this.client;
      return client.send<number>({ cmd }, data);
    }

    @Post('each')
    @HttpCode(200)
    each(@Body() data: number[]): Observable<number> {
      return this.client.send<number>({ cmd: 'each' }, data).pipe(scan((sum, one) => sum + one, 0));
    }

    @Post('concurrent')
    @HttpCode(200)
    async concurrent(@Body() lists: number[][]): Promise<boolean> {
      const sums = lists.map((list) => firstValueFrom(this.client.send<number>({ cmd: 'sum' }, list)));
      return (await Promise.all(sums)).every((sum, n) => sum === sumOf(lists[n] ?? []));
    }

    @Post('notify')
    @HttpCode(200)
    notify(@Body() data: unknown): Observable<unknown> {
      return this.client.emit('notified', data);
    }

    @Post('error')
    @HttpCode(200)
    async error(@Query('client') name: string): Promise<boolean> {
      const client = name === 'custom' ? this.custom : this.client;
      return firstValueFrom(client.send({ cmd: 'fails' }, {})).then(
        () => expect.fail('an error was expected'),
        (error: unknown) => error instanceof RpcException,
      );
    }
  }

  @Injectable()
  class Options implements ClientsModuleOptionsFactory {
    createClientOptions(): ClientProvider {
      return options;
    }
  }

  @Module({
    imports: [
      ClientsModule.register([
        { name: 'REGISTERED', ...options },
        { name: 'CUSTOM', ...kind.custom(port) },
      ]),
      ClientsModule.registerAsync([
        { name: 'FACTORY', useFactory: (): ClientProvider => options },
        { name: 'CLASS', useClass: Options },
      ]),
    ],
    controllers: [Asking, Sums],
  })
  class Hybrid {}
  return Hybrid;
}

interface Site extends AsyncDisposable {
  readonly app: INestApplication;
  readonly post: (path: string, data?: unknown) => Promise<string>;
}

async function siteOf(kind: Kind, prefix = ''): Promise<Site> {
  const port = await freePort();
  const module = await Test.createTestingModule({ imports: [hybridOf(kind, port)] }).compile();
  const app = module.createNestApplication({ logger: new CapturedLogger() });
  app.setGlobalPrefix(prefix);
  app.connectMicroservice<MicroserviceOptions>(kind.server(port));
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  const post = async (path: string, data: unknown = [1, 2, 3, 4, 5]): Promise<string> => {
    const headers = { 'content-type': 'application/json', connection: 'close' };
    const response = await fetch(`${url}${prefix}${path}`, { method: 'POST', headers, body: JSON.stringify(data) });
    return `${response.status} ${await response.text()}`;
  };
  return { app, post, [Symbol.asyncDispose]: () => app.close() };
}

describe.each(Object.entries(KINDS))('%s', (_, kind) => {
  it.each(['sum', 'promise', 'observable', 'twice'])('N-76 answers what a hybrid asks itself: %s', async (command) => {
    await using site = await siteOf(kind);
    await expect(site.post(`/?command=${command}`)).resolves.toBe(command === 'twice' ? '200 2' : '200 15');
  });

  it.each(['registered', 'factory', 'class'])('N-76 is asked by a client that is %s', async (by) => {
    await using site = await siteOf(kind);
    await expect(site.post(`/?command=sum&by=${by}`)).resolves.toBe('200 15');
  });

  it('N-76 answers ten at once, items one by one, and under a global prefix', async () => {
    await using site = await siteOf(kind, '/api');
    const lists = Array.from({ length: 10 }, (__, row) => Array.from({ length: 10 }, (___, n) => row * 10 + n + 1));
    await expect(site.post('/concurrent', lists)).resolves.toBe('200 true');
    await expect(site.post('/each')).resolves.toBe('200 15');
  });

  it('N-76 has a status of 500 for a pattern that nobody handles', async () => {
    await using site = await siteOf(kind);
    await expect(site.post('/?command=unknown')).resolves.toMatch(/^500 /);
  });

  it('N-76 notifies', async () => {
    await using site = await siteOf(kind);
    await expect(site.post('/notify', { tea: true })).resolves.toMatch(/^200/);
    const { notified } = site.app.get(Sums);
    await until(() => notified.length === 1);
    expect(notified).toEqual([[{ tea: true }, undefined]]);
  });

  it('N-76 has errors that a client of its own makes, and plain ones otherwise', async () => {
    await using site = await siteOf(kind);
    await expect(site.post('/error?client=custom')).resolves.toBe('200 true');
    await expect(site.post('/error?client=standard')).resolves.toBe('200 false');
  });

  it('N-76 is told from other errors where nobody listens', async () => {
    const port = await freePort();

    @Controller()
    class Disconnected {
      @Post()
      ask(): Observable<unknown> {
        const client = ClientProxyFactory.create(kind.client(port));
        return client.send('pattern', {}).pipe(
          catchError(({ code }: { code?: string }) => {
            return throwError(() =>
              code === 'ECONNREFUSED' ? new RequestTimeoutException() : new InternalServerErrorException(),
            );
          }),
        );
      }
    }

    const app = await NestFactory.create(moduleOf({ controllers: [Disconnected] }), { logger: new CapturedLogger() });
    await app.listen(0, '127.0.0.1');
    const { status } = await fetch(await app.getUrl(), { method: 'POST', headers: { connection: 'close' } });
    expect(status).toBe(408);
    await app.close();
  });

  it('N-76 takes its options out of the container', async () => {
    const port = await freePort();

    @Injectable()
    class Settings {
      readonly microservice = kind.server(port);
    }

    const module = moduleOf({
      imports: [ClientsModule.register([{ name: 'REGISTERED', ...kind.client(port) }])],
      controllers: [Sums],
      providers: [Settings],
    });
    const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(module, {
      inject: [Settings],
      useFactory: ({ microservice }: Settings) => microservice,
      logger: new CapturedLogger(),
    });
    await app.listen();
    const client = app.get<ClientProxy>('REGISTERED');
    await expect(lastValueFrom(client.send<number>({ cmd: 'sum' }, [1, 2, 3]))).resolves.toBe(6);
    await app.close();
  });

  it('N-76 runs the global guards, interceptors, pipes and filters of its microservice', async () => {
    const port = await freePort();
    const ran: string[] = [];
    const guard: CanActivate = { canActivate: () => ran.push('guard') > 0 };
    const pipe: PipeTransform = { transform: (value: unknown) => (ran.push('pipe'), value) };
    const interceptor: NestInterceptor = {
      intercept: (___, next: CallHandler) => (ran.push('interceptor'), next.handle()),
    };

    @Catch()
    class Filter implements ExceptionFilter {
      catch(error: RpcException): Observable<never> {
        ran.push('filter');
        return throwError(() => error.getError());
      }
    }

    const app = await NestFactory.create(moduleOf({ controllers: [Sums] }), { logger: new CapturedLogger() });
    const late = { deferInitialization: true };
    const microservice = app.connectMicroservice<MicroserviceOptions>(kind.server(port), late);
    microservice.useGlobalGuards(guard);
    microservice.useGlobalInterceptors(interceptor);
    microservice.useGlobalPipes(pipe);
    microservice.useGlobalFilters(new Filter());
    await app.startAllMicroservices();
    const client = ClientProxyFactory.create(kind.client(port));
    await expect(firstValueFrom(client.send({ cmd: 'sum' }, [1, 2]))).resolves.toBe(3);
    expect(ran).toEqual(['guard', 'interceptor', 'pipe']);
    await expect(firstValueFrom(client.send({ cmd: 'fails' }, {}))).rejects.toBe('on purpose');
    expect(ran).toContain('filter');
    await client.close();
    await app.close();
  });

  it.runIf(NEST >= 12)('N-76 leaves no listener of signals behind', async () => {
    const before = process.listenerCount('SIGTERM');
    const app = await NestFactory.create(moduleOf({ controllers: [Sums] }), { logger: new CapturedLogger() });
    const microservice = app.connectMicroservice<MicroserviceOptions>(kind.server(await freePort()));
    microservice.enableShutdownHooks(['SIGTERM']);
    expect(process.listenerCount('SIGTERM')).toBe(before + 1);
    await app.startAllMicroservices();
    await app.close();
    expect(process.listenerCount('SIGTERM')).toBe(before);
  });
});

/** A microservice and a client of it. */
async function pairOf(kind: Kind) {
  const port = await freePort();
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf({ controllers: [Sums] }), {
    ...kind.server(port),
    logger: new CapturedLogger(),
  });
  await app.listen();
  const client = ClientProxyFactory.create(kind.client(port));
  return {
    ...{ app, client },
    async [Symbol.asyncDispose]() {
      await client.close();
      await app.close();
    },
  };
}

describe.each(Object.entries(KINDS))('a client of %s', (name, kind) => {
  it.runIf(NEST >= 12)(
    'N-76 has its dispatch hook called once a message, and what that sets comes beside the data',
    async () => {
      await using pair = await pairOf(kind);
      const { client } = pair;
      const plain = firstValueFrom(client.send('metadata', 'plain'));
      await expect(plain).resolves.toEqual({ data: 'plain', metadata: null });
      const seen: unknown[] = [];
      client.setOnDispatchHook((packet) => {
        seen.push([packet.pattern, packet.data]);
        packet.metadata = { request: `${seen.length}` };
      });
      const reply = firstValueFrom(client.send('metadata', { order: 7 }));
      await expect(reply).resolves.toEqual({ data: { order: 7 }, metadata: { request: '1' } });
      await lastValueFrom(client.emit('notified', 'tea'), { defaultValue: undefined });
      const { notified } = pair.app.get(Sums);
      await until(() => notified.length === 1);
      expect(notified).toEqual([['tea', { request: '2' }]]);
      expect(seen).toEqual([
        ['metadata', { order: 7 }],
        ['notified', 'tea'],
      ]);
    },
  );

  // Nest 11's own may lose its connection to the closing of the one before.
  it.skipIf(NEST < 12 && name !== 'GenRpc').each([false, true])(
    'N-76 has whole replies after it was closed and connected again, at once: %s',
    async (atOnce) => {
      await using pair = await pairOf(kind);
      const { client } = pair;
      const connected = client.connect();
      if (!atOnce) await connected;
      const closed = client.close();
      await Promise.allSettled([connected, client.connect()]);
      await expect(lastValueFrom(client.send({ cmd: 'each' }, [1, 2, 3]).pipe(toArray()))).resolves.toEqual([1, 2, 3]);
      await closed;
      await expect(lastValueFrom(client.send({ cmd: 'each' }, [4, 5]).pipe(toArray()))).resolves.toEqual([4, 5]);
    },
  );

  it('N-76 runs nothing on a server that was closed, over a connection from before', async () => {
    await using pair = await pairOf(kind);
    await pair.client.connect();
    await lastValueFrom(pair.client.emit('notified', 1), { defaultValue: undefined });
    const { notified } = pair.app.get(Sums);
    await until(() => notified.length === 1);
    await pair.app.close();
    await expect(firstValueFrom(pair.client.send({ cmd: 'sum' }, [1]))).rejects.toBeDefined();
    await lastValueFrom(pair.client.emit('notified', 2)).catch(() => {});
    expect(notified).toHaveLength(1);
  });
});

describe.each(Object.entries(KINDS))('the logs of an application with %s', (_, kind) => {
  it.runIf(NEST >= 12)('N-76 are held back until it is initialised, or until they are asked for', async () => {
    for (const autoFlushLogs of [true, false]) {
      const logger = new CapturedLogger();
      const options = { ...kind.server(await freePort()), bufferLogs: true, autoFlushLogs, logger };
      const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf({}), options);
      expect(logger.lines).toEqual([]);
      await app.init();
      if (!autoFlushLogs) {
        expect(logger.lines).toEqual([]);
        app.flushLogs();
      }
      expect(logger.said('log', 'Starting Nest application...')).toHaveLength(1);
      await app.close();
    }
  });
});
