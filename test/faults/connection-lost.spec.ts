/** A connection that breaks at every point of a call: how the call settles, what is said of it, and what ran. */
import { describe, expect, it } from 'vitest';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, SOCKET_DRIVERS, twoNodes, type SocketDriver, type TwoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { Proxy, type Direction, type ProxyLink } from '../support/proxy.js';
import { RawServer, type RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const RAW = 'raw@127.0.0.1';

type Fault = 'reset' | 'end' | 'black hole';

/** Bytes of the handshake and of one call with its answer, as they pass a proxy. */
interface Lengths {
  readonly handshake: Record<Direction, number>;
  readonly call: Record<Direction, number>;
}

/** `a` reaches `b` through a proxy that lets this many bytes of a direction pass, and then does its worst. */
async function broken(driver: SocketDriver, fault: Fault, direction: Direction, passing: number) {
  const nodes = await twoNodes({ driver, virtual: { seed: 1 } });
  const home = nodes.discovery.locations.get(B);
  if (home === undefined) throw new Error('b listens');
  let done = false;
  let limit = passing;
  const allow = (link: ProxyLink, way: Direction, bytes: number): number => {
    if (done) return 0;
    if (way !== direction || link.passed[way] + bytes <= limit) return bytes;
    done = true;
    if (fault === 'reset') setImmediate(() => link.reset());
    if (fault === 'end') setImmediate(() => link.end());
    return limit - link.passed[way];
  };
  const proxy = await Proxy.to(home, { allow });
  nodes.discovery.locations.set(B, { ...home, port: proxy.port });
  /** From now on so many more. */
  const passMore = (bytes: number): void => {
    limit = (proxy.links[0]?.passed[direction] ?? 0) + bytes;
  };
  return Object.assign(nodes, { proxy, passMore });
}

/** One call, and what became of it; time passes until something has. */
async function callOnce(nodes: TwoNodes): Promise<unknown[]> {
  const outcomes: unknown[] = [];
  nodes.a.call(B, 'math', 'add', [1, 2], { timeout: 8000 }).then(
    (value) => outcomes.push(value),
    (error: unknown) => outcomes.push(error),
  );
  let quiet = 0;
  while (outcomes.length === 0) {
    quiet += 1;
    // A few turns for what is under way; then time passes, as it does in a black hole.
    if (quiet > 50) await nodes.clock?.advance(100);
    else await new Promise(setImmediate);
  }
  return outcomes;
}

async function lengthsOf(driver: SocketDriver): Promise<Lengths> {
  await using nodes = await broken(driver, 'end', 'up', Infinity);
  await using proxy = nodes.proxy;
  await nodes.a.connect(B);
  const link = proxy.links[0];
  if (link === undefined) throw new Error('the proxy was used');
  const handshake = { ...link.passed };
  await nodes.a.call(B, 'math', 'add', [1, 2], { timeout: 8000 });
  return {
    handshake,
    call: { up: link.passed.up - handshake.up, down: link.passed.down - handshake.down },
  };
}

/** What TLS adds to what is written at once, as long as it is short: header, type and tag. */
const RECORD = 5 + 1 + 16;

/** Frame boundaries of the handshake, and some bytes about them. Its second frame is header and one proof: 44 bytes. */
function handshakeOffsets(driver: SocketDriver, length: number): number[] {
  const first = [0, 1, 11, 12, 13];
  if (driver === 'tcp') return [...first, length - 45, length - 44, length - 43, length - 1];
  // How long a signature is, and with it all of this, differs by some bytes each time.
  const proof = 44 + RECORD;
  return [...first, length / 4, length / 2, length - proof - 20, length - proof + 20, length - 10].map(Math.floor);
}

/** Every offset of the call or its answer; of a record of TLS, in which all bytes are alike, some. */
function callOffsets(driver: SocketDriver, length: number): number[] {
  const every = Array.from({ length }, (_, at) => at);
  return every.filter((at) => driver === 'tcp' || at < 7 || at === length - 1 || at % 10 === 0);
}

describe.each<Fault>(['reset', 'end', 'black hole'])('R-01 a connection whose end is a %s', (fault) => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each<Direction>(['up', 'down'])('R-01 within its handshake, %s: the call was never sent', async (direction) => {
      const { handshake } = await lengthsOf(driver);
      for (const at of handshakeOffsets(driver, handshake[direction])) {
        await using nodes = await broken(driver, fault, direction, at);
        await using _ = nodes.proxy;
        const outcomes = await callOnce(nodes);
        expect(outcomes, `cut at ${at}`).toMatchObject([{ code: 'node_down', maybeExecuted: false }]);
        expect(nodes.ran).toEqual([]);
      }
    });

    it.each<Direction>(['up', 'down'])(
      'R-01 at every byte of a call, %s: it settles once, and may have run',
      async (direction) => {
        const { call } = await lengthsOf(driver);
        // A black hole is told from silence by its deadline alone; what is said of the call is the same.
        const code = fault === 'black hole' ? 'timeout' : 'connection_lost';
        for (const at of callOffsets(driver, call[direction])) {
          await using nodes = await broken(driver, fault, direction, Infinity);
          await using _ = nodes.proxy;
          await nodes.a.connect(B);
          nodes.passMore(at);
          const outcomes = await callOnce(nodes);
          expect(outcomes, `cut at ${at}`).toMatchObject([{ code, maybeExecuted: true }]);
          await until(() => nodes.b.stats().runningCalls === 0);
          expect(nodes.ran, `cut at ${at}`).toEqual(direction === 'down' ? ['add'] : []);
          expect(nodes.a.stats().pendingCalls).toBe(0);
        }
      },
    );
  });
});

