/** B-08, T-10, T-11, X-02: what runs for others is bounded, and what is too much is told so at once. */
import { queryObjects } from 'node:v8';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { FrameType, type CallFrame, type Frame } from '../../lib/protocol/frame.js';
import { ConnectionCalls } from '../../lib/server/connection-calls.js';
import {
  Cluster,
  DRIVERS,
  SOCKET_DRIVERS,
  type ClusterSettings,
  type DriverName,
  type NodeSettings,
  type SocketDriver,
} from '../support/cluster.js';
import { portOf, until } from '../support/door.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';

/** `b`, whose `gate.pass` ends when the test opens it, and does not care whether anybody still waits. */
async function gated(options: NodeSettings, settings: ClusterSettings = { driver: 'memory' }) {
  const cluster = new Cluster(settings);
  const b = await cluster.start('b', options);
  const entered: unknown[] = [];
  const opened: (() => void)[] = [];
  const pass = (name: unknown): Promise<unknown> => {
    entered.push(name);
    return new Promise((resolve) => opened.push(() => resolve(name)));
  };
  b.register('gate', { pass: ([name]: unknown[]) => pass(name), ping: () => 'pong' });
  b.registerEvent('gate.event', pass);
  /** Lets those pass that have entered so far. */
  const open = (count = opened.length): void => opened.splice(0, count).forEach((go) => go());
  const caller = (name: string): GenRpcNode => cluster.create(name, { listen: false, callTimeout: 3_600_000 });
  return Object.assign(cluster, { b, entered, open, caller });
}

interface Ends {
  readonly values: unknown[];
  readonly errors: { code: string; maybeExecuted: boolean; details: unknown }[];
}

/** Makes `count` calls, and gathers how they end. */
function callMany(from: GenRpcNode, count: number, ends: Ends = { values: [], errors: [] }): Ends {
  for (let call = 0; call < count; call += 1) {
    from.call(B, 'gate', 'pass', [call]).then(
      (value) => ends.values.push(value),
      (error) => ends.errors.push(error),
    );
  }
  return ends;
}

const refusedBy = (limit: string, running: number) => {
  return { code: 'refused', maybeExecuted: false, details: { limit, running } };
};

describe.each(DRIVERS)('B-08 calls over the limit, over %s', (driver) => {
  it('B-08 1,000 over that of their connection are refused at once, and those below it go on', async () => {
    await using nodes = await gated({ concurrency: { callsPerConnection: 100 } }, { driver });
    const [a, other] = [nodes.caller('a'), nodes.caller('other')];
    const ends = callMany(a, 1100);
    await until(() => ends.errors.length === 1000);
    for (const error of ends.errors) expect(error).toMatchObject(refusedBy('callsPerConnection', 100));
    expect(nodes.entered).toHaveLength(100);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 100, stuckCalls: 0, counts: { call_overload: 1000 } });
    // Another connection has places of its own.
    const others = callMany(other, 100);
    await until(() => nodes.entered.length === 200);
    nodes.open();
    await until(() => ends.values.length === 100 && others.values.length === 100);
    expect(others.errors).toEqual([]);
    // And those that were freed are taken again.
    const again = callMany(a, 100);
    await until(() => nodes.entered.length === 300);
    nodes.open();
    await until(() => again.values.length === 100);
    expect(again.errors).toEqual([]);
  });

  it('B-08 those over that of the node are refused, whoever makes them', async () => {
    await using nodes = await gated({ concurrency: { calls: 150 } }, { driver });
    const first = callMany(nodes.caller('a'), 100);
    await until(() => nodes.entered.length === 100);
    const second = callMany(nodes.caller('other'), 1050);
    await until(() => second.errors.length === 1000);
    for (const error of second.errors) expect(error).toMatchObject(refusedBy('calls', 150));
    nodes.open();
    await until(() => first.values.length === 100 && second.values.length === 50);
    const third = callMany(nodes.caller('third'), 150);
    await until(() => nodes.entered.length === 300);
    nodes.open();
    await until(() => third.values.length === 150);
  });

  it('B-08 a call that is given up keeps its place until its function ends, also where its connection is gone', async () => {
    await using nodes = await gated({ concurrency: { calls: 3 } }, { driver });
    const [a, other] = [nodes.caller('a'), nodes.caller('other')];
    const lost = callMany(a, 2);
    await until(() => nodes.entered.length === 2);
    await a.close();
    await until(() => nodes.b.stats().acceptedConnections === 0);
    expect(lost.errors).toHaveLength(2);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 0, stuckCalls: 2 });
    const ends = callMany(other, 2);
    await until(() => ends.errors.length === 1);
    expect(ends.errors).toEqual([expect.objectContaining(refusedBy('calls', 3))]);
    nodes.open(2);
    await until(() => nodes.b.stats().stuckCalls === 0);
    const again = callMany(other, 2);
    await until(() => nodes.entered.length === 5);
    nodes.open();
    await until(() => again.values.length === 2);
  });
});

