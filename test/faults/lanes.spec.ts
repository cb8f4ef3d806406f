/** Many keys, few connections: what a caller's keys may cost, and that nothing of them stays. */
import { queryObjects } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { Lane } from '../../lib/client/lane.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { Cluster, DRIVERS, twoNodes, type NodeSettings, type TwoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';

const B = 'b@127.0.0.1';
const KEYS = 1000;
const MAX_LANES = 64;
const IDLE_MS = 1000;
/** Whoever dials by hundreds of keys at once needs a door that lets them in. */
const ADMISSION = { total: KEYS, perAddress: KEYS };
const MANY: NodeSettings = { maxLanesPerNode: 1024, maxLanes: MAX_LANES, admission: ADMISSION };

/** The engine may keep one or two that nobody else does: here, or from a test before. */
const FEW = 4;

/** Lanes in the heap, after a collection, but for `before`. */
const lanesIn = (before = 0): number => queryObjects(Lane, { format: 'count' }) - before;

/** The most connections that there were, at either end, whenever `look` was called. */
function watch({ a, b }: TwoNodes) {
  const most = { opened: 0, accepted: 0 };
  const look = (): void => {
    most.opened = Math.max(most.opened, a.stats().openConnections);
    most.accepted = Math.max(most.accepted, b.stats().acceptedConnections);
  };
  a.onStatus(look);
  return { most, look };
}

/** Keys of every kind there is. */
function keyOf(index: number): unknown {
  const kinds = [index, `key ${index}`, { id: index }, [index, 'x'], BigInt(index) * 10n ** 9n, new Date(index * 1000)];
  return kinds[index % kinds.length];
}

function callBy(a: GenRpcNode, index: number): Promise<number> {
  return a.call<number>({ node: B, key: keyOf(index) }, 'math', 'add', [index, 1]);
}

/** A call that keeps its lane busy until the test lets it go. */
function gate(b: GenRpcNode): { entered: () => number; open: () => void } {
  const waiting: (() => void)[] = [];
  b.register('gate', { pass: () => new Promise<void>((resolve) => waiting.push(resolve)) });
  return { entered: () => waiting.length, open: () => waiting.splice(0).forEach((pass) => pass()) };
}

