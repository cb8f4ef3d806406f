/** Three nodes that tell of their calls, over real sockets. */
import { GenRpcError } from '../../lib/protocol/errors.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { openTelemetry } from '../../lib/opentelemetry.js';
import type { Tracing } from '../../lib/ports/tracing.js';
import { Cluster, type DriverName } from '../support/cluster.js';

export const A = 'a@127.0.0.1';
export const B = 'b@127.0.0.1';
export const C = 'c@127.0.0.1';

export type Nodes = Cluster & Record<'a' | 'b' | 'c', GenRpcNode>;

/** Follows nothing, as a node does without the option. */
export const NOBODY: Tracing = { outgoing: () => undefined, incoming: () => undefined };

/** `a` calls `b`, whose `shop.total` calls `math.add` of `c`. */
export async function tracedNodes(driver: DriverName = 'tcp', tracing: Tracing = openTelemetry()): Promise<Nodes> {
  const cluster = new Cluster({ driver, options: { tracing } });
  const [a, b, c] = [await cluster.start('a'), await cluster.start('b'), await cluster.start('c')];
  c.register('math', {
    add: ([x, y]: [number, number]) => x + y,
    fail: () => {
      throw new Error('SELECT secret');
    },
    decline: () => {
      throw new GenRpcError('handler_failed', 'no tea for 4711');
    },
    never: () => new Promise(() => {}),
    headers: (_, { headers }) => Object.fromEntries(headers ?? []),
  });
  b.register('shop', {
    total: async (prices: [number, number]) => {
      await new Promise(setImmediate);
      return b.call(C, 'math', 'add', prices);
    },
  });
  for (const node of [b, c]) node.register('odd', { answer: () => Symbol('cannot travel') });
  return Object.assign(cluster, { a, b, c });
}
