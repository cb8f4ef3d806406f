/** What Nest puts around a handler, where its reply is a stream: each item is seen, and the reader still sets the pace. */
import {
  Catch,
  Controller,
  Injectable,
  ParseIntPipe,
  SetMetadata,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type Type,
} from '@nestjs/common';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { catchError, concat, lastValueFrom, map, mergeWith, of, take, tap, throwError, type Observable } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { StreamItems } from '../../lib/nest/gen-rpc.stream-items.js';
import { until } from '../support/door.js';
import { itemsOf, pairOf } from './support.js';
import { collect, Counter, range, settled, type Item } from './streams-support.js';

let seen: unknown[] = [];
let counter = new Counter();
let other = new Counter();
let finish: (() => void)[] = [];
beforeEach(() => {
  seen = [];
  finish = [];
  counter = new Counter(200);
  other = new Counter(200);
});

@Injectable()
class Doubling implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler<Item>): Observable<unknown> {
    return next.handle().pipe(
      tap(({ n }) => void seen.push(n)),
      map((item) => ({ ...item, n: item.n * 2 })),
    );
  }
}

@Injectable()
class Mending implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler<unknown>): Observable<unknown> {
    return next.handle().pipe(catchError((error: Error) => of({ n: error.message })));
  }
}

@Injectable()
class FirstThree implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler<unknown>): Observable<unknown> {
    return next.handle().pipe(take(3));
  }
}

/** Its own paced items beside those of the handler: two who wait for room. */
@Injectable()
class Merging implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler<unknown>): Observable<unknown> {
    const call = context.switchToRpc().getContext<GenRpcContext>();
    return next.handle().pipe(mergeWith(call.paced(other.generate())));
  }
}

@Catch(RangeError)
class Explaining implements ExceptionFilter<RangeError> {
  catch(error: RangeError, host: ArgumentsHost): Observable<never> {
    const pattern = host.switchToRpc().getContext<GenRpcContext>().getPattern();
    return throwError(() => new RpcException({ status: 'range', message: `${pattern}: ${error.message}` }));
  }
}

@Catch(SyntaxError)
class Replacing implements ExceptionFilter<SyntaxError> {
  catch(): Observable<unknown> {
    return concat(of({ n: 'instead' }), of({ n: 'of it' }));
  }
}

class Refusing implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

async function* failing(error: Error): AsyncGenerator<unknown> {
  yield { n: 1 };
  yield { n: 2 };
  throw error;
}

@RpcModule('module')
class Functions {
  @RpcFunction()
  @UseInterceptors(Doubling)
  async *count(@Arg(0) count: number): AsyncGenerator<Item> {
    yield* counter.generate(count);
  }

  @RpcFunction()
  @UseInterceptors(Doubling, Doubling)
  async *twice(@Arg(0, ParseIntPipe) count: number, @Ctx() context: GenRpcContext): AsyncGenerator<Item> {
    seen.push([typeof count, context.getPattern()]);
    yield* counter.generate(count);
  }

  @RpcFunction()
  @UseInterceptors(Mending)
  async *mended(): AsyncGenerator<unknown> {
    yield* failing(new Error('mended'));
  }

  @RpcFunction()
  @UseFilters(Explaining)
  async *explained(): AsyncGenerator<unknown> {
    yield* failing(new RangeError('too far'));
  }

  @RpcFunction()
  @UseFilters(Replacing)
  async *replaced(): AsyncGenerator<unknown> {
    yield* failing(new SyntaxError());
  }

  @RpcFunction()
  @UseGuards(Refusing)
  async *guarded(): AsyncGenerator<Item> {
    yield* counter.generate();
  }

  @RpcFunction()
  @UseInterceptors(FirstThree)
  async *three(): AsyncGenerator<Item> {
    try {
      yield* counter.generate();
    } finally {
      await new Promise<void>((resolve) => finish.push(resolve));
    }
  }

  @RpcFunction()
  @UseInterceptors(Merging)
  async *merged(): AsyncGenerator<Item> {
    yield* counter.generate();
  }
}

@Controller()
class Patterns {
  @UseInterceptors(Doubling)
  @MessagePattern('above')
  @StreamItems()
  async *above(@Payload() count: number, ...more: unknown[]): AsyncGenerator<Item> {
    seen.push(more);
    yield* counter.generate(count);
  }

  @StreamItems()
  @MessagePattern('below')
  @SetMetadata('kept', 'below')
  @UseInterceptors(Doubling)
  below(count: number, none?: unknown): AsyncGenerator<Item> {
    seen.push(none);
    return counter.generate(count);
  }

  @StreamItems()
  @MessagePattern('promised')
  @UseInterceptors(Doubling)
  async promised(@Payload() count: number = 7): Promise<AsyncIterable<Item>> {
    return counter.generate(count);
  }

  @StreamItems()
  @MessagePattern('one')
  @UseInterceptors(Doubling)
  one(@Payload() n: number): Item {
    return { n };
  }

  @MessagePattern('bare')
  @UseInterceptors(Doubling)
  async *bare(@Payload() count: number): AsyncGenerator<Item> {
    yield* counter.generate(count);
  }
}

const APP = { controllers: [Functions, Patterns] };
const numbers = map(({ n }: Item) => n);
const evens = range(5).map((n) => 2 * n);

