/** Nodes that are closed at the worst moments: it resolves, everyone is told, and nothing is left. */
import { describe, expect, it } from 'vitest';
import type { Location } from '../../lib/discovery/discovery.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { Cluster, DRIVERS, SECRET, SOCKET_DRIVERS, twoNodes } from '../support/cluster.js';
import { helloFrom, portOf, redirect, until } from '../support/door.js';
import { turns } from '../support/held.js';
import { RawServer } from '../support/raw-peer.js';
import { createNode } from '../../lib/node/create-node.js';
import { numbers, readOf, upTo } from '../support/streams.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';

/** Whichever way it ends, and again. */
const ENDS: Readonly<Record<string, (node: GenRpcNode) => Promise<unknown>>> = {
  'closed twice': (node) => Promise.all([node.close(), node.close()]),
  'drained and closed': (node) => Promise.all([node.drain(60_000), node.close(), node.drain()]),
  aborted: async (node) => {
    node.abort();
    node.abort();
    await node.close();
  },
};

describe.each(DRIVERS)('G-05 a node over %s', (driver) => {
  describe.each(Object.entries(ENDS))('%s', (how, end) => {
    it('G-05 while it begins to listen: that fails, and the port is free', async () => {
      await using cluster = new Cluster({ driver });
      const node = cluster.create('b');
      const listening = expect(node.listen()).rejects.toMatchObject({ code: 'cancelled' });
      await end(node);
      await listening;
      await expect(node.listen()).rejects.toMatchObject({ code: 'cancelled' });
      const b = await cluster.start('c');
      const port = portOf(cluster, b.name);
      const late = cluster.create('d', { listen: { port } });
      const failed = late.listen().catch((error: unknown) => error);
      await end(b);
      await failed;
      await late.close();
      const next = cluster.create('e', { listen: { port } });
      expect(await next.listen()).toMatchObject({ port });
    });

    it('G-05 while it connects: those who wait are told', async () => {
      await using cluster = new Cluster({ driver });
      let find: (where: Location) => void = () => {};
      const discovery = { resolve: () => new Promise<Location>((resolve) => (find = resolve)) };
      const b = await cluster.start('b');
      const a = cluster.create('a', { listen: false, discovery });
      const told = [a.call(B, 'math', 'add', [1, 2]), a.call(B, 'math', 'add', [upTo(5)]), a.connect(B)].map((one) =>
        expect(one).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: false }),
      );
      const read = readOf(a.stream(B, 'math', 'add'));
      await turns();
      await end(a);
      await Promise.all(told);
      expect(await read).toEqual({ items: [], error: 'cancelled' });
      find(cluster.discovery.locations.get(B) ?? { driver, host: '127.0.0.1', port: 1 });
      await turns();
      expect(b.stats().acceptedConnections + b.stats().handshakes).toBe(0);
    });

    it('G-05 inside of a function that it runs: the function goes on, its caller is told', async () => {
      await using nodes = await twoNodes({ driver });
      let ended = 0;
      for (const node of [nodes.a, nodes.b]) {
        node.register('end', {
          now: async () => {
            await end(node);
            ended += 1;
          },
          async *stream() {
            yield 1;
            await end(node);
            ended += 1;
            yield 2;
          },
        });
      }
      const read = readOf(nodes.a.stream(B, 'end', 'stream'));
      const { items, error } = await read;
      expect([items.length <= 1, ['shutting_down', 'connection_lost'].includes(error ?? '')]).toEqual([true, true]);
      // The own node, from within: nobody waits for the other.
      await expect(nodes.a.call(A, 'end', 'now')).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: true });
      await until(() => ended === 2);
    });

    it('G-05 by the reader of a stream, between two items', async () => {
      await using nodes = await twoNodes({ driver });
      nodes.b.register('count', { to: ([n]: [number]) => upTo(n) });
      const items: unknown[] = [];
      const reading = (async () => {
        for await (const item of nodes.a.stream(B, 'count', 'to', [100_000])) {
          items.push(item);
          if (items.length === 5) await end(nodes.a);
        }
      })();
      const code = how === 'aborted' ? 'connection_lost' : 'cancelled';
      await expect(reading).rejects.toMatchObject({ code, maybeExecuted: true });
      expect(items).toEqual(numbers(items.length));
      await until(() => nodes.b.stats().runningCalls === 0);
    });
  });
});

describe.each(Object.entries(ENDS))('G-05 a node %s', (_, end) => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('G-05 in the middle of a handshake that it began', async () => {
      await using cluster = new Cluster({ driver });
      await using server = await RawServer.listen(driver);
      redirect(cluster, B, server.port);
      const a = cluster.create('a', { listen: false });
      const told = expect(a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({
        ...{ code: 'cancelled', maybeExecuted: false },
      });
      const peer = await server.accept();
      await peer.until(() => peer.received.length > 0);
      await end(a);
      await told;
      await peer.closed();
    });

    it('G-05 in the middle of handshakes that others began', async () => {
      await using cluster = new Cluster({ driver });
      const b = await cluster.start('b');
      const strangers = await Promise.all(numbers(5).map(() => helloFrom(cluster, B)));
      await until(() => b.stats().handshakes === 5);
      await end(b);
      await Promise.all(strangers.map((peer) => peer.closed()));
      await until(() => b.stats().handshakes === 0);
    });
  });

  it('G-05 that never listened nor called', async () => {
    const node = createNode({ name: A, secret: SECRET });
    await end(node);
    await expect(node.call(B, 'math', 'add')).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe.each(DRIVERS)('G-06 a node that is closed with calls pending, over %s', (driver) => {
  it('G-06 all of them settle within the turn, also those behind a caller that throws', async () => {
    await using nodes = await twoNodes({ driver });
    const { a } = nodes;
    a.register('math', { never: () => new Promise(() => {}) });
    const told: string[] = [];
    const throwing = {
      item() {},
      done() {},
      failed({ code }: GenRpcError) {
        told.push(code);
        throw new Error('a listener of the test throws');
      },
    };
    const where = [B, A, 'nobody@127.0.0.1'];
    const name = a.functionName('math', 'never');
    const ask = (node: string, stream?: AsyncIterable<unknown>): void => {
      const invocation = { name, args: [], single: false, headers: undefined, stream };
      a.request({ node }, invocation, { timeout: 60_000, waitForReady: true }, throwing);
    };
    for (const node of where) {
      for (let n = 0; n < 30; n += 1) ask(node);
      ask(node, upTo(3));
    }
    const promises = where.map((node) => a.call(node, 'math', 'never', [], { waitForReady: true }));
    const heard = Promise.allSettled(promises);
    const read = readOf(a.stream(B, 'math', 'never'));
    await until(() => nodes.ran.length === 33);
    const closed = a.close();
    expect(told).toEqual(told.map(() => 'cancelled'));
    expect(told).toHaveLength(3 * 31);
    await closed;
    for (const outcome of await heard) expect(outcome).toMatchObject({ reason: { code: 'cancelled' } });
    expect(await read).toEqual({ items: [], error: 'cancelled' });
    expect(a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 0 });
    expect(a.stats().counts).toMatchObject({ listener_failed: 3 * 31 });
  });
});
