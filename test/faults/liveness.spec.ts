/** Peers that are gone without a word, or answer nothing but the question whether they are there. */
import { describe, expect, it } from 'vitest';
import { FrameType } from '../../lib/protocol/frame.js';
import { Cluster, SOCKET_DRIVERS, twoNodes, type NodeSettings, type TwoNodes } from '../support/cluster.js';
import { redirect, until } from '../support/door.js';
import { Proxied } from '../support/proxied.js';
import { bytesOf, RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
/** Only the heartbeat can find out in time: everything else has a minute. */
const PATIENT = { callTimeout: 60_000, sendTimeout: 60_000, frameReadTimeout: 60_000 };
const FAST: NodeSettings = { ...PATIENT, keepalive: { idle: 200, interval: 200, count: 1 } };
/** 400 ms, and what a slow machine takes. */
const SOON_MS = 5000;

/** The connections from and to here, the one of the third node not counted. */
const openOf = ({ a, b }: TwoNodes): number[] => [a.stats().openConnections, b.stats().acceptedConnections - 1];

async function foundOut(nodes: TwoNodes, since: number): Promise<void> {
  await until(() => openOf(nodes).every((open) => open === 0));
  expect(performance.now() - since).toBeLessThan(SOON_MS);
}

/** More than systems on the way take. */
const MUCH = Buffer.alloc(4_000_000, 7);

describe.each(SOCKET_DRIVERS)('S-01 a black hole on the way, over %s', (driver) => {
  it('S-01 while nobody calls: both ends find out, and the next call takes a new connection', async () => {
    await using way = await Proxied.start(driver, FAST);
    const { nodes } = way;
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    const since = performance.now();
    way.proxy.lose('up', 'down');
    await foundOut(nodes, since);
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1, connection_lost: 1 });
    way.mend();
    await expect(nodes.a.call(B, 'math', 'add', [3, 4], { waitForReady: true })).resolves.toBe(7);
    expect(nodes.ran).toEqual(['add', 'add']);
  });

  it('S-01 while a call runs: it is told, its caller is told, and neither twice', async () => {
    await using way = await Proxied.start(driver, FAST);
    const { nodes } = way;
    const aborted: unknown[] = [];
    nodes.b.register('slow', {
      fn: (_args, { signal }) => new Promise(() => signal.addEventListener('abort', () => aborted.push(signal.reason))),
    });
    const ends: unknown[] = [];
    nodes.a.call(B, 'slow', 'fn').catch((error: unknown) => ends.push(error));
    await until(() => nodes.b.stats().runningCalls === 1);
    const since = performance.now();
    way.proxy.lose('up', 'down');
    await foundOut(nodes, since);
    await until(() => aborted.length > 0);
    expect(ends).toMatchObject([{ code: 'connection_lost', maybeExecuted: true }]);
    expect(aborted).toMatchObject([{ code: 'connection_lost' }]);
  });
});

