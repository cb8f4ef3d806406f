/** How a node that drains, and those who call it, part: what runs ends, what is new goes elsewhere, nothing is silent. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import {
  CONNECTION_CREDIT,
  FrameType,
  GOAWAY_NOTHING_REFUSED,
  type CallFrame,
  type Frame,
} from '../../lib/protocol/frame.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { Cluster, DRIVERS, SOCKET_DRIVERS, twoNodes, type DriverName, type SocketDriver } from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { bytesOf, RawPeer, RawServer } from '../support/raw-peer.js';
import { numbers, readOf, upTo } from '../support/streams.js';

const B = 'b@127.0.0.1';
/** What a drain may take beyond its grace period, ms. */
const LATE_MS = 500;

/** `b` as one of several processes of one life. It notes what ran, and keeps what is slow until it is let go. */
class Process {
  private readonly waiting: (() => void)[] = [];

  private constructor(
    readonly node: GenRpcNode,
    readonly ran: number[],
  ) {}

  /** From now on it is the one that is found. */
  static async start(cluster: Cluster): Promise<Process> {
    const node = await cluster.start('b', { life: 'the only one' });
    const process = new Process(node, []);
    node.register('work', {
      slow: ([id]: [number]) => {
        process.ran.push(id);
        return new Promise((resolve) => process.waiting.push(() => resolve(id)));
      },
      quick: ([id]: [number]) => {
        process.ran.push(id);
        return id;
      },
    });
    return process;
  }

  letGo(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

function sorted(...lists: readonly (readonly number[])[]): number[] {
  return lists.flat().sort((x, y) => x - y);
}

describe.each(DRIVERS)('G-01 a process of a node that drains, over %s', (driver) => {
  it('G-01 with 1,000 calls in flight: they are answered, later ones go to another process, none is lost or runs twice', async () => {
    await using cluster = new Cluster({ driver });
    const old = await Process.start(cluster);
    const a = cluster.create('a', { listen: false, callTimeout: 60_000 });
    const inFlight = numbers(1000).map((id) => a.call(B, 'work', 'slow', [id]));
    await until(() => old.ran.length === 1000);
    const young = await Process.start(cluster);
    const drained = old.node.drain(60_000);
    // The first hundred cross what the process says, the others come when it was heard.
    const crossing = numbers(100).map((n) => a.call(B, 'work', 'quick', [1000 + n]));
    expect(await Promise.all(crossing)).toEqual(numbers(100).map((n) => 1000 + n));
    for (let id = 1100; id < 1200; id += 1) expect(await a.call(B, 'work', 'quick', [id])).toBe(id);
    expect(young.ran).toEqual(expect.arrayContaining(numbers(100).map((n) => 1100 + n)));
    expect(old.node.stats().runningCalls).toBe(1000);
    old.letGo();
    expect(await Promise.all(inFlight)).toEqual(numbers(1000));
    await drained;
    expect(sorted(old.ran, young.ran)).toEqual(numbers(1200));
    expect(a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 1 });
    expect(a.stats().counts).toEqual({ dialled: 2, connected: 2 });
  });

  it('G-01 with nothing in flight is left at once, and nobody notices', async () => {
    await using cluster = new Cluster({ driver });
    const old = await Process.start(cluster);
    const a = cluster.create('a', { listen: false });
    expect(await a.call(B, 'work', 'quick', [1])).toBe(1);
    await Process.start(cluster);
    await old.node.drain(60_000);
    expect(await a.call(B, 'work', 'quick', [2])).toBe(2);
    expect(a.stats().counts).toEqual({ dialled: 2, connected: 2 });
  });
});

/** `a` and two processes of `b`, with a way between `a` and the first that can be held. */
async function heldBetween(driver: DriverName) {
  const cluster = new Cluster({ driver });
  const old = await Process.start(cluster);
  const proxy = driver !== 'memory' ? await Proxy.to({ port: portOf(cluster, B) }) : undefined;
  if (proxy !== undefined) redirect(cluster, B, proxy.port);
  const a = cluster.create('a', { listen: false });
  await a.call(B, 'work', 'quick', [0]);
  const young = await Process.start(cluster);
  const links = [...cluster.network.links];
  return {
    ...{ cluster, a, old, young },
    hold: (): void => (proxy === undefined ? links.forEach((link) => link.hold()) : proxy.hold()),
    release: (): void => (proxy === undefined ? links.forEach((link) => link.release()) : proxy.release()),
    async [Symbol.asyncDispose]() {
      await proxy?.[Symbol.asyncDispose]();
      await cluster[Symbol.asyncDispose]();
    },
  };
}

describe.each(DRIVERS)('G-02 a call that is on the wire when the node says that it goes, over %s', (driver) => {
  it('G-02 is processed, as long as the caller may not have heard', async () => {
    await using world = await heldBetween(driver);
    const { a, old, young } = world;
    const calls = numbers(50).map((n) => a.call(B, 'work', 'quick', [1 + n]));
    const drained = old.node.drain(60_000);
    expect(await Promise.all(calls)).toEqual(numbers(50).map((n) => 1 + n));
    await drained;
    expect(sorted(old.ran, young.ran)).toEqual(numbers(51));
  });

  it('G-02 is not started when it comes too late, and then runs once, on another process', async () => {
    await using world = await heldBetween(driver);
    const { a, old, young } = world;
    const slow = a.call(B, 'work', 'slow', [1]);
    await until(() => old.ran.length === 2);
    world.hold();
    const drained = old.node.drain(60_000);
    const calls = numbers(50).map((n) => a.call(B, 'work', 'quick', [2 + n]));
    // It gives its callers a second to hear of it, and these do not.
    await new Promise((resolve) => setTimeout(resolve, 1200));
    world.release();
    expect(await Promise.all(calls)).toEqual(numbers(50).map((n) => 2 + n));
    expect(young.ran).toHaveLength(50);
    old.letGo();
    expect(await slow).toBe(1);
    await drained;
    expect(sorted(old.ran, young.ran)).toEqual(numbers(52));
  });
});

const NEVER_FINISH: Readonly<Record<string, (nodes: Awaited<ReturnType<typeof twoNodes>>) => Promise<unknown>>> = {
  'a function that never ends': ({ a }) => a.call(B, 'math', 'never'),
  'a stream that never ends': async ({ a, b, ran }) => {
    b.register('never', {
      async *ends() {
        ran.push('never');
        await new Promise(() => {});
        yield 1;
      },
    });
    for await (const item of a.stream(B, 'never', 'ends')) expect(item).toBe('nothing');
  },
  'a stream that its function never reads': async ({ a, b, ran }) => {
    b.register('never', { reads: () => (ran.push('never'), new Promise(() => {})) });
    async function* endless(): AsyncGenerator<Buffer> {
      for (;;) yield Buffer.alloc(1000);
    }
    await a.call(B, 'never', 'reads', [endless()]);
  },
};

describe.each(DRIVERS)('G-03 a node that drains, over %s', (driver) => {
  it.each(Object.entries(NEVER_FINISH))('G-03 beside %s: is done with its grace period', async (_, call) => {
    await using nodes = await twoNodes({ driver });
    const pending = expect(call(nodes)).rejects.toMatchObject({ code: 'shutting_down', maybeExecuted: true });
    await until(() => nodes.ran.includes('never'));
    const since = performance.now();
    await nodes.b.drain(200);
    expect(performance.now() - since).toBeGreaterThanOrEqual(199);
    expect(performance.now() - since).toBeLessThan(200 + LATE_MS);
    await pending;
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 0 });
    expect(nodes.b.stats().acceptedConnections).toBe(0);
  });

