/** What the tests of a node that calls itself share. */
import { Observable } from 'rxjs';
import { expect } from 'vitest';
import { GenRpcError } from '../../lib/protocol/errors.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { twoNodes, type TwoNodes } from '../support/cluster.js';

export const B = 'b@127.0.0.1';

export async function failureOf(reply: Promise<unknown>): Promise<GenRpcError> {
  return reply.then(
    () => expect.fail('it did not fail'),
    (error: GenRpcError) => error,
  );
}

/** Turns of the loop in which a promise that can settle would. */
export async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
}

/** A function that ends when the test says so, and the contexts of its calls. */
export function gated(node: GenRpcNode) {
  const contexts: CallContext[] = [];
  const gates: ((value: unknown) => void)[] = [];
  node.register('gate', {
    pass: (_: unknown, context) => {
      contexts.push(context);
      // Asked for at once, as a function does that means to hear of it.
      void context.signal;
      return new Promise((resolve) => gates.push(resolve));
    },
  });
  const open = (value: unknown): void => gates.splice(0).forEach((resolve) => resolve(value));
  return { contexts, open };
}

/** `b` closes one module, has another in one version, and functions that fail in their own ways. */
export async function withFailures(): Promise<TwoNodes> {
  const nodes = await twoNodes({ options: { moduleControl: 'blacklist', moduleList: ['closed'] } });
  const ran = (): void => void nodes.ran.push('ran');
  nodes.b.register('closed', { fn: ran });
  nodes.b.register('versioned', { fn: ran }, { version: '1.0.0' });
  nodes.b.register('wrong', {
    meant: () => Promise.reject(new GenRpcError('handler_failed', 'out of stock', { details: { left: [0] } })),
    met: () => Promise.reject(new GenRpcError('node_down', 'db@10.0.0.1 is down')),
    stream: () =>
      new Observable((observer) => {
        observer.next(1);
        observer.error(new Error('half way'));
      }),
    unsendable: () => ({ fn: (): void => {} }),
  });
  return nodes;
}
