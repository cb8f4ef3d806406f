/** The node that makes prices, and asks the stock for it. Its functions take their arguments one by one. */
import { Module, NotFoundException } from '@nestjs/common';
import { Arg, GenRpcModule, GenRpcNode, InjectGenRpc, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { options, serve } from './serve.js';

export interface Quote {
  item: string;
  count: number;
  total: number;
  inStock: number;
}

const PRICES = new Map([
  ['tea', 4.2],
  ['rice', 1.1],
]);

@RpcModule('prices', { version: '1.0.0' })
export class PricesController {
  constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

  @RpcFunction()
  async quote(@Arg(0) item: string, @Arg(1) count: number): Promise<Quote> {
    const price = PRICES.get(item);
    if (price === undefined) throw new NotFoundException(`There is no price for ${item}.`);
    const inStock = await this.rpc.call<number>('stock@127.0.0.1', 'stock', 'count', [item]);
    return { item, count, total: Math.round(price * count * 100) / 100, inStock };
  }

  @RpcFunction()
  add(@Arg(0) a: number, @Arg(1) b: number): number {
    return a + b;
  }
}

@Module({ imports: [GenRpcModule.forRoot(options())], controllers: [PricesController] })
class PricesModule {}

await serve(PricesModule);
