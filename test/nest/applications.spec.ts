/** The ways in which applications are made, and what those have of GenRpcModule and of clients: previews, lazy modules, logs. */
import 'reflect-metadata';
import { Controller, Inject, Injectable, Module, type INestApplicationContext, type Type } from '@nestjs/common';
import { LazyModuleLoader, NestFactory } from '@nestjs/core';
import {
  Client,
  ClientProxy,
  ClientsModule,
  MessagePattern,
  Payload,
  type ClientProvider,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import type { GenRpcClientOptions } from '../../lib/nest/gen-rpc.client-options.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { InjectGenRpcClient } from '../../lib/nest/gen-rpc.tokens.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { until } from '../support/door.js';
import { App, CapturedLogger, moduleOf, SECRET, SERVER, signalOf } from './support.js';

@Controller()
class Echo {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }
}

const APP = { controllers: [Echo] };
const QUIET = { logger: new CapturedLogger(), abortOnError: false } as const;

const optionsOf = (app: App): GenRpcClientOptions => ({
  ...{ target: SERVER, secret: SECRET },
  clientPort: app.address.port,
});

function callerOf(app: App) {
  return { name: 'web@127.0.0.1', secret: SECRET, listen: false, clientPort: app.address.port } as const;
}

async function startWith(
  strategy: GenRpcServer,
  kind: 'hybrid' | 'microservice',
  root: Type,
): Promise<INestApplicationContext> {
  if (kind === 'hybrid') {
    const app = await NestFactory.create(root, QUIET);
    app.connectMicroservice<MicroserviceOptions>({ strategy });
    await app.startAllMicroservices();
    return app;
  }
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(root, { ...QUIET, strategy });
  await app.listen();
  return app;
}

describe('a preview', () => {
  it('is made of applications with the module and clients, makes no node, and is closed', async () => {
    const options = { name: SERVER, secret: SECRET, listen: { port: 0 } };
    const imports = [GenRpcModule.forRoot(options), GenRpcModule.forFeature([{ name: 'other', target: 'a@b' }])];
    const app = await NestFactory.create(moduleOf({ ...APP, imports }), { ...QUIET, preview: true, snapshot: true });
    await app.init();
    expect(app.get(GenRpcNode)).toBeNull();
    await app.close();
  });
});

describe('a module that is loaded lazily', () => {
  it('has clients on the node of the application', async () => {
    await using app = await App.start(APP);

    @Injectable()
    class Service {
      constructor(@InjectGenRpcClient('echo') readonly client: GenRpcClient) {}
    }

    @Module({ imports: [GenRpcModule.forFeature([{ name: 'echo', target: SERVER }])], providers: [Service] })
    class Lazy {}

    const root = moduleOf({ imports: [GenRpcModule.forRoot(callerOf(app))] });
    const context = await NestFactory.createApplicationContext(root, QUIET);
    const lazy = await context.get(LazyModuleLoader).load(() => Lazy);
    const { client } = lazy.get(Service);
    expect(client.unwrap()).toBe(context.get(GenRpcNode));
    await expect(firstValueFrom(client.send('echo', 'lazy'))).resolves.toBe('lazy');
    await context.close();
    expect(client.unwrap().stats()).toMatchObject({ phase: 'closed', connectedNodes: 0 });
  });
});

describe('the logs of a node', () => {
  async function hybrid(options: object): Promise<{ node: GenRpcNode; app: INestApplicationContext }> {
    const node = { name: SERVER, secret: SECRET, listen: { port: 0 } };
    const app = await NestFactory.create(moduleOf({ imports: [GenRpcModule.forRoot(node)] }), options);
    app.connectMicroservice<MicroserviceOptions>({ strategy: app.get(GenRpcServer) });
    return { app, node: app.get(GenRpcNode) };
  }

  /** It cannot be reached, which is worth a line. */
  async function reachNobody(node: GenRpcNode): Promise<void> {
    await expect(node.call('nobody@127.0.0.1', 'x', 'y')).rejects.toMatchObject({ code: 'node_down' });
  }

  it('go where the application has its own, also those from before it says where', async () => {
    const logger = new CapturedLogger();
    const { app, node } = await hybrid({ bufferLogs: true, abortOnError: false });
    await reachNobody(node);
    expect(logger.lines).toEqual([]);
    app.useLogger(logger);
    app.flushLogs();
    expect(logger.said('warn', 'nobody@127.0.0.1')).toHaveLength(1);
    await app.close();
  });
});

describe('clients out of the container', () => {
  it('N-53 come by ClientsModule.registerAsync to modules that do not import it, where that is global', async () => {
    await using app = await App.start(APP);

    @Injectable()
    class Service {
      constructor(@Inject('ECHO') readonly client: ClientProxy) {}
    }

    @Module({ providers: [Service], exports: [Service] })
    class Feature {}

    const useFactory = async (): Promise<ClientProvider> => ({ customClass: GenRpcClient, options: optionsOf(app) });
    const clients = ClientsModule.registerAsync({ isGlobal: true, clients: [{ name: 'ECHO', useFactory }] });
    const context = await NestFactory.createApplicationContext(moduleOf({ imports: [clients, Feature] }), QUIET);
    await expect(firstValueFrom(context.get(Service).client.send('echo', 1))).resolves.toBe(1);
    await context.close();
    await until(() => app.node.stats().acceptedConnections === 0);
  });

  it.each(['hybrid', 'microservice'] as const)(
    'N-54 are there for what still runs while the application closes: a %s',
    async (kind) => {
      await using upstream = await App.start(APP);
      const [started, release] = [signalOf(), signalOf()];

      @Controller()
      class Relay {
        constructor(@Inject('ECHO') private readonly client: ClientProxy) {}

        @MessagePattern('relay')
        async relay(@Payload() value: unknown): Promise<unknown> {
          started.resolve();
          await release.promise;
          return firstValueFrom(this.client.send('echo', value));
        }
      }

      const clients = [{ name: 'ECHO', customClass: GenRpcClient, options: optionsOf(upstream) }];
      const root = moduleOf({ imports: [ClientsModule.register(clients)], controllers: [Relay] });
      const name = 'relay@127.0.0.1';
      const strategy = new GenRpcServer({ name, secret: SECRET, listen: { port: 0 } });
      const app = await startWith(strategy, kind, root);
      const { port } = (await strategy.unwrap().listen()) as Endpoint;
      const caller = new GenRpcClient({ target: name, secret: SECRET, clientPort: port });
      const reply = firstValueFrom(caller.send('relay', 'late'));
      await started.promise;
      const closed = app.close();
      await until(() => !caller.unwrap().isConnected(name));
      release.resolve();
      await expect(reply).resolves.toBe('late');
      await closed;
      await caller.close();
      await until(() => upstream.node.stats().acceptedConnections === 0);
    },
  );

  it('N-54 of @Client are closed with the application', async () => {
    await using app = await App.start(APP);
    const options = { customClass: GenRpcClient, options: optionsOf(app) };

    @Controller()
    class Asking {
      @Client(options)
      client!: ClientProxy;

      @MessagePattern('ask')
      ask(@Payload() value: unknown): unknown {
        return this.client.send('echo', value);
      }
    }

    const asking = await App.start({ controllers: [Asking], options: { name: 'asking@127.0.0.1' } });
    const caller = asking.client({ target: 'asking@127.0.0.1' });
    await expect(firstValueFrom(caller.send('ask', 7))).resolves.toBe(7);
    expect(app.node.stats().acceptedConnections).toBe(1);
    await asking[Symbol.asyncDispose]();
    await until(() => app.node.stats().acceptedConnections === 0);
  });
});
