/** A peer that is gone, comes back as another life of itself, refuses, or lets one in and throws one out again. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { FrameType, GOAWAY_REPLACED, type Frame } from '../../lib/protocol/frame.js';
import { proveServer } from '../../lib/protocol/handshake.js';
import { handshakeFrame, HandshakeType } from '../../lib/protocol/handshake-frames.js';
import { Cluster, SOCKET_DRIVERS, twoNodes } from '../support/cluster.js';
import { answerAs, keysOf, until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { bytesOf, RawPeer, RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const RAW = 'raw@127.0.0.1';
const LONGEST_WAIT = 30_000;

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly maybeExecuted: boolean;
  readonly details: { readonly cause?: string; readonly nextAttemptMs?: number };
}

/** Calls `math.add`, and keeps how it ended. */
function callOf(
  a: GenRpcNode,
  node: string,
  ends: unknown[],
  options: { timeout?: number; waitForReady?: boolean } = {},
): void {
  a.call(node, 'math', 'add', [1, 2], options).then(
    (value) => ends.push(value),
    (error: unknown) => ends.push(error),
  );
}

const dialsOf = (node: GenRpcNode): number => node.stats().counts.dialled ?? 0;

/** Is a dial under way? */
function dialling(node: GenRpcNode): boolean {
  const { dialled = 0, connected = 0, dial_failed = 0 } = node.stats().counts;
  return dialled > connected + dial_failed;
}

describe.each(SOCKET_DRIVERS)('R-03 a peer that restarts, over %s', (driver) => {
  it('R-03 settles what was pending; the answer of its old life is not taken for the new', async () => {
    await using nodes = await twoNodes({ driver });
    const home = nodes.discovery.locations.get(B);
    if (home === undefined) throw new Error('b listens');
    await using proxy = await Proxy.to(home);
    nodes.discovery.locations.set(B, { ...home, port: proxy.port });
    const answers: ((value: string) => void)[] = [];
    nodes.b.register('life', { of: () => new Promise((resolve) => answers.push(resolve)) });
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    const old = ['first', 'second', 'third'].map((one) => nodes.a.call(B, 'life', 'of', [one]));
    await until(() => answers.length === 3);
    proxy.hold();
    for (const answer of answers) answer('the old life');
    await until(() => nodes.b.stats().runningCalls === 0);
    nodes.b.abort();
    expect(await Promise.allSettled(old)).toMatchObject(
      old.map(() => ({ reason: { code: 'connection_lost', maybeExecuted: true } })),
    );
    const reborn = nodes.create('b', { listen: { port: home.port } });
    reborn.register('life', { of: () => 'the new life' });
    await reborn.listen();
    const renewed = nodes.a.call(B, 'life', 'of', ['fourth']);
    proxy.release();
    await expect(renewed).resolves.toBe('the new life');
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, counts: { dialled: 2, connected: 2 } });
  });

  it('R-03 is not sent the answers to calls of its own old life', async () => {
    await using nodes = await twoNodes({ driver });
    const port = nodes.discovery.locations.get(B)?.port ?? 0;
    const answers: ((value: string) => void)[] = [];
    nodes.b.register('life', { of: () => new Promise((resolve) => answers.push(resolve)) });
    const call: Frame = {
      type: FrameType.Call,
      id: 1,
      name: { module: 'life', fn: 'of', version: '' },
      timeoutMs: 5000,
      single: false,
      headers: undefined,
      payload: { kind: 'codec', bytes: Buffer.of(0x90) },
    };
    const lives = [await RawPeer.dial(driver, port), await RawPeer.dial(driver, port)] as const;
    for (const [index, life] of lives.entries()) {
      await life.login(RAW, B, { incarnation: Buffer.alloc(16, index) });
      life.send(bytesOf(call));
      await until(() => answers.length === index + 1);
    }
    await lives[0].closed();
    answers[0]?.('to the old life');
    answers[1]?.('to the new life');
    await lives[1].until(() => lives[1].frames.length > 0);
    expect(lives[0].frames).toEqual([{ type: FrameType.GoAway, lastId: GOAWAY_REPLACED }]);
    expect(lives[1].frames).toMatchObject([
      { type: FrameType.Result, id: 1, payload: { bytes: Buffer.from('\xafto the new life', 'latin1') } },
    ]);
    expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 1, counts: { duplicate_node: 1 } });
  });
});

