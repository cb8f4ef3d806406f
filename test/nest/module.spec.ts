import {
  Global,
  Inject,
  Injectable,
  Module,
  type DynamicModule,
  type INestApplicationContext,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Client,
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  MessagePattern,
  Payload,
  type AsyncMicroserviceOptions,
  type ClientProvider,
  type ClientsModuleOptionsFactory,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { Controller } from '@nestjs/common';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import type { GenRpcClientOptions } from '../../lib/nest/gen-rpc.client-options.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcModule, type GenRpcOptionsFactory } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { InjectGenRpc } from '../../lib/nest/gen-rpc.tokens.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { App, CapturedLogger, SECRET, SERVER, signalOf } from './support.js';

@Controller()
class Echo {
  @MessagePattern('echo.value')
  echo(@Payload() value: unknown): unknown {
    return value;
  }
}

const APP = { controllers: [Echo] };

function optionsFor(app: App): GenRpcOptions {
  return { name: 'web@127.0.0.1', secret: SECRET, listen: false, clientPort: app.address.port };
}

async function contextOf(module: Type | DynamicModule): Promise<INestApplicationContext> {
  return NestFactory.createApplicationContext(module, { logger: new CapturedLogger(), abortOnError: false });
}

/** Boots a module that imports `imported`, and asks the node in it for an echo. */
async function echoThrough(imported: DynamicModule): Promise<unknown> {
  @Injectable()
  class Service {
    constructor(@InjectGenRpc() readonly node: GenRpcNode) {}
  }

  @Module({ imports: [imported], providers: [Service] })
  class Root {}

  const context = await contextOf(Root);
  const { node } = context.get(Service);
  try {
    return await node.call(SERVER, 'echo', 'value', ['through the module']);
  } finally {
    await context.close();
    expect(node.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0 });
  }
}

describe('GenRpcModule', () => {
  it('forRoot makes a node of options', async () => {
    await using app = await App.start(APP);
    await expect(echoThrough(GenRpcModule.forRoot(optionsFor(app)))).resolves.toBe('through the module');
  });

  it('forRootAsync makes it of a factory, sync or async', async () => {
    await using app = await App.start(APP);
    const useFactory = (): GenRpcOptions => optionsFor(app);
    await expect(echoThrough(GenRpcModule.forRootAsync({ useFactory }))).resolves.toBe('through the module');
    const later = async (): Promise<GenRpcOptions> => optionsFor(app);
    await expect(echoThrough(GenRpcModule.forRootAsync({ useFactory: later }))).resolves.toBe('through the module');
  });

  it('forRootAsync says so where its factory returns nothing', async () => {
    const module = GenRpcModule.forRootAsync({ useFactory: () => undefined as never });
    await expect(contextOf(module)).rejects.toThrow('an object with at least name and secret, got undefined');
  });

  it('forRootAsync injects into its factory', async () => {
    await using app = await App.start(APP);

    @Module({ providers: [{ provide: 'PORT', useValue: app.address.port }], exports: ['PORT'] })
    class Config {}

    const module = GenRpcModule.forRootAsync({
      imports: [Config],
      inject: ['PORT'],
      useFactory: (clientPort: number): GenRpcOptions => ({ ...optionsFor(app), clientPort }),
    });
    await expect(echoThrough(module)).resolves.toBe('through the module');
  });

  it('forRootAsync makes it by a class of its own, or one that exists', async () => {
    await using app = await App.start(APP);

    @Injectable()
    class Config implements GenRpcOptionsFactory {
      createGenRpcOptions(): GenRpcOptions {
        return optionsFor(app);
      }
    }

    @Global()
    @Module({ providers: [Config], exports: [Config] })
    class ConfigModule {}

    await expect(echoThrough(GenRpcModule.forRootAsync({ useClass: Config }))).resolves.toBe('through the module');
    const existing = GenRpcModule.forRootAsync({ imports: [ConfigModule], useExisting: Config });
    await expect(echoThrough(existing)).resolves.toBe('through the module');
  });

  it('is global unless told otherwise', async () => {
    const options = { name: 'web@127.0.0.1', secret: SECRET, listen: false } as const;

    @Injectable()
    class Service {
      constructor(@InjectGenRpc() readonly node: GenRpcNode) {}
    }

    @Module({ providers: [Service], exports: [Service] })
    class Feature {}

    @Module({ imports: [GenRpcModule.forRoot(options), Feature] })
    class GlobalRoot {}

    @Module({ imports: [GenRpcModule.forRoot({ ...options, isGlobal: false }), Feature] })
    class LocalRoot {}

    const context = await contextOf(GlobalRoot);
    expect(context.get(Service).node).toBe(context.get(GenRpcNode));
    await context.close();
    await expect(contextOf(LocalRoot)).rejects.toThrow("can't resolve dependencies of the Service");
  });

  it('injects into properties too', async () => {
    class Service {
      @InjectGenRpc() readonly node!: GenRpcNode;
    }

    @Module({
      imports: [GenRpcModule.forRoot({ name: 'web@127.0.0.1', secret: SECRET, listen: false })],
      providers: [Service],
    })
    class Root {}

    const context = await contextOf(Root);
    expect(context.get(Service).node.name).toBe('web@127.0.0.1');
    await context.close();
  });

  it('names itself in the error about wrong options, and keeps the application from starting', async () => {
    const forRoot = contextOf(GenRpcModule.forRoot({ name: 'x', secret: SECRET }));
    await expect(forRoot).rejects.toThrow(/1 problem in GenRpcModule.forRoot\(\)\n {2}- name: expected name@host/);
  });
});

