/** Nodes that can all do the same, each at an address of its own: the pods of one service. */
import { type DynamicModule, Module } from '@nestjs/common';
import { Arg, GenRpcModule, GenRpcNode, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

@RpcModule('math')
class MathController {
  constructor(private readonly node: GenRpcNode) {}

  @RpcFunction()
  add(@Arg(0) one: number, @Arg(1) other: number): { sum: number; by: string } {
    return { sum: one + other, by: this.node.name };
  }
}

@Module({})
export class MathModule {
  /** In Kubernetes: `math@${process.env.POD_IP}`. */
  static at(host: string, port: number): DynamicModule {
    return {
      module: MathModule,
      imports: [GenRpcModule.forRoot({ name: `math@${host}`, secret, listen: { host, port } })],
      controllers: [MathController],
    };
  }
}
