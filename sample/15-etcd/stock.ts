/** A node that tells of itself in etcd as soon as it listens. Of others it knows what etcd knows. */
import { type DynamicModule, Module } from '@nestjs/common';
import { Arg, EtcdDiscovery, GenRpcModule, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

@RpcModule('stock')
class StockController {
  @RpcFunction()
  count(@Arg(0) goods: string): number {
    return goods === 'tea' ? 40 : 0;
  }
}

@Module({ controllers: [StockController] })
export class StockModule {
  static at(name: string, endpoint: string): DynamicModule {
    const discovery = new EtcdDiscovery({ endpoints: [endpoint] });
    const rpc = GenRpcModule.forRoot({ name, secret, listen: { port: 0 }, discovery, membership: { required: true } });
    return { module: StockModule, imports: [rpc] };
  }
}
