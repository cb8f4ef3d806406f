/** One of several shops: nodes with the same functions and the same events. */
import { type DynamicModule, Module } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import { Arg, GenRpcContext, GenRpcModule, type GenRpcOptions, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

@RpcModule('shop')
class ShopController {
  private readonly prices = new Map([['tea', 4.2]]);
  private readonly news: string[] = [];

  @RpcFunction()
  price(@Arg(0) item: string): number | undefined {
    return this.prices.get(item);
  }

  @RpcFunction()
  setPrice(@Arg(0) item: string, @Arg(1) price: number): void {
    this.prices.set(item, price);
  }

  /** An event: `abcast` and `sbcast` reach it by its name. */
  @EventPattern<string>('news')
  hear(@Payload() text: string, @Ctx() context: GenRpcContext): void {
    this.news.push(`${text} (from ${context.getNode()})`);
  }

  @RpcFunction()
  listNews(): string[] {
    return this.news;
  }
}

@Module({})
export class ShopModule {
  static of(name: string, nodes: GenRpcOptions['nodes'] = {}): DynamicModule {
    return {
      module: ShopModule,
      imports: [GenRpcModule.forRoot({ name, secret, listen: { port: 0 }, nodes })],
      controllers: [ShopController],
    };
  }
}
