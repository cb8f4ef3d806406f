/** Three Nest nodes on loopback, each a process of its own, calling each other: this one is `front`. */
import { randomBytes } from 'node:crypto';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GenRpcModule, GenRpcNode } from 'nestjs-gen-rpc';
import { ChildNode } from './child-node.js';
import type { Quote } from './prices.js';
import { expectCode, say, show, timed } from './story.js';

const secret = randomBytes(32).toString('base64');
const STOCK = 'stock@127.0.0.1';
const PRICES = 'prices@127.0.0.1';

console.log('\nnestjs-gen-rpc: three Nest nodes on this machine, each a process of its own\n');

const stock = new ChildNode('stock', { name: STOCK, secret });
await stock.start();
const prices = new ChildNode('prices', { name: PRICES, secret, nodes: { [STOCK]: { port: stock.port } } });
await prices.start();

@Module({
  imports: [
    GenRpcModule.forRoot({
      name: 'front@127.0.0.1',
      secret,
      listen: false,
      nodes: { [STOCK]: { port: stock.port }, [PRICES]: { port: prices.port } },
    }),
  ],
})
class FrontModule {}

const front = await NestFactory.createApplicationContext(FrontModule, { logger: ['error'] });
const rpc = front.get(GenRpcNode);
say('nodes', `${rpc.name} (pid ${process.pid}), ${PRICES} (pid ${prices.pid}), ${STOCK} (pid ${stock.pid})`);

try {
  await calls();
  await failures();
  await crashAndReturn();
  await throughput();
} finally {
  await front.close();
  await Promise.all([prices.stop(), stock.stop()]);
}
say('bye', 'every node has drained and closed\n');

async function calls(): Promise<void> {
  const quote = await timed(() => rpc.call<Quote>(PRICES, 'prices', 'quote', ['tea', 3]));
  say('call', `prices.quote('tea', 3) ${show(quote)}`);
  say('', 'prices asked stock for it: two hops, two connections, one deadline each');
  const version = { module: 'prices', version: '1.0.0' };
  say(
    'call',
    `prices 1.0.0: add(20, 22) ${show(await timed(() => rpc.call<number>(PRICES, version, 'add', [20, 22])))}`,
  );
  const accepted = rpc.cast(STOCK, 'stock', 'note', ['tea sells well']);
  say('cast', `stock.note('tea sells well') → ${accepted ? 'accepted' : 'not accepted'}, nobody waits for it`);
  say('call', `stock.notes() ${show(await timed(() => rpc.call(STOCK, 'stock', 'notes')))}`);
}

async function failures(): Promise<void> {
  const unpriced = await timed(() => rpc.call(PRICES, 'prices', 'quote', ['unicorn', 1]));
  expectCode(unpriced, 'handler_failed');
  say('fails', `prices.quote('unicorn', 1) ${show(unpriced)}`);
  const unknown = await timed(() => rpc.call(PRICES, 'prices', 'qoute', ['tea', 1]));
  expectCode(unknown, 'undefined_function');
  say('fails', `prices.qoute('tea', 1) ${show(unknown)}`);
  const late = await timed(() => rpc.call(STOCK, 'stock', 'recount', [], { timeout: 50 }));
  expectCode(late, 'timeout');
  say('fails', `stock.recount() within 50 ms ${show(late)}`);
}

async function crashAndReturn(): Promise<void> {
  const recount = rpc.call(STOCK, 'stock', 'recount').catch((error: unknown) => error);
  await rpc.call(STOCK, 'stock', 'count', ['tea']);
  const killedAt = performance.now();
  const [error] = await Promise.all([recount, stock.kill()]);
  const lost = { error, ms: performance.now() - killedAt };
  expectCode(lost, 'connection_lost');
  if (lost.ms > 100) throw new Error(`the caller of a killed node heard of it after ${lost.ms} ms only`);
  say('crash', `${STOCK} is killed while it recounts ${show(lost)}`);

  const down = await timed(() => rpc.call(STOCK, 'stock', 'count', ['tea']));
  expectCode(down, 'node_down');
  say('', `stock.count('tea') ${show(down)}`);

  const waiting = timed(() => rpc.call(STOCK, 'stock', 'count', ['tea'], { waitForReady: true }));
  await stock.start();
  say('return', `${STOCK} is back (pid ${stock.pid}); a call that waited for it ${show(await waiting)}`);
}

async function throughput(): Promise<void> {
  const callers = 64;
  const end = performance.now() + 1000;
  let done = 0;
  const caller = async (): Promise<void> => {
    while (performance.now() < end) {
      await rpc.call(PRICES, 'prices', 'add', [done, 1]);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  say('speed', `${callers} callers for a second: ${done.toLocaleString('en')} calls of prices.add, through Nest`);
}
