/** Casts whose connection fails them, and calls that wait for a node: each has run, or somebody has counted it. */
import { describe, expect, it } from 'vitest';
import { costOf } from '../../lib/connection/credit.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { STREAM_CREDIT } from '../../lib/protocol/frame.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import {
  Cluster,
  SOCKET_DRIVERS,
  twoNodes,
  type ClusterSettings,
  type NodeSettings,
  type SocketDriver,
  type TwoNodes,
} from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const CASTS = 1000;
/** Those of a thousand that there is no credit for at first. */
const WAITING = CASTS - withinCredit();

function withinCredit(): number {
  const codec = new MsgpackrCodec();
  const body = Buffer.alloc(0);
  let [line, spent] = [0, 0];
  for (; spent < STREAM_CREDIT; line += 1) spent += costOf(codec.encode([line, body]).length);
  return line;
}

/** `b` keeps the numbers of the casts that it runs. */
async function pair(settings: ClusterSettings): Promise<TwoNodes & { got: number[] }> {
  const nodes = await twoNodes(settings);
  const got: number[] = [];
  nodes.b.register('log', { write: ([line]: [number]) => void got.push(line) });
  return Object.assign(nodes, { got });
}

/** Casts numbers from `first`, each with `ballast` bytes; returns those that were accepted. */
function castMany(a: GenRpcNode, count: number, { first = 0, ballast = 0, ordered = false } = {}): number[] {
  const accepted: number[] = [];
  const body = Buffer.alloc(ballast);
  for (let line = first; line < first + count; line += 1) {
    if (a.cast(B, 'log', 'write', [line, body], { ordered })) accepted.push(line);
  }
  return accepted;
}

function countsOf(a: GenRpcNode): { refused: number; dropped: number } {
  const { cast_not_accepted: refused = 0, cast_dropped: dropped = 0 } = a.stats().counts;
  return { refused, dropped };
}

/** None twice, none that was not accepted, in the order sent; and every one of them is somewhere. */
function expectAccounted(a: GenRpcNode, sent: number, accepted: readonly number[], got: readonly number[]): void {
  const { refused, dropped } = countsOf(a);
  expect(refused).toBe(sent - accepted.length);
  const known = new Set(accepted);
  expect(got.filter((line) => !known.has(line))).toEqual([]);
  expect([...new Set(got)].sort((one, other) => one - other)).toEqual(got);
  expect(got.length + dropped + refused).toBe(sent);
}

