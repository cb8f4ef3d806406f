/** Results that nobody fetches: they are given back, errors among them, and nobody hears of a rejection. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AsyncCall } from '../../lib/node/async-call.js';
import { DRIVERS, twoNodes, type NodeSettings, type TwoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';

const B = 'b@127.0.0.1';
const KEPT_MS = 1000;
/** Deadlines are kept in slots: up to so many ms late, never early. */
const SLOT_MS = 16;
const OPTIONS = { asyncCallInactivityTimeout: KEPT_MS };

const unhandled: unknown[] = [];
const listen = (reason: unknown): void => void unhandled.push(reason);

beforeEach(() => {
  unhandled.length = 0;
  process.on('unhandledRejection', listen);
});

/** Node tells of a rejection that nobody handled once the turn in which it happened is over. */
afterEach(async () => {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', listen);
  expect(unhandled).toEqual([]);
});

/** A second without a word, and the result that was kept all the while is gone. */
async function expectDropped(call: AsyncCall): Promise<void> {
  expect(call.taken).toBe(true);
  expect(await call.nbYield()).toBe('timeout');
  expect(await call.nbYield(Infinity)).toBe('timeout');
  await expect(call.yield()).rejects.toMatchObject({
    code: 'timeout',
    maybeExecuted: true,
    message: expect.stringContaining('asyncCallInactivityTimeout') as string,
  });
}

