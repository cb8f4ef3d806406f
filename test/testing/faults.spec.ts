/** What a test can do to a cluster, and what its applications notice of it: with the clock in the test's hand. */
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Ctx } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import type { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { createTestCluster } from '../../lib/testing/create-test-cluster.js';
import type { TestCluster } from '../../lib/testing/test-cluster.js';
import { until } from '../support/door.js';
import { moduleOf, signalOf } from '../nest/support.js';

@Injectable()
class Journal implements OnApplicationShutdown {
  readonly lines: string[] = [];
  /** Keeps `echo.held` waiting. */
  readonly gate = signalOf();

  onApplicationShutdown(): void {
    this.lines.push('shutdown');
  }
}

@RpcModule('echo')
class Echo {
  constructor(private readonly journal: Journal) {}

  @RpcFunction()
  value(@Arg(0) value: unknown): unknown {
    this.journal.lines.push(`value ${String(value)}`);
    return value;
  }

  @RpcFunction()
  async held(@Ctx() context: GenRpcContext): Promise<string> {
    this.journal.lines.push('held');
    context.getSignal().addEventListener('abort', () => this.journal.lines.push('aborted'));
    await this.journal.gate.promise;
    return 'released';
  }
}

const options = { name: 'echo@10.0.0.1', secret: 'a real secret, of some length', gracePeriod: 60_000 };
const EchoModule = moduleOf({ imports: [GenRpcModule.forRoot(options)], controllers: [Echo], providers: [Journal] });

const NODES = { a: EchoModule, b: EchoModule, c: EchoModule };

type Three = TestCluster<typeof NODES>;

function three(seed = 7): Promise<Three> {
  return createTestCluster({ nodes: NODES, clock: 'virtual', seed });
}

function echo(cluster: Three, from: keyof typeof NODES, to: string, options: object = {}): Promise<unknown> {
  return cluster.node(from).call(`${to}@test`, 'echo', 'value', [from], options);
}

/** How it has ended by now, if it has. */
function ending(call: Promise<unknown>): { readonly now: unknown } {
  const seen: { now: unknown } = { now: 'pending' };
  call.then(
    (value) => (seen.now = value),
    (error: { code?: string }) => (seen.now = error.code),
  );
  return seen;
}

/** Ends the cluster, and looks for what is left. */
async function endOf(cluster: Three, clock: 'system' | 'virtual' = 'virtual'): Promise<void> {
  const nodes: GenRpcNode[] = [];
  for (const key of ['a', 'b', 'c'] as const) nodes.push(cluster.node(key));
  await cluster.close();
  for (const node of nodes) {
    expect(node.stats()).toMatchObject({
      ...{ phase: 'closed', pendingCalls: 0, runningCalls: 0, openConnections: 0, acceptedConnections: 0 },
    });
  }
  if (clock === 'virtual') expect(cluster.clock.pending).toBe(0);
}

describe('a cluster with a virtual clock', () => {
  it('answers without time passing, and lets deadlines pass in no time', async () => {
    const cluster = await three();
    expect(await echo(cluster, 'a', 'b')).toBe('a');
    const held = ending(cluster.node('a').call('b@test', 'echo', 'held', [], { timeout: 5000 }));
    await until(() => cluster.get('b', Journal).lines.includes('held'));
    expect(cluster.clock.now()).toBe(0);
    await cluster.clock.advance(4900);
    expect(held.now).toBe('pending');
    await cluster.clock.advance(200);
    expect(held.now).toBe('timeout');
    await until(() => cluster.get('b', Journal).lines.includes('aborted'));
    cluster.get('b', Journal).gate.resolve();
    await endOf(cluster);
  });

  it('takes the same course by the same seed', async () => {
    const course = async (seed: number): Promise<unknown[]> => {
      await using cluster = await three(seed);
      const seen: unknown[] = [];
      await cluster.stop('b');
      for (let n = 0; n < 5; n += 1) {
        await echo(cluster, 'a', 'b').catch((error: Error) => seen.push(error.message));
        await cluster.clock.advance(1000);
      }
      return [...seen, cluster.clock.now()];
    };
    const [one, again, other] = [await course(7), await course(7), await course(8)];
    expect(one).toHaveLength(6);
    expect(one.at(-1)).toBe(5000);
    expect(again).toEqual(one);
    expect(other).not.toEqual(one);
  });
});

describe('faults of the network', () => {
  it('delay: between two nodes, both ways, and nobody else', async () => {
    const cluster = await three();
    await Promise.all([echo(cluster, 'a', 'b'), echo(cluster, 'a', 'c')]);
    cluster.delay('a', 'b', 100);
    const [slow, quick] = [ending(echo(cluster, 'a', 'b')), echo(cluster, 'a', 'c')];
    expect(await quick).toBe('a');
    await cluster.clock.advance(199);
    expect([slow.now, cluster.get('b', Journal).lines]).toEqual(['pending', ['value a', 'value a']]);
    await cluster.clock.advance(1);
    expect(slow.now).toBe('a');
    cluster.delay('a', 'b', 0);
    await cluster.clock.advance(1);
    expect(await echo(cluster, 'b', 'a')).toBe('b');
    await endOf(cluster);
  });

  it('cut: what is pending fails, and the next call connects again', async () => {
    const cluster = await three();
    const held = cluster.node('a').call('b@test', 'echo', 'held');
    const lost = expect(held).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    await until(() => cluster.get('b', Journal).lines.includes('held'));
    cluster.cut('b', 'a');
    await lost;
    await until(() => cluster.get('b', Journal).lines.includes('aborted'));
    const again = ending(echo(cluster, 'a', 'b', { waitForReady: true }));
    await cluster.clock.advance(1000);
    expect([again.now, cluster.node('a').stats().counts.connected]).toEqual(['a', 2]);
    cluster.get('b', Journal).gate.resolve();
    await endOf(cluster);
  });

  it('partition: nobody is told, a silent peer is found out, and healing makes them meet again', async () => {
    const cluster = await three();
    await Promise.all([echo(cluster, 'a', 'b'), echo(cluster, 'c', 'b')]);
    cluster.partition(['a'], ['b', 'c']);
    const call = ending(echo(cluster, 'a', 'b', { timeout: 60_000 }));
    await cluster.clock.advance(4000);
    expect([call.now, cluster.node('a').nodes()]).toEqual(['pending', ['b@test']]);
    expect(await echo(cluster, 'c', 'b')).toBe('c');
    await cluster.clock.advance(12_000);
    expect([call.now, cluster.node('a').nodes()]).toEqual(['send_timeout', []]);
    expect(cluster.node('c').nodes()).toEqual(['b@test']);
    const waiting = ending(echo(cluster, 'a', 'b', { timeout: 60_000, waitForReady: true }));
    await cluster.clock.advance(30_000);
    expect(waiting.now).toBe('pending');
    cluster.heal();
    await cluster.clock.advance(30_000);
    expect(waiting.now).toBe('a');
    await endOf(cluster);
  });

  it('partition: a short one is not noticed, what was sent arrives', async () => {
    const cluster = await three();
    await echo(cluster, 'a', 'b');
    cluster.partition(['a', 'c'], ['b']);
    const call = ending(echo(cluster, 'a', 'b'));
    await cluster.clock.advance(2000);
    cluster.heal();
    await cluster.clock.advance(0);
    expect([call.now, cluster.node('a').stats().counts.connected]).toEqual(['a', 1]);
    await endOf(cluster);
  });

  it.each(['system', 'virtual'] as const)(
    'leave nothing behind where a cluster ends amid them: %s clock',
    async (clock) => {
      const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
      const before = timers();
      const cluster = await createTestCluster({ nodes: NODES, clock });
      await Promise.all([echo(cluster, 'a', 'b'), echo(cluster, 'a', 'c')]);
      cluster.delay('a', 'b', 100_000);
      const near = expect(echo(cluster, 'a', 'b')).rejects.toMatchObject({ code: 'cancelled' });
      const fresh = expect(echo(cluster, 'b', 'a')).rejects.toMatchObject({ code: 'cancelled' });
      cluster.partition(['a'], ['c']);
      const apart = expect(echo(cluster, 'a', 'c')).rejects.toMatchObject({ code: 'cancelled' });
      await new Promise((resolve) => setImmediate(resolve));
      await endOf(cluster, clock);
      await Promise.all([near, fresh, apart]);
      expect(timers()).toBeLessThanOrEqual(before);
    },
  );

  it('are met by clients with a node of their own too', async () => {
    const target = { target: 'b@test', secret: options.secret, errors: 'gen_rpc' } as const;
    const client = new GenRpcClient(target);
    const caller = moduleOf({ providers: [{ provide: 'B', useValue: client }] });
    await using cluster = await createTestCluster({ nodes: { a: caller, b: EchoModule }, clock: 'virtual' });
    expect(await firstValueFrom(client.send('echo.value', [1]))).toBe(1);
    const held = expect(firstValueFrom(client.send('echo.held', []))).rejects.toMatchObject({
      code: 'connection_lost',
    });
    await until(() => cluster.get('b', Journal).lines.includes('held'));
    cluster.cut('a', 'b');
    await held;
    cluster.get('b', Journal).gate.resolve();
  });
});

describe('ends of a node', () => {
  it('stop: pending calls fail at once, then it is down, until it is started again as another', async () => {
    const cluster = await three();
    const before = cluster.node('b');
    const journal = cluster.get('b', Journal);
    const held = expect(cluster.node('a').call('b@test', 'echo', 'held')).rejects.toMatchObject({
      ...{ code: 'connection_lost', maybeExecuted: true },
    });
    await until(() => journal.lines.includes('held'));
    await cluster.stop('b');
    await held;
    expect(journal.lines).toEqual(['held', 'aborted', 'shutdown']);
    await expect(echo(cluster, 'a', 'b')).rejects.toMatchObject({ code: 'node_down' });
    expect(() => cluster.get('b', Journal)).toThrow('b is stopped.');
    await cluster.stop('b');

    const waiting = ending(echo(cluster, 'a', 'b', { waitForReady: true }));
    await cluster.start('b');
    expect(cluster.node('b')).not.toBe(before);
    await cluster.clock.advance(1000);
    expect([waiting.now, cluster.get('b', Journal).lines]).toEqual(['a', ['value a']]);
    journal.gate.resolve();
    await endOf(cluster);
    expect(before.stats()).toMatchObject({ phase: 'closed', runningCalls: 0, acceptedConnections: 0 });
  });

  it('stop: in a partition its peers learn of it when that ends', async () => {
    const cluster = await three();
    await echo(cluster, 'a', 'b');
    cluster.partition(['a'], ['b']);
    await cluster.stop('b');
    expect(cluster.node('a').nodes()).toEqual(['b@test']);
    cluster.heal();
    await cluster.clock.advance(0);
    expect(cluster.node('a').nodes()).toEqual([]);
    await cluster.start('b');
    await endOf(cluster);
  });

  it('drain: what runs may finish, new calls are refused meanwhile', async () => {
    const cluster = await three();
    const journal = cluster.get('b', Journal);
    const held = cluster.node('a').call('b@test', 'echo', 'held');
    await until(() => journal.lines.includes('held'));
    const drained = cluster.drain('b');
    await expect(echo(cluster, 'c', 'b')).rejects.toMatchObject({ maybeExecuted: false });
    journal.gate.resolve();
    expect(await held).toBe('released');
    await drained;
    expect([journal.lines, cluster.clock.now()]).toEqual([['held', 'shutdown'], 0]);
    await cluster.start('b');
    await endOf(cluster);
  });

  it('drain: what never ends is cut off after the grace period, which takes no time', async () => {
    const cluster = await three();
    const held = ending(cluster.node('a').call('b@test', 'echo', 'held', [], { timeout: 100_000 }));
    await until(() => cluster.get('b', Journal).lines.includes('held'));
    await cluster.drain('b');
    expect(held.now).toBe('shutting_down');
    expect(cluster.clock.now()).toBeGreaterThanOrEqual(60_000);
    await cluster.start('b');
    await endOf(cluster);
  });
});
