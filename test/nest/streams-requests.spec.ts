/** Requests that are streams: what a handler gets, also behind Nest's pipes, and how fast. */
import 'reflect-metadata';
import { Controller, ParseIntPipe, ValidationPipe, type INestMicroservice } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { IsInt } from 'class-validator';
import { firstValueFrom, from, lastValueFrom, map, Observable, of, reduce, take, throwError } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import type { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcItemStream } from '../../lib/nest/gen-rpc.item-stream.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { until } from '../support/door.js';
import { itemsOf, pairOf, SERVER, signalOf, type Pair } from './support.js';
import { collect, Counter, range, settled, upTo, type Item } from './streams-support.js';

const add = (sum: number, item: number): number => sum + item;

async function sumOf(items: AsyncIterable<number>): Promise<number> {
  let sum = 0;
  for await (const item of items) sum += item;
  return sum;
}

let given: unknown[] = [];
let received = 0;
let caller: GenRpcClient;
let release = signalOf();
beforeEach(() => {
  given = [];
  received = 0;
  release = signalOf();
});

class Dto {
  @IsInt()
  n: number = 0;
}

@Controller()
class Patterns {
  @MessagePattern('sum.observable')
  observable(@Payload() items$: Observable<number>): Observable<number> {
    given.push(items$);
    return items$.pipe(reduce(add, 0));
  }

  @MessagePattern('sum.iterable')
  iterable(@Payload() items: AsyncIterable<number>): Promise<number> {
    given.push(items);
    return sumOf(items);
  }

  @MessagePattern('sum.item-stream')
  itemStream(@Payload() items: GenRpcItemStream<number>): Promise<number> {
    given.push(items);
    return sumOf(items);
  }

  @MessagePattern('sum.promise')
  async promise(@Payload() items$: Observable<number>): Promise<number> {
    await Promise.resolve();
    return lastValueFrom(items$.pipe(reduce(add, 0)));
  }

  @MessagePattern('double')
  double(@Payload() items$: Observable<Item>): Observable<Item> {
    return items$.pipe(
      map((item) => {
        received += 1;
        return { ...item, n: item.n * 2 };
      }),
    );
  }

  @MessagePattern('first')
  first(@Payload() items$: Observable<Item>): Observable<Item> {
    return items$.pipe(take(1));
  }

  @MessagePattern('echo')
  echo(@Payload() items$: Observable<Item>): Observable<Item> {
    return items$;
  }

  @MessagePattern('forward')
  forward(@Payload() items$: Observable<number>, @Ctx() context: GenRpcContext): Observable<number> {
    return caller.send<number>(context.getMetadata()?.['to'], items$);
  }

  @MessagePattern('unhandled')
  unhandled(@Payload() items$: Observable<Item>): Promise<never> {
    items$.subscribe(({ n }) => void given.push(n));
    return new Promise(() => {});
  }

  @MessagePattern('hold')
  async hold(@Payload() items: AsyncIterable<Item>): Promise<number> {
    await release.promise;
    for await (const _ of items) received += 1;
    return received;
  }

  @MessagePattern('ending')
  ending(@Payload() items$: Observable<Item>): Promise<unknown> {
    return new Promise((resolve) => {
      items$.subscribe({
        error: (error: unknown) => resolve(given.push(error)),
        complete: () => given.push('complete'),
      });
    });
  }

  @MessagePattern('list')
  list(@Payload() list: unknown[]): Promise<number> {
    given.push(...list.slice(0, -1));
    return sumOf(list.at(-1) as AsyncIterable<number>);
  }

  @MessagePattern('dto')
  dto(@Payload() dto: Dto): unknown {
    given.push(dto);
    return dto.n;
  }

  @EventPattern('event')
  event(@Payload() data: unknown): void {
    given.push(data);
  }
}

@RpcModule('module')
class Functions {
  @RpcFunction()
  sum(@Arg(0, ParseIntPipe) start: number, @Arg(1) items$: Observable<number>): Observable<number> {
    given.push(start, items$);
    return items$.pipe(reduce(add, start));
  }

  @RpcFunction()
  only(@Arg(0) items: AsyncIterable<number>): Promise<number> {
    return sumOf(items);
  }

  @RpcFunction()
  async *double(@Arg(0) items: Observable<Item> & AsyncIterable<Item>): AsyncGenerator<Item> {
    for await (const item of items) {
      received += 1;
      yield { ...item, n: item.n * 2 };
    }
  }
}

const APP = { controllers: [Patterns, Functions] };

