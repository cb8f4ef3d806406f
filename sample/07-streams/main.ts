/** Replies and arguments that are streams: whoever reads sets the pace, and whoever has enough leaves. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GenRpcClient, GenRpcModule, GenRpcNode, InjectGenRpc, InjectGenRpcClient } from 'nestjs-gen-rpc';
import { firstValueFrom, lastValueFrom, map, of, take, toArray } from 'rxjs';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { say, tell, title } from '../story.js';
import { type Shelf, STOCK, StockModule } from './stock.js';

title('streams: replies, arguments, and both at once');
const stock = await serve(StockModule);

@Injectable()
class Clerk {
  constructor(
    @InjectGenRpc() private readonly rpc: GenRpcNode,
    @InjectGenRpcClient('STOCK') private readonly client: GenRpcClient,
  ) {}

  async readAll(): Promise<void> {
    const read = async (): Promise<number> => {
      let count = 0;
      for await (const _ of this.rpc.stream<Shelf>(STOCK, 'stock', 'shelves', [10_000])) count += 1;
      return count;
    };
    await tell('reply', 'stock.shelves(10000), read as they come', read, { value: 10_000 });
  }

  async readSlowly(): Promise<void> {
    const before = await this.rpc.call<number>(STOCK, 'stock', 'seen');
    let read = 0;
    for await (const _ of this.rpc.stream<Shelf>(STOCK, 'stock', 'shelves', [1_000_000])) {
      read += 1;
      if (read === 3) break;
      await sleep(100);
    }
    const seen = (await this.rpc.call<number>(STOCK, 'stock', 'seen')) - before;
    assert(seen < 10_000, `stock looked at ${seen} shelves for a reader of 3`);
    say('slow', `stock.shelves(1000000), of which 3 are read, slowly → stock has seen fewer than 10000: it waited`);
    await tell('', 'stock.ended: it knows that its reader has left', () => this.ended(2), { value: 2 });
  }

  async send(): Promise<void> {
    async function* deliveries(): AsyncGenerator<number> {
      for (let boxes = 1; boxes <= 1000; boxes += 1) yield boxes;
    }
    const receive = (): Promise<string> => this.rpc.call(STOCK, 'stock', 'receive', ['tea', deliveries()]);
    await tell('argument', "stock.receive('tea', a stream of 1000 numbers)", receive, { value: '500500 boxes of tea' });
  }

  async talk(): Promise<void> {
    const prices: string[] = [];
    async function* questions(): AsyncGenerator<string> {
      for (const name of ['tea', 'rice', 'salt']) {
        yield name;
        // Not asked before the last one was answered.
        while (prices.at(-1)?.startsWith(name) !== true) await sleep(1);
      }
    }
    for await (const price of this.rpc.stream<string>(STOCK, 'stock', 'priceEach', [questions()])) prices.push(price);
    assert.deepEqual(prices, ['tea is 4.2', 'rice is 1.1', 'salt is 0.5']);
    say('both', `stock.priceEach(a stream), each answer before the next question → ${prices.join(', ')}`);
  }

  /** The same by Nest's own words. */
  async observe(): Promise<void> {
    const shelves = this.client.send<Shelf>('stock.shelves', [1_000_000]);
    const three = shelves.pipe(
      take(3),
      map(({ shelf }) => shelf),
      toArray(),
    );
    await tell('rxjs', 'stock.shelves(1000000), take(3)', () => lastValueFrom(three), { value: [1, 2, 3] });
    await tell('', 'stock.ended: take(3) has stopped it', () => this.ended(3), { value: 3 });
    const received = this.client.send<string>('stock.receive', ['rice', of(1, 2, 3)]);
    await tell('', "stock.receive('rice', an Observable)", () => firstValueFrom(received), {
      value: '6 boxes of rice',
    });
  }

  private ended(count: number): Promise<number> {
    return this.rpc.call<number>(STOCK, 'stock', 'ended', [count]);
  }
}

@Module({
  imports: [
    GenRpcModule.forRoot({
      name: 'front@127.0.0.1',
      secret,
      listen: false,
      nodes: { [STOCK]: { port: stock.port } },
    }),
    GenRpcModule.forFeature([{ name: 'STOCK', target: STOCK }]),
  ],
  providers: [Clerk],
})
class FrontModule {}

const front = await NestFactory.createApplicationContext(FrontModule, { logger: ['error'] });
try {
  const clerk = front.get(Clerk);
  await clerk.readAll();
  await clerk.readSlowly();
  await clerk.send();
  await clerk.talk();
  await clerk.observe();
} finally {
  await front.close();
  await stock.app.close();
}
