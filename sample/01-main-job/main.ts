/** Three Nest nodes on loopback, each a process of its own, calling each other: this one is `front`. */
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GenRpcModule, GenRpcNode } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';
import { say, title } from '../story.js';
import { calls, failures, later, streams } from './calls.js';
import { ChildNode } from './child-node.js';
import { crashAndReturn } from './crash.js';
import { keys } from './keys.js';
import { PRICES, STOCK } from './nodes.js';
import { throughput } from './throughput.js';
import { versions } from './versions.js';

title('three Nest nodes on this machine, each a process of its own');

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
  await calls(rpc);
  await failures(rpc);
  await versions(rpc);
  await keys(rpc);
  await streams(rpc);
  await later(rpc);
  await crashAndReturn(rpc, stock);
  await throughput(rpc);
} finally {
  await front.close();
  await Promise.all([prices.stop(), stock.stop()]);
}
say('bye', 'every node has drained and closed\n');
