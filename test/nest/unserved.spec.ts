/** An application that has handlers and no server for them says so when it starts, and no other application does. */
import { Controller, Get, type INestApplication, type ModuleMetadata, type OnModuleInit } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Transport, type MicroserviceOptions } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { connectGenRpc } from '../../lib/nest/gen-rpc.connect.js';
import { RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import type { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { GEN_RPC_TRANSPORT, getGenRpcClientToken, InjectGenRpc } from '../../lib/nest/gen-rpc.tokens.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { createTestCluster } from '../../lib/testing/create-test-cluster.js';
import { CapturedLogger, moduleOf, SECRET, SERVER } from './support.js';

@RpcModule('stock')
class Stock {
  @RpcFunction()
  count(): number {
    return 40;
  }

  @RpcFunction()
  take(): void {}

  notCallable(): void {}
}

/** Handlers for whatever server there is. */
@Controller()
class Plain {
  @Get('plain')
  page(): string {
    return 'not a handler of messages';
  }

  @MessagePattern(['plain.value', { cmd: 'value' }])
  value(): number {
    return 1;
  }

  @EventPattern('plain.event')
  event(_data: unknown): void {}
}

@Controller()
class Inherits extends Plain {
  @MessagePattern('more', GEN_RPC_TRANSPORT)
  more(): void {}
}

@Controller()
class OfTcp {
  @MessagePattern('tcp.value', Transport.TCP)
  value(): number {
    return 1;
  }
}

@Controller()
class OfHttp {
  @Get('of-http')
  page(): string {
    return 'hello';
  }
}

const TCP: MicroserviceOptions = { transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } };

/** What is not said stays out: a default listens. */
const DEFAULT: GenRpcOptions = { name: SERVER, secret: SECRET };
const LISTENS: GenRpcOptions = { ...DEFAULT, listen: { port: 0 } };
const CALLS: GenRpcOptions = { ...DEFAULT, listen: false };

function rootOf(options: GenRpcOptions, metadata: ModuleMetadata): ReturnType<typeof moduleOf> {
  return moduleOf({ ...metadata, imports: [GenRpcModule.forRoot(options), ...(metadata.imports ?? [])] });
}

/** What an application with HTTP says of servers as it starts. */
async function saidBy(
  options: GenRpcOptions,
  metadata: ModuleMetadata,
  configure: (app: INestApplication) => unknown = () => {},
): Promise<string[]> {
  const logger = new CapturedLogger();
  const app = await NestFactory.create(rootOf(options, metadata), { logger, abortOnError: false });
  try {
    await configure(app);
    await app.listen(0, '127.0.0.1');
    await app.startAllMicroservices();
    return logger.said('warn', 'no server');
  } finally {
    await app.close();
  }
}

const ADVICE =
  `but no server: ${SERVER} listens nowhere. Call connectGenRpc(app) before app.startAllMicroservices() and ` +
  'app.listen(), or pass `listen: false` to GenRpcModule to be a client only.';

describe('an application with HTTP that never connects its server', () => {
  it.each([
    ['an @RpcModule', DEFAULT, [Stock], '2 handlers (Stock.count, Stock.take)'],
    ['an @RpcModule, where it is told to listen', LISTENS, [Stock], '2 handlers (Stock.count, Stock.take)'],
    ['handlers for any transport', DEFAULT, [Plain], '2 handlers (Plain.value, Plain.event)'],
    ['one handler of its own', DEFAULT, [moduleOnly()], '1 handler (Single.only)'],
    [
      'many, some of them inherited',
      LISTENS,
      [Stock, Inherits],
      '5 handlers (Stock.count, Stock.take, Inherits.more, …)',
    ],
  ])('says so, once, and what to call: %s', async (_, options, controllers, handlers) => {
    await expect(saidBy(options, { controllers })).resolves.toEqual([`warn GenRpcModule has ${handlers} ${ADVICE}`]);
  });

  it('says so of controllers in any module, and where Nest initialises it twice', async () => {
    const imports = [moduleOf({ imports: [moduleOf({ controllers: [Stock, OfTcp] })] })];
    const said = await saidBy(DEFAULT, { imports }, (app) => {
      app.connectMicroservice<MicroserviceOptions>(TCP, { deferInitialization: true });
    });
    expect(said).toEqual([expect.stringContaining('has 2 handlers (Stock.count, Stock.take) but')]);
  });

  it('says so beside another server where it is told to listen', async () => {
    const said = await saidBy(LISTENS, { controllers: [Plain] }, (app) => app.connectMicroservice(TCP));
    expect(said).toEqual([expect.stringContaining('has 2 handlers (Plain.value, Plain.event) but')]);
  });

  it('says so beside another server of handlers that no other may have', async () => {
    const said = await saidBy(DEFAULT, { controllers: [Inherits] }, (app) => app.connectMicroservice(TCP));
    expect(said).toEqual([expect.stringContaining('has 1 handler (Inherits.more) but')]);
  });

  it('says so where its testing module has made it', async () => {
    const logger = new CapturedLogger();
    const module = await Test.createTestingModule({ imports: [rootOf(LISTENS, { controllers: [Stock] })] }).compile();
    const app = module.createNestApplication({ logger });
    await app.init();
    await app.close();
    expect(logger.said('warn', 'no server')).toHaveLength(1);
  });
});

describe('nothing is said', () => {
  it.each([
    ['where the server is connected', LISTENS, [Stock, Plain], (app: INestApplication) => connectGenRpc(app)],
    [
      'where it is connected by hand',
      LISTENS,
      [Stock, Plain],
      (app: INestApplication) => app.connectMicroservice<MicroserviceOptions>({ strategy: app.get(GenRpcServer) }),
    ],
    [
      'where it is connected, to be initialised later',
      LISTENS,
      [Stock, Plain],
      (app: INestApplication) => connectGenRpc(app, { deferInitialization: true }),
    ],
    [
      'where another server of this kind is connected',
      LISTENS,
      [Stock],
      (app: INestApplication) =>
        app.connectMicroservice<MicroserviceOptions>({ strategy: new GenRpcServer({ ...LISTENS, life: 'another' }) }),
    ],
    ['of a node that only calls', CALLS, [Stock, Plain], () => {}],
    ['without handlers', LISTENS, [OfHttp], () => {}],
    ['of handlers for another transport', LISTENS, [OfTcp], () => {}],
    [
      "of handlers that Nest's TCP has",
      DEFAULT,
      [Plain, OfTcp],
      (app: INestApplication) => app.connectMicroservice(TCP),
    ],
  ])('%s', async (_, options, controllers, configure) => {
    await expect(saidBy(options, { controllers }, configure)).resolves.toEqual([]);
  });

  it('where the node listens by hand', async () => {
    class Listens implements OnModuleInit {
      constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

      async onModuleInit(): Promise<void> {
        await this.rpc.listen();
      }
    }
    await expect(saidBy(LISTENS, { controllers: [Plain], providers: [Listens] })).resolves.toEqual([]);
  });

  it('by a microservice', async () => {
    const logger = new CapturedLogger();
    const root = rootOf(LISTENS, { controllers: [Stock, Plain] });
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(root, { ...TCP, logger });
    await app.listen();
    await app.close();
    expect(logger.said('warn', 'no server')).toEqual([]);
  });

  it('by an application context', async () => {
    const logger = new CapturedLogger();
    const root = rootOf(LISTENS, { controllers: [Stock, Plain] });
    const context = await NestFactory.createApplicationContext(root, { logger });
    await context.close();
    expect(logger.said('warn', 'no server')).toEqual([]);
  });

  it.each([false, true])('by a test cluster, http: %s', async (http) => {
    const logger = new CapturedLogger();
    const stock = { app: rootOf(LISTENS, { controllers: [Stock, Plain] }), http, configure };
    function configure(app: { useLogger(with_: CapturedLogger): void }): void {
      app.useLogger(logger);
    }
    const cluster = await createTestCluster({ nodes: { stock } });
    await cluster.close();
    expect(logger.said('warn', 'no server')).toEqual([]);
  });
});

describe('a call to the own node, of which the server', () => {
  async function own(configure: (app: INestApplication) => unknown): Promise<[unknown, unknown, string[]]> {
    const log = new CapturedLogger();
    const clients = GenRpcModule.forFeature([{ name: 'self', target: SERVER }]);
    const app = await NestFactory.create(rootOf(LISTENS, { imports: [clients], controllers: [Stock] }), {
      logger: log,
      abortOnError: false,
    });
    await configure(app);
    await app.init();
    const caught = (error: unknown): unknown => error;
    try {
      const called = await app.get(GenRpcNode).call(SERVER, 'stock', 'count').catch(caught);
      const client = app.get<GenRpcClient>(getGenRpcClientToken('self'), { strict: false });
      const sent = await firstValueFrom(client.send('stock.count', {})).catch(caught);
      await firstValueFrom(client.send('stock.count', {})).catch(caught);
      return [called, sent, log.said('warn', 'errors.md#undefined_function')];
    } finally {
      await app.close();
    }
  }
  const SAID =
    'There is no function stock.count here. No function at all is registered here: in a Nest application, ' +
    'connectGenRpc(app) and app.startAllMicroservices() register those of its controllers.';

  it.each([
    ['was never connected', () => {}],
    ['was never started', (app: INestApplication) => connectGenRpc(app)],
  ])(
    '%s: the error says what to call, and for a client that speaks as Nest does the log, once',
    async (_, configure) => {
      const [called, sent, warned] = await own(configure);
      expect(called).toMatchObject({ code: 'undefined_function', message: SAID });
      expect(sent).toBe('There is no matching message handler defined in the remote service.');
      expect(warned).toEqual([
        expect.stringMatching(/A call to the own node failed: "There is no function stock.count here. No .*See /),
      ]);
    },
  );

  it('listens, is answered', async () => {
    const start = async (app: INestApplication): Promise<void> => {
      connectGenRpc(app);
      await app.startAllMicroservices();
    };
    await expect(own(start)).resolves.toEqual([40, 40, []]);
  });
});

function moduleOnly(): ReturnType<typeof moduleOf> {
  @Controller()
  class Single {
    @EventPattern('only', GEN_RPC_TRANSPORT)
    only(_data: unknown): void {}
  }
  return Single;
}
