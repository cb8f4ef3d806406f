/** Deadlines that pass while a call is anywhere, that are no deadlines, and that are very many. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Deadline, Deadlines } from '../../lib/connection/deadlines.js';
import type { Location } from '../../lib/discovery/discovery.js';
import { systemClock } from '../../lib/system/system.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { ChildNode } from '../support/child-node.js';
import { Cluster, DRIVERS, SOCKET_DRIVERS, twoNodes } from '../support/cluster.js';
import { portOf, until } from '../support/door.js';
import { HeldNodes, turns } from '../support/held.js';
import { numbers, readOf } from '../support/streams.js';

const B = 'b@127.0.0.1';
const LARGE = Buffer.alloc(4 * 1024 * 1024 - 1024, 7);
const HOUR = 3_600_000;

/** The middle of some: this machine may stand still for longer than all of it takes. */
function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[Math.floor(values.length / 2)] ?? Number.NaN;
}

describe.each(DRIVERS)('T-01 a deadline of 1 ms on a function that takes longer, over %s', (driver) => {
  /** Functions that go on for as long as they are not aborted, and answer all the same. */
  async function start() {
    const world = await HeldNodes.start(driver);
    const aborts: string[] = [];
    const answers: (() => void)[] = [];
    const goOn = ({ signal }: CallContext): Promise<void> => {
      signal.addEventListener('abort', () => aborts.push((signal.reason as GenRpcError).code));
      return new Promise((resolve) => answers.push(resolve));
    };
    world.b.register('slow', {
      value: async (_: unknown, context) => (await goOn(context), 'late'),
      async *items(_: unknown, context: CallContext) {
        yield 1;
        await goOn(context);
        yield 2;
      },
    });
    const answer = async (): Promise<void> => {
      await until(() => world.b.stats().runningCalls === answers.length);
      for (const give of answers.splice(0)) give();
    };
    return Object.assign(world, { aborts, answer });
  }

  it.each(['call', 'stream'] as const)(
    'T-01 by %s: its caller is told within 50 ms, and so is the function',
    async (verb) => {
      await using world = await start();
      const { a, b, aborts } = world;
      const late: number[] = [];
      for (let n = 0; n < 9; n += 1) {
        const since = performance.now();
        if (verb === 'call') {
          await expect(a.call(B, 'slow', 'value', [], { timeout: 1 })).rejects.toMatchObject({ code: 'timeout' });
        } else {
          const { items, error } = await readOf(a.stream(B, 'slow', 'items', [], { timeout: 1 }));
          expect([[[], [1]].some((some) => String(some) === String(items)), error]).toEqual([true, 'timeout']);
        }
        late.push(performance.now() - since - 1);
      }
      expect(Math.min(...late)).toBeGreaterThanOrEqual(-0.5);
      expect(median(late)).toBeLessThan(50);
      // Told by its own deadline, or by a caller that was a little earlier: both say that nobody waits.
      await until(() => aborts.length === b.stats().runningCalls);
      expect(aborts.every((code) => code === 'timeout' || code === 'cancelled')).toBe(true);
      await world.answer();
      await until(() => b.stats().runningCalls === 0);
      expect(await a.call(B, 'math', 'add', [1, 2])).toBe(3);
      // An item may have crossed the news.
      const { late_frames: crossed = 0, ...counts } = a.stats().counts;
      expect(counts).toEqual({ dialled: 1, connected: 1 });
      expect(crossed).toBeLessThanOrEqual(verb === 'call' ? 0 : 9);
    },
  );

  it('T-01 an answer that is on its way when the deadline passes is dropped, and counted', async () => {
    await using world = await start();
    const { a, b } = world;
    b.register('quick', { value: () => 'late' });
    world.hold();
    await expect(a.call(B, 'quick', 'value', [], { timeout: 1 })).rejects.toMatchObject({ code: 'timeout' });
    const call = expect(a.call(B, 'slow', 'value', [], { timeout: 100 })).rejects.toMatchObject({ code: 'timeout' });
    world.release();
    await until(() => b.stats().runningCalls === 1);
    world.hold();
    await world.answer();
    await call;
    world.release();
    expect(await a.call(B, 'math', 'add', [1, 2])).toBe(3);
    // The first was cancelled in the bytes that brought it: its answer was sent before that was read.
    expect(a.stats().counts).toEqual({ dialled: 1, connected: 1, late_frames: 2 });
  });
});