describe('B-08 connections that come and go', () => {
  it('B-08 are forgotten: at once, or when the last of their functions has ended', async () => {
    await using nodes = await gated({});
    const tables = (): number => queryObjects(ConnectionCalls, { format: 'count' });
    const before = tables();
    for (let round = 0; round < 20; round += 1) {
      const a = nodes.caller(`a${round}`);
      if (round % 2 === 0) await a.call(B, 'gate', 'ping');
      else callMany(a, 2);
      await until(() => nodes.entered.length === 2 * Math.floor((round + 1) / 2));
      await a.close();
    }
    await until(() => nodes.b.stats().acceptedConnections === 0);
    expect(nodes.b.stats().stuckCalls).toBe(20);
    nodes.open(10);
    await until(() => nodes.b.stats().stuckCalls === 10);
    expect(tables() - before).toBeGreaterThan(0);
    nodes.open();
    await until(() => nodes.b.stats().stuckCalls === 0);
    await until(() => tables() <= before);
  });
});

describe('B-08 what takes no place', () => {
  it('B-08 calls of the node to itself', async () => {
    await using nodes = await gated({ concurrency: { calls: 1, callsPerConnection: 1 } });
    const ends = callMany(nodes.b, 100);
    await until(() => nodes.entered.length === 100);
    const remote = callMany(nodes.caller('a'), 1);
    await until(() => nodes.entered.length === 101);
    nodes.open();
    await until(() => ends.values.length === 100 && remote.values.length === 1);
    expect(nodes.b.stats().counts.call_overload).toBeUndefined();
  });

  it('B-08 streams that have been stopped, and calls that were refused for another reason', async () => {
    await using nodes = await gated({ concurrency: { calls: 1 } });
    let stopped = 0;
    nodes.b.register('stream', {
      endless: () => ({
        subscribe: (observer: { next: (value: unknown) => void }) => {
          observer.next(1);
          return { unsubscribe: () => void (stopped += 1) };
        },
      }),
    });
    const a = nodes.caller('a');
    for (let round = 1; round <= 10; round += 1) {
      await expect(a.call(B, 'gate', 'none')).rejects.toMatchObject({ code: 'undefined_function' });
      const tired = new AbortController();
      const stream = a.call(B, 'stream', 'endless', [], { signal: tired.signal }).catch((error) => error);
      await until(() => nodes.b.stats().runningCalls === 1);
      expect(await a.call(B, 'gate', 'ping').catch((error) => error)).toMatchObject(refusedBy('calls', 1));
      tired.abort();
      expect(await stream).toMatchObject({ code: 'cancelled' });
      await until(() => stopped === round);
      expect(await a.call(B, 'gate', 'ping')).toBe('pong');
    }
  });
});

