/** What holds for a whole chain of calls, front → orders → stock, and how a node goes without loss. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { GenRpcNode } from 'nestjs-gen-rpc';
import { createNode } from 'nestjs-gen-rpc/core';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { report, say, tell, timed, title } from '../story.js';
import { type Left, NodeModule, ORDERS, STOCK } from './nodes.js';

title('front calls orders, which calls stock');
let stock = await serve(NodeModule.stock());
const orders = await serve(NodeModule.orders(stock.port));
const nodes = { [ORDERS]: { port: orders.port }, [STOCK]: { port: stock.port } };
const rpc = createNode({ name: 'front@127.0.0.1', secret, listen: false, nodes });

async function deadlines(): Promise<void> {
  const left = await rpc.call<Left>(ORDERS, 'orders', 'left', [], { timeout: 1000 });
  assert(left.orders <= 1000 && left.stock <= 801, `left: ${left.orders} ms, ${left.stock} ms`);
  say('deadline', 'front gives orders 1000 ms, which works for 200 and then asks stock → stock has 800 or less');

  const recount = (): Promise<void> => rpc.call(ORDERS, 'orders', 'recount', ['tea'], { timeout: 100 });
  await assert.rejects(recount, { code: 'timeout' });
  say('', 'front gives orders 100 ms, and stock would take a minute → timeout');
  await tell('', 'stock.listStopped(): it knows', () => stopped(1), { value: ['tea'] });
}

async function cancel(): Promise<void> {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);
  const recount = (): Promise<void> => rpc.call(ORDERS, 'orders', 'recount', ['rice'], { signal: abort.signal });
  await tell('cancel', 'front gives orders up, while stock works for it', recount, { code: 'cancelled' });
  await tell('', 'stock.listStopped(): it knows', () => stopped(2), { value: ['tea', 'rice'] });
}

/** Stock dies in the middle of a call, and another takes its place. */
async function retry(): Promise<void> {
  const count = (options: object) => timed(() => rpc.call<string>(STOCK, 'stock', 'count', ['tea', 200], options));
  const once = count({});
  const again = count({ idempotent: true, waitForReady: true });
  await sleep(100);
  stock.app.get(GenRpcNode).abort();
  report('retry', "stock dies in the middle of stock.count('tea')", await once, { code: 'connection_lost' });
  await restart();
  const line = 'the same call, { idempotent: true, waitForReady: true }, is made again → its successor answers';
  report('', line, await again, { value: '40 of tea' });
}

/** Stock is stopped as by a deployment, while twenty callers never pause. */
async function drain(): Promise<void> {
  let going = true;
  let asked = 0;
  let answered = 0;
  const caller = async (): Promise<void> => {
    for (; going; answered += 1) {
      asked += 1;
      await rpc.call(STOCK, 'stock', 'count', ['tea', 5], { waitForReady: true });
    }
  };
  const callers = Array.from({ length: 20 }, caller);
  await sleep(200);
  await restart();
  await sleep(200);
  going = false;
  await Promise.all(callers);
  assert.equal(answered, asked);
  say('drain', `stock drains and starts again while 20 callers never pause → none of their ${asked} calls is lost`);
}

async function restart(): Promise<void> {
  await stock.app.close();
  stock = await serve(NodeModule.stock(stock.port));
}

function stopped(count: number): Promise<string[]> {
  return rpc.call<string[]>(STOCK, 'stock', 'listStopped', [count]);
}

try {
  await deadlines();
  await cancel();
  await retry();
  await drain();
} finally {
  await rpc.close();
  await orders.app.close();
  await stock.app.close();
}