describe('T-02 what is no deadline', () => {
  const NO_DEADLINES: readonly unknown[] = [0, -1, Number.NaN, Infinity, 2 ** 31, 2 ** 53, '1000', null, {}, [1000]];

  it.each(NO_DEADLINES)('T-02 %s is refused by every verb, and nothing is sent', async (given) => {
    await using nodes = await twoNodes({ driver: 'memory' });
    const { a } = nodes;
    const options = { timeout: given as number };
    const refused = { code: 'invalid_argument', maybeExecuted: false };
    const where = [B, 'a@127.0.0.1'];
    for (const node of given === null ? [] : where) {
      await expect(a.call(node, 'math', 'add', [1, 2], options)).rejects.toMatchObject(refused);
      expect(await readOf(a.stream(node, 'math', 'add', [1, 2], options))).toEqual({
        ...{ items: [], error: 'invalid_argument' },
      });
      expect(() => a.asyncCall(node, 'math', 'add', [1, 2], options)).toThrow(expect.objectContaining(refused));
      await expect(a.multicall([node], 'math', 'add', [1, 2], options)).rejects.toMatchObject(refused);
    }
    expect(nodes.ran).toEqual([]);
    expect(a.stats().counts).toEqual({});
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each([2 ** 31 - 1, 2 ** 31 - 1 - 0.5, 1e9])('T-02 %d ms are waited for, not passed at once', async (timeout) => {
      await using nodes = await twoNodes({ driver });
      const call = nodes.a.call(B, 'math', 'never', [], { timeout }).catch((error: GenRpcError) => error.code);
      await until(() => nodes.ran.length === 1);
      await turns(100);
      expect(nodes.a.stats().pendingCalls).toBe(1);
      await nodes.a.close();
      expect(await call).toBe('cancelled');
    });
  });
});

describe.each(DRIVERS)('T-03 a deadline that passes, over %s', (driver) => {
  const TIMEOUT = 60;

  /** Calls that all pass, with what they are told. */
  async function outcomesOf(calls: readonly Promise<unknown>[]): Promise<unknown[]> {
    const told: unknown[] = [];
    const count = (await Promise.allSettled(calls)).map((outcome) => {
      if (outcome.status === 'fulfilled') return 'a value';
      const { code, maybeExecuted } = outcome.reason as GenRpcError;
      told.push(maybeExecuted);
      return code;
    });
    expect(count).toEqual(calls.map(() => 'timeout'));
    return told;
  }

  /** The same connection, and nothing on it that somebody still waits for. */
  async function expectGood({ a, b }: { a: GenRpcNode; b: GenRpcNode }): Promise<void> {
    await until(() => b.stats().runningCalls === 0);
    for (let n = 0; n < 3; n += 1) {
      expect(LARGE.equals(await a.call<Buffer>(B, 'math', 'echo', [LARGE]))).toBe(true);
    }
    expect(a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 1, counts: { dialled: 1, connected: 1 } });
    expect(b.stats().counts).toEqual({ accepted: 1 });
  }

  it('T-03 while there is no connection yet: nothing is sent once there is', async () => {
    let find: (where: Location) => void = () => {};
    const discovery = { resolve: () => new Promise<Location>((resolve) => (find = resolve)) };
    await using nodes = await twoNodes({ driver });
    const caller = nodes.create('caller', { listen: false, discovery });
    const calls = [[1], [LARGE]].map((args) => caller.call(B, 'math', 'echo', args, { timeout: TIMEOUT }));
    const reading = readOf(caller.stream(B, 'math', 'add', [1, 2], { timeout: TIMEOUT }));
    expect(await outcomesOf(calls)).toEqual([false, false]);
    expect(await reading).toEqual({ items: [], error: 'timeout' });
    find(nodes.discovery.locations.get(B) ?? { driver, host: '127.0.0.1', port: 1 });
    await expectGood({ a: caller, b: nodes.b });
    expect(nodes.ran).toEqual([]);
  });

  it('T-03 half sent, and behind what is half sent: the rest does not leave, and no function begins', async () => {
    await using world = await HeldNodes.start(driver);
    const { a, b } = world;
    let begun = 0;
    b.register('large', { take: () => (begun += 1) });
    world.hold();
    const calls = numbers(5).map(() => a.call(B, 'large', 'take', [LARGE], { timeout: TIMEOUT }));
    await outcomesOf(calls);
    world.release();
    await expectGood(world);
    expect(begun).toBe(0);
  });

  it('T-03 while items wait for credit: they do not leave', async () => {
    await using world = await HeldNodes.start(driver);
    const { a, b } = world;
    let stopped = 0;
    let read = 0;
    b.register('items', {
      take: async ([items]: [AsyncIterable<unknown>]) => {
        for await (const item of items) read += Number(item !== undefined);
      },
    });
    async function* endless(): AsyncGenerator<Buffer> {
      try {
        for (;;) yield LARGE.subarray(0, 10_000);
      } finally {
        stopped += 1;
      }
    }
    world.hold();
    await outcomesOf(numbers(5).map(() => a.call(B, 'items', 'take', [endless()], { timeout: TIMEOUT })));
    world.release();
    await until(() => stopped === 5);
    await expectGood(world);
    // What was within their credit did leave.
    expect(read).toBeLessThan(5 * 10);
  });

  it('T-03 half received: the rest is not sent, and what comes of it is dropped', async () => {
    await using world = await HeldNodes.start(driver);
    const { a, b } = world;
    let begun = 0;
    b.register('large', {
      give: () => ((begun += 1), LARGE),
      async *items() {
        begun += 1;
        // A turn each: nodes of one process would else never let a deadline pass.
        for (;;) yield await new Promise<Buffer>((resolve) => setImmediate(resolve, LARGE));
      },
    });
    const timeout = 300;
    const calls = numbers(3).map(() => a.call(B, 'large', 'give', [], { timeout }));
    const reading = readOf(a.stream(B, 'large', 'items', [], { timeout }));
    await until(() => begun === 4);
    world.hold();
    await Promise.allSettled(calls);
    const { error } = await reading;
    expect(error).toBe('timeout');
    world.release();
    await expectGood(world);
  });

  it('T-03 again and again, at all of these: nothing adds up', { timeout: 60_000 }, async () => {
    await using world = await HeldNodes.start(driver);
    const { a } = world;
    for (let n = 0; n < 30; n += 1) {
      world.hold();
      const calls = numbers(4).map(() => a.call(B, 'math', 'echo', [LARGE], { timeout: 1 + n }));
      await Promise.allSettled(calls);
      world.release();
      if (n % 3 === 0) await turns(n);
    }
    await expectGood(world);
  });
});