describe('T-13 an async call that nobody yields', () => {
  const virtual = (options: NodeSettings = OPTIONS) => twoNodes({ virtual: { seed: 1 }, options });

  async function answered(nodes: TwoNodes, fn: string, target = B): Promise<AsyncCall> {
    const call = nodes.a.asyncCall(target, 'math', fn, [1, 2]);
    await nodes.clock?.advance(0);
    return call;
  }

  it.each(['add', 'fail', 'nothing'])('T-13 is dropped after its time, whatever came of math.%s', async (fn) => {
    await using nodes = await virtual();
    const call = await answered(nodes, fn);
    expect(nodes.a.stats().pendingCalls).toBe(0);
    await nodes.clock?.advance(KEPT_MS - 1);
    expect(call.taken).toBe(false);
    await nodes.clock?.advance(1 + SLOT_MS);
    await expectDropped(call);
    // nbYield(Infinity) of a result that is gone must not wait for it.
    expect(nodes.a.stats().pendingCalls).toBe(0);
  });

  it('T-13 is dropped on the own node too', async () => {
    await using nodes = await virtual();
    nodes.a.register('math', {
      add: () => 3,
      fail: () => {
        throw new Error('no');
      },
    });
    const calls = [await answered(nodes, 'add', nodes.a.name), await answered(nodes, 'fail', nodes.a.name)];
    await nodes.clock?.advance(KEPT_MS + SLOT_MS);
    for (const call of calls) await expectDropped(call);
  });

  it('T-13 is dropped where the failure came before anything was sent', async () => {
    await using nodes = await virtual();
    const nowhere = await answered(nodes, 'add', 'nowhere@127.0.0.1');
    const cancelled = nodes.a.asyncCall(B, 'math', 'add', [1, 2], { signal: AbortSignal.abort() });
    await nodes.clock?.advance(KEPT_MS + SLOT_MS);
    await expectDropped(nowhere);
    await expectDropped(cancelled);
  });

  it('T-13 has its time counted from the answer, not from the call, and each for itself', async () => {
    await using nodes = await virtual();
    const answers: ((value: string) => void)[] = [];
    nodes.b.register('slow', { think: () => new Promise((resolve) => answers.push(resolve)) });
    const [first, second] = [nodes.a.asyncCall(B, 'slow', 'think'), nodes.a.asyncCall(B, 'slow', 'think')];
    await nodes.clock?.advance(5 * KEPT_MS);
    answers[0]?.('first');
    await nodes.clock?.advance(KEPT_MS / 2);
    answers[1]?.('second');
    await nodes.clock?.advance(KEPT_MS / 2 + SLOT_MS);
    await expectDropped(first);
    await expect(second.yield()).resolves.toBe('second');
  });

  it('T-13 does not have its time begun anew by those who ask too early', async () => {
    await using nodes = await virtual();
    let answer: (value: number) => void = () => {};
    nodes.b.register('slow', { think: () => new Promise((resolve) => (answer = resolve)) });
    const call = nodes.a.asyncCall(B, 'slow', 'think');
    const early = call.nbYield(100);
    await nodes.clock?.advance(100);
    await expect(early).resolves.toBe('timeout');
    answer(7);
    await nodes.clock?.advance(KEPT_MS + SLOT_MS);
    await expectDropped(call);
  });

  it('T-13 of a call that was given up is told to nobody', async () => {
    await using nodes = await virtual();
    const call = nodes.a.asyncCall(B, 'math', 'never');
    await nodes.clock?.advance(10);
    call.cancel();
    expect(nodes.a.stats().pendingCalls).toBe(0);
    await nodes.clock?.advance(KEPT_MS + SLOT_MS);
    await expectDropped(call);
  });

  it('T-13 of a call whose deadline passed is told to nobody', async () => {
    await using nodes = await virtual();
    const late = nodes.a.asyncCall(B, 'math', 'never', [], { timeout: 50 });
    await nodes.clock?.advance(100);
    expect(late.taken).toBe(false);
    await nodes.clock?.advance(KEPT_MS + SLOT_MS);
    await expectDropped(late);
  });

  it('T-13 of a node that is closed meanwhile is kept with the handle, and by no timer', async () => {
    await using nodes = await virtual({ asyncCallInactivityTimeout: 1_000_000_000 });
    const answer = await answered(nodes, 'add');
    const orphan = nodes.a.asyncCall(B, 'math', 'never');
    await nodes.a.close();
    await nodes.b.close();
    await nodes.clock?.advance(20_000);
    expect(nodes.clock?.pending).toBe(0);
    await expect(answer.yield()).resolves.toBe(3);
    await expect(orphan.yield()).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('T-13 leaves no timer behind once the results were fetched', async () => {
    await using nodes = await virtual({ asyncCallInactivityTimeout: 60_000, keepalive: false });
    const kept = [await answered(nodes, 'add'), await answered(nodes, 'fail'), await answered(nodes, 'add')] as const;
    await nodes.clock?.advance(20_000);
    await expect(kept[0].yield()).resolves.toBe(3);
    await expect(kept[1].yield()).rejects.toMatchObject({ code: 'handler_failed' });
    await expect(kept[2].nbYield()).resolves.toEqual({ value: 3 });
    await nodes.clock?.advance(60_000);
    expect(nodes.clock?.pending).toBe(0);
  });

  it('T-13 with no limit of time is kept for as long as the handle is', async () => {
    await using nodes = await virtual({ keepalive: false });
    const call = await answered(nodes, 'add');
    await nodes.clock?.advance(365 * 24 * 3_600_000);
    await expect(call.yield()).resolves.toBe(3);
  });
});

describe.each(DRIVERS)('T-13 what async calls hold in memory, over %s', (driver) => {
  const CALLS = 64;
  const BYTES = 256 * 1024;

  const collect = (): void => {
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
  };

  const held = (): number => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };

  const alive = (handles: readonly WeakRef<AsyncCall>[]): number => {
    collect();
    return handles.filter((handle) => handle.deref() !== undefined).length;
  };

  async function withResults(nodes: TwoNodes): Promise<AsyncCall[]> {
    nodes.b.register('big', { bytes: () => Buffer.alloc(BYTES, 1) });
    await nodes.a.call(B, 'big', 'bytes');
    const calls = Array.from({ length: CALLS }, () => nodes.a.asyncCall(B, 'big', 'bytes'));
    await until(() => nodes.a.stats().pendingCalls === 0);
    return calls;
  }

  it('T-13 is given back with the time, while the handles live on', async () => {
    await using nodes = await twoNodes({ driver, options: { asyncCallInactivityTimeout: 5000 } });
    const before = held();
    const calls = await withResults(nodes);
    expect(calls.map((call) => call.taken)).not.toContain(true);
    expect(held() - before).toBeGreaterThan(CALLS * BYTES * 0.75);
    await until(() => calls.every((call) => call.taken));
    await until(() => held() - before < (CALLS * BYTES) / 4);
    await expectDropped(calls[0] as AsyncCall);
  });

  it('T-13 is given back with the handle, where there is no limit of time', async () => {
    await using nodes = await twoNodes({ driver });
    const before = held();
    let handles: WeakRef<AsyncCall>[] = [];
    const make = async (): Promise<void> => {
      const calls = await withResults(nodes);
      expect(held() - before).toBeGreaterThan(CALLS * BYTES * 0.9);
      handles = calls.map((call) => new WeakRef(call));
    };
    await make();
    // The engine frees when it likes, and may keep the last one or two on its stack.
    await until(() => held() - before < (CALLS * BYTES) / 4 && alive(handles) < CALLS / 8);
  });

  it('T-13 of a call that failed is given back with its handle too', async () => {
    await using nodes = await twoNodes({ driver });
    let handles: WeakRef<AsyncCall>[] = [];
    const make = async (): Promise<void> => {
      handles = Array.from({ length: CALLS }, () => new WeakRef(nodes.a.asyncCall(B, 'math', 'fail')));
      await until(() => nodes.a.stats().pendingCalls === 0 && nodes.ran.length === CALLS);
    };
    await make();
    await until(() => alive(handles) < CALLS / 8);
  });
});
