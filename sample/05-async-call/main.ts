/** Calls that run at once, and whose result is fetched later: by promises, and as an Observable. */
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AsyncCall, GenRpcClient, GenRpcModule, GenRpcNode, InjectGenRpc, InjectGenRpcClient } from 'nestjs-gen-rpc';
import { firstValueFrom, forkJoin, lastValueFrom, map, takeUntil, timer } from 'rxjs';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { say, tell, title } from '../story.js';
import { REPORTS, ReportsModule } from './reports.js';

title('reports that take 200 ms each');
const reports = await serve(ReportsModule);

@Injectable()
class Office {
  constructor(
    @InjectGenRpc() private readonly rpc: GenRpcNode,
    @InjectGenRpcClient('REPORTS') private readonly client: GenRpcClient,
  ) {}

  async fetchLater(): Promise<void> {
    const oslo = this.order('Oslo');
    const rome = this.order('Rome');
    say('async', 'reports.make for Oslo and for Rome: both run already');
    await tell('', 'nbYield(20) of Oslo', () => oslo.nbYield(20), { value: 'timeout' });
    await tell('', 'nbYield(5000) of Oslo', () => oslo.nbYield(5000), { value: { value: 'report of Oslo' } });
    await tell('', 'yield() of Rome', () => rome.yield(), { value: 'report of Rome' });
    await tell('', 'yield() of Rome, again', () => rome.yield(), { code: 'invalid_argument' });
  }

  async giveUp(): Promise<void> {
    const lima = this.order('Lima');
    await tell('cancel', 'nbYield(20) of Lima', () => lima.nbYield(20), { value: 'timeout' });
    lima.cancel();
    await tell('', 'yield() of Lima', () => lima.yield(), { code: 'cancelled' });
    await tell('', 'reports.stopped: they know', () => this.stopped(1), { value: ['Lima'] });
  }

  /** What `asyncSend` returns is hot: the call runs before anybody subscribes. */
  async observe(): Promise<void> {
    const cairo = this.client.asyncSend<string>('reports.make', 'Cairo');
    const delhi = this.client.asyncSend<string>('reports.make', 'Delhi');
    const both = forkJoin([cairo, delhi]).pipe(map((made) => made.join(', ')));
    await tell('rxjs', 'Cairo and Delhi, side by side', () => firstValueFrom(both), {
      value: 'report of Cairo, report of Delhi',
    });

    const quito = this.client.asyncSend<string>('reports.make', 'Quito').pipe(takeUntil(timer(20)));
    await tell('', 'Quito until 20 ms have passed', () => lastValueFrom(quito, { defaultValue: 'nothing' }), {
      value: 'nothing',
    });
    await tell('', 'reports.stopped: unsubscribing cancels', () => this.stopped(2), { value: ['Lima', 'Quito'] });
  }

  private order(city: string): AsyncCall<string> {
    return this.rpc.asyncCall<string>(REPORTS, 'reports', 'make', [city]);
  }

  private stopped(count: number): Promise<string[]> {
    return this.rpc.call<string[]>(REPORTS, 'reports', 'stopped', [count]);
  }
}

@Module({
  imports: [
    GenRpcModule.forRoot({
      name: 'front@127.0.0.1',
      secret,
      listen: false,
      nodes: { [REPORTS]: { port: reports.port } },
    }),
    GenRpcModule.forFeature([{ name: 'REPORTS', target: REPORTS }]),
  ],
  providers: [Office],
})
class FrontModule {}

const front = await NestFactory.createApplicationContext(FrontModule, { logger: ['error'] });
try {
  const office = front.get(Office);
  await office.fetchLater();
  await office.giveUp();
  await office.observe();
} finally {
  await front.close();
  await reports.app.close();
}
