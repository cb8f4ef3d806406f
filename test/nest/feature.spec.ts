import { Controller, Injectable, Module, type DynamicModule, type OnApplicationShutdown } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import type { GenRpcFeatureClient } from '../../lib/nest/gen-rpc.client-options.js';
import { connectGenRpc } from '../../lib/nest/gen-rpc.connect.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { getGenRpcClientToken, InjectGenRpc, InjectGenRpcClient } from '../../lib/nest/gen-rpc.tokens.js';
import { GenRpcConfigError } from '../../lib/options/config-error.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { App, CapturedLogger, SECRET, SERVER } from './support.js';

@Controller()
class Echo {
  @MessagePattern('echo.value')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('echo.fail')
  fail(): never {
    throw new Error('an accident');
  }
}

const APP = { controllers: [Echo] };
const QUIET = { logger: new CapturedLogger(), abortOnError: false };

function optionsFor(app: App): GenRpcOptions {
  return { name: 'web@127.0.0.1', secret: SECRET, listen: false, clientPort: app.address.port };
}

@Injectable()
class Service implements OnApplicationShutdown {
  lastWords: unknown;

  constructor(
    @InjectGenRpcClient('echo') readonly client: GenRpcClient,
    @InjectGenRpc() readonly node: GenRpcNode,
  ) {}

  async onApplicationShutdown(): Promise<void> {
    this.lastWords = await firstValueFrom(this.client.send('echo.value', 'last words'));
  }
}

