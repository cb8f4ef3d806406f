import {
  BadRequestException,
  Catch,
  ConflictException,
  HttpException,
  Injectable,
  ParseIntPipe,
  UseFilters,
  UseGuards,
  UsePipes,
  ValidationPipe,
  type CanActivate,
  type ExceptionFilter,
  type PipeTransform,
} from '@nestjs/common';
import { Ctx, RpcException } from '@nestjs/microservices';
import { IsInt } from 'class-validator';
import { firstValueFrom, of, throwError, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { App, pairOf, SERVER, type Pair } from './support.js';

class Order {
  @IsInt()
  id!: number;
}

@Injectable()
class Double implements PipeTransform<number, number> {
  transform(value: number): number {
    return value * 2;
  }
}

@Injectable()
class Prices {
  of(id: number): number {
    return id * 10;
  }
}

@RpcModule('shop')
class Shop {
  constructor(private readonly prices: Prices) {}

  @RpcFunction()
  add(@Arg(0) a: number, @Arg(1) b: number): number {
    return a + b;
  }

  @RpcFunction('price')
  priceOf(@Arg(0, ParseIntPipe, Double) id: number): number {
    return this.prices.of(id);
  }

  @RpcFunction()
  swapped(@Arg(1) second: unknown, @Arg(0) first: unknown): unknown {
    return { first, second };
  }

  @RpcFunction()
  withContext(@Arg(0) value: unknown, @Ctx() context: GenRpcContext): unknown {
    return [value, context.getPattern()];
  }

  @RpcFunction()
  none(): string {
    return 'nothing asked';
  }

  @RpcFunction()
  whole(data: unknown): unknown {
    return [data];
  }

  @RpcFunction()
  items(@Arg(0) a: number, @Arg(1) b: number): Observable<number> {
    return of(a, b);
  }

  @RpcFunction()
  @UsePipes(new ValidationPipe())
  buy(@Arg(0) order: Order): number {
    return order.id;
  }

  @RpcFunction()
  conflict(): never {
    throw new ConflictException('sold out');
  }

  @RpcFunction()
  teapot(): never {
    throw new HttpException('short and stout', 418);
  }

  @RpcFunction()
  detailed(): never {
    throw new BadRequestException({ reason: 'no', fields: ['a'], cause: undefined });
  }

  @RpcFunction()
  rpcException(): never {
    throw new RpcException('m');
  }

  @RpcFunction()
  plain(): never {
    throw new Error('SELECT secret');
  }

  @RpcFunction()
  deliberate(): never {
    throw new GenRpcError('handler_failed', 'deliberate', { details: { why: 'because' } });
  }

  @RpcFunction()
  nested(): never {
    throw new GenRpcError('node_down', 'db@10.0.0.9 is down: secret topology');
  }

  undecorated(): string {
    return 'never';
  }
}

const APP = { controllers: [Shop], providers: [Prices] };

function call(pair: Pair, fn: string, ...args: unknown[]): Promise<unknown> {
  return pair.caller.unwrap().call(SERVER, 'shop', fn, args);
}

describe('an @RpcModule', () => {
  it('is called with its arguments one by one', async () => {
    await using pair = await pairOf(APP);
    await expect(call(pair, 'add', 1, 2)).resolves.toBe(3);
    await expect(call(pair, 'swapped', 'a', 'b')).resolves.toEqual({ first: 'a', second: 'b' });
    await expect(call(pair, 'none')).resolves.toBe('nothing asked');
    await expect(call(pair, 'none', 'too', 'many')).resolves.toBe('nothing asked');
    await expect(call(pair, 'swapped', 'alone')).resolves.toEqual({ first: 'alone', second: undefined });
  });

  it('has its functions under other names, and its arguments through pipes', async () => {
    await using pair = await pairOf(APP);
    await expect(call(pair, 'price', '21')).resolves.toBe(420);
    await expect(call(pair, 'priceOf', '21')).rejects.toMatchObject({ code: 'undefined_function' });
    const refused = { code: 'handler_failed', details: { statusCode: 400, error: 'Bad Request' } };
    await expect(call(pair, 'price', 'x')).rejects.toMatchObject(refused);
  });

  it('has the context beside its arguments', async () => {
    await using pair = await pairOf(APP);
    await expect(call(pair, 'withContext', 7)).resolves.toEqual([7, 'shop.withContext']);
  });

  it('without @Arg takes the payload as a controller does', async () => {
    await using pair = await pairOf(APP);
    await expect(call(pair, 'whole', { a: 1 })).resolves.toEqual([{ a: 1 }]);
  });

  it('is called by send too: with one value, or with a list of arguments', async () => {
    await using pair = await pairOf(APP);
    await expect(firstValueFrom(pair.caller.send('shop.add', [1, 2]))).resolves.toBe(3);
    await expect(firstValueFrom(pair.caller.send('shop.price', '21'))).resolves.toBe(420);
  });

  it('gives the last of several values to call, all of them to send', async () => {
    await using pair = await pairOf(APP);
    await expect(call(pair, 'items', 1, 2)).resolves.toBe(2);
  });

  it('has no function that is not decorated', async () => {
    await using pair = await pairOf(APP);
    await expect(call(pair, 'undecorated')).rejects.toMatchObject({ code: 'undefined_function' });
  });

  it('is refused when its decorators contradict each other', () => {
    const withoutFunction = (): void => {
      class Wrong {
        fn(_: unknown): void {}
      }
      Arg(0)(Wrong.prototype, 'fn', 0);
      RpcModule('wrong')(Wrong);
    };
    expect(withoutFunction).toThrow('@Arg() in Wrong.fn needs @RpcFunction() on the method.');
    expect(() => RpcFunction('a.b')).not.toThrow();
    expect(() => RpcFunction('a.b')({}, 'fn', {})).toThrow('a name without dots expected');
    expect(() => RpcFunction('')({}, 'fn', {})).toThrow('a name without dots expected');
  });
});

describe('what an @RpcModule throws', () => {
  it.each([
    ['conflict', 'sold out', { statusCode: 409, error: 'Conflict', message: 'sold out' }],
    ['teapot', 'short and stout', { statusCode: 418, message: 'short and stout' }],
    ['detailed', 'Bad Request Exception', { statusCode: 400, reason: 'no', fields: ['a'] }],
    ['rpcException', 'm', { status: 'error', message: 'm' }],
    ['deliberate', 'deliberate', { why: 'because' }],
  ])('keeps message and details when it is meant for callers: %s', async (fn, message, details) => {
    await using pair = await pairOf(APP);
    const expected = { code: 'handler_failed', message, details, maybeExecuted: true };
    await expect(call(pair, fn)).rejects.toMatchObject(expected);
  });

  it('names the properties that ValidationPipe refused', async () => {
    await using pair = await pairOf(APP);
    const details = { statusCode: 400, message: ['id must be an integer number'], error: 'Bad Request' };
    await expect(call(pair, 'buy', { id: 'x' })).rejects.toMatchObject({ code: 'handler_failed', details });
    await expect(call(pair, 'buy', { id: 7 })).resolves.toBe(7);
  });

  it('is an accident otherwise, and stays here', async () => {
    await using pair = await pairOf(APP);
    await expect(call(pair, 'plain')).rejects.toMatchObject({
      code: 'handler_failed',
      message: 'Internal server error',
    });
    expect(pair.log.said('error', 'SELECT secret')).toHaveLength(1);
  });

  it('says the code, and no more, of a call of its own that failed', async () => {
    await using pair = await pairOf(APP);
    const expected = { code: 'handler_failed', message: 'shop.nested failed.', details: { code: 'node_down' } };
    await expect(call(pair, 'nested')).rejects.toMatchObject(expected);
    expect(pair.log.said('error', 'secret topology')).toHaveLength(1);
  });
});

@Catch(HttpException)
class Mine implements ExceptionFilter {
  catch(): Observable<never> {
    return throwError(() => ({ filteredBy: 'mine' }));
  }
}

@Catch(RpcException)
class NotForHttp implements ExceptionFilter {
  catch(): Observable<never> {
    return throwError(() => ({ filteredBy: 'not for http' }));
  }
}

@RpcModule('above')
@UseFilters(Mine)
class FilterBelowModule {
  @RpcFunction()
  conflict(): never {
    throw new ConflictException('sold out');
  }
}

@UseFilters(Mine)
@RpcModule('below')
class FilterAboveModule {
  @RpcFunction()
  conflict(): never {
    throw new ConflictException('sold out');
  }
}

@RpcModule('method')
class FilterOnMethod {
  @UseFilters(Mine)
  @RpcFunction()
  conflict(): never {
    throw new ConflictException('sold out');
  }

  @RpcFunction()
  @UseFilters(new Mine())
  other(): never {
    throw new ConflictException('sold out');
  }

  @RpcFunction()
  free(): never {
    throw new ConflictException('sold out');
  }
}

@UseFilters(NotForHttp)
@RpcModule('others')
class FilterForOthers {
  @RpcFunction()
  conflict(): never {
    throw new ConflictException('sold out');
  }
}

describe("filters of the user on an @RpcModule come before the library's own", () => {
  const FILTERED = { controllers: [FilterBelowModule, FilterAboveModule, FilterOnMethod, FilterForOthers] };

  it.each([
    ['@UseFilters below @RpcModule', 'above', 'conflict'],
    ['@UseFilters above @RpcModule', 'below', 'conflict'],
    ['@UseFilters above @RpcFunction', 'method', 'conflict'],
    ['@UseFilters below @RpcFunction', 'method', 'other'],
  ])('%s', async (_, module, fn) => {
    await using pair = await pairOf(FILTERED);
    const reply = pair.caller.unwrap().call(SERVER, module, fn);
    await expect(reply).rejects.toMatchObject({ code: 'handler_failed', details: { filteredBy: 'mine' } });
  });

  it.each([
    ['a filter for something else', 'others', 'conflict'],
    ['a filter on another method', 'method', 'free'],
  ])('and leave it what they do not catch: %s', async (_, module, fn) => {
    await using pair = await pairOf(FILTERED);
    const reply = pair.caller.unwrap().call(SERVER, module, fn);
    await expect(reply).rejects.toMatchObject({
      code: 'handler_failed',
      details: { statusCode: 409, message: 'sold out' },
    });
  });
});

@RpcModule('versioned', { version: '1.0.0' })
class VersionOne {
  @RpcFunction()
  which(): string {
    return 'one';
  }

  @RpcFunction()
  onlyOne(): string {
    return 'one';
  }
}

@RpcModule('versioned', { version: '2.0.0' })
class VersionTwo {
  @RpcFunction()
  which(): string {
    return 'two';
  }
}

describe('versions of an @RpcModule', () => {
  const VERSIONED = { controllers: [VersionOne, VersionTwo] };

  it.each([
    ['1.0.0', 'which', 'one'],
    ['2.0.0', 'which', 'two'],
  ])('live side by side: %s', async (version, fn, expected) => {
    await using pair = await pairOf(VERSIONED);
    await expect(pair.caller.unwrap().call(SERVER, { module: 'versioned', version }, fn)).resolves.toBe(expected);
  });

  it.each(['3.0.0', '1.0', 'v1.0.0', '__proto__', ' 1.0.0'])(
    'that are not here are incompatible: %s',
    async (version) => {
      await using pair = await pairOf(VERSIONED);
      const reply = pair.caller.unwrap().call(SERVER, { module: 'versioned', version }, 'which');
      await expect(reply).rejects.toMatchObject({ code: 'incompatible', maybeExecuted: false });
    },
  );

  it('have functions of their own', async () => {
    await using pair = await pairOf(VERSIONED);
    const node = pair.caller.unwrap();
    await expect(node.call(SERVER, { module: 'versioned', version: '1.0.0' }, 'onlyOne')).resolves.toBe('one');
    const missing = node.call(SERVER, { module: 'versioned', version: '2.0.0' }, 'onlyOne');
    await expect(missing).rejects.toMatchObject({ code: 'undefined_function' });
    await expect(node.call(SERVER, { module: 'unknown', version: '1.0.0' }, 'which')).rejects.toMatchObject({
      code: 'incompatible',
    });
  });

  it('give no warning about two handlers', async () => {
    await using pair = await pairOf(VERSIONED);
    expect(pair.log.said('warn', 'Two handlers')).toEqual([]);
  });

  it('without one asked for, the newest registered answers', async () => {
    await using pair = await pairOf(VERSIONED);
    await expect(pair.caller.unwrap().call(SERVER, 'versioned', 'which')).resolves.toBe('two');
    await expect(firstValueFrom(pair.caller.send('versioned.onlyOne', {}))).resolves.toBe('one');
  });
});

describe('guards on an @RpcModule', () => {
  it('refuse, and say so to callers', async () => {
    class Never implements CanActivate {
      canActivate(): boolean {
        return false;
      }
    }
    @UseGuards(Never)
    @RpcModule('guarded')
    class Guarded {
      @RpcFunction()
      fn(): string {
        return 'reached';
      }
    }
    await using app = await App.start({ controllers: [Guarded] });
    const reply = app.client().unwrap().call(SERVER, 'guarded', 'fn');
    await expect(reply).rejects.toMatchObject({ code: 'handler_failed', message: 'Forbidden resource' });
  });
});
