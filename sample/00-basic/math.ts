/** The node that answers: an ordinary Nest module. */
import { Module } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { Arg, GenRpcModule, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const MATH = 'math@127.0.0.1';

@RpcModule('math')
export class MathController {
  @RpcFunction()
  add(@Arg(0) a: number, @Arg(1) b: number): number {
    return a + b;
  }

  @RpcFunction()
  divide(@Arg(0) a: number, @Arg(1) b: number): number {
    if (b === 0) throw new RpcException('There is no division by zero.');
    return a / b;
  }
}

@Module({
  // Any free port, so that the sample runs anywhere: yours is 5369, where others find it by its name alone.
  imports: [GenRpcModule.forRoot({ name: MATH, secret, listen: { port: 0 } })],
  controllers: [MathController],
})
export class MathModule {}
