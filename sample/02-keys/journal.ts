/** The node that is called: it writes down what customers do. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { Arg, GenRpcModule, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';

export const JOURNAL = 'journal@127.0.0.1';

@RpcModule('journal')
class JournalController {
  private readonly lines: string[] = [];

  /** Some lines take longer than others. */
  @RpcFunction()
  async write(@Arg(0) line: string, @Arg(1) ms: number): Promise<void> {
    await sleep(ms);
    this.lines.push(line);
  }

  /** Once there are so many. */
  @RpcFunction()
  async list(@Arg(0) count: number): Promise<string[]> {
    while (this.lines.length < count) await sleep(5);
    return this.lines;
  }
}

@Module({
  imports: [GenRpcModule.forRoot({ name: JOURNAL, secret, listen: { port: 0 } })],
  controllers: [JournalController],
})
export class JournalModule {}
