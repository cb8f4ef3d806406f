/** Two processes of one name: each peer keeps the newest, the older one is told why it was closed, and neither fights for the place. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { isGenRpcError, type GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType, GOAWAY_NOTHING_REFUSED, GOAWAY_REPLACED, type Frame } from '../../lib/protocol/frame.js';
import {
  Cluster,
  DRIVERS,
  SOCKET_DRIVERS,
  TestLog,
  type ClusterSettings,
  type NodeSettings,
} from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';
import { numbers } from '../support/streams.js';

const X = 'x@127.0.0.1';
const B = 'b@127.0.0.1';
const WHY =
  `Another process with the name ${X} connected to ${B} and took the place of this one. ` +
  'Give each process a name of its own (option name); processes that are one node share a life (option life).';

/** A process that calls itself `x`, and its log. */
interface Twin {
  readonly node: GenRpcNode;
  readonly log: TestLog;
}

interface Twins extends Cluster {
  readonly b: GenRpcNode;
  twin(options?: NodeSettings): Twin;
}

/** `b`, which others call, and as many processes of the name `x` as a test makes. */
async function twins(settings: ClusterSettings, options: NodeSettings = {}): Promise<Twins> {
  const cluster = new Cluster(settings);
  const b = await cluster.start('b', options);
  b.register('desk', {
    answers: () => 'an answer',
    waits: () => new Promise(() => {}),
    reads: async ([items]: [AsyncIterable<unknown>]) => {
      for await (const item of items) if (item === 'the last') return;
    },
  });
  const twin = (own: NodeSettings = {}): Twin => {
    const log = new TestLog();
    return { log, node: cluster.create('x', { listen: false, ...own }, { log }) };
  };
  return Object.assign(cluster, { b, twin });
}

async function failureOf(call: Promise<unknown>): Promise<GenRpcError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (isGenRpcError(error)) return error;
  throw new Error('the call was answered');
}

const replacedOf = ({ node }: Twin): number => node.stats().counts.connection_replaced ?? 0;

describe.each(DRIVERS)('H-17 the older one of two processes of one name, over %s', (driver) => {
  it('H-17 is told what happened and what to do: its callers, and its log once', async () => {
    await using cluster = await twins({ driver });
    const [older, newer] = [cluster.twin(), cluster.twin()];
    const calls = numbers(3).map(() => failureOf(older.node.call(B, 'desk', 'waits')));
    await until(() => cluster.b.stats().runningCalls === 3);
    expect(await newer.node.call(B, 'desk', 'answers')).toBe('an answer');
    for (const error of await Promise.all(calls)) {
      expect(error).toMatchObject({
        code: 'connection_lost',
        maybeExecuted: true,
        message: `The connection to ${B} ended before desk.waits replied: ${WHY}`,
        details: { cause: 'CONNECTION_REPLACED' },
        help: 'nestjs-gen-rpc/docs/errors.md#connection_lost',
      });
    }
    expect(older.log.lines).toEqual([WHY]);
    expect(older.node.stats().counts).toEqual({ dialled: 1, connected: 1, connection_replaced: 1 });
    expect(newer.log.lines).toEqual([]);
    expect(newer.node.stats().counts).toEqual({ dialled: 1, connected: 1 });
    expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 1, runningCalls: 0, counts: { duplicate_node: 1 } });
    expect(cluster.log.lines).toEqual([
      `${X} connected again, from 127.0.0.1: its older connection, from 127.0.0.1, is closed.`,
    ]);
  });
});

describe.each(SOCKET_DRIVERS)('H-17 the older one that is busy, over %s', (driver) => {
  it('H-17 is told while it sends all the time', async () => {
    await using cluster = await twins({ driver });
    const [older, newer] = [cluster.twin(), cluster.twin()];
    let sent = 0;
    async function* endless(): AsyncGenerator<Buffer> {
      for (;;) {
        sent += 1;
        yield Buffer.alloc(8 * 1024);
      }
    }
    const upload = failureOf(older.node.call(B, 'desk', 'reads', [endless()]));
    await until(() => sent > 100);
    await newer.node.connect(B);
    expect((await upload).details).toEqual({ cause: 'CONNECTION_REPLACED' });
    expect(older.log.lines).toEqual([WHY]);
  });
});