describe('R-07 a call that waits for a node', () => {
  interface Ended {
    end: unknown;
    at: number | undefined;
  }

  function setUp(options: NodeSettings = {}, driver: 'tcp' | 'memory' = 'memory') {
    const cluster = new Cluster({ driver, virtual: { seed: 5 }, options });
    const a = cluster.create('a', { listen: false });
    const ran: string[] = [];
    cluster.discovery.locations.set(B, { driver, host: '127.0.0.1', port: 4000 });
    const comeUp = async (): Promise<GenRpcNode> => {
      const b = cluster.create('b', { listen: { port: 4000 } });
      b.register('math', { add: (args) => ran.push(String(args)) });
      await b.listen();
      return b;
    };
    const call = (timeout: number, waitForReady = true): Ended => {
      const outcome: Ended = { end: undefined, at: undefined };
      const settle = (end: unknown): void => void Object.assign(outcome, { end, at: cluster.clock?.now() });
      a.call(B, 'math', 'add', [1, 2], { timeout, waitForReady }).then(settle, settle);
      return outcome;
    };
    return Object.assign(cluster, { a, ran, comeUp, call });
  }

  const DOWN = { code: 'node_down', maybeExecuted: false };

  it('R-07 runs once when the node comes up in time', async () => {
    await using cluster = setUp();
    const waiting = cluster.call(60_000);
    await cluster.clock?.advance(5_000);
    expect(waiting.end).toBeUndefined();
    await cluster.comeUp();
    await cluster.clock?.advance(60_000);
    expect(waiting.end).toBe(1);
    expect(cluster.ran).toEqual(['1,2']);
  });

  it('R-07 is node_down at its deadline, and does not run when the node comes up after it', async () => {
    await using cluster = setUp();
    const waiting = cluster.call(5_000);
    await cluster.clock?.advance(5_100);
    expect(waiting.end).toMatchObject({ ...DOWN, details: { cause: 'ECONNREFUSED' } });
    expect(waiting.at).toBeGreaterThanOrEqual(5_000);
    expect(waiting.at).toBeLessThan(5_050);
    await cluster.comeUp();
    await cluster.clock?.advance(120_000);
    expect(cluster.ran).toEqual([]);
    expect(cluster.a.stats().pendingCalls).toBe(0);
  });

  it('R-07 is node_down too where it came between two attempts, and its deadline passes before the next', async () => {
    await using cluster = setUp({ reconnect: { min: 20_000, max: 20_000 } });
    const first = cluster.call(60_000, false);
    await cluster.clock?.advance(0);
    expect(first.end).toMatchObject(DOWN);
    const waiting = cluster.call(20);
    await cluster.clock?.advance(100);
    expect(waiting.end).toMatchObject({ ...DOWN, details: { cause: 'ECONNREFUSED' } });
  });

  it('R-07 waits beside one that does not wait, which is told at once', async () => {
    await using cluster = setUp();
    const [waiting, hasty] = [cluster.call(60_000), cluster.call(60_000, false)];
    await cluster.clock?.advance(0);
    expect(hasty.end).toMatchObject(DOWN);
    expect(waiting.end).toBeUndefined();
    await cluster.comeUp();
    await cluster.clock?.advance(60_000);
    expect(waiting.end).toBe(1);
    expect(cluster.ran).toHaveLength(1);
  });

  it('R-07 runs once where the node goes down and up while it waits', async () => {
    await using cluster = setUp();
    const b = await cluster.comeUp();
    const before = cluster.call(1000);
    await cluster.clock?.advance(100);
    expect(before.end).toBe(1);
    b.abort();
    await cluster.clock?.advance(0);
    const waiting = cluster.call(120_000);
    await cluster.clock?.advance(30_000);
    expect(waiting.end).toBeUndefined();
    await cluster.comeUp();
    await cluster.clock?.advance(60_000);
    expect(cluster.ran).toHaveLength(2);
    expect(waiting.end).toBe(2);
  });

  it('R-07 that was written is not sent again: it settles as lost', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 } });
    let end: unknown;
    nodes.a.call(B, 'math', 'never', [], { waitForReady: true, timeout: 60_000 }).catch((error) => (end = error));
    await nodes.clock?.advance(10);
    for (const link of nodes.network.links) link.cut();
    await nodes.clock?.advance(30_000);
    expect(end).toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    expect(nodes.ran).toEqual(['never']);
  });

  it('R-07 of a node that is closed meanwhile is told so', async () => {
    await using cluster = setUp();
    const waiting = cluster.call(60_000);
    await cluster.clock?.advance(5_000);
    await cluster.a.close();
    expect(waiting.end).toMatchObject({ code: 'cancelled', maybeExecuted: false });
  });
});

