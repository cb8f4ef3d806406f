/** Nodes that know the secret and still may not get along: at once, of one name, with an older or newer secret. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { isGenRpcError } from '../../lib/protocol/errors.js';
import { Cluster, DRIVERS, SECRET, SOCKET_DRIVERS, type NodeSettings, type SocketDriver } from '../support/cluster.js';
import { Door, helloFrom, OTHER_SECRET, until } from '../support/door.js';

describe('H-14 two nodes that dial each other at once', () => {
  const CALLS = 20;

  /** Both call each other before either is connected; returns the calls that ran, in the order of their numbers. */
  async function crossing(a: GenRpcNode, b: GenRpcNode, pass: () => Promise<void>): Promise<number[]> {
    const ran: number[] = [];
    for (const node of [a, b]) node.register('cross', { work: (args) => ran.push((args as [number])[0]) });
    const calls = Array.from({ length: CALLS }, (_, id) => {
      const [from, to] = id % 2 === 0 ? [a, b] : [b, a];
      return from.call(to.name, 'cross', 'work', [id]);
    });
    const settled = Promise.all(calls);
    await pass();
    await settled;
    return ran.sort((one, other) => one - other);
  }

  it.each(DRIVERS)('H-14 keep one connection a direction, and every call runs once, over %s', async (driver) => {
    await using cluster = new Cluster({ driver });
    const [a, b] = [await cluster.start('a'), await cluster.start('b')];
    expect(await crossing(a, b, async () => {})).toEqual(Array.from({ length: CALLS }, (_, id) => id));
    for (const node of [a, b]) {
      expect(node.stats()).toMatchObject({ connectedNodes: 1, acceptedConnections: 1 });
      expect(node.stats().counts).toEqual({ dialled: 1, accepted: 1, connected: 1 });
    }
  });

  it('H-14 come to the same, whoever is faster', async () => {
    for (let seed = 1; seed <= 100; seed += 1) {
      await using cluster = new Cluster({ virtual: { seed, latency: (random) => random.below(20) } });
      const [a, b] = [await cluster.start('a'), await cluster.start('b')];
      const ran = await crossing(a, b, async () => cluster.clock?.advance(1000));
      expect(ran, `seed ${seed}`).toEqual(Array.from({ length: CALLS }, (_, id) => id));
      for (const node of [a, b]) expect(node.stats()).toMatchObject({ connectedNodes: 1, acceptedConnections: 1 });
    }
  });
});

describe('H-17 two processes of one name', () => {
  async function rivals(driver: SocketDriver, duplicateNodes: 'newest' | 'refuse') {
    const cluster = new Cluster({ driver, options: { reconnect: { min: 1, max: 1 } } });
    const b = await cluster.start('b', { duplicateNodes });
    b.register('who', { calls: (_args, { caller }) => caller.node, waits: () => new Promise(() => {}) });
    const [older, newer] = [cluster.create('x', { listen: false }), cluster.create('x', { listen: false })];
    await older.connect(b.name);
    return Object.assign(cluster, { b, older, newer });
  }

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('H-17 newest: the older one is cut off, and its calls settle', async () => {
      await using nodes = await rivals(driver, 'newest');
      const cutOff = expect(nodes.older.call(nodes.b.name, 'who', 'waits')).rejects.toMatchObject({
        code: 'connection_lost',
      });
      await until(() => nodes.b.stats().runningCalls === 1);
      expect(await nodes.newer.call(nodes.b.name, 'who', 'calls')).toBe('x@127.0.0.1');
      await cutOff;
      expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 1, runningCalls: 0, counts: { duplicate_node: 1 } });
      expect(nodes.newer.nodes()).toEqual([nodes.b.name]);
      expect(nodes.older.nodes()).toEqual([]);
    });

    it('H-17 refuse: the newer one is sent away until the older one has left', async () => {
      await using nodes = await rivals(driver, 'refuse');
      const refused = nodes.newer.connect(nodes.b.name);
      await expect(refused).rejects.toMatchObject({
        code: 'node_down',
        message: expect.stringContaining('of this name'),
      });
      await until(() => nodes.b.stats().handshakes === 0);
      expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 1, counts: { duplicate_node: 1 } });
      expect(await nodes.older.call(nodes.b.name, 'who', 'calls')).toBe('x@127.0.0.1');
      await nodes.older.close();
      await until(() => nodes.b.stats().acceptedConnections === 0);
      expect(await nodes.newer.call(nodes.b.name, 'who', 'calls', [], { waitForReady: true })).toBe('x@127.0.0.1');
    });

    it('H-17 several lanes of one process are no duplicates', async () => {
      await using nodes = await rivals(driver, 'refuse');
      await Promise.all([1, 2, 3, 4].map((key) => nodes.older.connect({ node: nodes.b.name, key })));
      expect(nodes.b.stats().acceptedConnections).toBeGreaterThan(1);
      expect(nodes.b.stats().counts.duplicate_node).toBeUndefined();
    });
  });

  it.each(['newest', 'refuse'] as const)('H-17 %s: of two that come at once, one stays', async (duplicateNodes) => {
    await using cluster = new Cluster({ driver: 'memory' });
    const b = await cluster.start('b', { duplicateNodes });
    const twins = [cluster.create('x', { listen: false }), cluster.create('x', { listen: false })];
    await Promise.allSettled(twins.map((twin) => twin.connect(b.name)));
    await until(() => twins.filter((twin) => twin.isConnected(b.name)).length === 1);
    expect(b.stats()).toMatchObject({ acceptedConnections: 1, counts: { duplicate_node: 1 } });
    const stayed = twins.map((twin) => twin.isConnected(b.name));
    expect(stayed).toEqual(duplicateNodes === 'newest' ? [false, true] : [true, false]);
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('H-17 a stranger who is sent away because the node closes is no duplicate', async () => {
      await using cluster = new Cluster({ driver });
      const b = await cluster.start('b');
      const stranger = await helloFrom(cluster, b.name);
      await until(() => b.stats().handshakes === 1);
      await b.close();
      await stranger.closed();
      expect(b.stats().counts).toEqual({ accepted: 1, handshake_failed: 1 });
    });
  });
});

