/** A node dies in the middle of a call, all are asked while it is gone, and it returns. */
import assert from 'node:assert/strict';
import type { GenRpcNode } from 'nestjs-gen-rpc';
import { report, say, show, tell, timed } from '../story.js';
import type { ChildNode } from './child-node.js';
import { PRICES, STOCK } from './nodes.js';

export async function crashAndReturn(rpc: GenRpcNode, stock: ChildNode): Promise<void> {
  await crash(rpc, stock);
  await askEveryone(rpc);

  const waiting = timed(() => rpc.call(STOCK, 'stock', 'count', ['tea'], { waitForReady: true }));
  await stock.start();
  report('return', `${STOCK} is back (pid ${stock.pid}); a call that waited for it`, await waiting, { value: 40 });
}

async function crash(rpc: GenRpcNode, stock: ChildNode): Promise<void> {
  const recount = rpc.call(STOCK, 'stock', 'recount');
  await rpc.call(STOCK, 'stock', 'count', ['tea']);
  const [lost] = await Promise.all([timed(() => recount), stock.kill()]);
  report('crash', `${STOCK} is killed while it recounts`, lost, { code: 'connection_lost' });
  assert(lost.ms < 100, `the caller of a killed node heard of it after ${lost.ms} ms only`);

  await tell('', "stock.count('tea')", () => rpc.call(STOCK, 'stock', 'count', ['tea']), { code: 'node_down' });
}

/** Each node's outcome is its own. */
async function askEveryone(rpc: GenRpcNode): Promise<void> {
  const { outcomes, badNodes } = await rpc.multicall<number>([PRICES, STOCK], 'about', 'pid');
  assert.deepEqual(badNodes, [STOCK]);
  say('multi', 'about.pid() of both nodes, one of which is gone');
  for (const { node, ms, ...outcome } of outcomes) {
    say('', `${node} ${show({ ms, ...outcome })}`);
  }
  await tell(
    'sbcast',
    "'news' to both: which have begun to handle it?",
    () => rpc.sbcast([PRICES, STOCK], 'news', 'sale'),
    {
      value: { good: [PRICES], bad: [STOCK] },
    },
  );
  await tell('', 'about.listNews() of prices', () => rpc.call(PRICES, 'about', 'listNews'), { value: ['sale'] });
}