describe('R-08 a thousand casts that wait for a dial', () => {
  /** A peer that lets everybody in and says nothing. */
  const pairWithMute = async (driver: SocketDriver, options: NodeSettings = {}) => {
    const nodes = await pair({ driver, options });
    const home = portOf(nodes, B);
    const mute = await RawServer.listen(driver);
    redirect(nodes, B, mute.port);
    return { nodes, mute, home };
  };

  it('R-08 run once each, in order, when it succeeds', async () => {
    await using nodes = await pair({ virtual: { seed: 1, latency: () => 5 } });
    const accepted = castMany(nodes.a, CASTS);
    expect(accepted).toHaveLength(CASTS);
    await nodes.clock?.advance(100);
    expect(nodes.got).toEqual(accepted);
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
  });

  it('R-08 are counted as dropped, each of them, when it fails', async () => {
    await using nodes = await pair({ virtual: { seed: 1, latency: () => 5 } });
    nodes.discovery.locations.set(B, { driver: 'memory', host: '127.0.0.1', port: 1 });
    const accepted = castMany(nodes.a, CASTS);
    expect(accepted).toHaveLength(CASTS);
    await nodes.clock?.advance(10);
    expect(countsOf(nodes.a)).toEqual({ refused: 0, dropped: CASTS });
    // In the back-off nothing is queued at all.
    expect(castMany(nodes.a, 10)).toEqual([]);
    expectAccounted(nodes.a, CASTS + 10, accepted, nodes.got);
  });

  it('R-08 are dropped or refused where there is room for some only', async () => {
    await using nodes = await pair({ virtual: { seed: 1, latency: () => 5 }, options: { maxQueuedCasts: 300 } });
    nodes.discovery.locations.set(B, { driver: 'memory', host: '127.0.0.1', port: 1 });
    const accepted = castMany(nodes.a, CASTS);
    expect(accepted).toHaveLength(300);
    await nodes.clock?.advance(10);
    expect(countsOf(nodes.a)).toEqual({ refused: 700, dropped: 300 });
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
  });

  it.each(['cut', 'abort', 'close', 'peer'] as const)(
    'R-08 are counted at whatever moment the dial is ended, by %s',
    async (how) => {
      const sums = new Set<string>();
      // Connect, hello, hello, proof, accept, and the first bytes of the casts: 5 ms each.
      for (let moment = 0; moment <= 35; moment += 1) {
        await using nodes = await pair({ virtual: { seed: 1, latency: () => 5 } });
        const accepted = castMany(nodes.a, CASTS);
        await nodes.clock?.advance(moment);
        const inFlight = nodes.a.stats().openConnections === 1 && nodes.got.length < CASTS && how === 'cut';
        if (how === 'cut') for (const link of nodes.network.links) link.cut();
        if (how === 'abort') nodes.a.abort();
        if (how === 'close') void nodes.a.close();
        if (how === 'peer') nodes.b.abort();
        await nodes.clock?.advance(20_000);
        const { dropped } = countsOf(nodes.a);
        // A cut takes what is under way with it, and nobody knows; likewise a peer that is gone. What waits is counted.
        const known = [nodes.got.length, dropped];
        const first = CASTS - WAITING;
        if (inFlight)
          expect([
            [0, WAITING],
            [first, WAITING],
            [first, 0],
          ]).toContainEqual(known);
        else if (how !== 'peer' || dropped > WAITING) expectAccounted(nodes.a, CASTS, accepted, nodes.got);
        sums.add(`${nodes.got.length} run, ${dropped} dropped`);
      }
      expect(sums).toContain(`0 run, ${CASTS} dropped`);
      expect(sums).toContain(
        how === 'abort' || how === 'close' ? `${CASTS} run, 0 dropped` : `0 run, ${WAITING} dropped`,
      );
    },
  );

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('R-08 are counted when the peer hangs up in the middle of the handshake', async () => {
      const { nodes, mute } = await pairWithMute(driver);
      await using _cluster = nodes;
      await using _server = mute;
      const accepted = castMany(nodes.a, CASTS);
      (await mute.accept()).destroy();
      await until(() => countsOf(nodes.a).dropped > 0);
      expect(countsOf(nodes.a)).toEqual({ refused: 0, dropped: CASTS });
      expectAccounted(nodes.a, CASTS, accepted, nodes.got);
    });

    it('R-08 are counted when the peer is mute', async () => {
      const { nodes, mute } = await pairWithMute(driver, { handshakeTimeout: 100 });
      await using _cluster = nodes;
      await using _server = mute;
      const accepted = castMany(nodes.a, CASTS);
      await mute.accept();
      await until(() => countsOf(nodes.a).dropped > 0);
      expect(countsOf(nodes.a)).toEqual({ refused: 0, dropped: CASTS });
      expectAccounted(nodes.a, CASTS, accepted, nodes.got);
    });

    it.each(['close', 'abort'] as const)('R-08 are counted when their own node ends by %s', async (how) => {
      const { nodes, mute } = await pairWithMute(driver);
      await using _cluster = nodes;
      await using _server = mute;
      castMany(nodes.a, CASTS);
      await mute.accept();
      if (how === 'abort') nodes.a.abort();
      else await nodes.a.close();
      expect(countsOf(nodes.a)).toEqual({ refused: 0, dropped: CASTS });
      expect(castMany(nodes.a, 10)).toEqual([]);
      expect(countsOf(nodes.a)).toEqual({ refused: 10, dropped: CASTS });
    });
  });
});