describe.each(SOCKET_DRIVERS)('T-05 clocks of the wall, over %s', (driver) => {
  afterEach(() => void vi.useRealTimers());

  it('T-05 that are set while a call is on its way, forth in the function and back in the caller: no effect', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() });
    await using nodes = await twoNodes({ driver });
    const left: number[] = [];
    nodes.b.register('clock', {
      leap: ([ms]: [number], context: CallContext) => {
        vi.setSystemTime(Date.now() + ms);
        left.push(context.remainingMs());
        return ms;
      },
    });
    for (const ms of [HOUR, -2 * HOUR, 2 * HOUR, -HOUR]) {
      expect(await nodes.a.call(B, 'clock', 'leap', [ms], { timeout: 5000 })).toBe(ms);
      vi.setSystemTime(Date.now() - ms / 2);
    }
    for (const ms of left) {
      expect(ms).toBeGreaterThan(0);
      expect(ms).toBeLessThanOrEqual(5000);
    }
    const since = systemClock.now();
    const call = expect(nodes.a.call(B, 'math', 'never', [], { timeout: 200 })).rejects.toMatchObject({
      code: 'timeout',
    });
    await until(() => nodes.ran.length === 1);
    vi.setSystemTime(Date.now() + HOUR);
    await turns();
    expect(nodes.a.stats().pendingCalls).toBe(1);
    vi.setSystemTime(Date.now() - 2 * HOUR);
    await call;
    expect(systemClock.now() - since).toBeGreaterThanOrEqual(199);
  });

  it.each([
    ['an hour ahead', HOUR],
    ['an hour behind', -HOUR],
  ])('T-05 of two processes, of which one is %s: calls and their deadlines are what they were', async (_, ms) => {
    const shifted = `data:text/javascript,const now = Date.now; Date.now = () => now() + ${ms};`;
    await using cluster = new Cluster({ driver });
    const a = await cluster.start('a');
    const nodes = { [a.name]: { port: portOf(cluster, a.name) } };
    await using child = await ChildNode.start(cluster, B, { nodes }, ['--import', shifted]);
    const left: number[] = [];
    a.register('left', { now: (_args: unknown, context) => left.push(context.remainingMs()) });
    expect(await a.call(child.name, 'child', 'echo', [1], { timeout: 3000 })).toBe(1);
    const pending = a.call(child.name, 'child', 'wait', ['there'], { timeout: 3000 });
    await until(() => a.stats().pendingCalls === 1);
    await child.ask('call', a.name, 'left', 'now', [], { timeout: 3000 });
    expect(left[0]).toBeGreaterThan(2000);
    expect(left[0]).toBeLessThanOrEqual(3000);
    while (!(await child.ask<{ ran: string[] }>('seen')).ran.includes('there'));
    await child.ask('answer', 'there');
    expect(await pending).toBe('there');
    const since = performance.now();
    const late = a.call(child.name, 'child', 'wait', ['here'], { timeout: 100 });
    await expect(late).rejects.toMatchObject({ code: 'timeout' });
    expect(performance.now() - since).toBeGreaterThanOrEqual(99);
    while (!(await child.ask<{ told: string[] }>('seen')).told.includes('here'));
    await child.ask('answer', 'here');
  });
});

