/** The node that makes prices, and asks the stock for it. Its functions take their arguments one by one. */
import { Module, NotFoundException } from '@nestjs/common';
import { Arg, GenRpcModule, GenRpcNode, InjectGenRpc, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { AboutController } from './about.js';
import { options, serveAsChild } from './serve-as-child.js';
import { STOCK } from './nodes.js';

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

function totalOf(item: string, count: number): number {
  const price = PRICES.get(item);
  if (price === undefined) throw new NotFoundException(`There is no price for ${item}.`);
  return Math.round(price * count * 100) / 100;
}

@RpcModule('prices', { version: '1.0.0' })
class PricesController {
  constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

  @RpcFunction()
  async quote(@Arg(0) item: string, @Arg(1) count: number): Promise<Quote> {
    const total = totalOf(item, count);
    const inStock = await this.rpc.call<number>(STOCK, 'stock', 'count', [item]);
    return { item, count, total, inStock };
  }

  @RpcFunction()
  total(@Arg(0) item: string, @Arg(1) count: number): number {
    return totalOf(item, count);
  }

  /** Takes its time. */
  @RpcFunction()
  forecast(@Arg(0) item: string): Promise<number> {
    return new Promise((resolve) => setTimeout(() => resolve(totalOf(item, 1.1)), 400));
  }

  /** One price a day, as fast as they are read. */
  @RpcFunction()
  async *history(@Arg(0) item: string, @Arg(1) days: number): AsyncGenerator<number> {
    for (let day = 0; day < days; day += 1) yield totalOf(item, 1 + day / 100);
  }

  @RpcFunction()
  add(@Arg(0) a: number, @Arg(1) b: number): number {
    return a + b;
  }
}

/** The next version of the module, beside the one before: of eleven, one is for nothing. */
@RpcModule('prices', { version: '1.1.0' })
class PricesController11 {
  @RpcFunction()
  total(@Arg(0) item: string, @Arg(1) count: number): number {
    return totalOf(item, count - Math.floor(count / 11));
  }
}

@Module({
  imports: [GenRpcModule.forRoot(options())],
  controllers: [PricesController, PricesController11, AboutController],
})
class PricesModule {}

await serveAsChild(PricesModule);