describe('K-04 a thousand keys, each once', () => {
  it('K-04 never have more connections than maxLanes, and all are answered', async () => {
    const before = lanesIn();
    await using nodes = await twoNodes({
      virtual: { seed: 1 },
      options: { ...MANY, clientInactivityTimeout: IDLE_MS },
    });
    const { most, look } = watch(nodes);
    for (let index = 0; index < KEYS; index += 1) {
      await expect(callBy(nodes.a, index)).resolves.toBe(index + 1);
      look();
    }
    expect(most).toEqual({ opened: MAX_LANES, accepted: MAX_LANES });
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, openConnections: MAX_LANES, connectedNodes: 1 });
    expect(nodes.network.links.size).toBe(MAX_LANES);
    expect(Math.abs(lanesIn(before) - MAX_LANES)).toBeLessThanOrEqual(FEW);
    await nodes.clock?.advance(IDLE_MS);
    expect(nodes.a.stats()).toMatchObject({ openConnections: 0, connectedNodes: 0 });
    expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 0 });
    expect(nodes.network.links.size).toBe(0);
    expect(lanesIn(before)).toBeLessThanOrEqual(FEW);
    const { dialled = 0, ...counts } = nodes.a.stats().counts;
    expect(counts).toEqual({ connected: dialled });
    expect(dialled).toBeGreaterThan(KEYS / 2);
    expect(nodes.log.lines).toEqual([]);
  });

  it.each(['client', 'server'] as const)('K-04 all go by the inactivity of the %s, and come again', async (end) => {
    const idle = end === 'client' ? { clientInactivityTimeout: IDLE_MS } : { serverInactivityTimeout: IDLE_MS };
    const before = lanesIn();
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: { ...MANY, maxLanes: 4096, ...idle } });
    for (let round = 1; round <= 2; round += 1) {
      const replies = Array.from({ length: KEYS }, (_, index) => callBy(nodes.a, index));
      expect(await Promise.all(replies)).toEqual(replies.map((_, index) => index + 1));
      const { openConnections } = nodes.a.stats();
      expect(openConnections).toBeGreaterThan(KEYS / 2);
      expect(nodes.b.stats().acceptedConnections).toBe(openConnections);
      expect(nodes.a.stats().counts).toEqual({ dialled: round * openConnections, connected: round * openConnections });
      await nodes.clock?.advance(IDLE_MS);
      expect(nodes.a.stats().openConnections + nodes.b.stats().acceptedConnections).toBe(0);
      expect(lanesIn(before)).toBeLessThanOrEqual(FEW);
    }
    // The deadlines of those calls share one timer.
    await nodes.clock?.advance(20_000);
    expect(nodes.clock?.pending).toBe(0);
  });

  it('K-04 asked for all at once are all answered: whom somebody waits for is not closed', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: MANY });
    const replies = Array.from({ length: KEYS }, (_, index) => callBy(nodes.a, index));
    expect(await Promise.all(replies)).toEqual(replies.map((_, index) => index + 1));
    expect(nodes.a.stats().counts.connection_lost).toBeUndefined();
  });

  it('K-04 casts by a thousand keys arrive, each once, over as few connections', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: MANY });
    const got: number[] = [];
    nodes.b.register('log', { write: ([line]: [number]) => void got.push(line) });
    const { most, look } = watch(nodes);
    for (let index = 0; index < KEYS; index += 1) {
      const ordered = index % 2 === 0;
      expect(nodes.a.cast({ node: B, key: keyOf(index) }, 'log', 'write', [index], { ordered })).toBe(true);
      await nodes.clock?.advance(1);
      look();
    }
    expect(got).toEqual(Array.from({ length: KEYS }, (_, index) => index));
    expect(most.opened).toBeLessThanOrEqual(MAX_LANES);
    expect(most.accepted).toBeLessThanOrEqual(MAX_LANES);
    expect(nodes.a.stats().counts).not.toHaveProperty('cast_dropped');
  });

  it('K-04 no more than maxLanesPerNode without a bound of all', async () => {
    const before = lanesIn();
    await using nodes = await twoNodes({ virtual: { seed: 1 } });
    const replies = Array.from({ length: KEYS }, (_, index) => callBy(nodes.a, index));
    await Promise.all(replies);
    expect(nodes.a.stats()).toMatchObject({ openConnections: 16, counts: { dialled: 16, connected: 16 } });
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    expect(nodes.b.stats().acceptedConnections).toBe(17);
    expect(Math.abs(lanesIn(before) - 17)).toBeLessThanOrEqual(FEW);
  });

  it('K-04 a thousand names of nodes that are down are forgotten as well', async () => {
    const before = lanesIn();
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const a = cluster.create('a', { listen: false, maxLanes: MAX_LANES });
    for (let index = 0; index < KEYS; index += 1) {
      // Not by `rejects`, which keeps every error, and with it all that its stack has seen.
      const code = await a.call(`n${index}@127.0.0.1`, 'math', 'add').catch((error: GenRpcError) => error.code);
      expect(code).toBe('node_down');
    }
    expect(lanesIn(before)).toBeLessThanOrEqual(MAX_LANES + FEW);
    expect(a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 0 });
  });
});

