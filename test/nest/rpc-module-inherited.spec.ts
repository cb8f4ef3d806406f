/** Modules whose functions are those of a class that they extend: callable as their own, under each one's own name. */
import { Inject, Injectable, ParseIntPipe, UseGuards, type CanActivate } from '@nestjs/common';
import { Ctx } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { collect } from './streams-support.js';
import { pairOf, SERVER } from './support.js';

@Injectable()
class Never implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

abstract class Repository {
  abstract readonly kind: string;

  @RpcFunction()
  find(@Arg(0, ParseIntPipe) id: number, @Ctx() context: GenRpcContext): unknown[] {
    return [this.kind, id, context.getPattern()];
  }

  @RpcFunction()
  describe(@Arg(0) id: number): string {
    return `any ${id}`;
  }

  @RpcFunction()
  remove(@Arg(0) id: number): string {
    return `${this.kind} ${id} is gone`;
  }

  @UseGuards(Never)
  @RpcFunction()
  guarded(): string {
    return 'nobody gets here';
  }

  @RpcFunction()
  async *all(@Arg(0) count: number): AsyncGenerator<string> {
    for (let n = 0; n < count; n += 1) yield `${this.kind} ${n}`;
  }
}

@RpcModule('cats')
class Cats extends Repository {
  readonly kind: string = 'cat';
}

@RpcModule('dogs', { version: '1.2.0' })
class Dogs extends Repository {
  readonly kind = 'dog';

  constructor(@Inject('VOICE') private readonly voice: string) {
    super();
  }

  @RpcFunction()
  override describe(id: number): string {
    return `dog ${id} says ${this.voice}`;
  }

  override remove(id: number): string {
    return `dog ${id} stays`;
  }
}

@RpcModule('kittens')
class Kittens extends Cats {
  override readonly kind = 'kitten';
}

const APP = { controllers: [Cats, Dogs, Kittens], providers: [{ provide: 'VOICE', useValue: 'wuff' }] };

describe('an @RpcModule that extends a class', () => {
  it('has its functions, each module its own, with pipes, guards and streams', async () => {
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    const node = pair.caller.unwrap();
    for (const [module, kind] of [
      ['cats', 'cat'],
      ['dogs', 'dog'],
      ['kittens', 'kitten'],
    ] as const) {
      expect(await node.call(SERVER, module, 'find', ['7'])).toEqual([kind, 7, `${module}.find`]);
      await expect(node.call(SERVER, module, 'guarded', [])).rejects.toMatchObject({ code: 'handler_failed' });
      const items = await collect(node.stream(SERVER, module, 'all', [2]));
      expect(items).toEqual([`${kind} 0`, `${kind} 1`]);
    }
    expect(pair.log.said('warn', 'Two handlers')).toEqual([]);
  });

  it('may override them: with the decorator they are called, without it they no longer are', async () => {
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    const node = pair.caller.unwrap();
    expect(await node.call(SERVER, 'cats', 'describe', [1])).toBe('any 1');
    expect(await node.call(SERVER, { module: 'dogs', version: '^1.0.0' }, 'describe', [1])).toBe('dog 1 says wuff');
    expect(await firstValueFrom(pair.caller.send('kittens.remove', 2))).toBe('kitten 2 is gone');
    await expect(node.call(SERVER, 'dogs', 'remove', [1])).rejects.toMatchObject({ code: 'undefined_function' });
  });
});