describe('R-04 a node that refuses connections for a minute', () => {
  async function setUp(seed: number) {
    const cluster = new Cluster({ virtual: { seed } });
    const a = cluster.create('a', { listen: false });
    cluster.discovery.locations.set(B, { driver: 'memory', host: '127.0.0.1', port: 4000 });
    /** `b` comes up. */
    const start = async (ran: string[]): Promise<void> => {
      const b = cluster.create('b', { listen: { port: 4000 } });
      b.register('math', { add: (args) => ran.push(String(args)) });
      await b.listen();
    };
    return Object.assign(cluster, { a, start });
  }

  it('R-04 costs 500 callers one dial, and each of them is told when the next one is', async () => {
    await using cluster = await setUp(1);
    const ends: unknown[] = [];
    for (let caller = 0; caller < 500; caller += 1) callOf(cluster.a, B, ends);
    await until(() => ends.length === 500);
    expect(dialsOf(cluster.a)).toBe(1);
    for (const end of ends as Failure[]) {
      expect(end).toMatchObject({ code: 'node_down', maybeExecuted: false, details: { cause: 'ECONNREFUSED' } });
      expect(end.details.nextAttemptMs).toBeGreaterThan(0);
      expect(end.details.nextAttemptMs).toBeLessThanOrEqual(100);
    }
    expect(cluster.clock?.now()).toBe(0);
  });

  it.each([1, 2, 3])(
    'R-04 fails calls fast until the time they are told, and then dials again, seed %i',
    async (seed) => {
      await using cluster = await setUp(seed);
      for (let attempt = 1; attempt <= 8; attempt += 1) {
        const first: unknown[] = [];
        callOf(cluster.a, B, first);
        await until(() => first.length === 1);
        expect(dialsOf(cluster.a)).toBe(attempt);
        const wait = (first[0] as Failure).details.nextAttemptMs ?? 0;
        const fast: unknown[] = [];
        for (let caller = 0; caller < 10; caller += 1) callOf(cluster.a, B, fast);
        await until(() => fast.length === 10);
        for (const end of fast) expect(end).toMatchObject({ code: 'node_down', details: { nextAttemptMs: wait } });
        expect(dialsOf(cluster.a)).toBe(attempt);
        await cluster.clock?.advance(wait);
      }
    },
  );

  it.each([1, 2, 3])('R-04 is dialled in a jittered back-off from 100 ms to 30 s, seed %i', async (seed) => {
    await using cluster = await setUp(seed);
    const ends: unknown[] = [];
    const dialledAt: number[] = [];
    for (let now = 0; now < 300_000; now += 10) {
      callOf(cluster.a, B, ends);
      await cluster.clock?.advance(10);
      if (dialsOf(cluster.a) > dialledAt.length) dialledAt.push(now);
    }
    expect(ends).toHaveLength(30_000);
    const waits = dialledAt.slice(1).map((at, index) => at - (dialledAt[index] ?? 0));
    // A caller every 10 ms finds the next attempt up to 10 ms after it is due, and this loop one step later.
    waits.forEach((wait, failures) =>
      expect(wait).toBeLessThanOrEqual(Math.min(LONGEST_WAIT, 100 * 2 ** failures) + 20),
    );
    expect(Math.max(...waits)).toBeGreaterThan(LONGEST_WAIT / 3);
    expect(dialsOf(cluster.a)).toBeLessThan(60);
  });

  it('R-04 keeps those who asked to wait, and runs each of them once when it is there', async () => {
    await using cluster = await setUp(4);
    const [waiting, fast, late, ran]: [unknown[], unknown[], unknown[], string[]] = [[], [], [], []];
    for (let caller = 0; caller < 500; caller += 1)
      callOf(cluster.a, B, waiting, { waitForReady: true, timeout: 200_000 });
    callOf(cluster.a, B, late, { waitForReady: true, timeout: 30_000 });
    callOf(cluster.a, B, fast);
    await cluster.clock?.advance(60_000);
    expect(fast).toMatchObject([{ code: 'node_down' }]);
    expect(late).toMatchObject([{ code: 'node_down', maybeExecuted: false }]);
    expect(waiting).toEqual([]);
    const dials = dialsOf(cluster.a);
    expect(dials).toBeLessThan(30);
    await cluster.start(ran);
    await cluster.clock?.advance(LONGEST_WAIT);
    expect(waiting).toHaveLength(500);
    expect(ran).toHaveLength(500);
    expect(dialsOf(cluster.a)).toBe(dials + 1);
  });
});