describe('K-04 the lane that makes room', () => {
  const THREE: NodeSettings = { maxLanesPerNode: 1024, maxLanes: 3 };
  const by = (a: GenRpcNode, key: string, fn = 'add', module = 'math'): Promise<unknown> =>
    a.call({ node: B, key }, module, fn, [1, 2]);
  const connected = (a: GenRpcNode, keys: string): string =>
    [...keys].filter((key) => a.isConnected({ node: B, key })).join('');

  it('K-04 is the one that nobody has asked for longest', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: THREE });
    for (const key of 'abc') await by(nodes.a, key);
    await by(nodes.a, 'a');
    await by(nodes.a, 'd');
    expect(connected(nodes.a, 'abcd')).toBe('acd');
    nodes.a.cast({ node: B, key: 'c' }, 'math', 'add', [1, 2]);
    await by(nodes.a, 'e');
    expect(connected(nodes.a, 'abcde')).toBe('cde');
    expect(nodes.a.stats().counts).toEqual({ dialled: 5, connected: 5 });
  });

  it('K-04 is none that somebody waits for, however long ago it was asked for', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: THREE });
    const { entered, open } = gate(nodes.b);
    const slow = by(nodes.a, 'a', 'pass', 'gate');
    await until(() => entered() === 1);
    for (const key of 'bcdefg') await by(nodes.a, key);
    expect(connected(nodes.a, 'abcdefg')).toBe('afg');
    open();
    await expect(slow).resolves.toBeUndefined();
    await by(nodes.a, 'h');
    expect(connected(nodes.a, 'abcdefgh')).toBe('fgh');
  });

  it('K-04 is found anew where all were busy, once they are not', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: THREE });
    const { entered, open } = gate(nodes.b);
    const slow = [...'abcde'].map((key) => by(nodes.a, key, 'pass', 'gate'));
    await until(() => entered() === 5);
    expect(nodes.a.stats().openConnections).toBe(5);
    open();
    await Promise.all(slow);
    for (const key of 'fghij') await by(nodes.a, key);
    expect(nodes.a.stats().openConnections).toBe(3);
    expect(connected(nodes.a, 'hij')).toBe('hij');
  });

  it('K-04 is rather one without ordered casts, whose numbers would be lost with it', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: THREE });
    const { entered, open } = gate(nodes.b);
    const ordered = (): boolean => nodes.a.cast({ node: B, key: 'a' }, 'gate', 'pass', [], { ordered: true });
    ordered();
    await until(() => entered() === 1);
    for (const key of 'bcdefg') await by(nodes.a, key);
    expect(connected(nodes.a, 'abcdefg')).toBe('afg');
    ordered();
    await by(nodes.a, 'a');
    expect(entered()).toBe(1);
    open();
    await until(() => entered() === 1);
    open();
  });

  it('K-04 is waited for by close, while what it sent is held', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: { ...THREE, maxLanes: 1 } });
    await by(nodes.a, 'a');
    const [link] = nodes.network.links;
    link?.hold();
    nodes.a.cast({ node: B, key: 'a' }, 'math', 'add', [1, 2]);
    await by(nodes.a, 'b');
    const closed = nodes.a.close();
    // As long as a channel waits for its last bytes to leave.
    await nodes.clock?.advance(6000);
    await closed;
    expect(nodes.a.stats().openConnections).toBe(0);
    link?.release();
  });

  it('K-04 still sends what was cast over it', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1, latency: () => 10 }, options: THREE });
    const got: string[] = [];
    nodes.b.register('log', { write: ([key]: [string]) => void got.push(key) });
    const write = (key: string): boolean => nodes.a.cast({ node: B, key }, 'log', 'write', [key]);
    for (const key of 'abc') write(key);
    await nodes.clock?.advance(1000);
    // In one turn: each of them makes room for the next, with its cast unsent.
    for (const key of 'abcdef') write(key);
    await nodes.clock?.advance(1000);
    expect(got.toSorted().join('')).toBe('aabbccdef');
    expect(nodes.a.stats().counts).not.toHaveProperty('cast_dropped');
  });
});

describe.each(DRIVERS)('K-04 in real time, over %s', (driver) => {
  it('K-04 a thousand keys, never more than maxLanes connections, all closed by inactivity', async () => {
    const before = lanesIn();
    await using nodes = await twoNodes({ driver, options: { ...MANY, clientInactivityTimeout: 500 } });
    const { most, look } = watch(nodes);
    for (let index = 0; index < KEYS; index += 1) {
      expect(await callBy(nodes.a, index)).toBe(index + 1);
      look();
    }
    expect(most.opened).toBeLessThanOrEqual(MAX_LANES);
    // The end of a closed connection reaches the server a moment later.
    expect(most.accepted).toBeLessThanOrEqual(MAX_LANES + 8);
    await until(() => nodes.b.stats().acceptedConnections === 0 && nodes.a.stats().openConnections === 0);
    expect(nodes.a.stats().counts).not.toHaveProperty('connection_lost');
    await until(() => lanesIn(before) <= FEW);
  });
});
