/** Calls of one key share a connection, so that a long message of one customer holds up no other. */
import assert from 'node:assert/strict';
import type { GenRpcNode } from 'nestjs-gen-rpc';
import { say } from '../story.js';
import { PRICES } from './nodes.js';

export async function keys(rpc: GenRpcNode): Promise<void> {
  const customers = ['ann', 'bob', 'cleo'];
  const before = rpc.stats().openConnections;
  const callAll = async (): Promise<number> => {
    for (const key of customers) await rpc.call({ node: PRICES, key }, 'prices', 'add', [1, 1]);
    return rpc.stats().openConnections - before;
  };

  const opened = await callAll();
  assert.equal(opened, customers.length);
  say('keys', `a call of prices for each of ${customers.join(', ')} → ${opened} connections more`);
  assert.equal(await callAll(), opened);
  say('', 'and once more → no other: the same key always takes the same one');
}