describe('W-05 very many deadlines at one moment', () => {
  const SOAK = process.env['GEN_RPC_SOAK'] === '1';
  const BARE = SOAK ? 1_000_000 : 100_000;
  const CALLS = 20_000;
  /** Of a turn, what goes to deadlines, and what else may be in it on a machine that others use too. */
  const STALL_MS = 100;

  /** The longest time between two turns of the loop, from now on. */
  function watchLoop(): { stop(): number } {
    let [last, longest, running] = [performance.now(), 0, true];
    const look = (): void => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      if (running) setImmediate(look);
    };
    setImmediate(look);
    return {
      stop() {
        running = false;
        return longest;
      },
    };
  }

  class Alarm extends Deadline {
    static rung = 0;
    static early = 0;
    static last = 0;

    constructor(private readonly at: number) {
      super();
    }

    override expire(): void {
      const now = performance.now();
      Alarm.rung += 1;
      Alarm.early += now < this.at ? 1 : 0;
      Alarm.last = now;
    }
  }

  it(`W-05 ${BARE} of them: up within 250 ms, and the loop goes on`, { timeout: 60_000 }, async () => {
    const deadlines = new Deadlines(systemClock);
    const at = performance.now() + (SOAK ? 4000 : 600);
    for (let n = 0; n < BARE; n += 1) deadlines.add(new Alarm(at), at);
    expect(performance.now()).toBeLessThan(at);
    const loop = watchLoop();
    await until(() => Alarm.rung === BARE);
    expect([loop.stop() < STALL_MS, Alarm.early, deadlines.size]).toEqual([true, 0, 0]);
    expect(Alarm.last - at).toBeLessThan(250);
  });

  it(`W-05 ${CALLS} calls: each is told once, and the loop goes on`, { timeout: 60_000 }, async () => {
    await using cluster = new Cluster({ driver: 'memory', options: { maxQueuedBytes: 1024 ** 3 } });
    // One that is never found: what is looked at is the caller alone.
    const a = cluster.create('a', {
      ...{ listen: false, connectTimeout: 60_000 },
      discovery: { resolve: () => new Promise<Location>(() => {}) },
    });
    const invocation = { name: a.functionName('math', 'never'), args: [], single: false, headers: undefined };
    const at = performance.now() + 1000;
    let told = 0;
    /** Turns of the loop in which some were told. */
    const busyTurns = new Set<number>();
    const codes = new Set<string>();
    let turn = 0;
    const failed = ({ code }: GenRpcError): void => {
      told += 1;
      codes.add(code);
      busyTurns.add(turn);
    };
    const sink = { item() {}, done() {}, failed };
    for (let n = 0; n < CALLS; n += 1) {
      a.request({ node: B }, invocation, { timeout: at - performance.now() }, sink);
    }
    const loop = watchLoop();
    await until(() => (turn += 1) > 0 && told === CALLS);
    expect(busyTurns.size).toBeGreaterThan(2);
    expect(performance.now() - at).toBeLessThan(250);
    expect(loop.stop()).toBeLessThan(STALL_MS);
    expect([...codes]).toEqual(['timeout']);
    await turns();
    expect([told, a.stats().pendingCalls]).toEqual([CALLS, 0]);
  });
});