describe('an application that answers and calls on one node', () => {
  @RpcModule('chain')
  class Chain {
    constructor(@InjectGenRpc() private readonly node: GenRpcNode) {}

    @RpcFunction()
    async forward(): Promise<unknown> {
      return this.node.call(SERVER, 'echo', 'value', [`from ${this.node.name}`]);
    }
  }

  it('calls with the node that it answers on, and both close with it', async () => {
    await using backend = await App.start(APP);
    const options = { ...optionsFor(backend), name: 'middle@127.0.0.1', listen: { port: 0 } };

    @Module({ imports: [GenRpcModule.forRoot(options)], controllers: [Chain] })
    class Middle {}

    const middle = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(Middle, {
      inject: [GenRpcServer],
      useFactory: (strategy: GenRpcServer): MicroserviceOptions => ({ strategy }),
      logger: new CapturedLogger(),
    });
    const { port } = (await middle.listen()) as unknown as Endpoint;
    const node = middle.get(GenRpcNode);
    const caller = backend.client({ target: 'middle@127.0.0.1', clientPort: port });
    await expect(firstValueFrom(caller.send('chain.forward', {}))).resolves.toBe('from middle@127.0.0.1');
    await middle.close();
    expect(node.stats()).toMatchObject({ acceptedConnections: 0, connectedNodes: 0, runningCalls: 0 });
    await expect(node.call(SERVER, 'echo', 'value', [1])).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('lets running calls finish before its own resources go', async () => {
    const order: string[] = [];
    const [started, release] = [signalOf(), signalOf()];

    @Controller()
    class Slow {
      @MessagePattern('slow')
      async slow(): Promise<string> {
        started.resolve();
        await release.promise;
        order.push('handler ends');
        return 'done';
      }
    }

    @Injectable()
    class Database {
      onApplicationShutdown(): void {
        order.push('database closes');
      }
    }

    @Module({
      imports: [GenRpcModule.forRoot({ name: SERVER, secret: SECRET, listen: { port: 0 } })],
      controllers: [Slow],
      providers: [Database],
    })
    class Root {}

    const http = await NestFactory.create(Root, { logger: new CapturedLogger() });
    http.connectMicroservice<AsyncMicroserviceOptions>({
      inject: [GenRpcServer],
      useFactory: (strategy: GenRpcServer): MicroserviceOptions => ({ strategy }),
    });
    await http.startAllMicroservices();
    const { port } = (await http.get(GenRpcNode).listen()) as Endpoint;
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: port });
    const reply = firstValueFrom(client.send('slow', {}));
    await started.promise;
    const closed = http.close();
    release.resolve();
    await expect(reply).resolves.toBe('done');
    await closed;
    expect(order).toEqual(['handler ends', 'database closes']);
    await client.close();
  });
});