describe('H-17 processes of one name that go on calling', () => {
  const TEN_MINUTES = 600_000;

  it('H-17 the older one fails fast until its next attempt, and says why', async () => {
    await using cluster = await twins({ virtual: { seed: 1 } });
    const [older, newer] = [cluster.twin(), cluster.twin()];
    await older.node.call(B, 'desk', 'answers');
    await newer.node.connect(B);
    await until(() => replacedOf(older) === 1);
    const error = await failureOf(older.node.call(B, 'desk', 'answers'));
    const { nextAttemptMs } = error.details as { nextAttemptMs: number };
    expect(error).toMatchObject({
      code: 'node_down',
      maybeExecuted: false,
      message: `${WHY} Next attempt in ${nextAttemptMs} ms.`,
    });
    expect(older.node.stats().counts.dialled).toBe(1);
    const waits = older.node.call(B, 'desk', 'answers', [], { waitForReady: true });
    await cluster.clock?.advance(nextAttemptMs);
    expect(await waits).toBe('an answer');
    // Now the other one is the older.
    expect(newer.log.lines).toEqual([WHY]);
  });

  it('H-17 says it once for all of its connections, and counts each', async () => {
    await using cluster = await twins({ virtual: { seed: 2 } });
    const [older, newer] = [cluster.twin(), cluster.twin()];
    const keys = ['a', 'b', 'c', 'd'];
    await Promise.all(keys.map((key) => older.node.connect({ node: B, key })));
    const { openConnections } = older.node.stats();
    expect(openConnections).toBeGreaterThan(1);
    await newer.node.connect(B);
    await until(() => replacedOf(older) === openConnections);
    expect(older.log.lines).toEqual([WHY]);
    expect(older.node.stats()).toMatchObject({ openConnections: 0 });
  });

  it.each([1, 2, 3])('H-17 take turns ever more slowly, and not without end: seed %i', async (seed) => {
    await using cluster = await twins({ virtual: { seed } });
    const pair = [cluster.twin(), cluster.twin()];
    const dials = (): number => pair.reduce((sum, { node }) => sum + (node.stats().counts.dialled ?? 0), 0);
    const dialsAt: number[] = [];
    let answered = 0;
    for (let now = 0; now < TEN_MINUTES; now += 100) {
      for (const { node } of pair) {
        node.call(B, 'desk', 'answers').then(
          () => (answered += 1),
          () => {},
        );
      }
      await cluster.clock?.advance(100);
      dialsAt.push(dials());
    }
    const inFirstMinute = dialsAt[599] ?? 0;
    const inLastFive = dials() - (dialsAt[2999] ?? 0);
    expect(inFirstMinute).toBeLessThan(40);
    expect(inLastFive).toBeGreaterThan(0);
    expect(inLastFive).toBeLessThan(60);
    // One of them always has the place.
    expect(answered).toBeGreaterThan(5000);
    expect(replacedOf(pair[0] as Twin) + replacedOf(pair[1] as Twin)).toBeLessThanOrEqual(dials());
  });

  it('H-17 the one that is left has the place for good, and is at once back after a cut', async () => {
    await using cluster = await twins({ virtual: { seed: 4 } });
    const [older, newer] = [cluster.twin(), cluster.twin()];
    for (let turn = 0; turn < 5; turn += 1) {
      for (const { node } of [older, newer]) {
        const connected = node.call(B, 'desk', 'answers', [], { waitForReady: true, timeout: 60_000 });
        await cluster.clock?.advance(30_000);
        await connected;
      }
    }
    await newer.node.close();
    const back = older.node.call(B, 'desk', 'answers', [], { waitForReady: true, timeout: 60_000 });
    await cluster.clock?.advance(30_000);
    await back;
    const { dialled = 0 } = older.node.stats().counts;
    cluster.network.cut('127.0.0.1', '127.0.0.1');
    expect(await older.node.call(B, 'desk', 'answers')).toBe('an answer');
    expect(older.node.stats().counts.dialled).toBe(dialled + 1);
  });
});

