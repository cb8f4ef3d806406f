/** Processes that are busy with themselves for longer than their heartbeat lasts: nobody is dead. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { ChildNode } from '../support/child-node.js';
import { Cluster, SOCKET_DRIVERS } from '../support/cluster.js';
import { until } from '../support/door.js';

const A = 'a@127.0.0.1';
const CHILD = 'child@127.0.0.1';
const BLOCKED_MS = 2000;
const LANES = 16;
/** Dead after 400 ms. */
const QUICK = { keepalive: { idle: 200, interval: 200, count: 1 }, concurrency: { loopDelay: 60_000 } };
/** Asks as soon, and bears it for 12 s that the other one is blocked. */
const PATIENT = { keepalive: { idle: 200, interval: 2000, count: 6 } };

const keys = Array.from({ length: LANES }, (_, key) => key);

/** `from` calls `to` over many lanes; returns what comes back. */
function callOverAll(from: GenRpcNode, to: string): Promise<unknown[]> {
  return Promise.all(keys.map((key) => from.call({ node: to, key }, 'child', 'echo', [key])));
}

describe.each(SOCKET_DRIVERS)('T-14 an event loop that is blocked for 2 s, over %s', (driver) => {
  it('T-14 in the caller: it reads what has come meanwhile before it judges anybody', async () => {
    // One that asked would send signs of life meanwhile, and hide what becomes of an answer that was not read.
    await using cluster = new Cluster({ driver, options: { keepalive: false } });
    const a = await cluster.start('a');
    const waiting: (() => void)[] = [];
    a.register('slow', { fn: ([value]: [number]) => new Promise((resolve) => waiting.push(() => resolve(value))) });
    const nodes = { [A]: { port: cluster.discovery.locations.get(A)?.port } };
    await using child = await ChildNode.start(cluster, CHILD, { ...QUICK, nodes });
    const replies = keys.map((key) => child.ask('call', { node: A, key }, 'slow', 'fn', [key]));
    await until(() => waiting.length === LANES);
    await child.ask('standStill', BLOCKED_MS);
    // Where it asks in between, the answer lies in its socket when the time for it is over.
    await child.ask('standStill', 500, 6);
    for (const answer of waiting) answer();
    await expect(Promise.all(replies)).resolves.toEqual(keys.map((value) => ({ value })));
    const { openConnections, counts } = await child.stats();
    expect(counts).toEqual({ dialled: openConnections, connected: openConnections });
    expect(a.stats()).toMatchObject({ acceptedConnections: openConnections, runningCalls: 0 });
  });

  it('T-14 in the callee: neither does it take its callers for dead, nor do patient callers take it for dead', async () => {
    await using cluster = new Cluster({ driver, options: PATIENT });
    await using child = await ChildNode.start(cluster, CHILD, QUICK);
    const a = cluster.create('a', { listen: false });
    await expect(callOverAll(a, CHILD)).resolves.toEqual(keys);
    const { openConnections } = a.stats();
    const blocked = child.ask('standStill', BLOCKED_MS);
    await expect(Promise.all([callOverAll(a, CHILD), blocked])).resolves.toEqual([keys, undefined]);
    await expect(callOverAll(a, CHILD)).resolves.toEqual(keys);
    expect(a.stats().counts).toEqual({ dialled: openConnections, connected: openConnections });
    expect(await child.stats()).toMatchObject({ acceptedConnections: openConnections, runningCalls: 0 });
  });

  it('T-14 in a call: the others of its connection wait, and are answered', async () => {
    await using cluster = new Cluster({ driver, options: PATIENT });
    await using child = await ChildNode.start(cluster, CHILD, QUICK);
    const a = cluster.create('a', { listen: false });
    const blocking = a.call(CHILD, 'child', 'standStill', [BLOCKED_MS]);
    const behind = keys.map((key) => a.call(CHILD, 'child', 'echo', [key]));
    await expect(Promise.all(behind)).resolves.toEqual(keys);
    await blocking;
    expect(a.stats().counts).toEqual({ dialled: 1, connected: 1 });
    expect((await child.stats()).acceptedConnections).toBe(1);
  });
});