describe('casts over the limit', () => {
  const casts = (...names: readonly number[]) => names;

  it('wait, and begin in the order in which they came', async () => {
    await using nodes = await gated({ concurrency: { casts: 2 } });
    const a = nodes.caller('a');
    await a.connect(B);
    const all = Array.from({ length: 500 }, (_, name) => name);
    for (const name of all) a.cast(B, 'gate', 'pass', [name]);
    await until(() => nodes.b.stats().runningCalls === 500);
    for (let began = 2; began <= 500; began += 1) {
      expect(nodes.entered).toEqual(all.slice(0, began));
      nodes.open(1);
      await until(() => nodes.b.stats().runningCalls === 500 - (began - 1));
    }
    nodes.open();
    await until(() => nodes.b.stats().runningCalls === 0);
    expect(nodes.b.stats().counts).toEqual({ accepted: 1 });
  });

  it('wait as far as they may; what is more is dropped and counted, also for those who wait to hear of it', async () => {
    await using nodes = await gated({ concurrency: { casts: 1 }, maxQueuedCasts: 3 });
    const a = nodes.caller('a');
    await a.connect(B);
    for (const name of casts(0, 1, 2)) a.cast(B, 'gate', 'pass', [name]);
    const heard = a.sbcast([B], 'gate.event', 3);
    for (const name of casts(4, 5, 6)) a.cast(B, 'gate', 'pass', [name]);
    const dropped = a.sbcast([B], 'gate.event', 7);
    expect(await dropped).toMatchObject({ good: [], bad: [B] });
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 4, counts: { cast_overload: 4 } });
    for (let at = 0; at < 4; at += 1) {
      await until(() => nodes.entered.length === at + 1);
      nodes.open();
    }
    expect(await heard).toMatchObject({ good: [B], bad: [] });
    await until(() => nodes.b.stats().runningCalls === 0);
    expect(nodes.entered).toEqual([0, 1, 2, 3]);
  });

  it('keep their arguments while they wait, whatever arrives meanwhile', async () => {
    await using nodes = await gated({ concurrency: { casts: 1 } }, { driver: 'tcp' });
    const a = nodes.caller('a');
    const textOf = (at: number): string => `${at}:`.padEnd(20 + at * 7, 'x');
    for (let at = 0; at < 50; at += 1) {
      a.cast(B, 'gate', 'pass', [textOf(at)]);
      nodes.b.cast(B, 'gate', 'pass', [textOf(1000 + at)]);
    }
    await until(() => nodes.b.stats().runningCalls === 100);
    for (let at = 0; at < 50; at += 1) {
      await a.call(B, 'gate', 'none', ['y'.repeat(at * 50)]).catch(() => {});
      await nodes.b.call(B, 'gate', 'none', ['y'.repeat(at * 50)]).catch(() => {});
    }
    while (nodes.b.stats().runningCalls > 0) {
      nodes.open();
      await new Promise(setImmediate);
    }
    const expected = Array.from({ length: 50 }, (_, at) => [textOf(at), textOf(1000 + at)]).flat();
    expect(new Set(nodes.entered)).toEqual(new Set(expected));
    expect(nodes.entered).toHaveLength(100);
  });

  it('keep them from whoever cast them, who may go on to use the bytes', async () => {
    await using nodes = await gated({ concurrency: { casts: 1 } });
    nodes.b.cast(B, 'gate', 'pass', [0]);
    const bytes = Buffer.from('as they were');
    nodes.b.abcast([B], 'gate.event', bytes);
    bytes.fill(0);
    nodes.open();
    await until(() => nodes.entered.length === 2);
    expect(nodes.entered[1]).toEqual(Buffer.from('as they were'));
    nodes.open();
  });

  it('keep nothing else of what arrived with them', async () => {
    await using nodes = await gated({ concurrency: { casts: 1 } }, { driver: 'tcp' });
    const peer = await strangerOf('tcp', nodes);
    const { name, single, headers, payload } = callFrame(0);
    const cast: Frame = { type: FrameType.Cast, name, single, headers, payload, order: undefined };
    const ballast = { kind: 'raw', bytes: Buffer.alloc(60_000) } as const;
    const before = arrayBuffers();
    for (let id = 1; id <= 400; id += 1) {
      const call: Frame = { ...callFrame(id), name: { ...NAME, fn: 'none' }, payload: ballast };
      await write(peer, bytesOf(cast, call));
    }
    await until(() => numberOf(peer, FrameType.Error) === 400);
    expect(nodes.b.stats().runningCalls).toBe(400);
    expect(arrayBuffers() - before).toBeLessThan(4 * 1024 * 1024);
    peer.destroy();
  });

  it('do not hold up ordered ones for ever: a line goes on where one of it was dropped', async () => {
    await using nodes = await gated({ concurrency: { casts: 1 }, maxQueuedCasts: 1 });
    const a = nodes.caller('a');
    await a.connect(B);
    for (const name of casts(0, 1)) a.cast(B, 'gate', 'pass', [name]);
    a.cast(B, 'gate', 'pass', [2], { ordered: true });
    await until(() => nodes.b.stats().counts.cast_overload === 1);
    nodes.open();
    await until(() => nodes.entered.length === 2);
    nodes.open();
    await until(() => nodes.b.stats().runningCalls === 0);
    a.cast(B, 'gate', 'pass', [3], { ordered: true });
    await until(() => nodes.entered.length === 3);
    expect(nodes.entered).toEqual([0, 1, 3]);
    nodes.open();
  });

  it('that end at once do not nest, however many waited', async () => {
    await using nodes = await gated({ concurrency: { casts: 1 }, maxQueuedCasts: 20_000 });
    let ran = 0;
    nodes.b.register('quick', { run: () => void (ran += 1) });
    // From the node to itself: of a remote one, no more wait here than it has credit for.
    nodes.b.cast(B, 'gate', 'pass', [0]);
    for (let cast = 0; cast < 15_000; cast += 1) nodes.b.cast(B, 'quick', 'run');
    await until(() => nodes.b.stats().runningCalls === 15_001);
    nodes.open();
    await until(() => nodes.b.stats().runningCalls === 0);
    expect(ran).toBe(15_000);
    expect(nodes.b.stats().counts).toEqual({});
  });

  it('are waited for by drain, and given up by close: counted, and their callers told', async () => {
    await using nodes = await gated({ concurrency: { casts: 1 } });
    const a = nodes.caller('a');
    await a.connect(B);
    for (const name of casts(0, 1, 2)) a.cast(B, 'gate', 'pass', [name]);
    const heard = a.sbcast([B], 'gate.event', 3);
    await until(() => nodes.b.stats().runningCalls === 4);
    let drained = false;
    const drain = nodes.b.drain().then(() => (drained = true));
    nodes.open();
    await until(() => nodes.entered.length === 2);
    expect(drained).toBe(false);
    await nodes.b.close();
    await drain;
    expect(await heard).toMatchObject({ good: [], bad: [B] });
    expect(nodes.entered).toEqual([0, 1]);
    expect(nodes.b.stats().counts).toMatchObject({ cast_failed: 2 });
  });
});

