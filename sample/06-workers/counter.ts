/** One of the processes that serve the node `counter`, on one port: main.ts starts them, through `node:cluster`. */
import { Module } from '@nestjs/common';
import { GenRpcModule, GenRpcNode, InjectGenRpc, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { COUNTER, FRONT } from './nodes.js';

export interface Count {
  /** Which process counted. */
  pid: number;
  count: number;
}

/** Its state is this process's own: the other one has another. */
@RpcModule('counter')
class CounterController {
  private count = 0;

  constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

  @RpcFunction()
  async next(): Promise<Count> {
    this.count += 1;
    await this.rpc.call(FRONT, 'front', 'counted', [process.pid]);
    return { pid: process.pid, count: this.count };
  }

  /** Long enough to be in the middle of it when the process dies. */
  @RpcFunction()
  hang(): Promise<never> {
    return new Promise(() => {});
  }
}

@Module({
  imports: [
    GenRpcModule.forRoot({
      name: COUNTER,
      secret,
      life: process.env['NODE_LIFE'] ?? '',
      listen: { port: 0 },
      nodes: { [FRONT]: { port: Number(process.env['FRONT_PORT']) } },
    }),
  ],
  controllers: [CounterController],
})
class CounterModule {}

const { app } = await serve(CounterModule);
app.enableShutdownHooks();
