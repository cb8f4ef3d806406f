/** The service that is deployed: what it does when it is told to end, by SIGTERM, as every orchestrator does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable, Module, type OnModuleDestroy } from '@nestjs/common';
import { Ctx } from '@nestjs/microservices';
import { Arg, GenRpcContext, GenRpcModule, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import type { Started } from './deployment.js';
import { type Recount, STOCK } from './names.js';

const version = process.env['VERSION'] ?? '';

/** Stands for a database: when Nest closes it, no function may need it any more. */
@Injectable()
class Shelves implements OnModuleDestroy {
  private open = true;

  count(): number {
    if (!this.open) throw new Error('The shelves are closed.');
    return 40;
  }

  onModuleDestroy(): void {
    this.open = false;
  }
}

@RpcModule('stock')
class StockController {
  constructor(@Inject(Shelves) private readonly shelves: Shelves) {}

  /** What has begun is ended, with all that it needs. */
  @RpcFunction()
  async count(@Arg(0) ms: number): Promise<string> {
    await sleep(ms);
    return `${this.shelves.count()}, says ${version}`;
  }

  /** Would take a minute: longer than anybody waits for a process. It stops where it is, and another can go on. */
  @RpcFunction()
  async recount(@Arg(0) from: number, @Arg(1) to: number, @Ctx() context: GenRpcContext): Promise<Recount> {
    for (let shelf = from; shelf < to; shelf += 1) {
      if (context.getDrainSignal().aborted) return { by: version, upTo: shelf };
      await sleep(50);
    }
    return { by: version, upTo: to };
  }
}

@Module({
  imports: [
    GenRpcModule.forRoot({ name: STOCK, secret, listen: { port: Number(process.env['PORT']) }, gracePeriod: 5000 }),
  ],
  providers: [Shelves],
  controllers: [StockController],
})
class StockModule {}

const { app, port } = await serve(StockModule);
// The one line that a graceful end takes.
app.enableShutdownHooks();
process.send?.({ port } satisfies Started);
// Only for the sample: nothing of it must stay behind when the one that started it is gone.
process.once('disconnect', () => void app.close().then(() => process.exit(0)));
