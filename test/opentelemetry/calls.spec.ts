import { context, propagation, trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { openTelemetry } from '../../lib/opentelemetry.js';
import { Cluster, DRIVERS, type DriverName } from '../support/cluster.js';
import { until } from '../support/door.js';
import { isChildOf, Spans, statusOf } from '../support/spans.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';
const C = 'c@127.0.0.1';

/** `a` calls `b`, which calls `c`; each tells of its calls. */
async function chain(driver: DriverName = 'tcp'): Promise<Cluster & Record<'a' | 'b' | 'c', GenRpcNode>> {
  const cluster = new Cluster({ driver, options: { tracing: openTelemetry() } });
  const [a, b, c] = [await cluster.start('a'), await cluster.start('b'), await cluster.start('c')];
  c.register('math', {
    add: ([x, y]: [number, number]) => x + y,
    fail: () => {
      throw new Error('SELECT secret');
    },
    never: () => new Promise(() => {}),
    count: async function* ([to]: [number]) {
      for (let at = 1; at <= to; at += 1) yield at;
    },
    headers: (_, { headers }) => [...(headers ?? [])],
  });
  b.register('shop', {
    total: async (prices: [number, number]) => {
      await new Promise(setImmediate);
      return b.call(C, 'math', 'add', prices);
    },
    noted: (_, { headers }) => void b.cast(C, 'math', 'add', [1, headers?.size ?? 0]),
  });
  return Object.assign(cluster, { a, b, c });
}

describe.each(DRIVERS)('a trace over %s', (driver) => {
  it('is one over three nodes, each call a child of whatever made it', async () => {
    await using spans = new Spans();
    await using nodes = await chain(driver);
    await expect(spans.inside('request', () => nodes.a.call(B, 'shop', 'total', [1, 2]))).resolves.toBe(3);
    const ended = await spans.all(5);
    const request = await spans.one('INTERNAL', 'request');
    const asked = await spans.one('CLIENT', 'shop/total');
    const total = await spans.one('SERVER', 'shop/total');
    const added = await spans.one('CLIENT', 'math/add');
    const add = await spans.one('SERVER', 'math/add');
    const way = [request, asked, total, added, add];
    way.slice(1).forEach((span, at) => expect(isChildOf(span, way[at] ?? span)).toBe(true));
    expect(ended).toHaveLength(5);
    expect(way.map(statusOf)).toEqual([undefined, 'ok', 'ok', 'ok', 'ok']);
  });
});

describe('spans', () => {
  it('say what was called and where, and nothing of its arguments', async () => {
    await using spans = new Spans();
    await using nodes = await chain();
    await nodes.a.call(C, 'math', 'add', [123456, 654321]);
    const client = await spans.one('CLIENT', 'math/add');
    const server = await spans.one('SERVER', 'math/add');
    expect(client.attributes).toEqual({
      'rpc.system.name': 'gen_rpc',
      'rpc.method': 'math/add',
      'rpc.status_code': 'ok',
      'server.address': '127.0.0.1',
      'server.port': nodes.discovery.locations.get(C)?.port,
      'network.transport': 'tcp',
      'gen_rpc.peer.node': C,
    });
    expect(server.attributes).toEqual({
      'rpc.system.name': 'gen_rpc',
      'rpc.method': 'math/add',
      'rpc.status_code': 'ok',
      'server.address': '127.0.0.1',
      'client.address': '127.0.0.1',
      'network.transport': 'tcp',
      'gen_rpc.peer.node': A,
    });
  });
});
