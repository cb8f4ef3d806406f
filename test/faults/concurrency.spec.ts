/** many callers at once, calls within calls, ordered casts of any size, and two of one name. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { Cluster, DRIVERS, SECRET, twoNodes, type DriverName, type NodeSettings } from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { keysOfLanes } from '../support/keys.js';
import { Proxy } from '../support/proxy.js';

const B = 'b@127.0.0.1';
const X = 'x@127.0.0.1';

describe.each(DRIVERS)('X-01 10,000 calls at once to a cold peer, over %s', (driver) => {
  async function storm(keyOf: (call: number) => unknown, options: NodeSettings = {}) {
    await using nodes = await twoNodes({ driver });
    const a = nodes.create('storm', { listen: false, callTimeout: 60_000, ...options });
    const calls = Array.from({ length: 10_000 }, (_, call) =>
      a.call({ node: B, key: keyOf(call) }, 'math', 'add', [call, 1]),
    );
    expect(a.stats()).toMatchObject({ pendingCalls: 10_000, openConnections: 0 });
    const values = await Promise.all(calls);
    expect(values).toEqual(calls.map((_, call) => call + 1));
    expect(nodes.ran).toHaveLength(10_000);
    expect(nodes.b.stats().counts.accepted).toBe(a.stats().counts.dialled);
    return a.stats();
  }

  it('X-01 with 8 keys of 8 lanes: 8 dials', async () => {
    const keys = await keysOfLanes(driver, 8);
    const { counts, openConnections } = await storm((call) => keys[call % 8]);
    expect(counts).toEqual({ dialled: 8, connected: 8 });
    expect(openConnections).toBe(8);
  });

  it('X-01 with 10,000 keys of 8 lanes: 8 dials', async () => {
    const { counts } = await storm((call) => `user ${call}`, { maxLanesPerNode: 8 });
    expect(counts).toEqual({ dialled: 8, connected: 8 });
  });

  it('X-01 without a key: one dial', async () => {
    const { counts } = await storm(() => undefined);
    expect(counts).toEqual({ dialled: 1, connected: 1 });
  });
});

/** Two nodes whose functions call each other: `dive` to the bottom, where it waits if it is told to. */
async function divers(driver: DriverName, options: NodeSettings) {
  const cluster = new Cluster({ driver, options });
  const [a, b] = [await cluster.start('a'), await cluster.start('b')];
  let atBottom = 0;
  for (const [self, other] of [
    [a, b],
    [b, a],
  ] as const) {
    self.register('deep', {
      dive: async ([depth, waits]: [number, boolean], { signal }): Promise<number> => {
        if (depth > 0) return 1 + (await self.call<number>(other.name, 'deep', 'dive', [depth - 1, waits], { signal }));
        atBottom += 1;
        if (waits) await new Promise((resolve) => signal.addEventListener('abort', resolve));
        return 0;
      },
      /** Every other step is a call of the own node. */
      wade: async ([depth]: [number]): Promise<number> => {
        if (depth === 0) return 0;
        const next = depth % 2 === 0 ? self.name : other.name;
        return 1 + (await self.call<number>(next, 'deep', 'wade', [depth - 1]));
      },
    });
  }
  const running = (): number => a.stats().runningCalls + b.stats().runningCalls;
  return Object.assign(cluster, { a, b, running, atBottom: () => atBottom });
}

describe.each(DRIVERS)('X-02 functions that call back, 50 deep, over %s', (driver) => {
  const TIGHTEST: NodeSettings = { maxLanes: 1, maxLanesPerNode: 1, admission: { total: 1, perAddress: 1 } };

  it.each([
    ['by default', {}],
    ['with one lane and one place at the door', TIGHTEST],
  ])('X-02 all return, %s', async (_, options) => {
    await using nodes = await divers(driver, options);
    const dives = Array.from({ length: 40 }, () => nodes.a.call(B, 'deep', 'dive', [50, false]));
    expect(new Set(await Promise.all(dives))).toEqual(new Set([50]));
    expect(await nodes.a.call(B, 'deep', 'wade', [50])).toBe(50);
    expect(nodes.atBottom()).toBe(40);
    expect(nodes.a.stats().counts.dialled).toBe(1);
    expect(nodes.b.stats().counts.dialled).toBe(1);
    expect(nodes.running()).toBe(0);
  });

  it('X-02 all end when the first caller gives up', async () => {
    await using nodes = await divers(driver, TIGHTEST);
    const tired = new AbortController();
    const dive = nodes.a.call(B, 'deep', 'dive', [50, true], { signal: tired.signal }).catch((error: unknown) => error);
    await until(() => nodes.atBottom() === 1);
    expect(nodes.running()).toBe(51);
    tired.abort();
    expect(await dive).toMatchObject({ code: 'cancelled' });
    await until(() => nodes.running() === 0);
    expect(nodes.a.stats().pendingCalls + nodes.b.stats().pendingCalls).toBe(0);
  });
});

