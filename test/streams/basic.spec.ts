/** Streams in both directions, over every driver: items in order, nothing lost, and the sender waits for its reader. */
import { describe, expect, it } from 'vitest';
import { DRIVERS, twoNodes } from '../support/cluster.js';

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function* upTo(count: number): AsyncGenerator<number> {
  for (let n = 0; n < count; n += 1) yield n;
}

describe.each(DRIVERS)('a stream, over %s', (driver) => {
  it('arrives whole and in order', async () => {
    await using nodes = await twoNodes({ driver });
    nodes.b.register('count', { to: ([n]: [number]) => upTo(n) });
    expect(await collect(nodes.a.stream('b@127.0.0.1', 'count', 'to', [10_000]))).toEqual(
      Array.from({ length: 10_000 }, (_, n) => n),
    );
  });

  it('is one value if there is one, and none if there is none', async () => {
    await using nodes = await twoNodes({ driver });
    nodes.b.register('count', { to: ([n]: [number]) => upTo(n) });
    expect(await collect(nodes.a.stream('b@127.0.0.1', 'count', 'to', [1]))).toEqual([0]);
    expect(await collect(nodes.a.stream('b@127.0.0.1', 'count', 'to', [0]))).toEqual([]);
    expect(await collect(nodes.a.stream('b@127.0.0.1', 'math', 'add', [1, 2]))).toEqual([3]);
  });

  it('is an argument', async () => {
    await using nodes = await twoNodes({ driver });
    nodes.b.register('sum', {
      of: async ([start, items]: [number, AsyncIterable<number>]) => {
        let sum = start;
        for await (const item of items) sum += item;
        return sum;
      },
    });
    expect(await nodes.a.call('b@127.0.0.1', 'sum', 'of', [1000, upTo(10_000)])).toBe(1000 + 49_995_000);
  });

  it('goes both ways at once', async () => {
    await using nodes = await twoNodes({ driver });
    nodes.b.register('each', {
      async *double([items]: [AsyncIterable<number>]) {
        for await (const item of items) yield item * 2;
      },
    });
    expect(await collect(nodes.a.stream('b@127.0.0.1', 'each', 'double', [upTo(5000)]))).toEqual(
      Array.from({ length: 5000 }, (_, n) => 2 * n),
    );
  });

  it('carries large items, and large messages pass beside it', async () => {
    await using nodes = await twoNodes({ driver });
    const large = Buffer.alloc(300_000, 7);
    nodes.b.register('large', {
      async *items([count]: [number]) {
        for (let n = 0; n < count; n += 1) yield large;
      },
    });
    const [items, echo] = await Promise.all([
      collect(nodes.a.stream<Buffer>('b@127.0.0.1', 'large', 'items', [20])),
      nodes.a.call('b@127.0.0.1', 'math', 'echo', [{ large }]),
    ]);
    expect(items).toHaveLength(20);
    expect(items.every((item) => item.equals(large))).toBe(true);
    expect(echo).toEqual({ large });
  });

  it('stops its producer when its reader leaves', async () => {
    await using nodes = await twoNodes({ driver });
    let stopped = false;
    nodes.b.register('count', {
      async *forever() {
        try {
          for (let n = 0; ; n += 1) yield n;
        } finally {
          stopped = true;
        }
      },
    });
    for await (const item of nodes.a.stream('b@127.0.0.1', 'count', 'forever')) if (item === 5) break;
    while (!stopped) await new Promise((resolve) => setImmediate(resolve));
  });

  it('waits for its reader', async () => {
    await using nodes = await twoNodes({ driver });
    let made = 0;
    nodes.b.register('count', {
      async *forever() {
        for (;;) yield (made += 1);
      },
    });
    const iterator = nodes.a.stream('b@127.0.0.1', 'count', 'forever')[Symbol.asyncIterator]();
    await iterator.next();
    let before = -1;
    while (before !== made) {
      before = made;
      for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(made).toBeLessThan(3000);
    for (let n = 0; n < 3000; n += 1) await iterator.next();
    expect(made).toBeGreaterThan(3000);
    await iterator.return?.();
  });
});

describe.each(DRIVERS)('an argument that is read in part only, over %s', (driver) => {
  it('is stopped at its source, and the call goes on', async () => {
    await using nodes = await twoNodes({ driver });
    let answer: (value: string) => void = () => {};
    nodes.b.register('head', {
      of: async ([items]: [AsyncIterable<number>]) => {
        for await (const item of items) if (item === 3) break;
        return new Promise<string>((resolve) => (answer = resolve));
      },
    });
    let stopped: () => void = () => {};
    const atSource = new Promise<void>((resolve) => (stopped = resolve));
    async function* forever(): AsyncGenerator<number> {
      try {
        for (let n = 0; ; n += 1) yield n;
      } finally {
        stopped();
      }
    }
    const call = nodes.a.call('b@127.0.0.1', 'head', 'of', [forever()]);
    await atSource;
    answer('four were enough');
    expect(await call).toBe('four were enough');
  });

  it('does not overfill, though its source cannot wait', async () => {
    await using nodes = await twoNodes({ driver, options: { maxMessageBytes: 10_000 } });
    let answer: (value: string) => void = () => {};
    nodes.b.register('head', {
      of: async ([items]: [AsyncIterable<Buffer>]) => {
        for await (const _ of items) break;
        return new Promise<string>((resolve) => (answer = resolve));
      },
    });
    let unsubscribed: () => void = () => {};
    const atSource = new Promise<void>((resolve) => (unsubscribed = resolve));
    const source = {
      subscribe(observer: { next(value: unknown): void }) {
        const timer = setInterval(() => observer.next(Buffer.alloc(100)), 1);
        return { unsubscribe: () => (clearInterval(timer), unsubscribed()) };
      },
    };
    const call = nodes.a.call('b@127.0.0.1', 'head', 'of', [source]);
    await atSource;
    answer('one was enough');
    expect(await call).toBe('one was enough');
  });
});
