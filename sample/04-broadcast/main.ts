/** One call, cast or message to many nodes at once. Three shops; the first one speaks. */
import assert from 'node:assert/strict';
import { GenRpcNode } from 'nestjs-gen-rpc';
import { serve } from '../serve.js';
import { say, show, tell, title } from '../story.js';
import { ShopModule } from './shop.js';

const [OSLO, ROME, LIMA, GONE] = ['oslo@127.0.0.1', 'rome@127.0.0.1', 'lima@127.0.0.1', 'gone@127.0.0.1'];
const ALL = [OSLO, ROME, LIMA];

title('three shops, of which oslo speaks to all');
const rome = await serve(ShopModule.of(ROME));
const lima = await serve(ShopModule.of(LIMA));
// Nobody listens on port 1.
const nodes = { [ROME]: { port: rome.port }, [LIMA]: { port: lima.port }, [GONE]: { port: 1 } };
const oslo = await serve(ShopModule.of(OSLO, nodes));
const rpc = oslo.app.get(GenRpcNode);

try {
  await multicall();
  await evalEverywhere();
  await abcast();
  await sbcast();
} finally {
  for (const { app } of [oslo, rome, lima]) await app.close();
}

/** Every node has an outcome of its own; a dead one keeps nobody waiting. */
async function multicall(): Promise<void> {
  const { outcomes, results, badNodes } = await rpc.multicall<number>([...ALL, GONE], 'shop', 'price', ['tea']);
  assert.deepEqual(results, [4.2, 4.2, 4.2]);
  assert.deepEqual(badNodes, [GONE]);
  say('multi', "shop.price('tea') of four nodes, one of which is not there");
  for (const { node, ...ending } of outcomes) say('', `${node} ${show(ending)}`);
}

/** Without targets: the own node, and all that it is connected to. */
async function evalEverywhere(): Promise<void> {
  const { accepted, refused } = rpc.evalEverywhere('shop', 'setPrice', ['tea', 5]);
  assert.deepEqual([accepted, refused], [ALL, []]);
  say('eval', `shop.setPrice('tea', 5) everywhere → accepted for ${accepted.join(', ')}`);
  const prices = async () => (await rpc.multicall<number>('shop', 'price', ['tea'])).results;
  await tell('', "shop.price('tea') everywhere", prices, { value: [5, 5, 5] });
}

/** A message to whoever handles it; nobody waits. */
async function abcast(): Promise<void> {
  const { accepted } = rpc.abcast('news', 'tea is 5');
  assert.deepEqual(accepted, ALL);
  say('abcast', `'news' to everyone → accepted for ${accepted.join(', ')}`);
  const news = async () => (await rpc.multicall<string[]>('shop', 'listNews')).results.flat();
  await tell('', 'shop.listNews() everywhere', news, { value: ALL.map(() => `tea is 5 (from ${OSLO})`) });
}

/** As `abcast`, but one hears which nodes have the event and have begun to handle it. */
async function sbcast(): Promise<void> {
  await tell('sbcast', "'news' to four nodes", () => rpc.sbcast([...ALL, GONE], 'news', 'rice is 2'), {
    value: { good: ALL, bad: [GONE] },
  });
  await tell('', "'olds', which nobody handles", () => rpc.sbcast(ALL, 'olds', 'rice was 1'), {
    value: { good: [], bad: ALL },
  });
}