describe('GenRpcModule.forFeature', () => {
  it("makes clients on the application's one node, which work until all else has ended", async () => {
    await using app = await App.start(APP);

    @Module({ imports: [GenRpcModule.forFeature([{ name: 'echo', target: SERVER }])], providers: [Service] })
    class Feature {}

    @Module({ imports: [GenRpcModule.forRoot(optionsFor(app)), Feature] })
    class Root {}

    const context = await NestFactory.createApplicationContext(Root, QUIET);
    const service = context.get(Service);
    const { client, node } = service;
    const seen: string[] = [];
    client.on('disconnect', () => seen.push('disconnect'));
    expect(client).toBeInstanceOf(GenRpcClient);
    expect(client.unwrap()).toBe(node);
    client.status.subscribe((status) => seen.push(status));
    await expect(firstValueFrom(client.send('echo.value', 1))).resolves.toBe(1);
    await context.close();
    expect(service.lastWords).toBe('last words');
    expect(seen).toEqual(['connected', 'disconnected', 'disconnect']);
    expect(node.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0, counts: { connected: 1 } });
    await expect(firstValueFrom(client.send('echo.value', 2))).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('tells the status of a connection that was there before', async () => {
    await using app = await App.start(APP);

    @Module({
      imports: [GenRpcModule.forRoot(optionsFor(app)), GenRpcModule.forFeature([{ name: 'echo', target: SERVER }])],
      providers: [Service],
    })
    class Root {}

    const context = await NestFactory.createApplicationContext(Root, QUIET);
    const { client, node } = context.get(Service);
    await node.call(SERVER, 'echo', 'value', [1]);
    const seen: string[] = [];
    client.status.subscribe((status) => seen.push(status));
    await client.connect();
    expect(seen).toEqual(['connected']);
    await context.close();
    expect(seen).toEqual(['connected', 'disconnected']);
  });

  it('gives each feature its own, also under one name, and where Nest compares modules by their values', async () => {
    await using app = await App.start(APP);
    const clientsOf = (target: string): DynamicModule => GenRpcModule.forFeature([{ name: 'echo', target }]);

    @Injectable()
    class One {
      constructor(@InjectGenRpcClient('echo') readonly client: GenRpcClient) {}
    }

    class Other extends One {}

    @Module({ imports: [clientsOf(SERVER)], providers: [One] })
    class OneModule {}

    @Module({ imports: [clientsOf('nobody@127.0.0.1')], providers: [Other] })
    class OtherModule {}

    const nodes = { [SERVER]: { port: app.address.port }, 'nobody@127.0.0.1': { port: 1 } };

    @Module({
      imports: [
        GenRpcModule.forRoot({ name: 'web@127.0.0.1', secret: SECRET, listen: false, nodes }),
        OneModule,
        OtherModule,
      ],
    })
    class Root {}

    for (const moduleIdGeneratorAlgorithm of ['reference', 'deep-hash'] as const) {
      const context = await NestFactory.createApplicationContext(Root, { ...QUIET, moduleIdGeneratorAlgorithm });
      await expect(firstValueFrom(context.get(One).client.send('echo.value', 1))).resolves.toBe(1);
      const nobody = firstValueFrom(context.get(Other).client.send('echo.value', 1));
      await expect(nobody).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      await context.close();
    }
  });

  it('makes several, each with errors of its kind', async () => {
    await using app = await App.start(APP);
    const clients: GenRpcFeatureClient[] = [
      { name: 'nest', target: SERVER },
      { name: 'gen_rpc', target: SERVER, errors: 'gen_rpc' },
    ];

    @Module({ imports: [GenRpcModule.forRoot(optionsFor(app)), GenRpcModule.forFeature(clients)] })
    class Root {}

    const context = await NestFactory.createApplicationContext(Root, QUIET);
    const failed = (name: string): Promise<unknown> => {
      return firstValueFrom(context.get<GenRpcClient>(getGenRpcClientToken(name)).send('echo.fail', {}));
    };
    await expect(failed('nest')).rejects.toEqual({ status: 'error', message: 'Internal server error' });
    await expect(failed('gen_rpc')).rejects.toMatchObject({ code: 'handler_failed' });
    await context.close();
  });

  it('finds a node that is not global in what it imports', async () => {
    await using app = await App.start(APP);

    @Module({
      imports: [GenRpcModule.forRoot({ ...optionsFor(app), isGlobal: false })],
      exports: [GenRpcModule],
    })
    class Rpc {}

    const clients = [{ name: 'echo', target: SERVER }];

    @Module({ imports: [Rpc, GenRpcModule.forFeature(clients, { imports: [Rpc] })], providers: [Service] })
    class Root {}

    @Module({ imports: [Rpc, GenRpcModule.forFeature(clients)] })
    class Without {}

    const context = await NestFactory.createApplicationContext(Root, QUIET);
    const service = context.get(Service);
    expect(service.client.unwrap()).toBe(context.get(GenRpcNode));
    await context.close();
    expect(service.lastWords).toBe('last words');
    const without = NestFactory.createApplicationContext(Without, QUIET);
    await expect(without).rejects.toThrow(
      "can't resolve dependencies of the GenRpcModule.forFeature([{ name: 'echo', … }]) (?)",
    );
  });

  it('lets a test put another in the place of a client', async () => {
    const stub = { send: () => ['stubbed'] };
    const testing = await Test.createTestingModule({
      imports: [
        GenRpcModule.forRoot({ name: 'web@127.0.0.1', secret: SECRET, listen: false }),
        GenRpcModule.forFeature([{ name: 'echo', target: SERVER }]),
      ],
    })
      .overrideProvider(getGenRpcClientToken('echo'))
      .useValue(stub)
      .compile();
    expect(testing.get(getGenRpcClientToken('echo'))).toBe(stub);
    await testing.close();
  });

  it('says all that is wrong with clients at once', () => {
    const wrong = [
      { name: 'a', target: SERVER },
      { name: 'a', target: 'nobody@' },
      { name: '', target: SERVER, errors: 'all' as 'nest' },
      { name: 'b', target: SERVER, callTimeout: 5, secret: SECRET },
    ];
    const paths = ['[1].name', '[1].target', '[2].name', '[2].errors', '[3].callTimeout', '[3].secret'];
    const said = catching(() => GenRpcModule.forFeature(wrong));
    expect(said.problems.map(({ path }) => path)).toEqual(paths);
    expect(said.message).toContain('6 problems in GenRpcModule.forFeature()');
    expect(said.message).toContain('[3].callTimeout: expected no option of this name beside target, errors, serial');
    expect(said.message).not.toContain(SECRET);
  });
});

function catching(body: () => unknown): GenRpcConfigError {
  try {
    body();
  } catch (error) {
    if (error instanceof GenRpcConfigError) return error;
  }
  return expect.fail('It is not refused.');
}

describe('connectGenRpc', () => {
  @Module({ ...APP, imports: [GenRpcModule.forRoot({ name: SERVER, secret: SECRET, listen: { port: 0 } })] })
  class Root {}

  async function echo(node: GenRpcNode, value: string): Promise<unknown> {
    const port = node.endpoints()[0]?.port ?? 0;
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: port });
    try {
      return await firstValueFrom(client.send('echo.value', value));
    } finally {
      await client.close();
    }
  }

  it.each([
    [undefined, 'as it is'],
    [{ inheritAppConfig: true }, 'piped'],
  ])('has a hybrid application answer, with options %o', async (options, expected) => {
    const app = await NestFactory.create(Root, QUIET);
    app.useGlobalPipes({ transform: () => 'piped' });
    const microservice = connectGenRpc(app, options);
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    expect(microservice.unwrap()).toBe(app.get(GenRpcNode));
    await expect(echo(app.get(GenRpcNode), 'as it is')).resolves.toBe(expected);
    await app.close();
    expect(app.get(GenRpcNode).stats()).toMatchObject({ acceptedConnections: 0, runningCalls: 0 });
  });

  it('says what is missing where there is no GenRpcModule, and lets the process live', async () => {
    @Module({})
    class Empty {}
    const app = await NestFactory.create(Empty, { logger: QUIET.logger });
    expect(() => connectGenRpc(app)).toThrow('no module of the application imports GenRpcModule.forRoot()');
    await app.close();
  });

  it('is refused a second time, by its own name and before anything listens', async () => {
    const app = await NestFactory.create(Root, QUIET);
    connectGenRpc(app);
    expect(() => connectGenRpc(app)).toThrow('connectGenRpc(): the strategy of GenRpcModule is connected');
    await app.startAllMicroservices();
    await expect(echo(app.get(GenRpcNode), 'once')).resolves.toBe('once');
    await app.close();
  });

  it('is refused where the strategy was connected by hand', async () => {
    const app = await NestFactory.create(Root, QUIET);
    app.connectMicroservice<MicroserviceOptions>({ strategy: app.get(GenRpcServer) });
    expect(() => connectGenRpc(app)).toThrow('is connected to this application already');
    await app.close();
  });

  it('connects each of two applications of one module', async () => {
    const apps = [await NestFactory.create(Root, QUIET), await NestFactory.create(Root, QUIET)];
    for (const app of apps) connectGenRpc(app);
    for (const app of apps) await app.startAllMicroservices();
    for (const [at, app] of apps.entries()) await expect(echo(app.get(GenRpcNode), `${at}`)).resolves.toBe(`${at}`);
    for (const app of apps) await app.close();
  });
});