describe('R-05 a peer that accepts and closes, for ever', () => {
  const TEN_MINUTES = 600_000;

  /** A caller every 100 ms of virtual time; the moments of the dials. */
  async function dialsUnderLoad(cluster: Cluster, a: GenRpcNode, node: string): Promise<number[]> {
    const ends: unknown[] = [];
    const dialledAt: number[] = [];
    let calls = 0;
    for (let now = 0; now < TEN_MINUTES; now += 100) {
      calls += 1;
      callOf(a, node, ends);
      await cluster.clock?.advance(100);
      await until(() => !dialling(a) && ends.length >= calls - 1);
      while (dialsOf(a) > dialledAt.length) dialledAt.push(now);
    }
    await until(() => ends.length === calls);
    for (const end of ends)
      expect(end).toMatchObject({ code: expect.stringMatching(/^(node_down|connection_lost|refused)$/) as string });
    return dialledAt;
  }

  function expectNoHotLoop(dialledAt: readonly number[]): void {
    const busiest = Math.max(
      ...dialledAt.map((from) => dialledAt.filter((at) => at >= from && at < from + 10_000).length),
    );
    expect(busiest).toBeLessThan(20);
    const lastFiveMinutes = dialledAt.filter((at) => at >= TEN_MINUTES / 2);
    expect(lastFiveMinutes.length).toBeGreaterThan(0);
    expect(lastFiveMinutes.length).toBeLessThan(60);
    expect(dialledAt.length).toBeLessThan(100);
  }

  it('R-05 before the handshake: counts as a failed dial, and the back-off grows', async () => {
    await using cluster = new Cluster({ virtual: { seed: 5 } });
    const a = cluster.create('a', { listen: false });
    const rude = cluster.network.driver('127.0.0.1');
    const location = { driver: 'memory', host: '127.0.0.1', port: 4000 };
    const listener = await rude.listen(
      location,
      (channel) => channel.close(),
      () => {},
    );
    cluster.discovery.locations.set(RAW, location);
    expectNoHotLoop(await dialsUnderLoad(cluster, a, RAW));
    expect(a.stats().counts.connected).toBeUndefined();
    await listener.close();
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each<[string, (peer: RawPeer) => Promise<void>]>([
      ['at once', async (peer) => peer.destroy()],
      ['behind the handshake', async (peer) => (await peer.welcome(RAW)).destroy()],
      ['with a GOAWAY in the same breath as its proof', (peer) => welcomeAndSendAway(peer)],
      [
        'with a GOAWAY behind its proof',
        async (peer) => {
          await peer.welcome(RAW);
          peer.send(bytesOf({ type: FrameType.GoAway, lastId: 0 }));
          peer.socket.end();
        },
      ],
    ])('R-05 %s: counts as a failed dial, and the back-off grows', async (_, treat) => {
      await using cluster = new Cluster({ driver, virtual: { seed: 6 } });
      await using server = await RawServer.listen(driver, (peer) => void treat(peer).catch(() => {}));
      cluster.discovery.locations.set(RAW, { driver, host: '127.0.0.1', port: server.port });
      const a = cluster.create('a', { listen: false });
      const statuses: boolean[] = [];
      a.onStatus((_node, connected) => statuses.push(connected));
      expectNoHotLoop(await dialsUnderLoad(cluster, a, RAW));
      await until(() => a.nodes().length === 0);
      // Whoever watches is told of every connection, and of the end of every one.
      expect(statuses).toEqual(statuses.map((_status, index) => index % 2 === 0));
      expect(statuses.length).toBe(2 * (a.stats().counts.connected ?? 0));
    });
  });

  it('R-05 a connection that lasted or answered is a good one: the next dial is at once', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 7 } });
    const cut = (): void => [...nodes.network.links][0]?.cut();
    for (let round = 1; round <= 20; round += 1) {
      await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
      expect(dialsOf(nodes.a)).toBe(round);
      cut();
    }
    await nodes.a.connect(B);
    await nodes.clock?.advance(5000);
    cut();
    await nodes.a.connect(B);
    expect(dialsOf(nodes.a)).toBe(22);
  });

  async function welcomeAndSendAway(peer: RawPeer): Promise<void> {
    const { script } = await answerAs(peer, RAW);
    const proof = await peer.handshake(HandshakeType.Proof);
    const accept = handshakeFrame(HandshakeType.Accept, proveServer(keysOf(), script, proof.body));
    peer.send(Buffer.concat([accept, bytesOf({ type: FrameType.GoAway, lastId: 0 })]));
  }
});
