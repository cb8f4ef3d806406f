/** Connections that nobody uses any more: either end lets go of them, and no call is lost with one. */
import { Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { FrameType, GOAWAY_NOTHING_REFUSED, type Frame } from '../../lib/protocol/frame.js';
import {
  DRIVERS,
  SOCKET_DRIVERS,
  twoNodes,
  type DriverName,
  type NodeSettings,
  type TwoNodes,
} from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { bytesOf, RawPeer, RawServer } from '../support/raw-peer.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';
const IDLE_MS = 1000;
/** How long a client that was told may be silent before it is cut off. */
const GRACE_MS = 5000;

/** Whose patience ends first. */
const ENDS = ['client', 'server'] as const;
type End = (typeof ENDS)[number];

function optionsFor(end: End, ms = IDLE_MS): NodeSettings {
  return end === 'client' ? { clientInactivityTimeout: ms } : { serverInactivityTimeout: ms };
}

function pairWith(end: End, seed = 1, latency?: number): Promise<TwoNodes> {
  const virtual = latency === undefined ? { seed } : { seed, latency: () => latency };
  return twoNodes({ virtual, options: optionsFor(end) });
}

const openOf = ({ a, b }: TwoNodes): [number, number] => [a.stats().openConnections, b.stats().acceptedConnections];

/** A function of `b` that answers when the test says so. */
function gate(b: GenRpcNode): { entered: () => number; open: (value: unknown) => void } {
  const waiting: ((value: unknown) => void)[] = [];
  b.register('gate', { pass: () => new Promise((resolve) => waiting.push(resolve)) });
  return {
    entered: () => waiting.length,
    open: (value) => {
      for (const pass of waiting.splice(0)) pass(value);
    },
  };
}

/** Calls and keeps how it ended. */
function callOf(a: GenRpcNode, fn: string, options: { timeout?: number } = {}, module = 'math'): { end: unknown } {
  const outcome: { end: unknown } = { end: undefined };
  a.call(B, module, fn, [1, 2], options).then(
    (value) => (outcome.end = value),
    (error: unknown) => (outcome.end = error),
  );
  return outcome;
}

describe.each(ENDS)('S-09 the %s closes what is of no use', (end) => {
  it(`S-09 after the time and not before; nothing is counted as lost, nothing backs off`, async () => {
    await using nodes = await pairWith(end);
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    await nodes.clock?.advance(IDLE_MS - 1);
    expect(openOf(nodes)).toEqual([1, 1]);
    await nodes.clock?.advance(1);
    expect(openOf(nodes)).toEqual([0, 0]);
    expect(nodes.a.nodes()).toEqual([]);
    expect(nodes.network.links.size).toBe(0);
    await expect(nodes.a.call(B, 'math', 'add', [2, 3])).resolves.toBe(5);
    expect(nodes.a.stats().counts).toEqual({ dialled: 2, connected: 2 });
    expect(nodes.log.lines).toEqual([]);
  });

  it('S-09 a connection that never carried anything', async () => {
    await using nodes = await pairWith(end);
    await nodes.a.connect(B);
    await nodes.clock?.advance(IDLE_MS);
    expect(openOf(nodes)).toEqual([0, 0]);
    // It answered nothing and did not last, and yet the next attempt is not put off.
    await expect(nodes.a.call(B, 'math', 'add', [2, 3])).resolves.toBe(5);
    expect(nodes.a.stats().counts).toEqual({ dialled: 2, connected: 2 });
  });

  it('S-09 tells those who listen to the status, once each time', async () => {
    await using nodes = await pairWith(end);
    const heard: string[] = [];
    nodes.a.onStatus((node, connected) => heard.push(`${node} ${connected ? 'up' : 'down'}`));
    for (let round = 0; round < 3; round += 1) {
      await nodes.a.call(B, 'math', 'add', [1, 2]);
      await nodes.clock?.advance(IDLE_MS);
    }
    expect(heard).toEqual([0, 1, 2].flatMap(() => [`${B} up`, `${B} down`]));
  });

  it('S-09 not while a call runs, and its time counts from the answer', async () => {
    await using nodes = await pairWith(end);
    const { open } = gate(nodes.b);
    const call = callOf(nodes.a, 'pass', { timeout: 100 * IDLE_MS }, 'gate');
    await nodes.clock?.advance(20.5 * IDLE_MS);
    expect(openOf(nodes)).toEqual([1, 1]);
    expect(call.end).toBeUndefined();
    open('late');
    await nodes.clock?.advance(IDLE_MS - 1);
    expect(call.end).toBe('late');
    expect(openOf(nodes)).toEqual([1, 1]);
    await nodes.clock?.advance(1);
    expect(openOf(nodes)).toEqual([0, 0]);
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('S-09 not while one of many calls runs, whichever is answered last', async () => {
    await using nodes = await pairWith(end);
    const { open } = gate(nodes.b);
    const slow = callOf(nodes.a, 'pass', { timeout: 100 * IDLE_MS }, 'gate');
    for (let round = 0; round < 10; round += 1) {
      await nodes.a.call(B, 'math', 'add', [round, 0]);
      await nodes.clock?.advance(0.7 * IDLE_MS);
    }
    await nodes.clock?.advance(5 * IDLE_MS);
    expect(openOf(nodes)).toEqual([1, 1]);
    open('last');
    await nodes.clock?.advance(IDLE_MS);
    expect(slow.end).toBe('last');
    expect(openOf(nodes)).toEqual([0, 0]);
  });

  it('S-09 not while a stream is open, however long it is silent', async () => {
    await using nodes = await pairWith(end);
    let next: (value: number) => void = () => {};
    let complete = (): void => {};
    nodes.b.register('stream', {
      watch: () =>
        new Observable<number>((observer) => {
          next = (value) => observer.next(value);
          complete = () => observer.complete();
        }),
    });
    const [items, ends]: [unknown[], string[]] = [[], []];
    const name = nodes.a.functionName('stream', 'watch');
    const options = { timeout: 1000 * IDLE_MS };
    nodes.a.request({ node: B }, { name, args: [], single: false, headers: undefined }, options, {
      item: (value) => void items.push(value),
      done: (value) => {
        if (value !== undefined) items.push(value);
        ends.push('done');
      },
      failed: (error) => ends.push(error.code),
    });
    for (let item = 1; item <= 3; item += 1) {
      await nodes.clock?.advance(10 * IDLE_MS);
      next(item);
    }
    await nodes.clock?.advance(10 * IDLE_MS);
    expect(items).toEqual([1, 2, 3]);
    expect(openOf(nodes)).toEqual([1, 1]);
    complete();
    await nodes.clock?.advance(IDLE_MS - 1);
    expect(ends).toEqual(['done']);
    expect(openOf(nodes)).toEqual([1, 1]);
    await nodes.clock?.advance(1);
    expect(openOf(nodes)).toEqual([0, 0]);
  });

  it('S-09 not while there are casts now and then, which nobody answers', async () => {
    await using nodes = await pairWith(end);
    const got: number[] = [];
    nodes.b.register('log', { write: ([line]: [number]) => void got.push(line) });
    for (let line = 0; line < 50; line += 1) {
      expect(nodes.a.cast(B, 'log', 'write', [line], { ordered: line % 2 === 0 })).toBe(true);
      await nodes.clock?.advance(IDLE_MS - 1);
    }
    expect(got).toHaveLength(50);
    expect(openOf(nodes)).toEqual([1, 1]);
    await nodes.clock?.advance(1);
    expect(openOf(nodes)).toEqual([0, 0]);
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('S-09 not for heartbeats: they are no use', async () => {
    const keepalive = { idle: 100, interval: 100, count: 3 };
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: { ...optionsFor(end), keepalive } });
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    await nodes.clock?.advance(IDLE_MS);
    expect(openOf(nodes)).toEqual([0, 0]);
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('S-09 a cast whose function still runs does not hold the connection, nor is it told to stop', async () => {
    await using nodes = await pairWith(end);
    const { open } = gate(nodes.b);
    let stopped = false;
    nodes.b.register('job', {
      run: (_args, { signal }) => {
        signal.addEventListener('abort', () => (stopped = true));
        return new Promise((resolve) => nodes.clock?.after(10 * IDLE_MS, () => resolve(undefined)));
      },
    });
    nodes.a.cast(B, 'job', 'run');
    await nodes.clock?.advance(2 * IDLE_MS);
    expect(openOf(nodes)).toEqual([0, 0]);
    expect(nodes.b.stats().runningCalls).toBe(1);
    await nodes.clock?.advance(10 * IDLE_MS);
    expect(nodes.b.stats().runningCalls).toBe(0);
    expect(stopped).toBe(false);
    open(undefined);
  });

  it.each(['close', 'abort'] as const)('S-09 no timer of it is left after %s', async (ending) => {
    const options = optionsFor(end, 100_000_000);
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: { ...options, keepalive: false } });
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    await nodes.clock?.advance(20_000);
    expect(nodes.clock?.pending).toBe(1);
    if (ending === 'abort') nodes.a.abort();
    else await nodes.a.close();
    await nodes.clock?.advance(0);
    expect(openOf(nodes)).toEqual([0, 0]);
    expect(nodes.clock?.pending).toBe(0);
  });

  it('S-09 both at once harm nobody', async () => {
    const both = { ...optionsFor('client'), ...optionsFor('server') };
    await using nodes = await twoNodes({ virtual: { seed: 1, latency: () => 3 }, options: both });
    const first = callOf(nodes.a, 'add');
    await nodes.clock?.advance(IDLE_MS);
    expect(first.end).toBe(3);
    await nodes.clock?.advance(IDLE_MS);
    expect(openOf(nodes)).toEqual([0, 0]);
    const second = callOf(nodes.a, 'add');
    await nodes.clock?.advance(100);
    expect(second.end).toBe(3);
    expect(nodes.a.stats().counts).toEqual({ dialled: 2, connected: 2 });
    expect(nodes.b.stats().counts).toEqual({ accepted: 2 });
  });
});

describe.each(DRIVERS)('S-09 in real time, over %s', (driver) => {
  const settings = (end: End): { driver: DriverName; options: NodeSettings } => ({
    driver,
    options: { ...optionsFor(end, 100), keepalive: false },
  });

  it.each(ENDS)('S-09 the %s lets go, and the next call opens a new connection', async (end) => {
    await using nodes = await twoNodes(settings(end));
    for (let round = 1; round <= 3; round += 1) {
      await expect(nodes.a.call(B, 'math', 'add', [round, 1])).resolves.toBe(round + 1);
      await until(() => nodes.b.stats().acceptedConnections === 0 && nodes.a.stats().openConnections === 0);
    }
    expect(nodes.a.stats().counts).toEqual({ dialled: 3, connected: 3 });
    expect(nodes.log.lines).toEqual([]);
  });
});

describe('S-10 a call that the client writes as its own patience ends', () => {
  const LATENCY = 7;

  it.each([-2, -1, 0, 1, 2])('S-10 runs once, %i ms off', async (off) => {
    await using nodes = await pairWith('client', 1, LATENCY);
    const first = callOf(nodes.a, 'add');
    // Connect, two ways each for hello, proof and the call itself.
    await nodes.clock?.advance(7 * LATENCY);
    expect(first.end).toBe(3);
    await nodes.clock?.advance(IDLE_MS + off);
    const call = callOf(nodes.a, 'add');
    await nodes.clock?.advance(10 * LATENCY);
    expect(call.end).toBe(3);
    expect(nodes.ran).toEqual(['add', 'add']);
    const connections = off < 0 ? 1 : 2;
    expect(nodes.a.stats().counts).toEqual({ dialled: connections, connected: connections });
  });
});

describe('S-10 a call that crosses the GOAWAY of a server that has not been used', () => {
  const LATENCY = 10;

  /** Connected, and the GOAWAY leaves `b` in `ms`. */
  async function beforeGoAway(ms: number): Promise<TwoNodes> {
    const nodes = await pairWith('server', 1, LATENCY);
    const first = callOf(nodes.a, 'add');
    await nodes.clock?.advance(7 * LATENCY);
    expect(first.end).toBe(3);
    // The server's time counts from its answer, which was one way earlier.
    await nodes.clock?.advance(IDLE_MS - LATENCY - ms);
    nodes.ran.length = 0;
    return nodes;
  }

  // Written up to one way before the GOAWAY leaves, the call keeps the connection; up to one way after, they cross.
  it.each([-15, -11, -10, -9, -5, -1, 0, 1, 5, 9, 10, 11, 15])('S-10 runs once, %i ms after it left', async (after) => {
    await using nodes = await beforeGoAway(20);
    await nodes.clock?.advance(20 + after);
    const call = callOf(nodes.a, 'add');
    await nodes.clock?.advance(10 * LATENCY);
    expect(call.end).toBe(3);
    expect(nodes.ran).toEqual(['add']);
    const renewed = after >= LATENCY;
    expect(nodes.a.stats().counts).toEqual({ dialled: renewed ? 2 : 1, connected: renewed ? 2 : 1 });
    expect(nodes.b.stats().counts).toEqual({ accepted: renewed ? 2 : 1 });
    await nodes.clock?.advance(2 * IDLE_MS);
    expect(openOf(nodes)).toEqual([0, 0]);
  });

  it('S-10 is answered over the old connection however long it takes, while others take a new one', async () => {
    await using nodes = await beforeGoAway(5);
    const { open } = gate(nodes.b);
    const slow = callOf(nodes.a, 'pass', { timeout: 1000 * IDLE_MS }, 'gate');
    await nodes.clock?.advance(5 + LATENCY);
    // The call is there, the GOAWAY too.
    expect(nodes.a.stats()).toMatchObject({ openConnections: 0, pendingCalls: 1 });
    const next = callOf(nodes.a, 'add');
    await nodes.clock?.advance(10 * LATENCY);
    expect(next.end).toBe(3);
    expect(openOf(nodes)).toEqual([1, 2]);
    await nodes.clock?.advance(60 * IDLE_MS);
    expect(slow.end).toBeUndefined();
    expect(openOf(nodes)).toEqual([0, 1]);
    open('at last');
    await nodes.clock?.advance(10 * LATENCY);
    expect(slow.end).toBe('at last');
    expect(openOf(nodes)).toEqual([0, 0]);
    expect(nodes.a.stats().counts).toEqual({ dialled: 2, connected: 2 });
    expect(nodes.b.stats().counts).toEqual({ accepted: 2 });
  });

  it('S-10 a cast that crosses it runs once', async () => {
    await using nodes = await beforeGoAway(5);
    const got: number[] = [];
    nodes.b.register('log', { write: ([line]: [number]) => void got.push(line) });
    nodes.a.cast(B, 'log', 'write', [1]);
    nodes.a.cast(B, 'log', 'write', [2], { ordered: true });
    await nodes.clock?.advance(5 + LATENCY);
    nodes.a.cast(B, 'log', 'write', [3], { ordered: true });
    await nodes.clock?.advance(10 * LATENCY);
    expect(got).toEqual([1, 2, 3]);
    expect(nodes.a.stats().counts).toEqual({ dialled: 2, connected: 2 });
    expect(nodes.b.stats().counts).toEqual({ accepted: 2 });
  });

  it('S-10 a call whose deadline passes on the retired connection settles, and the connection closes', async () => {
    await using nodes = await beforeGoAway(5);
    const never = callOf(nodes.a, 'never', { timeout: 500 });
    await nodes.clock?.advance(400);
    expect(openOf(nodes)).toEqual([0, 1]);
    await nodes.clock?.advance(200);
    expect(never.end).toMatchObject({ code: 'timeout', maybeExecuted: true });
    // What was abandoned keeps its place on the server until it ends, but not the connection.
    expect(openOf(nodes)).toEqual([0, 0]);
  });
});

describe.each(SOCKET_DRIVERS)('S-10 a peer that speaks bytes, over %s', (driver) => {
  const call = (id: number): Frame => ({
    type: FrameType.Call,
    id,
    name: { module: 'math', fn: 'add', version: '' },
    timeoutMs: 30_000,
    single: false,
    headers: undefined,
    payload: { kind: 'codec', bytes: Buffer.of(0x92, 1, 2) },
  });

  it('S-10 that ignores the GOAWAY is served while it calls, and cut off when it is silent', async () => {
    const options = { ...optionsFor('server'), keepalive: false as const };
    await using nodes = await twoNodes({ driver, virtual: { seed: 1 }, options });
    const peer = await RawPeer.dial(driver, portOf(nodes, B));
    await peer.login(A, B);
    await until(() => nodes.b.stats().acceptedConnections === 1);
    await nodes.clock?.advance(IDLE_MS);
    await peer.until(() => peer.frames.length === 1);
    expect(peer.frames).toMatchObject([{ type: FrameType.GoAway, lastId: GOAWAY_NOTHING_REFUSED }]);
    for (let id = 1; id <= 3; id += 1) {
      await nodes.clock?.advance(GRACE_MS - 1);
      peer.send(bytesOf(call(id)));
      await peer.until(() => peer.frames.length === 1 + id);
      expect(peer.frames[id]).toMatchObject({ type: FrameType.Result, id });
    }
    await nodes.clock?.advance(GRACE_MS - 1);
    expect(nodes.b.stats().acceptedConnections).toBe(1);
    await nodes.clock?.advance(1);
    await peer.closed();
    await until(() => nodes.b.stats().acceptedConnections === 0);
    expect(peer.frames).toHaveLength(4);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 0, counts: { accepted: 1 } });
  });

  it('S-10 that says GOAWAY with a call pending: the next goes elsewhere, this one is waited for', async () => {
    await using nodes = await twoNodes({ driver });
    await using server = await RawServer.listen(driver);
    redirect(nodes, B, server.port);
    const first = nodes.a.call<number>(B, 'math', 'add', [1, 2]);
    const old = await (await server.accept()).welcome(B);
    await old.until(() => old.frames.length === 1);
    old.send(bytesOf({ type: FrameType.GoAway, lastId: GOAWAY_NOTHING_REFUSED }));
    await until(() => nodes.a.stats().openConnections === 0);
    const second = nodes.a.call<number>(B, 'math', 'add', [3, 4]);
    const fresh = await (await server.accept()).welcome(B);
    await fresh.until(() => fresh.frames.length === 1);
    fresh.send(bytesOf({ type: FrameType.Result, id: 1, payload: { kind: 'codec', bytes: Buffer.of(7) } }));
    await expect(second).resolves.toBe(7);
    expect(old.ended).toBe(false);
    old.send(bytesOf({ type: FrameType.Result, id: 1, payload: { kind: 'codec', bytes: Buffer.of(3) } }));
    await expect(first).resolves.toBe(3);
    await old.closed();
    expect(old.frames).toHaveLength(1);
    expect(nodes.a.stats().counts).toEqual({ dialled: 2, connected: 2 });
  });

  it('S-10 whose connection breaks after the GOAWAY: what was pending settles as lost, the lane backs off from nothing', async () => {
    await using nodes = await twoNodes({ driver });
    await using server = await RawServer.listen(driver);
    const home = portOf(nodes, B);
    redirect(nodes, B, server.port);
    const first = nodes.a.call(B, 'math', 'add', [1, 2]);
    const old = await (await server.accept()).welcome(B);
    await old.until(() => old.frames.length === 1);
    old.send(bytesOf({ type: FrameType.GoAway, lastId: GOAWAY_NOTHING_REFUSED }));
    await until(() => nodes.a.stats().openConnections === 0);
    old.destroy();
    await expect(first).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    redirect(nodes, B, home);
    await expect(nodes.a.call(B, 'math', 'add', [3, 4])).resolves.toBe(7);
    expect(nodes.a.stats().counts).toEqual({ dialled: 2, connected: 2 });
  });

  it('S-10 that is told so before its first call could leave: the attempt has failed, and the next one waits', async () => {
    await using nodes = await twoNodes({ driver, options: { reconnect: { min: 30_000, max: 30_000 } } });
    const goAway = bytesOf({ type: FrameType.GoAway, lastId: GOAWAY_NOTHING_REFUSED });
    await using server = await RawServer.listen(driver, (peer) => void peer.welcome(B).then(() => peer.send(goAway)));
    redirect(nodes, B, server.port);
    const call = nodes.a.call(B, 'math', 'add', [1, 2], { timeout: 1000 });
    await expect(call).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });
});
