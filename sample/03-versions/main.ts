/** A module in several versions on one node: each caller says which will do. */
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  GenRpcClient,
  GenRpcModule,
  GenRpcNode,
  GenRpcRecordBuilder,
  InjectGenRpc,
  InjectGenRpcClient,
} from 'nestjs-gen-rpc';
import { firstValueFrom } from 'rxjs';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { tell, title } from '../story.js';
import { GREETER, GreeterModule } from './greeter.js';

title('greeter 1.0.0, 1.2.0 and 2.0.0 on one node');
const greeter = await serve(GreeterModule);

@Injectable()
class Visitors {
  constructor(
    @InjectGenRpc() private readonly rpc: GenRpcNode,
    @InjectGenRpcClient('GREETER') private readonly client: GenRpcClient,
  ) {}

  async tryVersions(): Promise<void> {
    const { greet } = this;
    await tell('exact', "1.0.0: greet('Ann')", () => greet('1.0.0'), { value: 'Hello Ann' });
    await tell('range', "^1.0.0: greet('Ann')", () => greet('^1.0.0'), { value: 'Hello, Ann!' });
    await tell('', "~1.0.0: greet('Ann')", () => greet('~1.0.0'), { value: 'Hello Ann' });
    await tell('', "1.x: greet('Ann')", () => greet('1.x'), { value: 'Hello, Ann!' });
    await tell('fails', "^3.0.0: greet('Ann')", () => greet('^3.0.0'), { code: 'incompatible' });
  }

  /** The newest version that has the function answers. */
  async tryAny(): Promise<void> {
    const ann = { first: 'Ann', last: 'Lee' };
    await tell('any', "greet({ first: 'Ann', last: 'Lee' })", () => this.rpc.call(GREETER, 'greeter', 'greet', [ann]), {
      value: 'Good day, Ann Lee.',
    });
    await tell('', 'wave()', () => this.rpc.call(GREETER, 'greeter', 'wave'), { value: 'o/' });
    const newest = { module: 'greeter', version: '2.0.0' };
    await tell('fails', '2.0.0: wave()', () => this.rpc.call(GREETER, newest, 'wave'), { code: 'undefined_function' });
  }

  async tryClient(): Promise<void> {
    const ann = new GenRpcRecordBuilder('Ann').setVersion('^1.0.0').build();
    await tell(
      'send',
      "greeter.greet with 'Ann' for ^1.0.0",
      () => firstValueFrom(this.client.send('greeter.greet', ann)),
      {
        value: 'Hello, Ann!',
      },
    );
  }

  private readonly greet = (version: string): Promise<string> =>
    this.rpc.call<string>(GREETER, { module: 'greeter', version }, 'greet', ['Ann']);
}

@Module({
  imports: [
    GenRpcModule.forRoot({
      name: 'front@127.0.0.1',
      secret,
      listen: false,
      nodes: { [GREETER]: { port: greeter.port } },
    }),
    GenRpcModule.forFeature([{ name: 'GREETER', target: GREETER }]),
  ],
  providers: [Visitors],
})
class FrontModule {}

const front = await NestFactory.createApplicationContext(FrontModule, { logger: ['error'] });
try {
  const visitors = front.get(Visitors);
  await visitors.tryVersions();
  await visitors.tryAny();
  await visitors.tryClient();
} finally {
  await front.close();
  await greeter.app.close();
}
