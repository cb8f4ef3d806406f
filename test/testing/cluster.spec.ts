/** Applications as their users wrote them, for real networks, in a cluster in memory: what is served, who reaches whom. */
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  ValidationPipe,
  type DynamicModule,
  type INestApplication,
  type INestMicroservice,
  type PipeTransform,
} from '@nestjs/common';
import {
  Client,
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
} from '@nestjs/microservices';
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import { firstValueFrom } from 'rxjs';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import type { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { InjectGenRpc } from '../../lib/nest/gen-rpc.tokens.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { createTestCluster } from '../../lib/testing/create-test-cluster.js';
import type { TestCluster } from '../../lib/testing/test-cluster.js';
import { until } from '../support/door.js';
import { moduleOf } from '../nest/support.js';

/** What a real application is told: none of it can be had here. */
const REAL = {
  name: 'stock@10.1.2.3',
  secret: 'the secret of a real cluster, 1234',
  listen: { host: '10.1.2.3', port: 5370 },
  tls: { ca: '/etc/real/ca.pem', cert: '/etc/real/cert.pem', key: '/etc/real/key.pem' },
  nodes: { 'prices@10.1.2.4': { port: 1 } },
  moduleControl: 'blacklist',
  moduleList: ['secrets'],
} as const;

@Injectable()
class Shelves {
  count(goods: string): number {
    return goods === 'tea' ? 40 : 0;
  }
}

@RpcModule('stock')
class StockController {
  readonly notes: string[] = [];

  constructor(@Inject(Shelves) private readonly shelves: Shelves) {}

  @RpcFunction()
  count(@Arg(0) goods: string): number {
    return this.shelves.count(goods);
  }
}

@RpcModule('secrets')
class SecretsController {
  @RpcFunction()
  tell(): string {
    return 'nothing';
  }
}

@Controller()
class NotesController {
  readonly notes: string[] = [];

  @EventPattern<string>('notes.add')
  add(@Payload() note: string, @Ctx() context: GenRpcContext): void {
    this.notes.push(`${context.getNode()}: ${note}`);
  }

  @MessagePattern('notes.list')
  list(): string[] {
    return this.notes;
  }
}

@Module({
  imports: [GenRpcModule.forRootAsync({ useFactory: async () => ({ ...REAL, tls: { ...REAL.tls } }) })],
  controllers: [StockController, SecretsController, NotesController],
  providers: [Shelves],
})
class StockModule {}

const TO_STOCK = { target: 'stock@test', secret: 'another secret of a real cluster', clientPort: 5370 };

const CLIENT = { customClass: GenRpcClient, options: TO_STOCK };

@Injectable()
class Orders {
  constructor(
    @InjectGenRpc() private readonly rpc: GenRpcNode,
    @Inject('STATIC') readonly fixed: ClientProxy,
    @Inject('ASYNC') readonly made: ClientProxy,
    @Inject('SHARED') readonly shared: ClientProxy,
  ) {}

  count(goods: string): Promise<number> {
    return this.rpc.call('stock@test', 'stock', 'count', [goods]);
  }
}

@Controller()
class OrdersController {
  readonly own = ClientProxyFactory.create(CLIENT);

  @Client(CLIENT)
  readonly injected!: ClientProxy;
}

@Module({
  imports: [
    GenRpcModule.forRoot({ name: 'orders@10.1.2.5', secret: REAL.secret, listen: false, callTimeout: 4321 }),
    ClientsModule.register([{ name: 'STATIC', ...CLIENT }]),
    ClientsModule.registerAsync([
      { name: 'ASYNC', useFactory: () => CLIENT },
      {
        name: 'SHARED',
        inject: [GenRpcNode],
        useFactory: (node: GenRpcNode) => ({ customClass: GenRpcClient, options: { node, target: 'stock@test' } }),
      },
    ]),
  ],
  controllers: [OrdersController],
  providers: [Orders],
})
class OrdersModule {}

/** Nothing of a cluster is left. */
function expectNothing(nodes: readonly GenRpcNode[]): void {
  for (const node of nodes) {
    expect(node.stats()).toMatchObject({
      ...{ phase: 'closed', pendingCalls: 0, runningCalls: 0, openConnections: 0, acceptedConnections: 0 },
      ...{ handshakes: 0, bufferedBytes: 0 },
    });
  }
}

describe('createTestCluster', () => {
  it('runs modules that were written for a real network, as they are', async () => {
    const cluster = await createTestCluster({ nodes: { stock: StockModule, orders: OrdersModule } });
    const [stock, orders] = [cluster.node('stock'), cluster.node('orders')];
    expect([stock.name, orders.name]).toEqual(['stock@test', 'orders@test']);
    expect(stock.endpoints()).toEqual([{ driver: 'memory', host: 'stock.test', port: 5369 }]);
    expect(orders.endpoints()).toEqual([]);
    expect(cluster.get('orders', GenRpcNode)).toBe(orders);
    expect(await cluster.get('orders', Orders).count('tea')).toBe(40);
    // What they say of their own behaviour still holds.
    await expect(orders.call('stock@test', 'secrets', 'tell')).rejects.toMatchObject({ code: 'unauthorized' });

    const { fixed, made, shared } = cluster.get('orders', Orders);
    const { own, injected } = cluster.get('orders', OrdersController);
    for (const client of [fixed, made, shared, own, injected]) {
      expect(await firstValueFrom(client.send('stock.count', ['tea']))).toBe(40);
    }
    await firstValueFrom(fixed.emit('notes.add', 'tea sells well'));
    await until(() => cluster.get('stock', NotesController).notes.length === 1);
    expect(await firstValueFrom(shared.send('notes.list', {}))).toEqual([expect.stringMatching(/: tea sells well$/)]);

    const nodes = [stock, orders, ...[fixed, made, own, injected].map((client) => client.unwrap<GenRpcNode>())];
    await cluster.close();
    await cluster.close();
    expectNothing(nodes);
    expect(() => cluster.node('stock')).toThrow('stock is stopped.');
  });

  it('gives a node to applications that bring none', async () => {
    const nodes = { a: moduleOf({ controllers: [NotesController] }), b: moduleOf({}) };
    await using cluster = await createTestCluster({ nodes });
    cluster.node('b').cast('a@test', 'notes', 'add', ['hello']);
    await until(() => cluster.get('a', NotesController).notes.length === 1);
    expect(await cluster.node('b').call('a@test', 'notes', 'list')).toEqual(['b@test: hello']);
  });

  it('tells the nodes of each other, and of the modules that each has', async () => {
    const nodes = { one: StockModule, two: StockModule, orders: OrdersModule };
    await using cluster = await createTestCluster({ nodes, clock: 'virtual' });
    const orders = cluster.node('orders');
    const listed = (): string[] => orders.members().map(({ name }) => name);
    expect(listed()).toEqual(['one@test', 'two@test']);
    const count = (): Promise<number> => orders.call({ module: 'stock' }, 'stock', 'count', ['tea']);
    expect(await count()).toBe(40);
    // A registry does not hear of a crash; calls find out.
    await cluster.stop('one');
    expect(listed()).toEqual(['one@test', 'two@test']);
    expect([await count(), await count()]).toEqual([40, 40]);
    await cluster.drain('two');
    expect(listed()).not.toContain('two@test');
    await cluster.start('one');
    await cluster.clock.advance(60_000);
    expect([listed(), await count()]).toEqual([['one@test'], 40]);
  });

  it('takes a dynamic module, and a whole name where others have it written down', async () => {
    const stock: DynamicModule = { module: class {}, imports: [StockModule] };
    await using cluster = await createTestCluster({ nodes: { 'stock@10.1.2.3': stock, a: moduleOf({}) } });
    expect(await cluster.node('a').call('stock@10.1.2.3', 'stock', 'count', ['tea'])).toBe(40);
  });

  it('takes testing modules, with providers overridden', async () => {
    const builder = (): TestingModuleBuilder =>
      Test.createTestingModule({ imports: [StockModule] })
        .overrideProvider(Shelves)
        .useValue({ count: () => 7 });
    await using cluster = await createTestCluster({
      nodes: { once: builder(), often: builder, method: { app: () => builder() }, orders: moduleOf({}) },
    });
    for (const key of ['once', 'often', 'method'] as const) {
      expect(await cluster.node('orders').call(`${key}@test`, 'stock', 'count', ['tea'])).toBe(7);
    }
    await cluster.stop('often');
    await cluster.start('often');
    expect(await cluster.node('orders').call('often@test', 'stock', 'count', ['tea'], { waitForReady: true })).toBe(7);
    await cluster.stop('once');
    await expect(cluster.start('once')).rejects.toThrow('A testing module starts once.');
  });

  it('serves HTTP too, without a port, and is set up as main.ts would', async () => {
    @Controller()
    class Web {
      @Get('count')
      async count(): Promise<string> {
        return 'by HTTP';
      }

      @MessagePattern('web.count')
      counted(@Payload() value: unknown): unknown {
        return value;
      }
    }

    const pipe: PipeTransform = { transform: (value: unknown) => `piped ${String(value)}` };
    const configured: unknown[] = [];
    const web = moduleOf({ controllers: [Web] });
    await using cluster = await createTestCluster({
      nodes: {
        plain: web,
        http: { app: web, http: { inheritAppConfig: true }, configure: (app) => app.useGlobalPipes(pipe) },
        micro: {
          app: web,
          configure: async (app) => {
            await Promise.resolve();
            configured.push(app);
            app.useGlobalPipes(new ValidationPipe(), pipe);
          },
        },
      },
    });
    expectTypeOf(cluster.app('http')).toEqualTypeOf<INestApplication>();
    expectTypeOf(cluster.app('micro')).toEqualTypeOf<INestMicroservice>();
    expectTypeOf(cluster.app('plain')).toEqualTypeOf<INestMicroservice>();
    // What a `beforeEach` fills.
    const declared: TestCluster = cluster;
    expectTypeOf(declared.app('http')).toEqualTypeOf<INestApplication | INestMicroservice>();
    expect(configured).toEqual([cluster.app('micro')]);

    const node = cluster.node('plain');
    expect(await node.call('http@test', 'web', 'count', [1])).toBe('piped 1');
    expect(await node.call('micro@test', 'web', 'count', [1])).toBe('piped 1');
    expect(await node.call('plain@test', 'web', 'count', [1])).toBe(1);
    const server = cluster.app('http').getHttpServer() as import('node:http').Server;
    expect(server.listening).toBe(false);
    await cluster.app('http').listen(0, '127.0.0.1');
    expect(await (await fetch(`${await cluster.app('http').getUrl()}/count`)).text()).toBe('by HTTP');
  });

  it("keeps the process alive by the system's clock until it is closed, as a server does", async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    const cluster = await createTestCluster({ nodes: { a: moduleOf({}) } });
    expect(timers()).toBeGreaterThan(before);
    await cluster.close();
    expect(timers()).toBe(before);
  });

  it('ends while functions run that never do', async () => {
    @RpcModule('slow')
    class Slow {
      @RpcFunction()
      never(): Promise<never> {
        return new Promise(() => {});
      }
    }

    for (const clock of ['system', 'virtual'] as const) {
      const nodes = { a: moduleOf({}), b: moduleOf({ controllers: [Slow] }), c: StockModule };
      const cluster = await createTestCluster({ nodes, clock });
      const [a, b] = [cluster.node('a'), cluster.node('b')];
      const pending = expect(a.call('b@test', 'slow', 'never')).rejects.toMatchObject({ code: 'cancelled' });
      await until(() => b.stats().runningCalls === 1);
      const before = clock === 'virtual' ? cluster.clock.now() : performance.now();
      await cluster.close();
      await pending;
      // Not the ten seconds of the grace period.
      expect((clock === 'virtual' ? cluster.clock.now() : performance.now()) - before).toBeLessThan(5000);
      expect([a.stats().pendingCalls, a.stats().openConnections, b.stats().acceptedConnections]).toEqual([0, 0, 0]);
      if (clock === 'virtual') expect(cluster.clock.pending).toBe(0);
    }
  });
});

