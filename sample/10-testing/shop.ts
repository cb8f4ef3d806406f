/** The application under test, as it goes into production: orders asks stock, and knows what to do when it cannot. */
import { Injectable, Module } from '@nestjs/common';
import { Arg, GenRpcModule, GenRpcNode, InjectGenRpc, isGenRpcError, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const ORDERS = 'orders@10.0.0.1';
export const STOCK = 'stock@10.0.0.2';

@Injectable()
export class Warehouse {
  /** Asks a database, which a test does not have. */
  count(_goods: string): number {
    throw new Error('There is no database here.');
  }
}

@RpcModule('stock')
class StockController {
  constructor(private readonly warehouse: Warehouse) {}

  @RpcFunction()
  reserve(@Arg(0) goods: string): string {
    return this.warehouse.count(goods) > 0 ? 'reserved' : 'sold out';
  }
}

const tls = { ca: '/etc/shop/ca.pem', cert: '/etc/shop/stock.pem', key: '/etc/shop/stock.key' };

@Module({
  imports: [GenRpcModule.forRoot({ name: STOCK, secret, tls, listen: { host: '10.0.0.2' } })],
  controllers: [StockController],
  providers: [Warehouse],
})
export class StockModule {}

@Injectable()
export class Orders {
  constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

  /** Answers within a second, whatever stock does: an order that stock did not see to is looked at by people. */
  async place(goods: string): Promise<string> {
    try {
      return await this.rpc.call<string>(STOCK, 'stock', 'reserve', [goods], { timeout: 1000 });
    } catch (error) {
      if (!isGenRpcError(error)) throw error;
      return error.maybeExecuted ? 'to be checked' : 'to be placed again';
    }
  }
}

@Module({
  imports: [GenRpcModule.forRoot({ name: ORDERS, secret, tls, listen: false })],
  providers: [Orders],
})
export class OrdersModule {}