/** `a`, connected to a server that a test answers byte by byte. */
async function rawPair(driver: SocketDriver, options: { maxQueuedBytes?: number; sendTimeout?: number } = {}) {
  const cluster = new Cluster({ driver, virtual: { seed: 1 }, options });
  const server = await RawServer.listen(driver);
  cluster.discovery.locations.set(RAW, { driver, host: '127.0.0.1', port: server.port });
  const a = cluster.create('a', { listen: false });
  const accepted = server.accept();
  await Promise.all([a.connect(RAW), accepted.then((peer) => peer.welcome(RAW))]);
  return Object.assign(cluster, { a, server, peer: await accepted });
}

/** What was said of each call, by the name of its function. */
type Verdicts = Map<string, { readonly code: string; readonly maybeExecuted: boolean }>;

/** Calls functions `f0`, `f1`, … one a turn, until `enough`. Resolves once all have failed. */
async function callMany(
  a: GenRpcNode,
  bytes: number,
  enough: (called: number) => boolean,
): Promise<() => Promise<Verdicts>> {
  const verdicts: Verdicts = new Map();
  const calls: Promise<unknown>[] = [];
  const payload = Buffer.alloc(bytes);
  while (!enough(calls.length)) {
    const fn = `f${calls.length}`;
    const failed = (error: GenRpcError): unknown =>
      verdicts.set(fn, { code: error.code, maybeExecuted: error.maybeExecuted });
    calls.push(a.call(RAW, 'm', fn, [payload], { timeout: 60_000 }).catch(failed));
    await new Promise(setImmediate);
  }
  return async () => {
    await Promise.all(calls);
    return verdicts;
  };
}

/** Functions of which the peer got a whole call. */
const calledOn = (peer: RawPeer): string[] => peer.frames.flatMap((frame) => ('name' in frame ? [frame.name.fn] : []));

const saidToHaveRun = (verdicts: Verdicts): string[] =>
  [...verdicts].filter(([, { maybeExecuted }]) => maybeExecuted).map(([fn]) => fn);