describe.each(SOCKET_DRIVERS)('S-02 a black hole with bytes on the way, over %s', (driver) => {
  it('S-02 of a call: the same bound, though the system waits for a minute and more', async () => {
    await using way = await Proxied.start(driver, FAST);
    const { nodes, proxy } = way;
    await nodes.a.connect(B);
    proxy.lose('up', 'down');
    const since = performance.now();
    await expect(nodes.a.call(B, 'math', 'echo', [MUCH])).rejects.toMatchObject({ code: 'connection_lost' });
    await foundOut(nodes, since);
    way.mend();
    await expect(nodes.a.call(B, 'math', 'add', [3, 4], { waitForReady: true })).resolves.toBe(7);
  });

  it('S-02 of an answer: the end that sends it finds out as soon', async () => {
    await using way = await Proxied.start(driver, FAST);
    const { nodes, proxy } = way;
    const answers: ((value: unknown) => void)[] = [];
    nodes.b.register('slow', { fn: () => new Promise((resolve) => answers.push(resolve)) });
    const reply = nodes.a.call(B, 'slow', 'fn');
    const lost = expect(reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    await until(() => answers.length === 1);
    proxy.lose('up', 'down');
    const since = performance.now();
    answers[0]?.(MUCH);
    await lost;
    await foundOut(nodes, since);
  });
});

describe.each(SOCKET_DRIVERS)('S-04 a network that loses one direction, over %s', (driver) => {
  it.each(['up', 'down'] as const)('S-04 %s: both ends find out', async (direction) => {
    await using way = await Proxied.start(driver, FAST);
    const { nodes, proxy } = way;
    const reply = nodes.a.call(B, 'math', 'never');
    const lost = expect(reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    await until(() => nodes.ran.length === 1);
    const since = performance.now();
    proxy.lose(direction);
    await lost;
    await foundOut(nodes, since);
    way.mend();
    await expect(nodes.a.call(B, 'math', 'add', [3, 4], { waitForReady: true })).resolves.toBe(7);
  });
});

describe.each(SOCKET_DRIVERS)('S-05 a peer that answers only whether it is there, over %s', (driver) => {
  it('S-05 keeps its connection, and calls end by their deadline', async () => {
    await using cluster = new Cluster({ driver, options: { keepalive: { idle: 100, interval: 2000, count: 1 } } });
    const asked: number[] = [];
    await using server = await RawServer.listen(driver, (peer) => {
      peer.socket.on('data', () => {
        const pings = peer.frames.filter(({ type }) => type === FrameType.Ping).length;
        for (let answered = asked.length; answered < pings; answered += 1) {
          asked.push(answered);
          peer.send(bytesOf({ type: FrameType.Pong }));
        }
      });
    });
    const a = cluster.create('a', { listen: false });
    redirect(cluster, B, server.port);
    const connecting = a.connect(B);
    const peer = await (await server.accept()).welcome(B);
    await connecting;
    for (let round = 0; round < 2; round += 1) {
      const heard = asked.length;
      await expect(a.call(B, 'math', 'add', [1, 2], { timeout: 300 })).rejects.toMatchObject({ code: 'timeout' });
      await until(() => asked.length >= heard + 3);
    }
    await peer.until(() => peer.frames.filter(({ type }) => type === FrameType.Cancel).length === 2);
    expect(a.stats()).toMatchObject({ openConnections: 1, pendingCalls: 0 });
    expect(a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });
});

describe('what two ends agree on', () => {
  const virtual = { seed: 1 };
  const PATIENT_END = { idle: 600_000, interval: 1000, count: 2 };
  const QUICK_END = { idle: 1000, interval: 1000, count: 2 };

  it.each(['a', 'b'] as const)('is the shorter time: %s wants it, both ends find out', async (quick) => {
    await using cluster = new Cluster({ virtual, options: { sendTimeout: 3_600_000 } });
    const of = (name: string): NodeSettings => ({ keepalive: name === quick ? QUICK_END : PATIENT_END });
    const b = await cluster.start('b', of('b'));
    const a = cluster.create('a', { listen: false, ...of('a') });
    await a.connect(B);
    for (const link of cluster.network.links) link.hold();
    await cluster.clock?.advance(2999);
    expect([a.stats().openConnections, b.stats().acceptedConnections]).toEqual([1, 1]);
    await cluster.clock?.advance(1);
    expect([a.stats().openConnections, b.stats().acceptedConnections]).toEqual([0, 0]);
  });

  it('is nothing where the other one does not ask: the own time counts', async () => {
    await using nodes = await twoNodes({ virtual, options: { keepalive: false } });
    const c = nodes.create('c', { listen: false, keepalive: QUICK_END });
    await Promise.all([c.connect(B), nodes.a.connect(B)]);
    for (const link of nodes.network.links) link.hold();
    await nodes.clock?.advance(3000);
    expect([nodes.a.stats().openConnections, c.stats().openConnections]).toEqual([1, 0]);
  });
});