describe('R-08 a thousand casts on a connection that is stuck, over memory', () => {
  type Nodes = Awaited<ReturnType<typeof pair>>;

  /** Connected, and then nothing passes. */
  async function stuck(options: NodeSettings = {}): Promise<Nodes> {
    const nodes = await pair({ virtual: { seed: 1, latency: () => 5 }, options });
    await Promise.all([nodes.a.connect(B), nodes.clock?.advance(100)]);
    for (const link of nodes.network.links) link.hold();
    return nodes;
  }

  const ENDINGS: Record<string, (nodes: Nodes) => void> = {
    'a cut': ({ network }) => network.links.forEach((link) => link.cut()),
    abort: ({ a }) => a.abort(),
    'sendTimeout or heartbeat': () => {},
  };

  it.each(Object.keys(ENDINGS))('R-08 are counted as dropped, each of them, when it is ended by %s', async (how) => {
    await using nodes = await stuck();
    const accepted = castMany(nodes.a, CASTS);
    expect(accepted).toHaveLength(CASTS);
    await nodes.clock?.advance(0);
    ENDINGS[how]?.(nodes);
    await nodes.clock?.advance(30_000);
    expect(nodes.got).toEqual([]);
    expect(countsOf(nodes.a)).toEqual({ refused: 0, dropped: CASTS });
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
  });

  it('R-08 are counted in the turn that wrote them, too', async () => {
    await using nodes = await stuck();
    const accepted = castMany(nodes.a, CASTS);
    ENDINGS['a cut']?.(nodes);
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
    expect(countsOf(nodes.a).dropped).toBe(CASTS);
  });

  it('R-08 are refused above maxQueuedBytes, and the rest is dropped', async () => {
    await using nodes = await stuck({ maxMessageBytes: 1024, maxQueuedBytes: 100_000 });
    const accepted = castMany(nodes.a, CASTS, { ballast: 500 });
    expect(accepted.length).toBeGreaterThan(100);
    expect(accepted.length).toBeLessThan(250);
    ENDINGS['a cut']?.(nodes);
    await nodes.clock?.advance(100);
    expect(countsOf(nodes.a)).toEqual({ refused: CASTS - accepted.length, dropped: accepted.length });
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
  });

  it('R-08 run once each when it comes free again', async () => {
    await using nodes = await stuck();
    const accepted = castMany(nodes.a, CASTS);
    await nodes.clock?.advance(1000);
    expect(nodes.got).toEqual([]);
    for (const link of nodes.network.links) link.release();
    await nodes.clock?.advance(100);
    expect(nodes.got).toEqual(accepted);
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
  });

  it('R-08 that had left before are not counted with those that had not', async () => {
    await using nodes = await pair({ virtual: { seed: 1, latency: () => 5 } });
    await Promise.all([nodes.a.connect(B), nodes.clock?.advance(100)]);
    const before = castMany(nodes.a, 400);
    await nodes.clock?.advance(10);
    for (const link of nodes.network.links) link.hold();
    const after = castMany(nodes.a, 600, { first: 400 });
    await nodes.clock?.advance(10);
    for (const link of nodes.network.links) link.cut();
    await nodes.clock?.advance(10);
    expect(nodes.got).toEqual(before);
    expect(countsOf(nodes.a)).toEqual({ refused: 0, dropped: 600 });
    expectAccounted(nodes.a, CASTS, [...before, ...after], nodes.got);
  });

  it('R-08 that wait when their own node closes are still sent', async () => {
    await using nodes = await stuck();
    const accepted = castMany(nodes.a, CASTS);
    await nodes.clock?.advance(10);
    const closed = nodes.a.close();
    for (const link of nodes.network.links) link.release();
    await nodes.clock?.advance(10_000);
    await closed;
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
    expect(nodes.got).toEqual(accepted);
  });
});

