/** Two nodes in a row: `orders` asks `stock` for whatever it is asked. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type DynamicModule, Module, type Type } from '@nestjs/common';
import { Ctx } from '@nestjs/microservices';
import { Arg, GenRpcContext, GenRpcModule, GenRpcNode, InjectGenRpc, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const ORDERS = 'orders@127.0.0.1';
export const STOCK = 'stock@127.0.0.1';

/** How many ms each had left when it was called. */
export interface Left {
  orders: number;
  stock: number;
}

@RpcModule('stock')
class StockController {
  private readonly stopped: string[] = [];

  @RpcFunction()
  left(@Ctx() context: GenRpcContext): number {
    return context.getRemainingTime();
  }

  /** Would take a minute, but stops as soon as nobody waits any more. */
  @RpcFunction()
  async recount(@Arg(0) goods: string, @Ctx() context: GenRpcContext): Promise<void> {
    await sleep(60_000, undefined, { signal: context.getSignal() }).catch(() => this.stopped.push(goods));
  }

  /** Which recounts were stopped, once there are so many. */
  @RpcFunction()
  async listStopped(@Arg(0) count: number): Promise<string[]> {
    while (this.stopped.length < count) await sleep(5);
    return this.stopped;
  }

  @RpcFunction()
  async count(@Arg(0) goods: string, @Arg(1) ms: number): Promise<string> {
    await sleep(ms);
    return `40 of ${goods}`;
  }
}

@RpcModule('orders')
class OrdersController {
  constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

  /** Works for 200 ms before it asks stock. Nothing says how long that may take: what is left of its own call counts. */
  @RpcFunction()
  async left(@Ctx() context: GenRpcContext): Promise<Left> {
    const orders = context.getRemainingTime();
    await sleep(200);
    return { orders, stock: await this.rpc.call<number>(STOCK, 'stock', 'left') };
  }

  @RpcFunction()
  recount(@Arg(0) goods: string): Promise<void> {
    return this.rpc.call(STOCK, 'stock', 'recount', [goods]);
  }
}

@Module({})
export class NodeModule {
  static stock(port = 0): DynamicModule {
    return moduleOf(StockController, GenRpcModule.forRoot({ name: STOCK, secret, listen: { port } }));
  }

  static orders(stockPort: number): DynamicModule {
    const nodes = { [STOCK]: { port: stockPort } };
    return moduleOf(OrdersController, GenRpcModule.forRoot({ name: ORDERS, secret, listen: { port: 0 }, nodes }));
  }
}

function moduleOf(controller: Type, node: DynamicModule): DynamicModule {
  return { module: NodeModule, imports: [node], controllers: [controller] };
}
