/** How many calls fit into a second, through Nest on both sides. */
import assert from 'node:assert/strict';
import type { GenRpcNode } from 'nestjs-gen-rpc';
import { say } from '../story.js';
import { PRICES } from './nodes.js';

export async function throughput(rpc: GenRpcNode): Promise<void> {
  const callers = 64;
  const end = performance.now() + 1000;
  let done = 0;
  const caller = async (): Promise<void> => {
    while (performance.now() < end) {
      const one = done;
      assert.equal(await rpc.call(PRICES, 'prices', 'add', [one, 1]), one + 1);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  say('speed', `${callers} callers for a second: ${done.toLocaleString('en')} calls of prices.add, through Nest`);
}