describe('an interceptor sees each item', () => {
  it.each(['module.count', 'above', 'below', 'promised'])('of %s', async (pattern) => {
    await using pair = await pairOf(APP);
    await expect(itemsOf(pair.caller.send<Item>(pattern, 5).pipe(numbers))).resolves.toEqual(evens);
    expect(seen.filter((one) => typeof one === 'number')).toEqual(range(5));
  });

  it('and the one value of a handler that may stream', async () => {
    await using pair = await pairOf(APP);
    await expect(itemsOf(pair.caller.send<Item>('one', 5))).resolves.toEqual([{ n: 10 }]);
  });

  it('where there are two of them, pipes, and a context', async () => {
    await using pair = await pairOf(APP);
    await expect(itemsOf(pair.caller.send<Item>('module.twice', '3').pipe(numbers))).resolves.toEqual([0, 4, 8]);
    expect(seen).toEqual([['number', 'module.twice'], 0, 0, 1, 2, 2, 4]);
  });

  it('which changes nothing about the arguments', async () => {
    await using pair = await pairOf(APP);
    await itemsOf(pair.caller.send('above', 1));
    expect(seen).toEqual([[], 0]);
    seen = [];
    await itemsOf(pair.caller.send('below', 1));
    expect(seen).toEqual([undefined, 0]);
  });

  it('and a pattern without @StreamItems() gives it the generator itself', async () => {
    await using pair = await pairOf(APP);
    // `{ ...generator, n: generator.n * 2 }`
    await expect(itemsOf(pair.caller.send('bare', 5))).resolves.toEqual([{ n: Number.NaN }]);
  });
});

describe('a decorated method', () => {
  it('keeps its name and what else was said of it', () => {
    const methodOf = (type: Type, method: string): Function =>
      Reflect.get(type.prototype as object, method) as Function;
    const below = methodOf(Patterns, 'below');
    expect([below.name, below.length]).toEqual(['below', 2]);
    expect(Reflect.getMetadata('kept', below)).toBe('below');
    const count = methodOf(Functions, 'count');
    expect([count.name, count.length]).toEqual(['count', 1]);
  });
});

describe('behind interceptors the reader sets the pace', () => {
  it.each(['module.count', 'above', 'below', 'promised'])('of %s, which is endless', async (pattern) => {
    await using pair = await pairOf(APP);
    const iterator = pair.caller.stream<Item>(pattern, Number.MAX_SAFE_INTEGER)[Symbol.asyncIterator]();
    await iterator.next();
    expect(await settled(() => counter.made)).toBeLessThan(4000);
    for (let n = 1; n < 6000; n += 1) expect((await iterator.next()).value?.n).toBe(2 * n);
    expect(counter.made).toBeGreaterThan(6000);
    expect(counter.made).toBeLessThan(20_000);
    await iterator.return?.();
    await until(() => counter.stopped === 1);
    await until(() => pair.node.stats().runningCalls === 0);
  });

  it('of two at once', async () => {
    await using pair = await pairOf(APP);
    const iterator = pair.caller.stream<Item>('module.merged', {})[Symbol.asyncIterator]();
    await iterator.next();
    expect(await settled(() => counter.made)).toBeLessThan(4000);
    for (let n = 1; n < 6000; n += 1) expect((await iterator.next()).done).toBe(false);
    for (const { made } of [counter, other]) expect(made).toBeGreaterThan(2000);
    await iterator.return?.();
    await until(() => counter.stopped === 1 && other.stopped === 1);
  });

  it('on a call of the node to itself too', async () => {
    await using pair = await pairOf(APP);
    const iterator = pair.node.stream<Item>(pair.node.name, 'module', 'count', [Infinity])[Symbol.asyncIterator]();
    await iterator.next();
    expect(await settled(() => counter.made)).toBeLessThan(4000);
    for (let n = 1; n < 6000; n += 1) expect((await iterator.next()).value?.n).toBe(2 * n);
    await iterator.return?.();
    await until(() => counter.stopped === 1);
  });
});

describe('a stream that fails after some items', () => {
  const first = [{ n: 1 }, { n: 2 }];

  it('is mended by catchError', async () => {
    await using pair = await pairOf(APP);
    await expect(itemsOf(pair.caller.send('module.mended', {}))).resolves.toEqual([...first, { n: 'mended' }]);
  });

  it('is explained by a filter', async () => {
    await using pair = await pairOf(APP);
    const items: unknown[] = [];
    const iterate = async (): Promise<void> => {
      for await (const item of pair.caller.stream('module.explained', {})) items.push(item);
    };
    await expect(iterate()).rejects.toEqual({ status: 'range', message: 'module.explained: too far' });
    expect(items).toEqual(first);
    expect(pair.log.said('error', 'too far')).toEqual([]);
  });

  it('goes on with what a filter has instead', async () => {
    await using pair = await pairOf(APP);
    const items = await collect(pair.caller.stream('module.replaced', {}));
    expect(items).toEqual([...first, { n: 'instead' }, { n: 'of it' }]);
  });
});

describe('a guard', () => {
  it('keeps the generator from beginning', async () => {
    await using pair = await pairOf(APP);
    await expect(lastValueFrom(pair.caller.send('module.guarded', {}))).rejects.toMatchObject({
      message: 'Forbidden resource',
    });
    expect(counter.made).toBe(0);
  });
});

describe('an interceptor that has enough', () => {
  it('ends the reply at once, and the call keeps its place until the generator has ended', async () => {
    await using pair = await pairOf(APP);
    await expect(itemsOf(pair.caller.send<Item>('module.three', {}).pipe(numbers))).resolves.toEqual([0, 1, 2]);
    await until(() => finish.length === 1);
    expect(counter.stopped).toBe(1);
    expect(pair.node.stats().runningCalls).toBe(1);
    finish[0]?.();
    await until(() => pair.node.stats().runningCalls === 0);
  });

  it('and so does a caller that leaves', async () => {
    await using pair = await pairOf(APP);
    for await (const _ of pair.caller.stream('module.three', {})) break;
    await until(() => finish.length === 1);
    expect(pair.node.stats().runningCalls).toBe(1);
    finish[0]?.();
    await until(() => pair.node.stats().runningCalls === 0);
  });
});
