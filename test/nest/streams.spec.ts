/** Replies that are streams: Observables and async generators, of handlers by pattern and of modules. */
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, map, type Observable, take, timeout } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { StreamItems } from '../../lib/nest/gen-rpc.stream-items.js';
import { until } from '../support/door.js';
import { itemsOf, pairOf, SECRET, SERVER, type AppSettings } from './support.js';
import { collect, Counter, range, settled, type Item } from './streams-support.js';

/** The same producers behind every kind of handler. */
class Counters {
  readonly counter = new Counter(200);
}

@Controller()
class Patterns {
  constructor(private readonly all: Counters) {}

  @MessagePattern('pattern.observable')
  observable(): Observable<Item> {
    return this.all.counter.observe();
  }

  @MessagePattern('pattern.generator')
  generator(@Payload() count?: unknown): AsyncGenerator<Item> {
    return this.all.counter.generate(typeof count === 'number' ? count : Infinity);
  }

  @StreamItems()
  @MessagePattern('pattern.items')
  items(@Payload() count?: unknown): AsyncGenerator<Item> {
    return this.all.counter.generate(typeof count === 'number' ? count : Infinity);
  }

  @MessagePattern('pattern.promise')
  async promise(@Payload() count?: unknown): Promise<AsyncGenerator<Item>> {
    return this.generator(count);
  }
}

@RpcModule('module')
class Functions {
  constructor(private readonly all: Counters) {}

  @RpcFunction()
  observable(): Observable<Item> {
    return this.all.counter.observe();
  }

  @RpcFunction()
  async *generator(@Arg(0) count?: unknown): AsyncGenerator<Item> {
    yield* this.all.counter.generate(typeof count === 'number' ? count : Infinity);
  }

  @RpcFunction()
  returned(@Arg(0) count?: unknown): AsyncGenerator<Item> {
    return this.all.counter.generate(typeof count === 'number' ? count : Infinity);
  }
}

for (const type of [Patterns, Functions]) Reflect.defineMetadata('design:paramtypes', [Counters], type);

const APP: AppSettings = { controllers: [Patterns, Functions], providers: [Counters] };
const GENERATORS = ['pattern.generator', 'pattern.items', 'pattern.promise', 'module.generator', 'module.returned'];
const ALL = ['pattern.observable', 'module.observable', ...GENERATORS];

const numbers = map(({ n }: Item) => n);

describe.each(GENERATORS)('%s', (pattern) => {
  it.each([0, 1, 2, 5000])('N-60 brings %i items, whole and in order', async (count) => {
    await using pair = await pairOf(APP);
    await expect(itemsOf(pair.caller.send<Item>(pattern, count).pipe(numbers))).resolves.toEqual(range(count));
    const iterated = await collect(pair.caller.stream<Item>(pattern, count));
    expect(iterated.map(({ n }) => n)).toEqual(range(count));
    await until(() => pair.app.get(Counters).counter.stopped === 2);
  });

  it('N-59 waits for a slow reader', async () => {
    await using pair = await pairOf(APP);
    const { counter } = pair.app.get(Counters);
    const iterator = pair.caller.stream<Item>(pattern, {})[Symbol.asyncIterator]();
    await iterator.next();
    const made = await settled(() => counter.made);
    expect(made).toBeLessThan(4000);
    for (let n = 1; n < 6000; n += 1) expect((await iterator.next()).value?.n).toBe(n);
    expect(counter.made).toBeGreaterThan(6000);
    await iterator.return?.();
    await until(() => counter.stopped === 1);
  });
});

describe.each(ALL)('%s is stopped', (pattern) => {
  it('N-55 by take(1)', async () => {
    await using pair = await pairOf(APP);
    await expect(lastValueFrom(pair.caller.send<Item>(pattern, {}).pipe(take(1), numbers))).resolves.toBe(0);
    await until(() => pair.app.get(Counters).counter.stopped === 1);
    await until(() => pair.node.stats().runningCalls === 0);
  });

  it('N-55 by unsubscribing', async () => {
    await using pair = await pairOf(APP);
    let seen = 0;
    const subscription = pair.caller.send(pattern, {}).subscribe(() => (seen += 1));
    await until(() => seen > 10);
    subscription.unsubscribe();
    await until(() => pair.app.get(Counters).counter.stopped === 1);
    const after = seen;
    await settled(() => pair.app.get(Counters).counter.made);
    expect(seen).toBe(after);
  });

  it('N-58 by the deadline', async () => {
    await using pair = await pairOf(APP);
    const record = new GenRpcRecordBuilder({}).setTimeout(150).build();
    let seen = 0;
    const reply = pair.caller.send<Item>(pattern, record);
    await expect(
      new Promise((_, reject) => reply.subscribe({ next: () => (seen += 1), error: reject })),
    ).rejects.toMatchObject({ code: 'timeout', maybeExecuted: true });
    expect(seen).toBeGreaterThan(0);
    await until(() => pair.app.get(Counters).counter.stopped === 1);
  });

  it('N-56 when its caller is gone', async () => {
    await using pair = await pairOf(APP);
    const reply = itemsOf(pair.caller.send(pattern, {}));
    await until(() => pair.app.get(Counters).counter.made > 0);
    pair.caller.unwrap().abort();
    await expect(reply).rejects.toMatchObject({ code: 'connection_lost' });
    await until(() => pair.app.get(Counters).counter.stopped === 1);
  });

  it('N-64 when its node shuts down, and its reader is told', async () => {
    await using pair = await pairOf({ ...APP, options: { gracePeriod: 100 } });
    let seen = 0;
    const reply = new Promise((_, reject) => {
      pair.caller.send(pattern, {}).subscribe({ next: () => (seen += 1), error: reject });
    });
    const failed = expect(reply).rejects.toMatchObject({ code: 'shutting_down' });
    await until(() => seen > 0);
    await pair.app.close();
    await failed;
    expect(pair.app.get(Counters).counter.stopped).toBe(1);
  });
});