describe.each(SOCKET_DRIVERS)('R-08 a thousand casts to a peer that does not read, over %s', (driver) => {
  const BALLAST = 16 * 1024;

  /** Connected by a proxy whose far side is paused: the system takes what it has room for, and no more. */
  async function paused(options: NodeSettings = {}) {
    const nodes = await pair({ driver, options });
    const proxy = await Proxy.to({ port: portOf(nodes, B) });
    redirect(nodes, B, proxy.port);
    await nodes.a.connect(B);
    for (const { client } of proxy.links) client.pause();
    return { nodes, proxy };
  }

  /**
   * What the system took may be lost without a word: its buffers on both sides (a few MB on loopback), and 64 KiB that
   * the socket held. Everything else is accounted for to the last cast.
   */
  const SYSTEM_BYTES = 12 * 1024 * 1024;

  it.each(['reset', 'abort', 'sendTimeout or heartbeat'] as const)(
    'R-08 are run or counted, but for what the system took, when it is ended by %s',
    async (how) => {
      const { nodes, proxy } = await paused({
        ...(how === 'sendTimeout or heartbeat' && {
          sendTimeout: 300,
          keepalive: { idle: 300, interval: 300, count: 1 },
        }),
        maxQueuedBytes: 2 ** 26,
      });
      await using _cluster = nodes;
      await using _proxy = proxy;
      const accepted = castMany(nodes.a, CASTS, { ballast: BALLAST });
      expect(accepted).toHaveLength(CASTS);
      // The system takes what it takes before the turn that breaks it.
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      if (how === 'reset') for (const link of proxy.links) link.reset();
      if (how === 'abort') nodes.a.abort();
      await until(() => nodes.a.stats().openConnections === 0 && countsOf(nodes.a).dropped > 0);
      for (const { client } of proxy.links) client.resume();
      await until(() => nodes.b.stats().acceptedConnections === 0);
      const { refused, dropped } = countsOf(nodes.a);
      expect(refused).toBe(0);
      const silently = CASTS - dropped - nodes.got.length;
      expect(silently).toBeGreaterThanOrEqual(0);
      expect(silently * BALLAST).toBeLessThan(SYSTEM_BYTES);
      // In order, none twice, and none that was counted as dropped has run: those are the last ones.
      expect(nodes.got).toEqual(accepted.slice(0, nodes.got.length));
      expect(nodes.got.length).toBeLessThanOrEqual(CASTS - dropped);
      expect(dropped).toBeGreaterThan(0);
    },
  );

  it('R-08 are refused above maxQueuedBytes, dropped below, and the sum is right', async () => {
    const { nodes, proxy } = await paused({ maxMessageBytes: 64 * 1024, maxQueuedBytes: 1024 * 1024 });
    await using _cluster = nodes;
    await using _proxy = proxy;
    const accepted = castMany(nodes.a, CASTS, { ballast: BALLAST });
    const { refused } = countsOf(nodes.a);
    expect(refused).toBe(CASTS - accepted.length);
    expect(refused).toBeGreaterThan(0);
    nodes.a.abort();
    for (const { client } of proxy.links) client.resume();
    await until(() => nodes.b.stats().acceptedConnections === 0);
    const { dropped } = countsOf(nodes.a);
    expect(dropped).toBeGreaterThan(0);
    expect(nodes.got).toEqual(accepted.slice(0, nodes.got.length));
    expect(nodes.got.length + dropped + refused).toBeLessThanOrEqual(CASTS);
    expect((CASTS - nodes.got.length - dropped - refused) * BALLAST).toBeLessThan(SYSTEM_BYTES);
  });

  it('R-08 run once each when it reads again', async () => {
    const { nodes, proxy } = await paused({ maxQueuedBytes: 2 ** 26, sendTimeout: 20_000 });
    await using _cluster = nodes;
    await using _proxy = proxy;
    const accepted = castMany(nodes.a, CASTS, { ballast: BALLAST });
    for (const { client } of proxy.links) client.resume();
    await until(() => nodes.got.length === CASTS);
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
  });

  it('R-08 that wait when their own node closes are sent, or counted once it gives up', async () => {
    const { nodes, proxy } = await paused({ maxQueuedBytes: 2 ** 26, keepalive: false });
    await using _cluster = nodes;
    await using _proxy = proxy;
    const accepted = castMany(nodes.a, CASTS, { ballast: BALLAST });
    const closed = nodes.a.close();
    for (const { client } of proxy.links) client.resume();
    await closed;
    await until(() => nodes.b.stats().acceptedConnections === 0);
    expectAccounted(nodes.a, CASTS, accepted, nodes.got);
    // A busy machine may be too slow for all of them.
    expect(nodes.got.length).toBeGreaterThan(0);
  });
});
