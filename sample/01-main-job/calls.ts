/** One call, one cast, one stream, one result that is fetched later, and how calls fail. */
import assert from 'node:assert/strict';
import type { GenRpcNode } from 'nestjs-gen-rpc';
import { say, tell } from '../story.js';
import { PRICES, STOCK } from './nodes.js';
import type { Quote } from './prices.js';

export async function calls(rpc: GenRpcNode): Promise<void> {
  await tell('call', "prices.quote('tea', 3)", () => rpc.call<Quote>(PRICES, 'prices', 'quote', ['tea', 3]), {
    value: { item: 'tea', count: 3, total: 12.6, inStock: 40 },
  });
  say('', 'prices asked stock for it: two hops, two connections, one deadline each');

  assert(rpc.cast(STOCK, 'stock', 'note', ['tea sells well']), 'the cast was not accepted');
  say('cast', "stock.note('tea sells well') → accepted, nobody waits for it");
  await tell('call', 'stock.notes()', () => rpc.call<string[]>(STOCK, 'stock', 'notes'), {
    value: [`${rpc.name}: tea sells well`],
  });
}

export async function failures(rpc: GenRpcNode): Promise<void> {
  await tell('fails', "prices.quote('unicorn', 1)", () => rpc.call(PRICES, 'prices', 'quote', ['unicorn', 1]), {
    code: 'handler_failed',
  });
  await tell('fails', "prices.qoute('tea', 1)", () => rpc.call(PRICES, 'prices', 'qoute', ['tea', 1]), {
    code: 'undefined_function',
  });
  await tell('fails', 'stock.recount() within 50 ms', () => rpc.call(STOCK, 'stock', 'recount', [], { timeout: 50 }), {
    code: 'timeout',
  });
}

/** Read one by one; whoever has enough leaves. */
export async function streams(rpc: GenRpcNode): Promise<void> {
  const history = rpc.stream<number>(PRICES, 'prices', 'history', ['tea', 10_000]);
  let read = 0;
  for await (const _ of history) read += 1;
  assert.equal(read, 10_000);
  const first: number[] = [];
  for await (const price of history) if (first.push(price) === 3) break;
  assert.deepEqual(first, [4.2, 4.24, 4.28]);
  say('stream', `prices.history('tea', 10000) → ${read} prices, one by one; the same again, left after three`);
}

/** Both run from the moment they are asked. */
export async function later(rpc: GenRpcNode): Promise<void> {
  const tea = rpc.asyncCall<number>(PRICES, 'prices', 'forecast', ['tea']);
  const rice = rpc.asyncCall<number>(PRICES, 'prices', 'forecast', ['rice']);
  say('async', "prices.forecast('tea') and prices.forecast('rice') run there; this goes on here");
  await tell('', 'nbYield(50) of tea', () => tea.nbYield(50), { value: 'timeout' });
  await tell('', 'nbYield(5000) of tea', () => tea.nbYield(5000), { value: { value: 4.62 } });
  await tell('', 'yield() of rice', () => rice.yield(), { value: 1.21 });
}
