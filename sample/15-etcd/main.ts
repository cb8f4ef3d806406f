/** Nodes that know nothing of each other but where etcd is: they come, they go, and etcd itself may go for a while. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { EtcdDiscovery } from 'nestjs-gen-rpc';
import { createNode } from 'nestjs-gen-rpc/core';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { say, tell, title } from '../story.js';
import { Etcd } from './etcd.js';
import { StockModule } from './stock.js';

const OSLO = 'stock-oslo@127.0.0.1';
const ROME = 'stock-rome@127.0.0.1';

title('nodes that find each other through etcd');
const etcd = await Etcd.start();
if (etcd === undefined) {
  say('etcd', 'is not here: Debian and Ubuntu have it as package etcd-server (apt-get install etcd-server)');
  process.exit();
}

const { endpoint } = etcd;
const discovery = new EtcdDiscovery({ endpoints: [endpoint], checkInterval: 500 });
const front = createNode({ name: 'front@127.0.0.1', secret, listen: false, discovery });

const members = (): string[] =>
  front
    .members()
    .map(({ name }) => name)
    .toSorted();
const count = (target: string | { module: string }): Promise<number> => front.call(target, 'stock', 'count', ['tea']);

async function untilMembersAre(...names: readonly string[]): Promise<void> {
  while (members().join() !== names.join()) await sleep(10);
}

async function find(): Promise<void> {
  await tell('nobody', `stock.count('tea') of ${OSLO}`, () => count(OSLO), { code: 'external_source_error' });
  const oslo = await serve(StockModule.at(OSLO, endpoint));
  say('starts', `${OSLO} → in etcd there is now ${(await etcd?.keys('/gen-rpc/'))?.join(', ')}`);
  await untilMembersAre(OSLO);
  await tell('', `stock.count('tea') of ${OSLO}, at whichever port`, () => count(OSLO), { value: 40 });
  const rome = await serve(StockModule.at(ROME, endpoint));
  await untilMembersAre(OSLO, ROME);
  say('starts', `${ROME} → front has heard of ${members().join(', ')}`);
  await tell('module', "stock.count('tea') of any node that has stock", () => count({ module: 'stock' }), {
    value: 40,
  });
  await oslo.app.close();
  await untilMembersAre(ROME);
  say('ends', `${OSLO} → front has heard that there is only ${members().join(', ')}`);
  await outage();
  await rome.app.close();
}

/** What was known stays in use. How old it is can be seen. */
async function outage(): Promise<void> {
  await etcd?.kill();
  const ends = performance.now() + 2000;
  let calls = 0;
  for (; performance.now() < ends; calls += 1) assert.equal(await count({ module: 'stock' }), 40);
  const { discoveryAgeMs: age = 0, counts } = front.stats();
  assert(calls > 0 && age > 1000 && (counts.discovery_failed ?? 0) > 0);
  say(
    'outage',
    `etcd is killed → for 2 s, none of ${calls} calls has failed, by what was known ${Math.round(age)} ms ago`,
  );
  await etcd?.run();
  const oslo = await serve(StockModule.at(OSLO, endpoint));
  await untilMembersAre(OSLO, ROME);
  say('', `etcd is back → ${OSLO} too, and front has heard of it`);
  await oslo.app.close();
}

try {
  await find();
} finally {
  await front.close();
  await etcd.remove();
}
