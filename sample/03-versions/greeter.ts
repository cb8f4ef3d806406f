/** One node with three versions of a module, side by side. */
import { Module } from '@nestjs/common';
import { Arg, GenRpcModule, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const GREETER = 'greeter@127.0.0.1';

@RpcModule('greeter', { version: '1.0.0' })
class Greeter100 {
  @RpcFunction()
  greet(@Arg(0) name: string): string {
    return `Hello ${name}`;
  }

  /** In the first version only. */
  @RpcFunction()
  wave(): string {
    return 'o/';
  }
}

@RpcModule('greeter', { version: '1.2.0' })
class Greeter120 {
  @RpcFunction()
  greet(@Arg(0) name: string): string {
    return `Hello, ${name}!`;
  }
}

@RpcModule('greeter', { version: '2.0.0' })
class Greeter200 {
  @RpcFunction()
  greet(@Arg(0) { first, last }: { first: string; last: string }): string {
    return `Good day, ${first} ${last}.`;
  }
}

@Module({
  imports: [GenRpcModule.forRoot({ name: GREETER, secret, listen: { port: 0 } })],
  controllers: [Greeter100, Greeter120, Greeter200],
})
export class GreeterModule {}