describe('clients out of the container', () => {
  const clientOptions = (app: App): GenRpcClientOptions => ({
    target: SERVER,
    secret: SECRET,
    clientPort: app.address.port,
  });

  async function echoBy(imported: DynamicModule): Promise<unknown> {
    @Injectable()
    class Service {
      constructor(@Inject('ECHO') readonly client: ClientProxy) {}
    }

    @Module({ imports: [imported], providers: [Service] })
    class Root {}

    const context = await contextOf(Root);
    const { client } = context.get(Service);
    expect(client).toBeInstanceOf(GenRpcClient);
    const node = client.unwrap<GenRpcNode>();
    try {
      return await firstValueFrom(client.send('echo.value', 'by a client'));
    } finally {
      await context.close();
      expect(node.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0 });
    }
  }

  it('N-53 come by ClientsModule.register, and are closed with the application', async () => {
    await using app = await App.start(APP);
    const module = ClientsModule.register([{ name: 'ECHO', customClass: GenRpcClient, options: clientOptions(app) }]);
    await expect(echoBy(module)).resolves.toBe('by a client');
    const global = ClientsModule.register({
      isGlobal: true,
      clients: [{ name: 'ECHO', customClass: GenRpcClient, options: clientOptions(app) }],
    });
    await expect(echoBy(global)).resolves.toBe('by a client');
  });

  it('N-53 come by ClientsModule.registerAsync: useFactory, useClass, useExisting', async () => {
    await using app = await App.start(APP);

    @Injectable()
    class Factory implements ClientsModuleOptionsFactory {
      createClientOptions(): ClientProvider {
        return { customClass: GenRpcClient, options: clientOptions(app) };
      }
    }

    @Module({ providers: [Factory], exports: [Factory] })
    class FactoryModule {}

    const useFactory = (): ClientProvider => ({ customClass: GenRpcClient, options: clientOptions(app) });
    await expect(echoBy(ClientsModule.registerAsync([{ name: 'ECHO', useFactory }]))).resolves.toBe('by a client');
    await expect(echoBy(ClientsModule.registerAsync([{ name: 'ECHO', useClass: Factory }]))).resolves.toBe(
      'by a client',
    );
    const existing = ClientsModule.registerAsync([{ name: 'ECHO', imports: [FactoryModule], useExisting: Factory }]);
    await expect(echoBy(existing)).resolves.toBe('by a client');
  });

  it('N-53 come by ClientProxyFactory', async () => {
    await using app = await App.start(APP);
    const client = ClientProxyFactory.create({ customClass: GenRpcClient, options: clientOptions(app) });
    await expect(firstValueFrom(client.send('echo.value', 1))).resolves.toBe(1);
    await client.close();
  });

  it('N-53 come by @Client', async () => {
    await using app = await App.start(APP);
    const metadata = { customClass: GenRpcClient, options: clientOptions(app) };

    @Controller()
    class Asking {
      @Client(metadata)
      client!: ClientProxy;

      @MessagePattern('ask')
      ask(@Payload() value: unknown): unknown {
        return this.client.send('echo.value', value);
      }
    }

    await using asking = await App.start({ controllers: [Asking], options: { name: 'asking@127.0.0.1' } });
    const client = asking.client({ target: 'asking@127.0.0.1' });
    await expect(firstValueFrom(client.send('ask', 7))).resolves.toBe(7);
  });

  it('may share the node of the application, and leave it open', async () => {
    await using app = await App.start(APP);

    @Module({
      imports: [
        GenRpcModule.forRoot(optionsFor(app)),
        ClientsModule.registerAsync([
          {
            name: 'ECHO',
            inject: [GenRpcNode],
            useFactory: (node: GenRpcNode): ClientProvider => ({
              customClass: GenRpcClient,
              options: { node, target: SERVER },
            }),
          },
        ]),
      ],
    })
    class Root {}

    const context = await contextOf(Root);
    const client = context.get<ClientProxy>('ECHO');
    const node = context.get(GenRpcNode);
    expect(client.unwrap()).toBe(node);
    await expect(firstValueFrom(client.send('echo.value', 1))).resolves.toBe(1);
    await client.close();
    await expect(node.call(SERVER, 'echo', 'value', [2])).resolves.toBe(2);
    expect(node.stats().counts.connected).toBe(1);
    await context.close();
  });

  it('are refused without a target, and with what is wrong in their options', () => {
    const factory = (): ClientProxy => ClientProxyFactory.create({ customClass: GenRpcClient });
    expect(factory).toThrow(/1 problem in new GenRpcClient\(\)\n {2}- target: expected the name of the node to call/);
    const wrong = { target: 'nobody@', errors: 'all' as 'nest', secret: 'short', callTimeout: 0 };
    expect(() => new GenRpcClient(wrong)).toThrow(/4 problems in new GenRpcClient\(\)/);
    const shared = { target: 'nobody@', node: {} as GenRpcNode };
    expect(() => new GenRpcClient(shared)).toThrow(
      /2 problems in new GenRpcClient\(\)\n {2}- target: .*\n {2}- node: /,
    );
    const missing = { target: SERVER, node: undefined as unknown as GenRpcNode, callTimeout: 5 };
    expect(() => new GenRpcClient(missing)).toThrow(
      /2 problems in new GenRpcClient\(\)\n {2}- node: expected a GenRpcNode.*undefined\n {2}- callTimeout: /,
    );
  });
});
