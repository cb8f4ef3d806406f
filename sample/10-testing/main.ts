/** Tests of an application whose nodes call each other: no port, no certificate, no waiting. Yours stand in `it('…')`. */
import assert from 'node:assert/strict';
import { Test } from '@nestjs/testing';
import { createTestCluster } from 'nestjs-gen-rpc/testing';
import { say, tell, title } from '../story.js';
import { Orders, ORDERS, OrdersModule, STOCK, StockModule, Warehouse } from './shop.js';

title('a shop of two nodes, tested in one process');

const shelves = { count: (goods: string) => (goods === 'tea' ? 40 : 0) };
const stock = () =>
  Test.createTestingModule({ imports: [StockModule] })
    .overrideProvider(Warehouse)
    .useValue(shelves);

await using cluster = await createTestCluster({
  nodes: { [STOCK]: stock, [ORDERS]: OrdersModule },
  clock: 'virtual',
});
const orders = cluster.get(ORDERS, Orders);
const place = (goods: string) => () => orders.place(goods);

say('cluster', `${STOCK} and ${ORDERS} run, with the modules of production; only the database is another`);
await tell('calls', "orders.place('tea')", place('tea'), { value: 'reserved' });
await tell('', "orders.place('salt')", place('salt'), { value: 'sold out' });

async function delay(): Promise<void> {
  cluster.delay(ORDERS, STOCK, 300);
  const inTime = orders.place('tea');
  await cluster.clock.advance(600);
  await tell('delay', '300 ms each way, and 600 ms pass: it is in time', () => inTime, { value: 'reserved' });

  cluster.delay(ORDERS, STOCK, 3000);
  const late = orders.place('tea');
  await cluster.clock.advance(1100);
  await tell('', '3000 ms each way, and a second passes', () => late, { value: 'to be checked' });
  cluster.delay(ORDERS, STOCK, 0);
  await cluster.clock.advance(3000);
}

async function cut(): Promise<void> {
  const early = orders.place('tea');
  cluster.cut(ORDERS, STOCK);
  await tell('cut', 'the connection breaks before an order has left', () => early, { value: 'to be placed again' });

  cluster.delay(ORDERS, STOCK, 100);
  await cluster.clock.advance(1000);
  const order = orders.place('tea');
  await cluster.clock.advance(500);
  cluster.cut(ORDERS, STOCK);
  await tell('', 'it breaks when the order has left', () => order, { value: 'to be checked' });
  cluster.delay(ORDERS, STOCK, 0);
  await cluster.clock.advance(1000);
  await tell('', 'the next one has a new connection', place('tea'), { value: 'reserved' });
}

async function partition(): Promise<void> {
  cluster.partition([ORDERS], [STOCK]);
  const order = orders.place('tea');
  await cluster.clock.advance(1100);
  await tell('parted', 'they do not reach each other, and nobody tells them', () => order, { value: 'to be checked' });
  cluster.heal();
  await cluster.clock.advance(0);
  await tell('', 'healed, on the same connection', place('tea'), { value: 'reserved' });
}

async function crash(): Promise<void> {
  await cluster.stop(STOCK);
  await tell('crash', 'stock is gone', place('tea'), { value: 'to be placed again' });
  await cluster.start(STOCK);
  await cluster.clock.advance(1000);
  await tell('', 'stock is back', place('tea'), { value: 'reserved' });
}

await delay();
await cut();
await partition();
await crash();

const passed = cluster.clock.now();
await cluster.close();
assert.equal(cluster.clock.pending, 0);
say('end', `${passed} ms have passed on the clock of the nodes, hardly any for you; nothing of them is left`);
