/** The node that is called: it makes reports, and takes its time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Module } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { GenRpcContext, GenRpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const REPORTS = 'reports@127.0.0.1';

@Controller()
class ReportsController {
  private readonly stopped: string[] = [];

  /** Stops as soon as nobody waits any more. */
  @MessagePattern('reports.make')
  async make(@Payload() city: string, @Ctx() context: GenRpcContext): Promise<string> {
    await sleep(200, undefined, { signal: context.getSignal() }).catch(() => this.stopped.push(city));
    return `report of ${city}`;
  }

  /** Which were stopped, once there are so many. */
  @MessagePattern('reports.stopped')
  async listStopped(@Payload() count: number): Promise<string[]> {
    while (this.stopped.length < count) await sleep(5);
    return this.stopped;
  }
}

@Module({
  imports: [GenRpcModule.forRoot({ name: REPORTS, secret, listen: { port: 0 } })],
  controllers: [ReportsController],
})
export class ReportsModule {}
