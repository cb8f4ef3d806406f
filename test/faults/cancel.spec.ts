/** Callers that give up, whatever has become of their call by then: it settles once, and the function hears of it. */
import { describe, expect, it } from 'vitest';
import type { Location } from '../../lib/discovery/discovery.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { isItemStream } from '../../lib/connection/item-stream.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType } from '../../lib/protocol/frame.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { Cluster, DRIVERS, SOCKET_DRIVERS, twoNodes, type DriverName } from '../support/cluster.js';
import { redirect, until } from '../support/door.js';
import { HeldNodes, turns } from '../support/held.js';
import { bytesOf, RawServer } from '../support/raw-peer.js';
import { numbers, readOf } from '../support/streams.js';

const B = 'b@127.0.0.1';
const LARGE = Buffer.alloc(4 * 1024 * 1024 - 1024, 7);
/** Messages of a connection that may be half sent at a time. */
const INTERLEAVED = 16;

/** Functions that note when they begin, and with what they are aborted. */
class Work {
  begun = 0;
  readonly aborts: string[] = [];
  private readonly waiting: ((value: unknown) => void)[] = [];

  constructor(node: GenRpcNode) {
    node.register('work', {
      slow: (_: unknown, context) => {
        this.note(context);
        return new Promise((resolve) => this.waiting.push(resolve));
      },
      quick: ([value]: [unknown], context) => {
        this.note(context);
        return value;
      },
      items: (_: unknown, context) => this.items(context),
    });
  }

  answer(value: unknown): void {
    for (const resolve of this.waiting.splice(0)) resolve(value);
  }

  private note({ signal }: CallContext): void {
    this.begun += 1;
    signal.addEventListener('abort', () => this.aborts.push((signal.reason as GenRpcError).code));
  }

  private async *items(context: CallContext): AsyncGenerator<number> {
    this.note(context);
    yield* [1, 2, 3];
    await new Promise((resolve) => this.waiting.push(resolve));
  }
}

/** A call that is given up when the test says so, and everything that its caller hears of it. */
class Given {
  readonly heard: string[] = [];
  private readonly controller = new AbortController();

  constructor(node: GenRpcNode, fn: string, args: readonly unknown[] = [], onItem: (given: Given) => void = () => {}) {
    const stream = args.find(isItemStream);
    const name = node.functionName('work', fn);
    node.request(
      { node: B },
      { name, args: stream === undefined ? args : [], single: false, stream, headers: undefined },
      { timeout: 60_000, signal: this.controller.signal },
      {
        item: (value) => {
          this.heard.push(`item ${String(value)}`);
          onItem(this);
        },
        done: (value) => this.heard.push(`done ${String(value)}`),
        failed: ({ code, maybeExecuted }) => this.heard.push(`${code}${maybeExecuted ? ', may have run' : ''}`),
      },
    );
  }

  cancel(): void {
    this.controller.abort();
  }
}

/** The lane is as good as new: the same connection, and credit for whatever comes. */
async function expectGood({ a, b }: { a: GenRpcNode; b: GenRpcNode }, counts: object = {}): Promise<void> {
  for (let n = 0; n < 3; n += 1) expect(LARGE.equals(await a.call<Buffer>(B, 'work', 'quick', [LARGE]))).toBe(true);
  expect(a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 1 });
  expect(a.stats().counts).toEqual({ dialled: 1, connected: 1, ...counts });
  expect(b.stats().counts).toEqual({ accepted: 1 });
}

async function start(driver: DriverName) {
  const world = await HeldNodes.start(driver);
  return Object.assign(world, { work: new Work(world.b) });
}