describe('createTestCluster refuses', () => {
  it('an application with two nodes, and leaves nothing of the others', async () => {
    const options = { name: 'x@host', secret: REAL.secret };
    const two = moduleOf({
      imports: [GenRpcModule.forRoot(options), GenRpcModule.forRoot({ ...options, life: 'two' })],
    });
    const kept: GenRpcNode[] = [];
    const first = { app: StockModule, configure: (app: INestMicroservice) => void kept.push(app.get(GenRpcNode)) };
    const made = createTestCluster({ nodes: { first, two } });
    await expect(made).rejects.toThrow('two has more than one GenRpcModule; a test node is one node.');
    expectNothing(kept);
    expect(kept).toHaveLength(1);
  });

  it('a client that two applications share, until one of them has ended', async () => {
    const nodes = { stock: StockModule, a: OrdersModule, b: OrdersModule };
    const shared = 'a and b have one GenRpcClient between them: ClientsModule.register makes it';
    await expect(createTestCluster({ nodes })).rejects.toThrow(shared);
    for (const key of ['c', 'd']) {
      await using cluster = await createTestCluster({ nodes: { stock: StockModule, [key]: OrdersModule } });
      const { fixed } = cluster.get(key, Orders);
      expect(await firstValueFrom(fixed.send('stock.count', ['tea']))).toBe(40);
    }
  });

  it('a client that another cluster has, until that has ended', async () => {
    const nodes = { stock: StockModule, a: OrdersModule };
    const first = await createTestCluster({ nodes });
    const shared = 'a, and a of another cluster, have one GenRpcClient between them';
    await expect(createTestCluster({ nodes })).rejects.toThrow(shared);
    expect(await firstValueFrom(first.get('a', Orders).fixed.send('stock.count', ['tea']))).toBe(40);
    await first.close();
    await using second = await createTestCluster({ nodes });
    expect(await firstValueFrom(second.get('a', Orders).fixed.send('stock.count', ['tea']))).toBe(40);
  });

  it('nodes that are none, or have one name', async () => {
    const missing = undefined as unknown as typeof StockModule;
    await expect(createTestCluster({ nodes: { missing } })).rejects.toThrow('missing is undefined instead of a module');
    const nodes = { a: moduleOf({}), 'a@test': moduleOf({}) };
    await expect(createTestCluster({ nodes })).rejects.toThrow('a and a@test are both a@test');
  });

  it('to start what is starting already', async () => {
    const made: string[] = [];
    const one = moduleOf({ providers: [{ provide: 'ONE', useFactory: () => made.push('one') }] });
    await using cluster = await createTestCluster({ nodes: { one } });
    await cluster.stop('one');
    const starts = [cluster.start('one'), cluster.start('one')];
    const [first, second] = await Promise.allSettled(starts);
    expect(first?.status).toBe('fulfilled');
    expect(second).toMatchObject({ status: 'rejected', reason: { message: 'one runs already.' } });
    expect(made).toHaveLength(2);
    expect(cluster.node('one').stats().phase).toBe('open');
  });

  it('what an application throws while it starts', async () => {
    const broken = moduleOf({
      providers: [{ provide: 'X', useFactory: () => Promise.reject(new Error('no database')) }],
    });
    await expect(createTestCluster({ nodes: { a: StockModule, broken } })).rejects.toThrow('no database');
  });

  it('options and names that are wrong', async () => {
    const wrong = moduleOf({ imports: [GenRpcModule.forRoot({ ...REAL, tls: { ...REAL.tls }, callTimeout: -1 })] });
    await expect(createTestCluster({ nodes: { wrong } })).rejects.toThrow(
      /1 problem in createTestCluster\(\)\n {2}- callT/,
    );
    await expect(createTestCluster({ nodes: { 'no name': moduleOf({}) } })).rejects.toThrow(
      /- name: expected name@host/,
    );
    await using cluster = await createTestCluster({ nodes: { a: moduleOf({}) } });
    expect(() => cluster.node('b' as 'a')).toThrow('There is no b in this cluster, but a.');
    expect(() => cluster.clock).toThrow("create it with { clock: 'virtual' }");
    await expect(cluster.start('a')).rejects.toThrow('a runs already.');
    expect(cluster.node('a').stats().phase).toBe('open');
  });
});