describe('H-18 a secret that is being changed', () => {
  const OLD: NodeSettings = { secret: SECRET };
  const BOTH: NodeSettings = { secret: [OTHER_SECRET, SECRET] };
  const NEW: NodeSettings = { secret: OTHER_SECRET };
  const NAMES = new Map([
    [OLD, 'old'],
    [BOTH, 'both'],
    [NEW, 'new'],
  ]);
  const pairs = [OLD, BOTH, NEW].flatMap((client) =>
    [OLD, BOTH, NEW].map((server) => {
      const opens = client === server || client === BOTH || server === BOTH;
      return { from: NAMES.get(client), to: NAMES.get(server), client, server, opens };
    }),
  );

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each(pairs)('H-18 opens from $from to $to: $opens', async ({ client, server, opens }) => {
      await using door = await Door.open(driver, server);
      const x = door.cluster.create('x', { listen: false, ...client });
      const reply = x.call(door.name, 'canary', 'sing');
      if (opens) await reply;
      else await expect(reply).rejects.toMatchObject({ code: 'invalid_cookie', maybeExecuted: false });
      expect(door.sang).toEqual(opens ? [x.name] : []);
      expect(door.counts.auth_failed).toBe(opens ? undefined : 1);
    });
  });

  it('H-18 goes round three busy nodes, one at a time, and loses no call', async () => {
    await using fleet = new Fleet();
    await fleet.start(OLD);
    for (const settings of [BOTH, NEW]) {
      for (const name of FLEET) await fleet.restart(name, settings);
    }
    await fleet.rest();
    expect(fleet.failures).toEqual([]);
    expect(fleet.answered).toBeGreaterThan(100);
    expect([...fleet.runs.values()].filter((runs) => runs !== 1)).toEqual([]);
    expect(fleet.runs.size).toBe(fleet.answered);
  });
});

const FLEET = ['a', 'b', 'c'];

/** Three nodes that call each other all the time, each from its own process, which takes a break to restart its node. */
class Fleet {
  readonly runs = new Map<number, number>();
  readonly failures: unknown[] = [];
  answered = 0;
  private lastId = 0;
  private readonly cluster = new Cluster({ driver: 'tcp', options: { reconnect: { min: 1, max: 10 } } });
  private readonly nodes = new Map<string, GenRpcNode>();
  private readonly busy = new Map<string, { stop: boolean; done: Promise<unknown> }>();

  async start(settings: NodeSettings): Promise<void> {
    for (const name of FLEET) await this.boot(name, settings);
    for (const name of FLEET) this.work(name);
  }

  /** The others go on calling it meanwhile. */
  async restart(name: string, settings: NodeSettings): Promise<void> {
    await this.breather(name);
    await this.nodes.get(name)?.drain();
    await this.boot(name, settings);
    this.work(name);
    const wanted = this.answered + 20;
    await until(() => this.answered >= wanted);
  }

  async rest(): Promise<void> {
    for (const name of FLEET) await this.breather(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.rest();
    await this.cluster[Symbol.asyncDispose]();
  }

  private async boot(name: string, settings: NodeSettings): Promise<void> {
    const node = await this.cluster.start(name, settings);
    const work = (args: unknown): number => {
      const [id] = args as [number];
      this.runs.set(id, (this.runs.get(id) ?? 0) + 1);
      return id;
    };
    node.register('fleet', { work });
    this.nodes.set(name, node);
  }

  private work(name: string): void {
    const shift = { stop: false, done: Promise.resolve<unknown>(undefined) };
    this.busy.set(name, shift);
    const loop = async (to: string): Promise<void> => {
      while (!shift.stop) await this.callOnce(name, `${to}@127.0.0.1`, (this.lastId += 1));
    };
    shift.done = Promise.all(FLEET.filter((to) => to !== name).map(loop));
  }

  /** Repeats what was surely not started, as any caller may. */
  private async callOnce(from: string, to: string, id: number): Promise<void> {
    for (;;) {
      try {
        await this.nodes.get(from)?.call(to, 'fleet', 'work', [id], { waitForReady: true });
        this.answered += 1;
        return;
      } catch (error) {
        if (isGenRpcError(error) && !error.maybeExecuted && error.code !== 'timeout') continue;
        this.failures.push(error);
        return;
      }
    }
  }

  private async breather(name: string): Promise<void> {
    const shift = this.busy.get(name);
    if (shift === undefined) return;
    shift.stop = true;
    await shift.done;
  }
}
