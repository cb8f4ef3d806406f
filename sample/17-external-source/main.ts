/** A function of your own tells where nodes are: asked for each connection, missed only when a new one is needed. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { createNode, type GenRpcNode } from 'nestjs-gen-rpc/core';
import { secret } from '../secret.js';
import { say, tell, title } from '../story.js';
import { Registry } from './registry.js';

const [TEA, RICE, SALT] = ['tea@127.0.0.1', 'rice@127.0.0.1', 'salt@127.0.0.1'];

title('nodes that a function finds');
const registry = new Registry();
const started: GenRpcNode[] = [];
await start(TEA, 40);
await start(RICE, 7);

// The whole of it: a function from a node's name to its place. With Nest, `GenRpcModule.forRoot({ …, nodes })`.
const shop = createNode({
  ...{ name: 'shop@127.0.0.1', secret, listen: false },
  nodes: (node) => registry.find(node),
});
const count = (node: string, waitForReady = false): Promise<number> =>
  shop.call(node, 'stock', 'count', [], { waitForReady });

async function start(name: string, boxes: number): Promise<GenRpcNode> {
  const node = createNode({ name, secret, listen: { port: 0 } });
  node.register('stock', { count: () => boxes });
  const { port = 0 } = (await node.listen()) ?? {};
  registry.put(name, port);
  started.push(node);
  return node;
}

async function find(): Promise<void> {
  await tell('find', 'tea: stock.count()', () => count(TEA), { value: 40 });
  for (let call = 0; call < 100; call += 1) await count(TEA);
  assert.equal(registry.asked, 1);
  say('', '100 calls more → the registry was asked once, for the one connection');
  await tell('unknown', 'salt: stock.count()', () => count(SALT), { code: 'external_source_error' });
}

async function outage(): Promise<void> {
  registry.isAway = true;
  await tell('outage', 'the registry is away; tea: stock.count()', () => count(TEA), { value: 40 });
  await tell('', 'rice, to which there is no connection yet', () => count(RICE), { code: 'external_source_error' });
}

async function recover(): Promise<void> {
  const waiting = count(RICE, true);
  await sleep(300);
  registry.isAway = false;
  await tell('return', 'a call of rice that waited for it, { waitForReady: true }', () => waiting, { value: 7 });
}

/** Its connection ends with it; for the next one the registry is asked again. */
async function move(): Promise<void> {
  await started[0]?.close();
  await start(TEA, 39);
  await tell('move', 'tea was started anew, on another port: stock.count()', () => count(TEA, true), { value: 39 });
}

try {
  await find();
  await outage();
  await recover();
  await move();
} finally {
  await shop.close();
  for (const node of started) await node.close();
}