const NAME = { module: 'gate', fn: 'pass', version: '' };

function callFrame(id: number): CallFrame {
  const payload = { kind: 'codec', bytes: Buffer.of(0x91, 0x01) } as const;
  return { type: FrameType.Call, id, name: NAME, timeoutMs: 600_000, single: false, headers: undefined, payload };
}

function numberOf(peer: RawPeer, type: Frame['type']): number {
  return peer.frames.filter((frame) => frame.type === type).length;
}

/** A peer that knows the secret, and does what it likes. */
async function strangerOf(driver: SocketDriver, nodes: Cluster): Promise<RawPeer> {
  const peer = await RawPeer.dial(driver, portOf(nodes, B));
  return peer.login('stranger@127.0.0.1', B);
}

async function write(peer: RawPeer, bytes: Buffer): Promise<void> {
  if (!peer.socket.write(bytes)) await new Promise((resolve) => peer.socket.once('drain', resolve));
  // It shares its event loop with those who must not suffer from it.
  await new Promise((resolve) => setImmediate(resolve));
}

/** Bytes of buffers that are in use. */
function arrayBuffers(): number {
  // Counting objects collects garbage first.
  queryObjects(ConnectionCalls, { format: 'count' });
  return process.memoryUsage().arrayBuffers;
}