describe('timeout() of a caller', () => {
  it('N-55 stops a generator that makes nothing for so long', async () => {
    const stopped: string[] = [];
    @Controller()
    class Slow {
      @MessagePattern('slow')
      async *slow(): AsyncGenerator<number> {
        try {
          yield 1;
          await new Promise((resolve) => setTimeout(resolve, 200));
          yield 2;
        } finally {
          stopped.push('slow');
        }
      }
    }
    await using pair = await pairOf({ controllers: [Slow] });
    const reply = pair.caller.send<number>('slow', {}).pipe(timeout(50));
    await expect(lastValueFrom(reply)).rejects.toThrow('Timeout has occurred');
    await until(() => stopped.length === 1);
    expect(pair.node.stats().counts.handler_failed).toBeUndefined();
  });
});

describe('client.stream()', () => {
  it('is a call for each iteration, and none before', async () => {
    await using pair = await pairOf(APP);
    const { counter } = pair.app.get(Counters);
    const items = pair.caller.stream<Item>('pattern.generator', 3);
    await firstValueFrom(pair.caller.send('module.generator', 1));
    expect(counter.made).toBe(1);
    expect(await collect(items)).toHaveLength(3);
    expect(await collect(items)).toHaveLength(3);
    expect(counter.made).toBe(7);
  });

  it('takes directions', async () => {
    await using pair = await pairOf(APP);
    const record = new GenRpcRecordBuilder({}).setTimeout(50).build();
    const items: number[] = [];
    const iterate = async (): Promise<void> => {
      for await (const { n } of pair.caller.stream<Item>('pattern.generator', record)) items.push(n);
    };
    await expect(iterate()).rejects.toMatchObject({ code: 'timeout' });
    expect(items).toEqual(range(items.length));
  });

  it('throws what send() would, after the items before it', async () => {
    @Controller()
    class Failing {
      @MessagePattern('failing')
      async *failing(): AsyncGenerator<number> {
        yield 1;
        yield 2;
        throw new Error('hidden');
      }
    }
    await using pair = await pairOf({ controllers: [Failing] });
    const seen: unknown[] = [];
    const iterate = async (pattern: unknown, data: unknown): Promise<void> => {
      for await (const item of pair.caller.stream(pattern, data)) seen.push(item);
    };
    await expect(iterate('failing', {})).rejects.toMatchObject({ status: 'error' });
    expect(seen).toEqual([1, 2]);
    await expect(iterate('unknown', {})).rejects.toBe(
      'There is no matching message handler defined in the remote service.',
    );
    await expect(iterate(undefined, {})).rejects.toThrow('The invalid data or message pattern (undefined/null)');
    await expect(iterate('failing', null)).rejects.toThrow('The invalid data or message pattern (undefined/null)');
  });

  it("goes through the subclass's own serializeResponse and serializeError", async () => {
    class Shaped extends GenRpcClient {
      override serializeResponse(response: { n: number }): unknown {
        if (response.n === 3) throw new Error('three');
        return { shaped: response.n };
      }

      override serializeError(error: unknown): unknown {
        return { shaped: error };
      }
    }
    await using pair = await pairOf(APP);
    const client = new Shaped({ target: SERVER, secret: SECRET, clientPort: pair.address.port });
    const seen: unknown[] = [];
    const iterate = async (pattern: string, count: number): Promise<void> => {
      for await (const item of client.stream(pattern, count)) seen.push(item);
    };
    await iterate('pattern.generator', 2);
    expect(seen).toEqual([{ shaped: 0 }, { shaped: 1 }]);
    await expect(iterate('unknown', 1)).rejects.toMatchObject({ shaped: expect.stringContaining('no matching') });
    await expect(iterate('pattern.generator', Infinity)).rejects.toThrow('three');
    await until(() => pair.app.get(Counters).counter.stopped === 2);
    await client.close();
  });
});
