/** The node that is called: it streams what it has, and takes streams. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { Arg, GenRpcModule, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const STOCK = 'stock@127.0.0.1';

export interface Shelf {
  shelf: number;
  goods: string;
}

const PRICES = new Map([
  ['tea', 4.2],
  ['rice', 1.1],
  ['salt', 0.5],
]);

@RpcModule('stock')
class StockController {
  private lookedAt = 0;
  private walksEnded = 0;

  /** A reply that is a stream: it goes on to the next shelf when there is room for it on the way to the reader. */
  @RpcFunction()
  async *shelves(@Arg(0) count: number): AsyncGenerator<Shelf> {
    try {
      for (let shelf = 1; shelf <= count; shelf += 1) {
        this.lookedAt += 1;
        yield { shelf, goods: `boxes of tea, as on all shelves of this row (${shelf})` };
      }
    } finally {
      this.walksEnded += 1;
    }
  }

  /** An argument that is a stream, always the last one: read at whatever pace this function likes. */
  @RpcFunction()
  async receive(@Arg(0) goods: string, @Arg(1) boxes: AsyncIterable<number>): Promise<string> {
    let sum = 0;
    for await (const count of boxes) sum += count;
    return `${sum} boxes of ${goods}`;
  }

  /** Both at once. */
  @RpcFunction()
  async *priceEach(@Arg(0) names: AsyncIterable<string>): AsyncGenerator<string> {
    for await (const name of names) yield `${name} is ${PRICES.get(name)}`;
  }

  @RpcFunction()
  seen(): number {
    return this.lookedAt;
  }

  /** How many walks along the shelves have ended, once there are so many. */
  @RpcFunction()
  async ended(@Arg(0) count: number): Promise<number> {
    while (this.walksEnded < count) await sleep(5);
    return this.walksEnded;
  }
}

@Module({
  imports: [GenRpcModule.forRoot({ name: STOCK, secret, listen: { port: 0 } })],
  controllers: [StockController],
})
export class StockModule {}
