/** The node that knows what is in stock. Plain Nest: patterns as with any other transport. */
import { Controller, Module } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { GenRpcContext, GenRpcModule } from 'nestjs-gen-rpc';
import { AboutController } from './about.js';
import { options, serveAsChild } from './serve-as-child.js';

@Controller()
class StockController {
  private readonly shelves = new Map([
    ['tea', 40],
    ['rice', 25],
  ]);
  private readonly notes: string[] = [];

  @MessagePattern('stock.count')
  count(@Payload() item: string): number {
    return this.shelves.get(item) ?? 0;
  }

  /** Takes a minute: long enough to be in the middle of it when the node dies. */
  @MessagePattern('stock.recount')
  recount(): Promise<number> {
    return new Promise((resolve) => setTimeout(() => resolve(65), 60_000));
  }

  @EventPattern<string>('stock.note')
  note(@Payload() text: string, @Ctx() context: GenRpcContext): void {
    this.notes.push(`${context.getNode()}: ${text}`);
  }

  @MessagePattern('stock.notes')
  listNotes(): string[] {
    return this.notes;
  }
}

@Module({ imports: [GenRpcModule.forRoot(options())], controllers: [StockController, AboutController] })
class StockModule {}

await serveAsChild(StockModule);
