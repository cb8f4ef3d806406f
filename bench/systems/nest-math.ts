/** The same controller and the same use of a ClientProxy for every Nest transport; only names and buffers differ. */
import 'reflect-metadata';
import { Controller, Module, Scope, type Type } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, type ClientProxy } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, map, range, scan, type Observable } from 'rxjs';
import type { BenchClient } from '../system.js';
import { Enhanced, PairPipe } from './nest-enhancers.js';

/** What a transport calls the functions, and how it takes buffers. */
export interface Dialect {
  readonly patternOf: (fn: string) => string | object;
  readonly pack: (bytes: Uint8Array) => unknown;
  readonly unpack: (packed: unknown) => Buffer;
}

export function mathModule({ patternOf, pack, unpack }: Dialect): Type {
  @Controller()
  class MathController {
    private noted = 0;

    @MessagePattern(patternOf('add'))
    add(@Payload() { a, b }: { a: number; b: number }): number {
      return a + b;
    }

    @EventPattern(patternOf('note'))
    note(@Payload() _event: { value: number }): void {
      this.noted += 1;
    }

    @MessagePattern(patternOf('notes'))
    notes(): number {
      return this.noted;
    }

    @MessagePattern(patternOf('count'))
    count(@Payload() { items }: { items: number }): Observable<{ n: number }> {
      return range(1, items).pipe(map((n) => ({ n })));
    }

    @MessagePattern(patternOf('echo'))
    echo(@Payload() packed: unknown): unknown {
      return pack(unpack(packed));
    }

    @MessagePattern(patternOf('fetch'))
    fetch(@Payload() { size }: { size: number }): unknown {
      return pack(Buffer.alloc(size, 1));
    }
  }

  @Controller()
  @Enhanced()
  class EnhancedController {
    @MessagePattern(patternOf('addEnhanced'))
    add(@Payload(PairPipe) { a, b }: { a: number; b: number }): number {
      return a + b;
    }
  }

  @Controller({ scope: Scope.REQUEST })
  @Enhanced()
  class ScopedController {
    @MessagePattern(patternOf('addScoped'))
    add(@Payload(PairPipe) { a, b }: { a: number; b: number }): number {
      return a + b;
    }
  }

  @Module({ controllers: [MathController, EnhancedController, ScopedController] })
  class MathModule {}
  return MathModule;
}

export async function mathClient(proxy: ClientProxy, { patternOf, pack, unpack }: Dialect): Promise<BenchClient> {
  await proxy.connect();
  const [add, note, notes] = [patternOf('add'), patternOf('note'), patternOf('notes')];
  const [echo, fetch] = [patternOf('echo'), patternOf('fetch')];
  const [addEnhanced, addScoped] = [patternOf('addEnhanced'), patternOf('addScoped')];
  return {
    add: (a, b) => firstValueFrom(proxy.send<number>(add, { a, b })),
    addEnhanced: (a, b) => firstValueFrom(proxy.send<number>(addEnhanced, { a, b })),
    addScoped: (a, b) => firstValueFrom(proxy.send<number>(addScoped, { a, b })),
    note: (value) => void proxy.emit(note, { value }),
    notes: () => firstValueFrom(proxy.send<number>(notes, {})),
    count: (items) => sumOf(proxy.send<{ n: number }>(patternOf('count'), { items })),
    echo: async (bytes) => unpack(await firstValueFrom(proxy.send<unknown>(echo, pack(bytes)))),
    fetch: async (size) => unpack(await firstValueFrom(proxy.send<unknown>(fetch, { size }))),
    close: () => proxy.close(),
  };
}

/** Of the numbers in a stream. */
export function sumOf(items: Observable<{ n: number }>): Promise<number> {
  return lastValueFrom(items.pipe(scan((sum, { n }) => sum + n, 0)));
}
