/** Nodes that are found through the domain name system: more of them, fewer of them, and a name server that dies. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { DnsDiscovery } from 'nestjs-gen-rpc';
import { createNode } from 'nestjs-gen-rpc/core';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { say, title } from '../story.js';
import { MathModule } from './math.js';
import { NameServer } from './name-server.js';

const [ONE, TWO, THREE] = ['127.0.0.2', '127.0.0.3', '127.0.0.4'];
const NAME = 'math.internal';
// Here records hold for no time, and are looked up again at once. Yours say how long they hold.
const interval = 100;

title('nodes that a name leads to');
const names = await NameServer.start();
const one = await serve(MathModule.at(ONE, 0));
const { port } = one;
const apps = new Map([[ONE, one.app]]);
await startAt(TWO);
publish(ONE, TWO);

const service = { name: 'math', host: NAME, port, modules: ['math'] };
const caller = createNode({
  name: 'caller@127.0.0.1',
  secret,
  listen: false,
  discovery: new DnsDiscovery({ ...service, servers: [names.address], interval }),
});
caller.onMembership(({ type, member }) => say('', `${type} ${member.name}`));

async function startAt(host: string): Promise<void> {
  apps.set(host, (await serve(MathModule.at(host, port))).app);
}

function publish(...addresses: readonly string[]): void {
  names.set(NAME, ...addresses.map((address) => ({ type: 'A', address, ttl: 0 }) as const));
}

async function until(check: () => boolean): Promise<void> {
  while (!check()) await sleep(10);
}

const isKnown = (host: string): boolean => caller.members().some(({ name }) => name === `math@${host}`);

/** Who has answered so many calls, of which none may fail. */
async function askAll(count: number): Promise<string[]> {
  const by = new Set<string>();
  for (let call = 0; call < count; call += 1) {
    const answer = await caller.call<{ sum: number; by: string }>({ module: 'math' }, 'math', 'add', [call, 1]);
    assert.equal(answer.sum, call + 1);
    by.add(answer.by);
  }
  return [...by].toSorted();
}

async function find(): Promise<void> {
  say('find', `${NAME} has two addresses, and each is a node`);
  await until(() => isKnown(TWO));
  say('call', `math.add of whoever has the module, 100 times → answered by ${(await askAll(100)).join(' and ')}`);
}

async function grow(): Promise<void> {
  say('grow', 'a third one is started, and the name leads there too');
  await startAt(THREE);
  publish(ONE, TWO, THREE);
  await until(() => isKnown(THREE));
  say('', `100 calls → answered by ${(await askAll(100)).length} nodes`);
}

/** Kubernetes does both at once: the address goes, and the pod is told to end. What runs there is finished. */
async function shrink(): Promise<void> {
  say('shrink', 'the first one drains, and its address is gone');
  publish(TWO, THREE);
  await Promise.all([apps.get(ONE)?.close(), askAll(100)]);
  await until(() => !isKnown(ONE));
  say('', `100 calls all the while, none of which failed; now answered by ${(await askAll(100)).join(' and ')}`);
}

/** Nobody needs it for a call: what it told last is used for as long as it is away. */
async function outage(): Promise<void> {
  say('outage', 'the name server is gone');
  await names.stop();
  await until(() => (caller.stats().counts.discovery_failed ?? 0) > 0);
  const by = await askAll(100);
  say('', `discovery_failed is counted; 100 calls → answered by ${by.join(' and ')}, as before`);
}

try {
  await find();
  await grow();
  await shrink();
  await outage();
} finally {
  await caller.close();
  for (const app of apps.values()) await app.close();
}
