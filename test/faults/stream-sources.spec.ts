/** T-08: whatever a stream does that a function returns, or is given, its reader gets one defined end. */
import { EMPTY, NEVER, Observable, concat, of, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { twoNodes, type DriverName } from '../support/cluster.js';
import { until } from '../support/door.js';
import { numbers, readOf, upTo, type Read, type Rude } from '../support/streams.js';

/** Ways from a caller to a function. */
const WAYS: readonly { way: string; driver: DriverName; target: 'a' | 'b' }[] = [
  { way: 'over tcp', driver: 'tcp', target: 'b' },
  { way: 'over tls', driver: 'tls', target: 'b' },
  { way: 'over memory', driver: 'memory', target: 'b' },
  { way: 'within a node', driver: 'memory', target: 'a' },
];

type Source = AsyncIterable<unknown> | Rude;

const failing = (): never => {
  throw new Error('no more');
};

/** Kinds of sources that end, and what of them is read. */
const ENDINGS: readonly { what: string; make: () => Source; items: unknown[]; fails: boolean }[] = [
  {
    what: 'an Observable with an error after items',
    make: () => concat(of(1, 2), throwError(failing)),
    items: [1, 2],
    fails: true,
  },
  {
    what: 'a generator with an error after items',
    async *make() {
      yield 1;
      yield 2;
      failing();
    },
    items: [1, 2],
    fails: true,
  },
  { what: 'an Observable that completes with none', make: () => EMPTY, items: [], fails: false },
  { what: 'a generator that completes with none', make: () => upTo(0), items: [], fails: false },
  {
    what: 'one that emits, completes and fails after it completed',
    make: () => ({
      subscribe(observer) {
        observer.next(1);
        observer.next(2);
        observer.complete();
        observer.next(3);
        observer.complete();
        observer.error(new Error('too late'));
        setImmediate(() => observer.next(4));
        return { unsubscribe() {} };
      },
    }),
    items: [1, 2],
    fails: false,
  },
  {
    what: 'one that emits and completes after its error',
    make: () => ({
      subscribe(observer) {
        observer.next(1);
        observer.error(new Error('no more'));
        observer.next(2);
        observer.complete();
        return { unsubscribe() {} };
      },
    }),
    items: [1],
    fails: true,
  },
  { what: 'one that throws when subscribed to', make: () => ({ subscribe: failing }), items: [], fails: true },
  { what: 'an Observable that throws at once', make: () => new Observable(failing), items: [], fails: true },
  {
    what: 'an iterable that throws at once',
    make: () => ({ [Symbol.asyncIterator]: failing }),
    items: [],
    fails: true,
  },
  {
    what: 'an iterator whose next throws',
    make: () => ({ [Symbol.asyncIterator]: () => ({ next: failing }) }),
    items: [],
    fails: true,
  },
];

/** Two that never end, and count how often they were torn down. */
const ENDLESS: readonly { what: string; make: (stopped: () => void) => Source }[] = [
  {
    what: 'an Observable that never ends',
    make: (stopped) =>
      new Observable((observer) => {
        [0, 1, 2].forEach((n) => observer.next(n));
        return stopped;
      }),
  },
  {
    what: 'a generator that never ends',
    async *make(stopped) {
      try {
        // A turn each: within a process a reader would else never let a deadline pass.
        for (let n = 0; ; n += 1) yield await new Promise((resolve) => setImmediate(resolve, n));
      } finally {
        stopped();
      }
    },
  },
];

describe.each(WAYS)('T-08 a reply $way', ({ driver, target }) => {
  async function start(functions: Parameters<GenRpcNode['register']>[1]) {
    const nodes = await twoNodes({ driver });
    const answering = nodes[target];
    answering.register('streams', functions);
    const stream = (fn: string, timeout = 5000): AsyncIterable<unknown> =>
      nodes.a.stream(answering.name, 'streams', fn, [], { timeout });
    return Object.assign(nodes, { stream, answering });
  }

  it.each(ENDINGS)('T-08 $what', async ({ make, items, fails }) => {
    await using nodes = await start({ reply: make });
    expect(await readOf(nodes.stream('reply'))).toEqual({ items, ...(fails ? { error: 'handler_failed' } : {}) });
    // The connection is none the worse for it.
    expect(await readOf(nodes.stream('reply'))).toEqual({ items, ...(fails ? { error: 'handler_failed' } : {}) });
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, openConnections: target === 'b' ? 1 : 0 });
    expect(nodes.answering.stats().runningCalls).toBe(0);
  });

  it.each(ENDLESS)(
    'T-08 $what: is torn down when its reader leaves, and when the deadline passes',
    async ({ make }) => {
      let stopped = 0;
      await using nodes = await start({ reply: () => make(() => (stopped += 1)) });
      expect(await readOf(nodes.stream('reply'), 3)).toEqual({ items: [0, 1, 2] });
      await until(() => stopped === 1);
      const read = await readOf(nodes.stream('reply', 100));
      expect(read.error).toBe('timeout');
      expect(read.items).toEqual(numbers(read.items.length));
      expect(read.items.length).toBeGreaterThanOrEqual(3);
      await until(() => stopped === 2 && nodes.answering.stats().runningCalls === 0);
    },
  );

  it('T-08 one that says nothing at all: its reader hears of the deadline', async () => {
    await using nodes = await start({ reply: () => NEVER });
    expect(await readOf(nodes.stream('reply', 50))).toEqual({ items: [], error: 'timeout' });
    await until(() => nodes.answering.stats().runningCalls === 0);
  });

  it('T-08 that is read twice is two calls, each whole', async () => {
    let calls = 0;
    await using nodes = await start({
      reply: () => {
        calls += 1;
        return of(1, 2, 3);
      },
    });
    const stream = nodes.stream('reply');
    expect(await Promise.all([readOf(stream), readOf(stream)])).toEqual([{ items: [1, 2, 3] }, { items: [1, 2, 3] }]);
    expect(calls).toBe(2);
  });
});

