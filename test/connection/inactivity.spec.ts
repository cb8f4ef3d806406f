import { describe, expect, it } from 'vitest';
import { Inactivity } from '../../lib/connection/inactivity.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

/** Watched from now on; `pending` is what the test says is pending. */
function setUp(ms: number) {
  const clock = new VirtualClock();
  const state = { pending: 0, idleAt: [] as number[] };
  const inactivity = new Inactivity(
    clock,
    ms,
    () => state.pending > 0,
    () => state.idleAt.push(clock.now()),
  );
  inactivity.watch();
  return { clock, inactivity, state };
}

describe('inactivity', () => {
  it('is told once, after as long as was said', async () => {
    const { clock, state } = setUp(1000);
    await clock.advance(999);
    expect(state.idleAt).toEqual([]);
    await clock.advance(1);
    expect(state.idleAt).toEqual([1000]);
    await clock.advance(100_000);
    expect(state.idleAt).toEqual([1000]);
    expect(clock.pending).toBe(0);
  });

  it('is counted from the last use', async () => {
    const { clock, inactivity, state } = setUp(1000);
    for (let use = 0; use < 10; use += 1) {
      await clock.advance(900);
      inactivity.used();
    }
    expect(state.idleAt).toEqual([]);
    await clock.advance(999);
    expect(state.idleAt).toEqual([]);
    await clock.advance(1);
    expect(state.idleAt).toEqual([10_000]);
  });

  it('costs one timer, however often it is of use', async () => {
    const { clock, inactivity } = setUp(1000);
    for (let use = 0; use < 10_000; use += 1) inactivity.used();
    expect(clock.pending).toBe(1);
  });

  it('is never told while something is pending, however long that takes', async () => {
    const { clock, inactivity, state } = setUp(1000);
    state.pending = 1;
    inactivity.used();
    await clock.advance(1_000_000);
    expect(state.idleAt).toEqual([]);
    state.pending = 0;
    inactivity.used();
    const { idleAt } = state;
    await clock.advance(999);
    expect(idleAt).toEqual([]);
    await clock.advance(1);
    expect(idleAt).toEqual([1_001_000]);
  });

  it('is told in the end where what was pending ends without a word', async () => {
    const { clock, state } = setUp(1000);
    state.pending = 1;
    await clock.advance(1500);
    state.pending = 0;
    await clock.advance(1000);
    expect(state.idleAt).toEqual([2000]);
  });

  it('is told again where it is watched again', async () => {
    const { clock, inactivity, state } = setUp(1000);
    await clock.advance(500);
    inactivity.watch();
    await clock.advance(999);
    expect(state.idleAt).toEqual([]);
    await clock.advance(1);
    inactivity.watch();
    expect(clock.pending).toBe(1);
    await clock.advance(1000);
    expect(state.idleAt).toEqual([1500, 2500]);
  });

  it('is not told after stop, which may come at any time, and twice', async () => {
    const { clock, inactivity, state } = setUp(1000);
    inactivity.stop();
    inactivity.stop();
    expect(clock.pending).toBe(0);
    inactivity.used();
    await clock.advance(10_000);
    expect(state.idleAt).toEqual([]);
  });

  it('Infinity watches nothing, and needs no timer', async () => {
    const { clock, inactivity, state } = setUp(Infinity);
    inactivity.used();
    expect(clock.pending).toBe(0);
    await clock.advance(2 ** 40);
    inactivity.stop();
    expect(state.idleAt).toEqual([]);
  });
});