/** What Nest applications usually have, and what copies every object whose class it is told. */
const PIPES = [
  ['without pipes', undefined],
  ['transform, whitelist', { transform: true, whitelist: true }],
  ['whitelist, forbidNonWhitelisted', { whitelist: true, forbidNonWhitelisted: true }],
  ['transform', { transform: true }],
] as const;

describe.each(PIPES)('a stream as request, %s', (_, options) => {
  const start = (): Promise<Pair> =>
    pairOf({
      ...APP,
      configure: (app: INestMicroservice) => {
        if (options !== undefined) app.useGlobalPipes(new ValidationPipe(options));
      },
    });

  it.each(['sum.observable', 'sum.iterable', 'sum.item-stream', 'sum.promise', 'module.only'])(
    'reaches %s, sent as an Observable and as a generator',
    async (pattern) => {
      await using pair = await start();
      await expect(itemsOf(pair.caller.send(pattern, from(range(2000))))).resolves.toEqual([1_999_000]);
      await expect(itemsOf(pair.caller.send(pattern, upTo(2000)))).resolves.toEqual([1_999_000]);
      for (const items of given) {
        expect(items).toBeInstanceOf(GenRpcItemStream);
        expect(items).toBeInstanceOf(Observable);
      }
    },
  );

  it('is the last of the arguments of a function', async () => {
    await using pair = await start();
    const sum = pair.caller.unwrap().call(SERVER, 'module', 'sum', ['1000', upTo(10)]);
    await expect(sum).resolves.toBe(1045);
    await expect(firstValueFrom(pair.caller.send('module.sum', ['1000', of(1, 2)]))).resolves.toBe(1003);
    expect(given.filter((one) => typeof one === 'number')).toEqual([1000, 1000]);
  });

  it('is the last of a list', async () => {
    await using pair = await start();
    await expect(firstValueFrom(pair.caller.send('list', ['a', 'b', upTo(4)]))).resolves.toBe(6);
    expect(given).toEqual(['a', 'b']);
  });

  it('is the data of a record', async () => {
    await using pair = await start();
    const record = new GenRpcRecordBuilder(of(1, 2, 3)).setKey('k').setTimeout(5000).setHeaders({ a: 'b' }).build();
    await expect(firstValueFrom(pair.caller.send('sum.iterable', record))).resolves.toBe(6);
    expect(pair.caller.unwrap().isConnected({ node: SERVER, key: 'k' })).toBe(true);
  });

  it('and other data is piped as ever', async () => {
    await using pair = await start();
    await expect(firstValueFrom(pair.caller.send('dto', { n: 3 }))).resolves.toBe(3);
    expect(given[0] instanceof Dto).toBe(options !== undefined && 'transform' in options);
  });

  it.each(['double', 'module.double'])('goes both ways at once: %s', async (pattern) => {
    await using pair = await start();
    const items = new Counter().generate(3000);
    const doubled = await collect(pair.caller.stream<Item>(pattern, items));
    expect(doubled.map(({ n }) => n)).toEqual(range(3000).map((n) => 2 * n));
  });
});