describe.each(WAYS)('T-08 an argument $way', ({ driver, target }) => {
  /** `read` reads its argument; what came of that is in `reads`. `some` reads three items of it and returns. */
  async function start() {
    const nodes = await twoNodes({ driver });
    const answering = nodes[target];
    const reads: Read[] = [];
    answering.register('streams', {
      read: async ([items]: [AsyncIterable<unknown>]) => {
        const read = await readOf(items);
        reads.push(read);
        return read.items;
      },
      some: async ([items]: [AsyncIterable<unknown>]) => (await readOf(items, 3)).items,
      twice: async ([items]: [AsyncIterable<unknown>]) => [await readOf(items), await readOf(items)],
      ignore: () => 'not interested',
    });
    const call = (fn: string, source: unknown, timeout = 5000): Promise<unknown> =>
      nodes.a.call(answering.name, 'streams', fn, [source], { timeout });
    return Object.assign(nodes, { call, reads, answering });
  }

  it.each(ENDINGS)('T-08 $what', async ({ make, items, fails }) => {
    await using nodes = await start();
    const outcome = nodes.call('read', make());
    if (fails) await expect(outcome).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: true });
    else await expect(outcome).resolves.toEqual(items);
    // The function hears of a failure too, unless its call was given up before it had begun.
    await until(() => nodes.answering.stats().runningCalls === 0);
    for (const read of nodes.reads) expect(read).toEqual({ items, ...(fails ? { error: 'cancelled' } : {}) });
    expect(nodes.reads.length).toBeGreaterThanOrEqual(fails ? 0 : 1);
    await expect(nodes.call('read', upTo(2))).resolves.toEqual([0, 1]);
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, openConnections: target === 'b' ? 1 : 0 });
    expect(nodes.a.stats().counts['listener_failed']).toBeUndefined();
  });

  it.each(ENDLESS)('T-08 $what: is torn down once the function has ended', async ({ make }) => {
    let stopped = 0;
    await using nodes = await start();
    const source = make(() => (stopped += 1));
    await expect(nodes.call('some', source)).resolves.toEqual([0, 1, 2]);
    await until(() => stopped === 1);
  });

  it.each(ENDLESS)('T-08 $what: is torn down when the deadline passes', async ({ make }) => {
    let stopped = 0;
    await using nodes = await start();
    const source = make(() => (stopped += 1));
    nodes.answering.register('streams', { never: () => new Promise(() => {}) });
    await expect(nodes.call('never', source, 50)).rejects.toMatchObject({ code: 'timeout' });
    await until(() => stopped === 1);
  });

  it.each(ENDLESS)('T-08 $what: is torn down though the function never looks at it', async ({ make }) => {
    let stopped = 0;
    await using nodes = await start();
    await expect(
      nodes.call(
        'ignore',
        make(() => (stopped += 1)),
      ),
    ).resolves.toBe('not interested');
    await until(() => stopped === 1);
  });

  it('T-08 that is read twice is whole for the first, and an error for the second', async () => {
    await using nodes = await start();
    await expect(nodes.call('twice', upTo(3))).resolves.toEqual([
      { items: [0, 1, 2] },
      { items: [], error: 'invalid_argument' },
    ]);
  });

  it('T-08 with an item that cannot be sent: the call says so, and the source is torn down', async () => {
    let stopped = 0;
    await using nodes = await start();
    const source = new Observable<unknown>((observer) => {
      observer.next(1);
      observer.next(() => 'no value');
      observer.next(2);
      return () => (stopped += 1);
    });
    await expect(nodes.call('read', source)).rejects.toMatchObject({ code: 'encode_error', maybeExecuted: true });
    expect(stopped).toBe(1);
    await until(() => nodes.answering.stats().runningCalls === 0);
  });
});