  it('G-03 tells what it calls itself, and its own callers, that it ends', async () => {
    await using nodes = await twoNodes({ driver });
    const ended = ['a@127.0.0.1', B].map((node) => {
      nodes.a.register('math', { never: () => new Promise(() => {}) });
      return expect(nodes.a.call(node, 'math', 'never')).rejects.toMatchObject({ code: 'cancelled' });
    });
    await until(() => nodes.ran.includes('never'));
    await nodes.a.drain(50);
    await Promise.all(ended);
  });
});

describe.each(SOCKET_DRIVERS)('G-03 a node that drains among callers that do not read, over %s', (driver) => {
  const large = Buffer.alloc(4 * 1024 * 1024);
  /** Calls that are never done, because nobody takes what they answer. */
  const functions = {
    whole: () => large,
    async *stream() {
      for (;;) yield large;
    },
  };

  it.each(Object.keys(functions))('G-03 what they asked for (%s): is done with its grace period', async (fn) => {
    await using cluster = new Cluster({ driver });
    const b = await cluster.start('b', { sendTimeout: 60_000 });
    b.register('large', functions);
    const peer = await RawPeer.dial(driver, portOf(cluster, B));
    try {
      await peer.login('deaf@127.0.0.1', B);
      peer.socket.pause();
      peer.send(bytesOf(callOf(1, 'large', fn), callOf(2, 'large', fn)));
      await until(() => b.stats().runningCalls > 0 || fn === 'whole');
      const since = performance.now();
      await b.drain(200);
      expect(performance.now() - since).toBeLessThan(200 + LATE_MS);
      expect(b.stats()).toMatchObject({ acceptedConnections: 0, runningCalls: 0 });
    } finally {
      peer.destroy();
    }
  });
});

