/** The same controller and the same use of a ClientProxy for every Nest transport; only their patterns differ. */
import 'reflect-metadata';
import { Controller, Module, type Type } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, type ClientProxy } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import type { BenchClient } from '../system.js';

/** How a transport calls the functions. */
export interface MathPatterns {
  readonly add: string | object;
  readonly note: string | object;
  readonly notes: string | object;
}

export function mathModule(patterns: MathPatterns): Type {
  @Controller()
  class MathController {
    private count = 0;

    @MessagePattern(patterns.add)
    add(@Payload() { a, b }: { a: number; b: number }): number {
      return a + b;
    }

    @EventPattern(patterns.note)
    note(@Payload() _event: { value: number }): void {
      this.count += 1;
    }

    @MessagePattern(patterns.notes)
    notes(): number {
      return this.count;
    }
  }

  @Module({ controllers: [MathController] })
  class MathModule {}
  return MathModule;
}

export async function mathClient(proxy: ClientProxy, patterns: MathPatterns): Promise<BenchClient> {
  await proxy.connect();
  return {
    add: (a, b) => firstValueFrom(proxy.send<number>(patterns.add, { a, b })),
    note: (value) => void proxy.emit(patterns.note, { value }),
    notes: () => firstValueFrom(proxy.send<number>(patterns.notes, {})),
    close: () => proxy.close(),
  };
}