describe('a stream as request', () => {
  it('waits for the handler that reads it', async () => {
    await using pair = await pairOf(APP);
    const counter = new Counter(200);
    const reply = firstValueFrom(pair.caller.send('hold', counter.generate(6000)));
    await until(() => counter.made > 0);
    expect(await settled(() => counter.made)).toBeLessThan(4000);
    expect(received).toBe(0);
    release.resolve();
    await expect(reply).resolves.toBe(6000);
  });

  it.each(['sum.observable', 'sum.iterable'])('is passed on to %s', async (to) => {
    await using pair = await pairOf(APP);
    ({ caller } = pair);
    const record = new GenRpcRecordBuilder(upTo(1000)).setHeaders({ to }).build();
    await expect(itemsOf(caller.send('forward', record))).resolves.toEqual([499_500]);
  });

  it('does not end a process that subscribed without an error handler', async () => {
    await using pair = await pairOf(APP);
    const subscription = pair.caller.send('unhandled', new Counter().generate()).subscribe();
    await until(() => given.length > 100);
    subscription.unsubscribe();
    await until(() => pair.node.stats().stuckCalls === 1);
    await settled(() => given.length);
    expect(given).toEqual(range(given.length));
    pair.server.unwrap().abort();
  });

  it.each(['echo', 'double', 'module.double'])(
    'waits for the reader of the reply that %s makes of it',
    async (pattern) => {
      await using pair = await pairOf(APP);
      const counter = new Counter(200);
      const iterator = pair.caller.stream<Item>(pattern, counter.generate())[Symbol.asyncIterator]();
      await iterator.next();
      expect(await settled(() => counter.made)).toBeLessThan(8000);
      expect(received).toBeLessThan(4000);
      const factor = pattern === 'echo' ? 1 : 2;
      for (let n = 1; n < 8000; n += 1) expect((await iterator.next()).value?.n).toBe(factor * n);
      await iterator.return?.();
      await until(() => counter.stopped === 1);
    },
  );

  it('is stopped when the handler has enough', async () => {
    await using pair = await pairOf(APP);
    const counter = new Counter();
    await expect(itemsOf(pair.caller.send('first', counter.generate()))).resolves.toEqual([{ n: 0 }]);
    await until(() => counter.stopped === 1);
    const observed = new Counter();
    await expect(itemsOf(pair.caller.send('first', observed.observe()))).resolves.toEqual([{ n: 0 }]);
    await until(() => observed.stopped === 1);
  });

  it('is stopped when the caller unsubscribes, and the handler is told that this is not its end', async () => {
    await using pair = await pairOf(APP);
    const counter = new Counter();
    const subscription = pair.caller.send('ending', counter.generate()).subscribe();
    await until(() => counter.made > 100);
    subscription.unsubscribe();
    await until(() => counter.stopped === 1 && given.length === 1);
    expect(given).toMatchObject([{ code: 'cancelled' }]);
  });

  it('is not complete when its caller is gone', async () => {
    await using pair = await pairOf(APP);
    const counter = new Counter();
    const reply = itemsOf(pair.caller.send('ending', counter.generate()));
    await until(() => counter.made > 100);
    pair.caller.unwrap().abort();
    await expect(reply).rejects.toMatchObject({ code: 'connection_lost' });
    await until(() => counter.stopped === 1 && given.length === 1);
    expect(given).toMatchObject([{ code: 'connection_lost' }]);
  });

  it('fails the call when it fails, and the handler is told', async () => {
    await using pair = await pairOf(APP);
    const failing = throwError(() => new Error('no more tea'));
    await expect(itemsOf(pair.caller.send('ending', failing))).rejects.toMatchObject({
      code: 'cancelled',
      message: expect.stringContaining('no more tea'),
    });
    await until(() => given.length === 1);
    expect(given).toMatchObject([{ code: 'cancelled' }]);
  });

  it('is read once', async () => {
    const second = signalOf<unknown>();
    @Controller()
    class Twice {
      @MessagePattern('twice')
      async twice(@Payload() items: Observable<number>): Promise<number> {
        const sum = await lastValueFrom(items.pipe(reduce(add, 0)));
        items.subscribe({ error: second.resolve });
        return sum;
      }
    }
    await using pair = await pairOf({ controllers: [Twice] });
    await expect(firstValueFrom(pair.caller.send('twice', of(1, 2)))).resolves.toBe(3);
    await expect(second.promise).resolves.toMatchObject({ code: 'invalid_argument' });
  });

  it.each(['next', 'observer', 'three functions'])('is an Observable that takes %s', async (how) => {
    @Controller()
    class Any {
      @MessagePattern('any')
      any(@Payload() items$: Observable<number>): Promise<number[]> {
        return new Promise((resolve, reject) => {
          const seen: number[] = [];
          const next = (item: number): unknown => (seen.length === 1 ? resolve([...seen, item]) : seen.push(item));
          if (how === 'next') items$.subscribe(next);
          if (how === 'observer') items$.subscribe({ next, error: reject });
          // eslint-disable-next-line @typescript-eslint/no-deprecated
          if (how === 'three functions') items$.subscribe(next, reject, () => {});
        });
      }
    }
    await using pair = await pairOf({ controllers: [Any] });
    await expect(firstValueFrom(pair.caller.send('any', of(1, 2)))).resolves.toEqual([1, 2]);
  });
});

describe('an event', () => {
  it('cannot be a stream, and says so', async () => {
    await using pair = await pairOf(APP);
    const counter = new Counter();
    for (const data of [counter.generate(), of(1), [1, counter.generate()], new GenRpcRecordBuilder(of(1)).build()]) {
      await expect(lastValueFrom(pair.caller.emit('event', data), { defaultValue: 0 })).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining('cannot have an argument that is a stream'),
      });
    }
    expect(counter.made).toBe(0);
    await lastValueFrom(pair.caller.emit('event', { n: 1 }), { defaultValue: 0 });
    await until(() => given.length === 1);
    expect(given).toEqual([{ n: 1 }]);
  });
});
