import { describe, expect, it } from 'vitest';
import { currentCalls, CurrentCalls, type ParentCall } from '../../lib/server/current-call.js';
import { systemClock } from '../../lib/system/system.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { Cluster } from '../support/cluster.js';

function callOf(changes: Partial<ParentCall> = {}): ParentCall {
  return { binds: true, abandonedBy: undefined, remainingMs: () => 1, bind() {}, unbind() {}, ...changes };
}

/** As the invoker does it: what a function that goes on after an `await` finds. */
function answer(calls: CurrentCalls, call: ParentCall): Promise<ParentCall | undefined> {
  return new Promise((resolve) => {
    const body = async (): Promise<void> => {
      await Promise.resolve();
      resolve(calls.get());
    };
    if (calls.isWorthwhile()) calls.run(call, () => void body());
    else void body();
  });
}

async function answerAll(calls: CurrentCalls, times: number): Promise<void> {
  for (let time = 0; time < times; time += 1) await answer(calls, callOf());
}

describe('the current call', () => {
  it('is known behind an await, from the first function that runs', async () => {
    const [one, other] = [callOf(), callOf()];
    const calls = new CurrentCalls();
    expect(await Promise.all([answer(calls, one), answer(calls, other)])).toEqual([one, other]);
    expect(calls.get()).toBeUndefined();
  });

  it('is none for what is cast, for what was answered, and outside', async () => {
    const calls = new CurrentCalls();
    expect(await answer(calls, callOf({ binds: false }))).toBeUndefined();
    let binds = true;
    const call = callOf();
    Object.defineProperty(call, 'binds', { get: () => binds });
    calls.run(call, () => {
      expect(calls.get()).toBe(call);
      expect(calls.outside(() => calls.get())).toBeUndefined();
      binds = false;
      expect(calls.get()).toBeUndefined();
      expect(calls.isInside).toBe(true);
    });
  });

  it('is one that nobody waits for any more, so that nothing is begun for it', () => {
    const calls = new CurrentCalls();
    const call = { ...callOf(), abandonedBy: undefined as GenRpcError | undefined, binds: true };
    calls.run(call, () => {
      Object.assign(call, { binds: false, abandonedBy: new GenRpcError('cancelled') });
      expect(calls.get()).toBe(call);
    });
  });

  it('is not looked for in a process that has answered many calls and made none', async () => {
    const calls = new CurrentCalls(3);
    await answerAll(calls, 3);
    expect(await answer(calls, callOf())).toBeUndefined();
    expect(calls.isWorthwhile()).toBe(false);
    expect(calls.isInside).toBe(false);
  });

  it('is looked for again, and for good, from the first call on', async () => {
    const calls = new CurrentCalls(3);
    await answerAll(calls, 10);
    calls.expectCalls();
    const call = callOf();
    expect(await answer(calls, call)).toBe(call);
    await answerAll(calls, 10);
    expect(await answer(calls, call)).toBe(call);
  });

  it('is that of the moment of a snapshot, wherever its body runs', () => {
    const calls = new CurrentCalls();
    const [one, other] = [callOf(), callOf()];
    expect(calls.snapshot()).toBeUndefined();
    expect(calls.isWorthwhile()).toBe(true);
    const seen: unknown[] = [];
    const outside = calls.snapshot();
    let inside = outside;
    calls.run(one, () => (inside = calls.snapshot()));
    calls.run(other, () => {
      inside?.(() => seen.push(calls.get()));
      outside?.(() => seen.push(calls.get()));
      seen.push(calls.get());
    });
    expect(seen).toEqual([one, undefined, other]);
  });
});

describe('the timer of the deadlines of all calls', () => {
  it('belongs to none of them', async () => {
    let inside = 0;
    const clock: typeof systemClock = {
      ...systemClock,
      after: (ms, run, keepAlive) => {
        if (currentCalls.isInside) inside += 1;
        return systemClock.after(ms, run, keepAlive);
      },
    };
    await using cluster = new Cluster();
    const b = await cluster.start('b', {}, { clock });
    const a = cluster.create('a', { listen: false });
    b.register('slow', {
      single: (_: unknown, { signal }: CallContext) =>
        new Promise((resolve) => signal.addEventListener('abort', resolve)),
      async *stream() {
        yield* [1, 2];
        await new Promise(() => {});
      },
    });
    for (const fn of ['single', 'stream']) {
      await expect(a.call(b.name, 'slow', fn, [], { timeout: 30 })).rejects.toMatchObject({ code: 'timeout' });
    }
    expect(inside).toBe(0);
  });
});