describe.each(SOCKET_DRIVERS)('T-10 a peer that opens and cancels, over %s', { timeout: 60_000 }, (driver) => {
  const LIMIT = 500;
  const OPENED = process.env['GEN_RPC_SOAK'] === '1' ? 1_000_000 : 100_000;

  it(`T-10 ${OPENED} calls whose functions do not care runs no more than the limit, is asked to go, and harms nobody`, async () => {
    await using nodes = await gated({ concurrency: { callsPerConnection: LIMIT } }, { driver });
    const good = nodes.caller('good');
    await good.connect(B);
    const peer = await strangerOf(driver, nodes);
    const latencies: number[] = [];
    let flooding = true;
    const pings = (async () => {
      while (flooding || latencies.length < 20) {
        const begin = performance.now();
        expect(await good.call(B, 'gate', 'ping')).toBe('pong');
        latencies.push(performance.now() - begin);
      }
    })();
    for (let id = 1; id <= OPENED; id += 1000) {
      const frames = Array.from({ length: 1000 }, (_, at): Frame[] => {
        return [callFrame(id + at), { type: FrameType.Cancel, id: id + at }];
      });
      await write(peer, bytesOf(...frames.flat()));
      expect(nodes.b.stats().runningCalls).toBeLessThanOrEqual(LIMIT + 1);
    }
    await until(() => numberOf(peer, FrameType.Error) === OPENED - LIMIT);
    flooding = false;
    await pings;
    expect(nodes.entered).toHaveLength(LIMIT);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: LIMIT, stuckCalls: LIMIT });
    expect(nodes.b.stats().counts).toMatchObject({ cancel_flood: 1 });
    expect(numberOf(peer, FrameType.GoAway)).toBeGreaterThan(0);
    latencies.sort((one, other) => one - other);
    expect(latencies[Math.floor(latencies.length * 0.99)]).toBeLessThan(2000);
    expect(good.stats().counts).toEqual({ dialled: 1, connected: 1 });
    // Its connection ends when its functions do.
    nodes.open();
    await peer.closed();
    await until(() => nodes.b.stats().acceptedConnections === 1);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 0, stuckCalls: 0 });
  });

  it('T-10 a connection that waits for most of its calls is refused, and stays', async () => {
    await using nodes = await gated({ concurrency: { callsPerConnection: 100 } }, { driver });
    const peer = await strangerOf(driver, nodes);
    const cancels = Array.from({ length: 50 }, (_, at): Frame => ({ type: FrameType.Cancel, id: at + 1 }));
    const calls = Array.from({ length: 100 }, (_, at) => callFrame(at + 1));
    await write(peer, bytesOf(...calls, ...cancels, callFrame(101)));
    await until(() => numberOf(peer, FrameType.Error) === 1);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 100, stuckCalls: 50 });
    nodes.open(50);
    await until(() => nodes.b.stats().stuckCalls === 0);
    await write(peer, bytesOf(callFrame(102)));
    await until(() => nodes.entered.length === 101);
    expect(numberOf(peer, FrameType.GoAway)).toBe(0);
    expect(nodes.b.stats().counts.cancel_flood).toBeUndefined();
    peer.destroy();
    nodes.open();
  });

  it('T-10 a node that is asked to go makes its next call over another connection', async () => {
    await using nodes = await gated({ concurrency: { callsPerConnection: 4 } }, { driver });
    const a = nodes.caller('a');
    const tired = new AbortController();
    const given = Array.from({ length: 4 }, (_, at) => {
      return a.call(B, 'gate', 'pass', [at], { signal: tired.signal }).catch((error) => error);
    });
    await until(() => nodes.entered.length === 4);
    tired.abort();
    expect(await Promise.all(given)).toMatchObject(Array.from({ length: 4 }, () => ({ code: 'cancelled' })));
    await until(() => nodes.b.stats().stuckCalls === 4);
    await expect(a.call(B, 'gate', 'ping')).rejects.toMatchObject(refusedBy('callsPerConnection', 4));
    await until(() => nodes.b.stats().counts.cancel_flood === 1);
    await until(() => a.stats().openConnections === 0);
    expect(await a.call(B, 'gate', 'ping')).toBe('pong');
    expect(nodes.b.stats()).toMatchObject({ stuckCalls: 4, counts: { accepted: 2 } });
    nodes.open();
    await until(() => nodes.b.stats().stuckCalls === 0);
  });
});