describe('H-17 what looks like two processes of one name, and is none', () => {
  it('H-17 a restart, of which the peer has not heard: the connection of the dead one goes within seconds', async () => {
    await using cluster = await twins({ virtual: { seed: 5 } }, { keepalive: false });
    const before = cluster.twin();
    const call = failureOf(before.node.call(B, 'desk', 'waits'));
    await until(() => cluster.b.stats().runningCalls === 1);
    const [link] = cluster.network.links;
    link?.hold();
    before.node.abort();
    await call;
    const after = cluster.twin();
    expect(await after.node.call(B, 'desk', 'answers')).toBe('an answer');
    expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 1, runningCalls: 0 });
    expect(cluster.network.links.size).toBe(2);
    await cluster.clock?.advance(10_000);
    expect(cluster.network.links.size).toBe(1);
    for (const { node, log } of [before, after]) {
      expect(node.stats().counts).toEqual({ dialled: 1, connected: 1 });
      expect(log.lines).toEqual([]);
    }
  });

  it.each(SOCKET_DRIVERS)('H-17 a restart over %s', async (driver) => {
    await using cluster = await twins({ driver });
    const before = cluster.twin();
    await before.node.connect(B);
    before.node.abort();
    const after = cluster.twin();
    expect(await after.node.call(B, 'desk', 'answers')).toBe('an answer');
    for (const { node, log } of [before, after]) {
      expect(node.stats().counts).toEqual({ dialled: 1, connected: 1 });
      expect(log.lines).toEqual([]);
    }
  });

  it('H-17 a node that connects again while its peer still has the connection before', async () => {
    await using cluster = await twins({ virtual: { seed: 6 } }, { keepalive: false });
    const only = cluster.twin({ keepalive: { idle: 1000, interval: 1000, count: 1 } });
    await only.node.connect(B);
    const [link] = cluster.network.links;
    link?.hold();
    await cluster.clock?.advance(5000);
    expect(only.node.stats().counts).toMatchObject({ connection_lost: 1 });
    expect(await only.node.call(B, 'desk', 'answers', [], { waitForReady: true })).toBe('an answer');
    expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 2 });
    expect(cluster.b.stats().counts.duplicate_node).toBeUndefined();
    link?.release();
    await cluster.clock?.advance(1000);
    expect(only.node.stats().counts).toEqual({ dialled: 2, connected: 2, connection_lost: 1 });
    expect(cluster.b.stats().acceptedConnections).toBe(1);
  });

  it('H-17 processes that share a life', async () => {
    await using cluster = await twins({ virtual: { seed: 7 } });
    const workers = numbers(3).map(() => cluster.twin({ life: 'the only one' }));
    for (const { node } of [...workers, ...workers]) await node.call(B, 'desk', 'answers');
    for (const { node } of workers) expect(node.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('H-17 a process that is leaving, and the next one: the calls say why, the log does not', async () => {
    await using cluster = await twins({ virtual: { seed: 8 } });
    const [leaving, next] = [cluster.twin(), cluster.twin()];
    const call = failureOf(leaving.node.call(B, 'desk', 'waits'));
    await until(() => cluster.b.stats().runningCalls === 1);
    const drained = leaving.node.drain(60_000);
    await next.node.connect(B);
    expect((await call).message).toContain(WHY);
    await drained;
    expect(leaving.log.lines).toEqual([]);
    expect(leaving.node.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });
});

describe('H-17 an older one that does not read', () => {
  const ANSWER = 10 * 1024;

  /** `b` has answered so many calls of an older `x`, of which nothing leaves, and a newer one has connected. */
  async function unread(answers: number): Promise<Twins> {
    const cluster = await twins({ virtual: { seed: 9 } });
    const open: (() => void)[] = [];
    cluster.b.register('large', { answer: () => new Promise((ok) => open.push(() => ok(Buffer.alloc(ANSWER)))) });
    const { node } = cluster.twin({ callTimeout: 60_000 });
    for (const _ of numbers(answers)) node.call(B, 'large', 'answer').catch(() => {});
    await until(() => open.length === answers);
    for (const link of cluster.network.links) link.hold();
    for (const answer of open) answer();
    await until(() => cluster.b.stats().bufferedBytes > answers * ANSWER);
    await cluster.twin().node.connect(B);
    expect(cluster.b.stats()).toMatchObject({ acceptedConnections: 1, runningCalls: 0 });
    return cluster;
  }

  it('H-17 has seconds to take what was on its way, which counts as long as it is kept', async () => {
    await using cluster = await unread(20);
    expect(cluster.b.stats().bufferedBytes).toBeGreaterThan(20 * ANSWER);
    await cluster.clock?.advance(5000);
    expect(cluster.b.stats().bufferedBytes).toBe(0);
  });

  it('H-17 is cut off at once where that is much', async () => {
    await using cluster = await unread(30);
    expect(cluster.b.stats().bufferedBytes).toBe(0);
  });

  it('H-17 does not hold up a node that closes', async () => {
    await using cluster = await unread(20);
    const closed = cluster.b.close();
    await cluster.clock?.advance(400);
    await closed;
    expect(cluster.b.stats().bufferedBytes).toBe(0);
  });
});

/** What `b` tells older lives, byte for byte. */
describe.each(SOCKET_DRIVERS)('H-17 on the wire, over %s', (driver) => {
  const replaced: Frame = { type: FrameType.GoAway, lastId: GOAWAY_REPLACED };
  const life = (byte: number): { incarnation: Buffer } => ({ incarnation: Buffer.alloc(16, byte) });
  const call = (id: number): Frame => ({
    ...{ type: FrameType.Call, id, name: { module: 'desk', fn: 'waits', version: '' }, timeoutMs: 60_000 },
    ...{ single: false, headers: undefined, payload: { kind: 'codec', bytes: Buffer.of(0x90) } },
  });

  it('H-17 GOAWAY with the number for it, and the end behind it', async () => {
    await using cluster = await twins({ driver });
    const [older, newer] = await Promise.all([1, 2].map(() => RawPeer.dial(driver, portOf(cluster, B))));
    await older?.login(X, B, life(1));
    await newer?.login(X, B, life(2));
    await older?.closed();
    expect(older?.frames).toEqual([replaced]);
    newer?.destroy();
  });

  it('H-17 nothing behind a GOAWAY that names a call: a number may only fall', async () => {
    await using cluster = await twins({ driver }, { concurrency: { callsPerConnection: 2 } });
    const older = await RawPeer.dial(driver, portOf(cluster, B));
    await older.login(X, B, life(1));
    older.send(
      bytesOf(call(1), call(2), { type: FrameType.Cancel, id: 1 }, { type: FrameType.Cancel, id: 2 }, call(3)),
    );
    await older.until(() => older.frames.some(({ type }) => type === FrameType.Ping));
    older.send(bytesOf({ type: FrameType.Pong }));
    await older.until(() => older.frames.filter(({ type }) => type === FrameType.GoAway).length === 2);
    const newer = await RawPeer.dial(driver, portOf(cluster, B));
    await newer.login(X, B, life(2));
    await older.closed();
    expect(older.frames.filter(({ type }) => type === FrameType.GoAway)).toMatchObject([
      { lastId: GOAWAY_NOTHING_REFUSED },
      { lastId: 3 },
    ]);
    newer.destroy();
  });
});

describe('H-17 two processes of one name that are called', () => {
  it('H-17 whoever dials the name has the one that it finds, and keeps it while the connection lasts', async () => {
    await using cluster = new Cluster({ driver: 'tcp' });
    const processes = [await cluster.start('x'), await cluster.start('x')];
    const ports = processes.map((process, index) => {
      process.register('who', { am: () => index });
      return process.endpoints()[0]?.port ?? 0;
    });
    const a = cluster.create('a', { listen: false });
    const whoAt = (index: number, key: string): Promise<unknown> => {
      redirect(cluster, X, ports[index] ?? 0);
      return a.call({ node: X, key }, 'who', 'am');
    };
    expect(await whoAt(0, 'a')).toBe(0);
    expect(await whoAt(1, 'a')).toBe(0);
    expect(await whoAt(1, 'b')).toBe(1);
    expect(a.stats().counts).toEqual({ dialled: 2, connected: 2 });
  });
});