describe('X-06 ordered casts of mixed sizes', () => {
  const KiB = 1024;
  const LARGEST = 3.9 * KiB * KiB;

  interface Ran {
    readonly at: number;
    readonly bytes: number;
    readonly filled: boolean;
  }

  /** `b` keeps what runs, and how many ran at once. */
  async function order(options: NodeSettings) {
    const cluster = new Cluster({ driver: 'tcp', options: { maxQueuedBytes: 128 * KiB * KiB, ...options } });
    const b = await cluster.start('b');
    const ran: Ran[] = [];
    let [running, atOnce] = [0, 0];
    b.register('order', {
      run: async ([at, bytes]: [number, Buffer]) => {
        atOnce = Math.max(atOnce, (running += 1));
        for (let turn = 0; turn < at % 3; turn += 1) await new Promise(setImmediate);
        running -= 1;
        ran.push({ at, bytes: bytes.length, filled: bytes.every((byte) => byte === at % 251) });
      },
    });
    return Object.assign(cluster, { a: cluster.create('a', { listen: false }), b, ran, atOnce: () => atOnce });
  }

  const SIZES = [
    LARGEST,
    1,
    100 * KiB,
    1,
    17,
    LARGEST,
    4097,
    4096,
    1,
    LARGEST,
    64 * KiB,
    1,
    1,
    300,
    LARGEST,
    1023,
    2 * KiB * KiB,
    1,
  ];
  const sizeAt = (at: number): number => Math.floor(SIZES[at % SIZES.length] ?? 1);

  async function sendAll(nodes: Awaited<ReturnType<typeof order>>, count: number, largest: number): Promise<void> {
    const sizes = Array.from({ length: count }, (_, at) => Math.min(sizeAt(at), largest));
    for (const [at, bytes] of sizes.entries()) {
      const target = { node: B, key: 'one key' };
      expect(nodes.a.cast(target, 'order', 'run', [at, Buffer.alloc(bytes, at % 251)], { ordered: true })).toBe(true);
      // Others, which may overtake, in between.
      nodes.a.cast(target, 'order', 'none', [Buffer.alloc(bytes % 5000)]);
    }
    await until(() => nodes.ran.length === count);
    // The last of the others is behind the last ordered one.
    await until(() => nodes.b.stats().counts.cast_failed === count);
    expect(nodes.ran).toEqual(sizes.map((bytes, at) => ({ at, bytes, filled: true })));
    expect(nodes.atOnce()).toBe(1);
    const { counts } = nodes.b.stats();
    expect(counts).toEqual({ accepted: 1, call_refused: count, cast_failed: count });
  }

  it('X-06 run in the order sent, 1 B to 3.9 MiB, before and after the connection is there', async () => {
    await using nodes = await order({});
    await sendAll(nodes, 36, LARGEST);
  });

  it('X-06 run in the order sent where they are compressed', async () => {
    await using nodes = await order({ compression: {} });
    await sendAll(nodes, 36, LARGEST);
  });

  it.each([1, 2, 3])('X-06 run in the order sent where the network slices them, seed %i', async (seed) => {
    await using nodes = await order({});
    const random = new SeededRandom(seed);
    await using proxy = await Proxy.to({ port: portOf(nodes, B) }, { slice: () => 1 + random.below(20_000) });
    redirect(nodes, B, proxy.port);
    await sendAll(nodes, 100, 200 * KiB);
  });
});

describe('X-06 an ordered cast whose function answers twice', () => {
  it('X-06 lets the next one begin once', async () => {
    await using nodes = await twoNodes();
    let [running, atOnce, ended] = [0, 0, 0];
    const end = (): void => {
      running -= 1;
      ended += 1;
    };
    const twice = (answer: () => void): void => {
      setImmediate(() => {
        end();
        answer();
        answer();
      });
    };
    const once = async (): Promise<void> => new Promise(setImmediate).then(end);
    nodes.b.register('order', {
      run: ([at]: [number]) => {
        atOnce = Math.max(atOnce, (running += 1));
        // oxlint-disable-next-line unicorn/no-thenable -- what a function may return is what is tested here
        return at % 3 === 0 ? { then: twice } : once();
      },
    });
    for (let at = 0; at < 30; at += 1) nodes.a.cast(B, 'order', 'run', [at], { ordered: true });
    await until(() => ended === 30);
    expect(atOnce).toBe(1);
  });
});

/** A process that calls itself `x`. */
class Twin {
  private lastId = 0;

  private constructor(
    readonly process: ChildProcess,
    readonly port: number,
  ) {}