describe('T-11 a function that never ends and does not care', () => {
  it('T-11 is counted as stuck once its caller is gone, and frees no place', async () => {
    const virtual = { seed: 11 };
    await using nodes = await gated({ concurrency: { callsPerConnection: 2 } }, { virtual });
    const a = nodes.caller('a');
    const timedOut = a.call(B, 'gate', 'pass', [1], { timeout: 100 }).catch((error) => error);
    const waits = callMany(a, 1);
    await nodes.clock?.advance(50);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 2, stuckCalls: 0 });
    await nodes.clock?.advance(100);
    expect(await timedOut).toMatchObject({ code: 'timeout' });
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 2, stuckCalls: 1 });
    await nodes.clock?.advance(3_000_000);
    const third = callMany(a, 1);
    await nodes.clock?.advance(10);
    expect(third.errors).toEqual([expect.objectContaining(refusedBy('callsPerConnection', 2))]);
    nodes.open(1);
    await nodes.clock?.advance(10);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 1, stuckCalls: 0 });
    nodes.open();
    await nodes.clock?.advance(10);
    expect(waits.values).toHaveLength(1);
  });

  it('T-11 does not hold up drain beyond the grace period', async () => {
    const virtual = { seed: 12 };
    await using nodes = await gated({ gracePeriod: 5000 }, { virtual });
    const a = nodes.caller('a');
    const timedOut = a.call(B, 'gate', 'pass', [1], { timeout: 100 }).catch((error) => error);
    const waits = callMany(a, 1);
    await nodes.clock?.advance(200);
    expect(await timedOut).toMatchObject({ code: 'timeout' });
    const begin = nodes.clock?.now() ?? 0;
    let drained: number | undefined;
    const drain = nodes.b.drain().then(() => (drained = nodes.clock?.now()));
    await nodes.clock?.advance(4900);
    expect(drained).toBeUndefined();
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 2, stuckCalls: 1 });
    await nodes.clock?.advance(200);
    await drain;
    expect((drained ?? 0) - begin).toBeLessThanOrEqual(5100);
    expect(waits.errors).toHaveLength(1);
    expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 0, runningCalls: 0, stuckCalls: 2 });
    nodes.open();
    await nodes.clock?.advance(0);
    expect(nodes.b.stats().stuckCalls).toBe(0);
  });

  it('T-11 alone does not hold up drain at all: its caller is gone', async () => {
    const virtual = { seed: 13 };
    await using nodes = await gated({ gracePeriod: 5000 }, { virtual });
    const a = nodes.caller('a');
    const timedOut = a.call(B, 'gate', 'pass', [1], { timeout: 100 }).catch((error) => error);
    await nodes.clock?.advance(200);
    await timedOut;
    let drained = false;
    const drain = nodes.b.drain().then(() => (drained = true));
    await nodes.clock?.advance(1000);
    expect(drained).toBe(true);
    await drain;
    expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 0, stuckCalls: 1 });
  });
});

describe.each(DRIVERS)('X-02 functions that call back, 50 deep, at a limit, over %s', (driver) => {
  /** `deep.dive` of each calls that of the other, until the bottom. */
  async function divers(callsPerConnection: number, name: DriverName) {
    const concurrency = { callsPerConnection };
    const cluster = new Cluster({ driver: name, options: { concurrency, callTimeout: 3_600_000 } });
    const [a, b] = [await cluster.start('a'), await cluster.start('b')];
    let bottom = 0;
    for (const [self, other] of [
      [a, b],
      [b, a],
    ] as const) {
      self.register('deep', {
        dive: async ([depth]: [number]): Promise<number> => {
          if (depth === 0) return (bottom += 1);
          return self.call<number>(other.name, 'deep', 'dive', [depth - 1]);
        },
      });
    }
    const dive = () =>
      a.call(B, 'deep', 'dive', [50]).then(
        () => 'answered',
        ({ code, details }: { code: string; details: unknown }) => ({ code, details }),
      );
    return Object.assign(cluster, { a, b, dive, bottom: () => bottom });
  }

  it('X-02 one that fits returns; one more level than there are places is refused', async () => {
    // Of 51 functions 26 run on `b`, 25 on `a`.
    await using fits = await divers(26, driver);
    expect(await fits.dive()).toBe('answered');
    await using tight = await divers(25, driver);
    expect(await tight.dive()).toMatchObject({ code: 'handler_failed' });
    expect(tight.bottom()).toBe(0);
    expect(tight.a.stats()).toMatchObject({ pendingCalls: 0, runningCalls: 0 });
    expect(tight.b.stats()).toMatchObject({ pendingCalls: 0, runningCalls: 0, counts: { call_overload: 1 } });
  });

  it('X-02 of 200 at once each is answered or refused, and nothing is left', async () => {
    await using nodes = await divers(60, driver);
    const ends = await Promise.all(Array.from({ length: 200 }, () => nodes.dive()));
    const answered = ends.filter((end) => end === 'answered').length;
    expect(nodes.bottom()).toBe(answered);
    for (const end of ends)
      if (end !== 'answered') expect(['refused', 'handler_failed']).toContain((end as { code: string }).code);
    expect(ends.length - answered).toBeGreaterThan(0);
    for (const node of [nodes.a, nodes.b]) expect(node.stats()).toMatchObject({ pendingCalls: 0, runningCalls: 0 });
    expect(await nodes.dive()).toBe('answered');
  });
});
