/** The node that is called. It tells its callers what it knows of them. */
import { type DynamicModule, Module } from '@nestjs/common';
import { Ctx } from '@nestjs/microservices';
import { Arg, GenRpcContext, GenRpcModule, RpcFunction, RpcModule, type TlsOptions } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const STOCK = 'stock@127.0.0.1';

/** A caller, as its handshake and its certificate have proved it: nothing that it sends can change that. */
export interface Seen {
  node: string;
  names: readonly string[];
  /** That the certificate is still good for. */
  days: number;
}

const DAY_MS = 86_400_000;

@RpcModule('stock')
class StockController {
  @RpcFunction()
  count(@Arg(0) goods: string): number {
    return goods === 'tea' ? 40 : 0;
  }

  @RpcFunction()
  whoCalls(@Ctx() context: GenRpcContext): Seen {
    const { names = [], validTo = new Date(0) } = context.getCertificate() ?? {};
    return { node: context.getNode(), names, days: Math.floor((validTo.getTime() - Date.now()) / DAY_MS) };
  }
}

@Module({ controllers: [StockController] })
export class StockModule {
  static with(tls: TlsOptions): DynamicModule {
    return { module: StockModule, imports: [GenRpcModule.forRoot({ name: STOCK, secret, listen: { port: 0 }, tls })] };
  }
}