  /** @param b's port, and the life that twins share, if so. */
  static async start(port: number, life?: string): Promise<Twin> {
    const env = {
      ...process.env,
      NODE_OPTIONS: '',
      SECRET,
      PORT: String(port),
      ...(life === undefined ? {} : { LIFE: life }),
    };
    const child = fork(join(import.meta.dirname, 'children', 'twin.mjs'), { env, execArgv: [] });
    const { port: own } = await new Promise<{ port: number }>((resolve, reject) => {
      child.once('message', (message) => resolve(message as { port: number }));
      child.once('exit', (status) => reject(new Error(`The twin ended with ${status}.`)));
    });
    return new Twin(child, own);
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  /** Lets it call `b`, and says how that ended. */
  call(fn: string, key?: unknown): Promise<{ value?: unknown; code?: string; maybeExecuted?: boolean }> {
    const id = (this.lastId += 1);
    return new Promise((resolve) => {
      const onMessage = (message: unknown): void => {
        const { id: of, end } = message as { id: number; end: { value?: unknown } };
        if (of !== id) return;
        this.process.off('message', onMessage);
        resolve(end);
      };
      this.process.on('message', onMessage);
      this.process.send({ id, fn, key });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGKILL');
    await ended;
  }
}

describe('X-07 two processes with one configuration and one name', () => {
  async function host(duplicateNodes: 'newest' | 'refuse'): Promise<Cluster & { b: GenRpcNode; port: number }> {
    const cluster = new Cluster({ driver: 'tcp' });
    const b = await cluster.start('b', { duplicateNodes });
    b.register('b', { name: (_args, { caller }) => caller.node, waits: () => new Promise(() => {}) });
    return Object.assign(cluster, { b, port: portOf(cluster, B) });
  }

  it('X-07 newest: the older one is cut off and its calls settle; one answers for the name', async () => {
    await using cluster = await host('newest');
    await using older = await Twin.start(cluster.port);
    await using newer = await Twin.start(cluster.port);
    expect(await older.call('name')).toEqual({ value: X });
    const pending = older.call('waits');
    await until(() => cluster.b.stats().runningCalls === 1);
    expect(await newer.call('name')).toEqual({ value: X });
    expect(await pending).toMatchObject({
      ...{ code: 'connection_lost', maybeExecuted: true },
      message: expect.stringContaining(`Another process with the name ${X} connected to ${B}`),
    });
    expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 1, runningCalls: 0, counts: { duplicate_node: 1 } });
    expect(await newer.call('name', 1)).toEqual({ value: X });
    expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 2, counts: { duplicate_node: 1 } });
  });

  it('X-07 refuse: the newer one is sent away while the older one lives, and let in once it is gone', async () => {
    await using cluster = await host('refuse');
    await using newer = await Twin.start(cluster.port);
    {
      await using older = await Twin.start(cluster.port);
      expect(await older.call('name')).toEqual({ value: X });
      expect(await newer.call('name')).toMatchObject({ code: 'node_down', maybeExecuted: false });
      expect(await older.call('name')).toEqual({ value: X });
      expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 1, counts: { duplicate_node: 1 } });
    }
    await until(() => cluster.b.stats().acceptedConnections === 0);
    let end = await newer.call('name');
    while (end.code === 'node_down') end = await newer.call('name');
    expect(end).toEqual({ value: X });
  });

  it.each(['newest', 'refuse'] as const)(
    'X-07 %s: with one life they are one node, and both call and serve',
    async (duplicateNodes) => {
      await using cluster = await host(duplicateNodes);
      await using one = await Twin.start(cluster.port, 'the first life');
      await using other = await Twin.start(cluster.port, 'the first life');
      for (const twin of [one, other, one, other]) expect(await twin.call('name')).toEqual({ value: X });
      expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 2 });
      expect(cluster.b.stats().counts.duplicate_node).toBeUndefined();
      redirect(cluster, X, one.port);
      expect(await cluster.b.call({ node: X, key: 1 }, 'who', 'pid')).toBe(one.pid);
      redirect(cluster, X, other.port);
      expect(await cluster.b.call({ node: X, key: 2 }, 'who', 'pid')).toBe(other.pid);
      expect(await cluster.b.call({ node: X, key: 1 }, 'who', 'pid')).toBe(one.pid);
      expect(cluster.b.stats()).toMatchObject({ openConnections: 2, connectedNodes: 1 });
    },
  );

  it('X-07 another life is a stranger again', async () => {
    await using cluster = await host('newest');
    await using one = await Twin.start(cluster.port, 'the first life');
    await using other = await Twin.start(cluster.port, 'the second life');
    expect(await one.call('name')).toEqual({ value: X });
    expect(await other.call('name')).toEqual({ value: X });
    expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 1, counts: { duplicate_node: 1 } });
  });
});
