/** The least there is: one node that answers, one that calls it, by Nest's own words and by those of this library. */
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GenRpcClient, GenRpcModule, GenRpcNode, InjectGenRpc, InjectGenRpcClient } from 'nestjs-gen-rpc';
import { firstValueFrom } from 'rxjs';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { tell, title } from '../story.js';
import { MATH, type MathController, MathModule } from './math.js';

title('one node calls another');
const math = await serve(MathModule);

@Injectable()
class Sums {
  constructor(
    @InjectGenRpc() private readonly rpc: GenRpcNode,
    @InjectGenRpcClient('MATH') private readonly client: GenRpcClient,
  ) {}

  async run(): Promise<void> {
    await tell('call', "call('math', 'add', [20, 22])", () => this.rpc.call(MATH, 'math', 'add', [20, 22]), {
      value: 42,
    });
    const remote = this.rpc.module<MathController>('math').at(MATH);
    await tell('typed', 'add(20, 22), whose types the compiler knows', () => remote.add(20, 22), { value: 42 });
    const reply$ = this.client.send<number>('math.add', [20, 22]);
    await tell('send', "send('math.add', [20, 22]), by a Nest client", () => firstValueFrom(reply$), { value: 42 });
    await tell('fails', 'divide(1, 0)', () => remote.divide(1, 0), { code: 'handler_failed' });
  }
}

@Module({
  imports: [
    GenRpcModule.forRoot({ name: 'front@127.0.0.1', secret, listen: false, nodes: { [MATH]: { port: math.port } } }),
    GenRpcModule.forFeature([{ name: 'MATH', target: MATH }]),
  ],
  providers: [Sums],
})
class FrontModule {}

const front = await NestFactory.createApplicationContext(FrontModule, { logger: ['error'] });
try {
  await front.get(Sums).run();
} finally {
  await front.close();
  await math.app.close();
}