describe.each(SOCKET_DRIVERS)('R-01 calls that are made while the connection ends, over %s', (driver) => {
  it('R-01 may have run if they left before the FIN was seen, and did not if they came later', async () => {
    await using pair = await rawPair(driver);
    await using _ = pair.server;
    pair.peer.socket.end();
    const settled = await callMany(pair.a, 10, () => !pair.a.isConnected(RAW));
    const verdicts = await settled();
    await pair.peer.closed();
    expect(new Set([...verdicts.values()].map(({ code }) => code))).toEqual(new Set(['connection_lost']));
    expect(saidToHaveRun(verdicts)).toEqual(calledOn(pair.peer));
  });

  it.each([
    ['reset by the peer', (pair: { peer: RawPeer }) => pair.peer.reset()],
    ['given up here', (pair: { a: GenRpcNode }) => pair.a.abort()],
  ])('R-01 did not run if they waited behind a peer that reads nothing, %s', async (_, end) => {
    await using pair = await rawPair(driver, { maxQueuedBytes: 1024 ** 3 });
    await using __ = pair.server;
    pair.peer.socket.pause();
    const count = 400;
    const settled = await callMany(pair.a, 256 * 1024, (called) => called === count);
    end(pair);
    const verdicts = await settled();
    expect(verdicts.size).toBe(count);
    expect(verdicts.get('f0')?.maybeExecuted).toBe(true);
    expect(verdicts.get(`f${count - 1}`)?.maybeExecuted).toBe(false);
    const [first] = [...verdicts].find(([, { maybeExecuted }]) => !maybeExecuted) ?? [];
    expect(saidToHaveRun(verdicts)).toEqual(Array.from({ length: Number(first?.slice(1)) }, (_, index) => `f${index}`));
  });

  it.each([
    ['large', 256 * 1024, 400],
    ['small', 500, 60_000],
  ])('R-01 may have run if any byte of them reached the peer: %s calls', async (_, bytes, count) => {
    await using pair = await rawPair(driver, { maxQueuedBytes: 1024 ** 3, sendTimeout: 1000 });
    await using __ = pair.server;
    const { peer, a } = pair;
    peer.socket.pause();
    const settled = await callMany(a, bytes, (called) => called === count);
    // The peer reads a little and stops again: what waited here is under way now, and will not all arrive.
    const before = peer.socket.bytesRead;
    peer.socket.resume();
    await until(() => peer.socket.bytesRead > before + 1024 * 1024);
    peer.socket.pause();
    await pair.clock?.advance(10_000);
    const verdicts = await settled();
    peer.socket.resume();
    await peer.closed();
    const arrived = calledOn(peer);
    expect(arrived.length).toBeGreaterThan(0);
    expect(arrived.filter((fn) => verdicts.get(fn)?.maybeExecuted === false)).toEqual([]);
    expect(new Set([...verdicts.values()].map(({ code }) => code))).toEqual(new Set(['send_timeout']));
  });
});

describe.each(SOCKET_DRIVERS)('R-01 a caller that tries again as soon as it is told, over %s', (driver) => {
  it('R-01 is sent over a new connection', async () => {
    await using nodes = await twoNodes({ driver });
    const outcomes: unknown[] = [];
    const call = (fn: string, then: () => void): void => {
      const invocation = { name: { module: 'math', fn, version: '' }, args: [1, 2], single: false, headers: undefined };
      nodes.a.request(
        { node: B },
        invocation,
        { timeout: 5000 },
        {
          item: () => {},
          done: (value) => outcomes.push(value),
          failed: (error) => {
            outcomes.push(error.code);
            then();
          },
        },
      );
    };
    await nodes.a.call(B, 'math', 'add', [0, 0]);
    call('never', () => call('add', () => {}));
    await until(() => nodes.ran.includes('never'));
    const [home] = [...nodes.discovery.locations];
    nodes.b.abort();
    const again = nodes.create('b', { listen: { port: home?.[1].port ?? 0 } });
    again.register('math', { add: (args) => (args as number[]).reduce((sum, one) => sum + one, 0) });
    await again.listen();
    await until(() => outcomes.length === 2);
    expect(outcomes).toEqual(['connection_lost', 3]);
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, counts: { dialled: 2, connected: 2 } });
  });
});