function callOf(id: number, module: string, fn: string): CallFrame {
  const payload = { kind: 'codec', bytes: Buffer.of(0x90) } as const;
  const name = { module, fn, version: '' };
  return { type: FrameType.Call, id, name, timeoutMs: 60_000, single: false, headers: undefined, payload };
}

/** A node `b` of which the test writes every byte, and `a` that calls it. */
async function rawServer(driver: SocketDriver) {
  const cluster = new Cluster({ driver });
  const server = await RawServer.listen(driver);
  redirect(cluster, B, server.port);
  const a = cluster.create('a', { listen: false });
  return {
    ...{ cluster, server, a },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await cluster[Symbol.asyncDispose]();
    },
  };
}

function goAway(lastId: number): Frame {
  return { type: FrameType.GoAway, lastId };
}

function result(id: number): Frame {
  return { type: FrameType.Result, id, payload: { kind: 'codec', bytes: Buffer.of(0x07) } };
}

function callsOf(peer: RawPeer): CallFrame[] {
  return peer.frames.filter((frame) => frame.type === FrameType.Call);
}

describe('G-07 a node that says that it goes', () => {
  it.each(DRIVERS)('G-07 while the other does so too, over %s: what runs in both directions ends', async (driver) => {
    await using cluster = new Cluster({ driver });
    const nodes = [await cluster.start('a'), await cluster.start('b')] as const;
    const open: (() => void)[] = [];
    for (const node of nodes) {
      node.register('gate', { pass: () => new Promise((resolve) => open.push(() => resolve(node.name))) });
    }
    const [a, b] = nodes;
    const calls = [a.call(b.name, 'gate', 'pass'), b.call(a.name, 'gate', 'pass')];
    await until(() => open.length === 2);
    const drained = Promise.all([a.drain(60_000), b.drain(60_000)]);
    await until(() => a.stats().openConnections === 0 && b.stats().openConnections === 0);
    for (const pass of open) pass();
    expect(await Promise.all(calls)).toEqual([b.name, a.name]);
    await drained;
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('G-07 twice, with a lower number: what is above it was not started either', async () => {
      await using raw = await rawServer(driver);
      const calls = [1, 2, 3].map((n) => raw.a.call(B, 'math', 'add', [n, n]));
      const first = await (await raw.server.accept()).welcome(B);
      await first.until(() => callsOf(first).length === 3);
      first.send(bytesOf(result(1), goAway(2), goAway(2), goAway(1)));
      expect(await calls[0]).toBe(7);
      // A connection that answered was a good one: the two others go over the next.
      const next = await (await raw.server.accept()).welcome(B);
      await next.until(() => callsOf(next).length === 2);
      next.send(bytesOf(...callsOf(next).map(({ id }) => result(id))));
      expect(await Promise.all(calls)).toEqual([7, 7, 7]);
      await first.closed();
    });

    it.each([
      ['a larger number than before', [goAway(1), goAway(2)]],
      ['that it refuses nothing after all', [goAway(2), goAway(GOAWAY_NOTHING_REFUSED)]],
    ])('G-07 twice, with %s: a protocol error, and what was pending has perhaps run', async (_, frames) => {
      await using raw = await rawServer(driver);
      const call = expect(raw.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({
        ...{ code: 'connection_lost', maybeExecuted: true },
        cause: { code: 'protocol_error' },
      });
      const peer = await (await raw.server.accept()).welcome(B);
      await peer.until(() => callsOf(peer).length === 1);
      peer.send(bytesOf(...frames));
      await call;
      await peer.closed();
    });

    it('G-07 first that it refuses nothing, and then from where it does', async () => {
      await using raw = await rawServer(driver);
      const call = raw.a.call(B, 'math', 'add', [1, 2]);
      const peer = await (await raw.server.accept()).welcome(B);
      await peer.until(() => callsOf(peer).length === 1);
      peer.send(bytesOf(goAway(GOAWAY_NOTHING_REFUSED), goAway(GOAWAY_NOTHING_REFUSED), goAway(1), result(1)));
      await expect(call).resolves.toBe(7);
      await peer.closed();
    });
  });
});

describe.each(SOCKET_DRIVERS)('G-08 a node that sends every new connection away, over %s', (driver) => {
  /** Answers `answered` calls of each connection, if any, and does not start the rest. */
  async function sentAway(answered: number) {
    const raw = await rawServer(driver);
    let seen = 0;
    const serve = async (): Promise<void> => {
      for (;;) {
        const peer = await (await raw.server.accept()).welcome(B);
        await peer.until(() => callsOf(peer).length > answered);
        const ids = callsOf(peer).map(({ id }) => id);
        seen += ids.length - answered;
        peer.send(bytesOf(...ids.slice(0, answered).map(result), goAway(ids[answered - 1] ?? 0)));
      }
    };
    serve().catch(() => {});
    return Object.assign(raw, { seen: () => seen });
  }

  it('G-08 before it has answered anything: it is not dialled again for it, the call is refused', async () => {
    await using raw = await sentAway(0);
    await expect(raw.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({ code: 'refused', maybeExecuted: false });
    expect([raw.seen(), raw.server.peers.length]).toEqual([1, 1]);
    // It is in back-off: many callers are no storm.
    await Promise.all(
      numbers(500).map(() => {
        return expect(raw.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({ maybeExecuted: false });
      }),
    );
    expect(raw.server.peers.length).toBeLessThanOrEqual(5);
  });

  it('G-08 in the middle of a call with a stream: it is told that the rest of the call will not come', async () => {
    await using raw = await rawServer(driver);
    const args = [Buffer.alloc(400_000), upTo(3)];
    const call = expect(raw.a.call(B, 'math', 'sum', args)).rejects.toMatchObject({
      ...{ code: 'refused', maybeExecuted: false },
    });
    const peer = await raw.server.accept();
    peer.granting = false;
    await peer.welcome(B);
    // All that it may send while nothing is granted.
    await peer.until(() => Buffer.concat(peer.received).length > CONNECTION_CREDIT);
    peer.send(bytesOf(goAway(0)));
    await call;
    await peer.until(() => peer.frames.some((frame) => frame.type === FrameType.Cancel && frame.id === 1));
  });

  it('G-08 once: a call that waits for a node that is down waits for the next connection too', async () => {
    await using raw = await rawServer(driver);
    const call = raw.a.call(B, 'math', 'add', [1, 2], { waitForReady: true });
    const first = await (await raw.server.accept()).welcome(B);
    await first.until(() => callsOf(first).length === 1);
    first.send(bytesOf(goAway(0)));
    const next = await (await raw.server.accept()).welcome(B);
    await next.until(() => callsOf(next).length === 1);
    next.send(bytesOf(...callsOf(next).map(({ id }) => result(id))));
    await expect(call).resolves.toBe(7);
  });

  it('G-08 and answers one call first: another call is sent four times at most, then refused', async () => {
    await using raw = await sentAway(1);
    const calls = numbers(8).map((n) => raw.a.call(B, 'math', 'add', [n]));
    const outcomes = await Promise.allSettled(calls);
    const refused = outcomes.filter(({ status }) => status === 'rejected');
    expect(outcomes.length - refused.length).toBe(4);
    for (const outcome of refused) {
      expect(outcome).toMatchObject({ reason: { code: 'refused', maybeExecuted: false } });
    }
    expect(raw.server.peers).toHaveLength(4);
    expect(raw.seen()).toBe(7 + 6 + 5 + 4);
  });
});

describe.each(DRIVERS)('G-09 a stream that is open when its node drains, over %s', (driver) => {
  /** `tick` sends an item whenever the test says so; what is told of the drain is in `told`. */
  async function ticking() {
    const nodes = await twoNodes({ driver });
    const told: string[] = [];
    const ticks: ((more: boolean) => void)[] = [];
    nodes.b.register('clock', {
      async *tick(_: unknown, { drainSignal, signal }: CallContext) {
        drainSignal.addEventListener('abort', () => told.push('drain'));
        signal.addEventListener('abort', () => told.push(`abort ${(signal.reason as { code: string }).code}`));
        for (let n = 0; ; n += 1) {
          yield n;
          if (!(await new Promise<boolean>((resolve) => ticks.push(resolve)))) return;
        }
      },
      async *polite(_: unknown, { drainSignal }: CallContext) {
        for (let n = 0; !drainSignal.aborted; n += 1) {
          yield n;
          await new Promise((resolve) => setImmediate(resolve));
        }
        yield 'the end';
      },
      sum: async ([items]: [AsyncIterable<number>]) => (await readOf(items)).items.length,
    });
    const tick = async (more = true): Promise<void> => {
      await until(() => ticks.length > 0);
      ticks.shift()?.(more);
    };
    return Object.assign(nodes, { told, tick });
  }

  it('G-09 its function is told, and goes on until it has ended', async () => {
    await using nodes = await ticking();
    const read = readOf(nodes.a.stream(B, 'clock', 'tick'));
    await nodes.tick();
    const drained = nodes.b.drain(60_000);
    expect(nodes.told).toEqual(['drain']);
    for (let n = 0; n < 3; n += 1) await nodes.tick();
    await nodes.tick(false);
    expect(await read).toEqual({ items: [0, 1, 2, 3, 4] });
    await drained;
    expect(nodes.told).toEqual(['drain']);
  });

  it('G-09 a function that ends when it is told lets the node go at once', async () => {
    await using nodes = await ticking();
    const read = readOf(nodes.a.stream(B, 'clock', 'polite'));
    await until(() => nodes.b.stats().runningCalls === 1);
    await nodes.b.drain(60_000);
    const { items, error } = await read;
    expect([items.at(-1), error]).toEqual(['the end', undefined]);
    expect(items.slice(0, -1)).toEqual(numbers(items.length - 1));
  });

  it('G-09 that does not end with the grace period: an error behind its items, never a silent end', async () => {
    await using nodes = await ticking();
    const read = readOf(nodes.a.stream(B, 'clock', 'tick'));
    for (let n = 0; n < 3; n += 1) await nodes.tick();
    await nodes.b.drain(100);
    expect(await read).toEqual({ items: [0, 1, 2, 3], error: 'shutting_down' });
    expect(nodes.told).toEqual(['drain', 'abort shutting_down']);
    await nodes.tick(false);
  });

  it('G-09 that is read slowly: all that was sent, and the error', async () => {
    await using nodes = await twoNodes({ driver });
    let sent = 0;
    nodes.b.register('slow', {
      async *items() {
        for (; ; sent += 1) yield [sent, Buffer.alloc(5000)];
      },
    });
    const read: unknown[] = [];
    const reading = (async () => {
      for await (const item of nodes.a.stream<[number]>(B, 'slow', 'items')) {
        read.push(item[0]);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    const failed = expect(reading).rejects.toMatchObject({ code: 'shutting_down' });
    await until(() => read.length === 5);
    await nodes.b.drain(50);
    await failed;
    expect(read).toEqual(numbers(read.length));
  });

  it('G-09 an argument too: its function may read it until then, and its caller is told', async () => {
    await using nodes = await ticking();
    const [whole, endless] = [upToWhen(3), upToWhen(Infinity)];
    const calls = [whole, endless].map((source) => nodes.a.call(B, 'clock', 'sum', [source.items]));
    const failed = expect(calls[1]).rejects.toMatchObject({ code: 'shutting_down', maybeExecuted: true });
    await until(() => nodes.b.stats().runningCalls === 2);
    const drained = nodes.b.drain(300);
    whole.go();
    await expect(calls[0]).resolves.toBe(3);
    await drained;
    await failed;
    await until(() => endless.stopped());
  });

  it('G-09 calls, messages and calls of the own node are told as well, also those that begin meanwhile', async () => {
    await using nodes = await twoNodes({ driver });
    const told: string[] = [];
    const begun: (() => void)[] = [];
    const wait =
      (what: string) =>
      (_: unknown, { drainSignal }: CallContext) => {
        if (drainSignal.aborted) return void told.push(`${what}, at once`);
        return new Promise<void>((resolve) => {
          begun.push(resolve);
          drainSignal.addEventListener('abort', () => told.push(what));
        });
      };
    for (const node of [nodes.a, nodes.b]) {
      node.register('wait', { call: wait('call'), cast: wait('cast'), own: wait('own') });
    }
    const calls = [nodes.a.call(B, 'wait', 'call'), nodes.b.call(B, 'wait', 'own')];
    nodes.a.cast(B, 'wait', 'cast');
    await until(() => begun.length === 3);
    const drained = nodes.b.drain(60_000);
    expect(told.sort()).toEqual(['call', 'cast', 'own']);
    // It crosses the news.
    await nodes.a.call(B, 'wait', 'call');
    await nodes.b.call(B, 'wait', 'own');
    expect(told.slice(3)).toEqual(['call, at once', 'own, at once']);
    for (const end of begun) end();
    await Promise.all(calls);
    await drained;
  });
});

/** Numbers, of which the second and later ones come once it is told to go. */
function upToWhen(count: number) {
  let go: () => void = () => {};
  let stopped = false;
  const going = new Promise<void>((resolve) => (go = resolve));
  async function* items(): AsyncGenerator<number> {
    try {
      for (let n = 0; n < count; n += 1) {
        if (n === 1 && count < Infinity) await going;
        yield await new Promise<number>((resolve) => setImmediate(resolve, n));
      }
    } finally {
      stopped = true;
    }
  }
  return { items: items(), go: () => go(), stopped: () => stopped };
}