describe('what is not registered', () => {
  @Injectable()
  class Asks {
    constructor(@InjectGenRpcClient('stock') readonly client: GenRpcClient) {}
  }

  @Module({ imports: [GenRpcModule] })
  class Bare {}

  @Module({ providers: [Asks] })
  class NoClient {}

  @Module({ imports: [GenRpcModule.forFeature([{ name: 'stock', target: SERVER }])], providers: [Asks] })
  class NoNode {}

  const wanted = 'Import GenRpcModule.forRoot(options) or GenRpcModule.forRootAsync(...), once in an application';

  it.each([
    ['GenRpcModule as it is', Bare, [wanted]],
    ['a client', NoClient, ['of the Asks', `"GenRpcModule.forFeature([{ name: 'stock', … }])" at index [0]`]],
    [
      'what clients are made on',
      NoNode,
      ['of the GenRpcModule.forFeature(', '"the node of GenRpcModule.forRoot()" at'],
    ],
  ])('is said by the name of what registers it: %s', async (_, module, said) => {
    const refused = await NestFactory.createApplicationContext(module, QUIET).catch((error: Error) => error.message);
    for (const words of said) expect(refused).toContain(words);
  });

  it('is GenRpcModule also where another module has registered it', async () => {
    @Module({ imports: [GenRpcModule.forRoot({ name: SERVER, secret: SECRET, listen: false }), Bare] })
    class Root {}
    await expect(NestFactory.createApplicationContext(Root, QUIET)).rejects.toThrow(wanted);
  });
});