describe.each(DRIVERS)('T-06 a call that is given up, over %s', (driver) => {
  it('T-06 before it is sent: it is not', async () => {
    await using world = await start(driver);
    const { a, work } = world;
    const call = a.call(B, 'work', 'quick', [1], { signal: AbortSignal.abort() });
    await expect(call).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: false });
    expect(await readOf(a.stream(B, 'work', 'items', [], { signal: AbortSignal.abort() }))).toEqual({
      ...{ items: [], error: 'cancelled' },
    });
    await expectGood(world);
    expect(work).toMatchObject({ begun: 3, aborts: [] });
  });

  it('T-06 while it waits for a connection: it is not sent over that', async () => {
    let find: (where: Location) => void = () => {};
    const discovery = { resolve: () => new Promise<Location>((resolve) => (find = resolve)) };
    await using cluster = new Cluster({ driver });
    const b = await cluster.start('b');
    const work = new Work(b);
    const a = cluster.create('a', { listen: false, discovery });
    const given = [new Given(a, 'quick', [1]), new Given(a, 'quick', [LARGE]), new Given(a, 'items')];
    await turns();
    given.forEach((one) => one.cancel());
    expect(given.map(({ heard }) => heard)).toEqual(given.map(() => ['cancelled']));
    find(cluster.discovery.locations.get(B) ?? { driver, host: '127.0.0.1', port: 1 });
    await expectGood({ a, b });
    expect(work).toMatchObject({ begun: 3, aborts: [] });
    expect(given.flatMap(({ heard }) => heard)).toHaveLength(3);
  });

  it('T-06 while it waits for its turn, behind as many as may be half sent: nothing of it leaves', async () => {
    await using world = await start(driver);
    const { a, work } = world;
    world.hold();
    const part = LARGE.subarray(0, 1024 * 1024);
    const others = numbers(INTERLEAVED).map(() => a.call<Buffer>(B, 'work', 'quick', [part]));
    const given = new Given(a, 'quick', [part]);
    await turns();
    given.cancel();
    expect(given.heard).toEqual(['cancelled']);
    world.release();
    expect((await Promise.all(others)).every((reply) => reply.equals(part))).toBe(true);
    await expectGood(world);
    expect(work).toMatchObject({ begun: INTERLEAVED + 3, aborts: [] });
    expect(given.heard).toHaveLength(1);
  });

  it('T-06 half sent: the rest is not, and the function does not begin', async () => {
    await using world = await start(driver);
    const { a, work } = world;
    for (let n = 0; n < 3 * INTERLEAVED; n += 1) {
      world.hold();
      const given = new Given(a, 'quick', [LARGE]);
      await turns(3);
      given.cancel();
      expect(given.heard).toEqual(['cancelled, may have run']);
      world.release();
    }
    await expectGood(world);
    expect(work).toMatchObject({ begun: 3, aborts: [] });
  });

  it('T-06 sent, but not arrived: the function begins, and is aborted', async () => {
    await using world = await start(driver);
    const { a, work } = world;
    world.hold();
    const given = new Given(a, 'slow');
    await turns();
    given.cancel();
    expect(given.heard).toEqual(['cancelled, may have run']);
    world.release();
    await until(() => work.aborts.length === 1);
    work.answer('for nobody');
    await expectGood(world);
    expect(work).toMatchObject({ begun: 4, aborts: ['cancelled'] });
    expect(given.heard).toHaveLength(1);
  });

  it('T-06 while its function runs: that is aborted, and what it answers is sent to nobody', async () => {
    await using world = await start(driver);
    const { a, b, work } = world;
    const given = new Given(a, 'slow');
    await until(() => work.begun === 1);
    given.cancel();
    expect(given.heard).toEqual(['cancelled, may have run']);
    await until(() => work.aborts.length === 1);
    expect(b.stats()).toMatchObject({ runningCalls: 1, stuckCalls: 1 });
    work.answer('for nobody');
    await until(() => b.stats().runningCalls === 0);
    await expectGood(world);
    expect(given.heard).toHaveLength(1);
  });

  it.each([
    ['first', 1],
    ['last', 3],
  ])('T-06 at the %s item, in the turn that brings it: no other comes, and the function is aborted', async (_, at) => {
    await using world = await start(driver);
    const { a, b, work } = world;
    const given = new Given(a, 'items', [], (one) => {
      if (one.heard.length === at) one.cancel();
    });
    await until(() => work.aborts.length === 1);
    work.answer('for nobody');
    await until(() => b.stats().runningCalls === 0);
    expect(given.heard).toEqual([...numbers(at).map((n) => `item ${n + 1}`), 'cancelled, may have run']);
    const { late_frames: late = 0 } = a.stats().counts;
    expect(late).toBeLessThanOrEqual(3 - at);
    await expectGood(world, late === 0 ? {} : { late_frames: late });
  });

  it('T-06 when it has settled: nobody hears of that', async () => {
    await using world = await start(driver);
    const { a, work } = world;
    const given = [new Given(a, 'quick', [5]), new Given(a, 'items')];
    await until(() => work.begun === 2);
    work.answer('the end');
    await until(() => a.stats().pendingCalls === 0);
    given.forEach((one) => one.cancel());
    await expectGood(world);
    expect(given.map(({ heard }) => heard)).toEqual([['done 5'], ['item 1', 'item 2', 'item 3', 'done undefined']]);
    expect(work.aborts).toEqual([]);
  });
});

describe.each(DRIVERS)('T-07 a reader that leaves, over %s', (driver) => {
  it('T-07 its producer is torn down within 100 ms', async () => {
    await using nodes = await twoNodes({ driver });
    let stopped = 0;
    nodes.b.register('count', {
      async *forever() {
        try {
          for (let n = 0; ; n += 1) yield n;
        } finally {
          stopped = performance.now();
        }
      },
    });
    const took: number[] = [];
    for (let n = 0; n < 9; n += 1) {
      stopped = 0;
      expect((await readOf(nodes.a.stream(B, 'count', 'forever'), 5)).items).toEqual(numbers(5));
      const left = performance.now();
      await until(() => stopped > 0);
      took.push(stopped - left);
    }
    // The middle one: this machine may stand still for longer than all of it takes.
    expect(took.sort((x, y) => x - y)[4]).toBeLessThan(100);
    await until(() => nodes.b.stats().runningCalls === 0);
  });

  it('T-07 what was sent and never read is no credit lost, neither of streams nor of the connection', async () => {
    await using nodes = await twoNodes({ driver });
    let open = 0;
    const item = Buffer.alloc(1000);
    nodes.b.register('items', {
      async *give([count]: [number]) {
        open += 1;
        try {
          for (let n = 0; n < count; n += 1) yield item;
        } finally {
          open -= 1;
        }
      },
      take: async ([items]: [AsyncIterable<unknown>]) => (await readOf(items)).items.length,
      leave: async ([items]: [AsyncIterable<unknown>]) => (await readOf(items, 2)).items.length,
    });
    async function* give(count: number): AsyncGenerator<Buffer> {
      for (let n = 0; n < count; n += 1) yield item;
    }
    for (let n = 0; n < 50; n += 1) {
      expect((await readOf(nodes.a.stream(B, 'items', 'give', [1e9]), 2)).items).toHaveLength(2);
      expect(await nodes.a.call(B, 'items', 'leave', [give(1e9)])).toBe(2);
    }
    await until(() => open === 0);
    expect((await readOf(nodes.a.stream(B, 'items', 'give', [3000]))).items).toHaveLength(3000);
    expect(await nodes.a.call(B, 'items', 'take', [give(3000)])).toBe(3000);
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 1 });
  });
});

describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
  it('T-07 a reader that leaves says so once, by CANCEL; one that has read all says nothing', async () => {
    await using cluster = new Cluster({ driver });
    await using server = await RawServer.listen(driver);
    redirect(cluster, B, server.port);
    const a = cluster.create('a', { listen: false });
    const reads = [readOf(a.stream(B, 'work', 'items'), 1), readOf(a.stream(B, 'work', 'items'))];
    const peer = await (await server.accept()).welcome(B);
    const typesOf = (id: number): number[] =>
      peer.frames.flatMap((one) => ('id' in one && one.id === id ? one.type : []));
    await peer.until(() => typesOf(2).length === 1);
    const payload = { kind: 'codec', bytes: Buffer.of(1) } as const;
    const items = [1, 2].map((id) => ({ type: FrameType.Item, id, sequence: 0, payload }) as const);
    peer.send(bytesOf(...items, { type: FrameType.End, id: 2, count: 1 }));
    expect(await Promise.all(reads)).toEqual([{ items: [1] }, { items: [1] }]);
    await peer.until(() => typesOf(1).length === 2);
    await a.close();
    await peer.closed();
    expect(typesOf(1)).toEqual([FrameType.Call, FrameType.Cancel]);
    expect(typesOf(2)).toEqual([FrameType.Call]);
  });
});

/** What a function answers while its caller gives up. */
const REPLIES: Readonly<Record<string, { fn: string; args?: () => readonly unknown[] }>> = {
  'a value': { fn: 'value' },
  'a large value, half of it': { fn: 'large' },
  'an error': { fn: 'error' },
  items: { fn: 'items' },
  'items and their end': { fn: 'few' },
  'a value, while items of the argument are on their way': { fn: 'value', args: () => [numbersForEver()] },
};

async function* numbersForEver(): AsyncGenerator<number> {
  for (let n = 0; ; n += 1) yield n;
}

describe.each(DRIVERS)('T-09 a caller that gives up while the answer is on its way, over %s', (driver) => {
  it.each(Object.entries(REPLIES))('T-09 %s: it was given up, and the connection goes on', async (_, { fn, args }) => {
    await using world = await HeldNodes.start(driver);
    const { a, b } = world;
    let begun = 0;
    let answer: () => void = () => {};
    const answered = new Promise<void>((resolve) => (answer = resolve));
    const when =
      <T>(reply: () => T) =>
      async (): Promise<T> => {
        begun += 1;
        await answered;
        return reply();
      };
    b.register('work', {
      value: when(() => 5),
      large: when(() => LARGE),
      error: when(() => {
        throw new Error('no');
      }),
      async *items() {
        begun += 1;
        await answered;
        yield* numbersForEver();
      },
      async *few() {
        begun += 1;
        await answered;
        yield* [1, 2, 3];
      },
    });
    const given = new Given(a, fn, args?.());
    await until(() => begun === 1);
    world.hold();
    answer();
    await turns();
    given.cancel();
    await turns();
    world.release();
    await until(() => b.stats().runningCalls === 0);
    expect(LARGE.equals(await a.call<Buffer>(B, 'math', 'echo', [LARGE]))).toBe(true);
    expect(given.heard).toEqual(['cancelled, may have run']);
    const { late_frames: late, ...counts } = a.stats().counts;
    expect(counts).toEqual({ dialled: 1, connected: 1 });
    if (['value', 'error'].includes(fn)) expect(late).toBe(1);
    const { late_frames: _late, handler_failed: _failed, ...others } = b.stats().counts;
    expect(others).toEqual({ accepted: 1 });
  });

  it('T-09 the answer was first: giving up changes nothing, and is no error at the other end', async () => {
    await using world = await HeldNodes.start(driver);
    const { a, b } = world;
    new Work(b);
    const given = new Given(a, 'quick', [5]);
    await until(() => given.heard.length === 1);
    given.cancel();
    await turns();
    expect(given.heard).toEqual(['done 5']);
    expect(await a.call(B, 'work', 'quick', [6])).toBe(6);
    expect(b.stats().counts).toEqual({ accepted: 1 });
  });
});
