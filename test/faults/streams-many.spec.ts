/** T-12, T-13: where one value is wanted of many nodes, or of a call that nobody yields, streams and large values too. */
import { describe, expect, it } from 'vitest';
import { Cluster, DRIVERS, twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { numbers, upTo } from '../support/streams.js';

const B = 'b@127.0.0.1';
const LARGE = Buffer.alloc(4 * 1024 * 1024 - 1024, 7);

/** Counts how often it was torn down. */
class Endless {
  stopped = 0;

  async *items(): AsyncGenerator<number> {
    try {
      for (let n = 0; ; n += 1) yield await new Promise<number>((resolve) => setImmediate(resolve, n));
    } finally {
      this.stopped += 1;
    }
  }
}

describe.each(DRIVERS)('over %s', (driver) => {
  it('T-12 a multicall of functions that stream: the last item of those that end, in time, and none that goes on', async () => {
    await using cluster = new Cluster({ driver });
    const endless = new Endless();
    const functions = [() => upTo(3), () => endless.items(), () => LARGE, () => upTo(0), () => failing()];
    const nodes = await Promise.all(functions.map((_, n) => cluster.start(`node${n}`)));
    nodes.forEach((node, n) => node.register('work', { do: functions[n] ?? (() => undefined) }));
    const caller = cluster.create('caller', { listen: false });
    const targets = nodes.map(({ name }) => name);
    await Promise.all(targets.map((name) => caller.connect(name)));
    const since = performance.now();
    const { outcomes } = await caller.multicall<unknown>(targets, 'work', 'do', [], { timeout: 400 });
    expect(performance.now() - since).toBeLessThan(400 + 250);
    expect(outcomes.map(({ node }) => node)).toEqual(targets);
    const [items, never, large, nothing, failed] = outcomes;
    expect(items).toMatchObject({ ok: true, value: 2 });
    expect(never).toMatchObject({ ok: false, error: { code: 'timeout', maybeExecuted: true } });
    expect(large?.ok === true && LARGE.equals(large.value as Buffer)).toBe(true);
    expect(nothing).toMatchObject({ ok: true });
    expect(failed).toMatchObject({ ok: false, error: { code: 'handler_failed', maybeExecuted: true } });
    await until(() => endless.stopped === 1);
    expect(caller.stats().pendingCalls).toBe(0);
  });

  it('T-13 an async call that nobody yields, of a stream: its last item is kept for its time, then gone', async () => {
    await using nodes = await twoNodes({ driver, options: { asyncCallInactivityTimeout: 100 } });
    const endless = new Endless();
    nodes.b.register('work', { few: () => upTo(3), endless: () => endless.items(), large: () => LARGE });
    expect(await nodes.a.asyncCall(B, 'work', 'few').yield()).toBe(2);
    const calls = ['few', 'large'].map((fn) => nodes.a.asyncCall(B, 'work', fn));
    calls.push(...numbers(3).map(() => nodes.a.asyncCall(B, 'work', 'endless', [], { timeout: 50 })));
    await until(() => nodes.a.stats().pendingCalls === 0 && endless.stopped === 3);
    await until(() => calls.every(({ taken }) => taken));
    for (const call of calls) await expect(call.yield()).rejects.toMatchObject({ code: 'timeout' });
    expect(nodes.b.stats().runningCalls).toBe(0);
  });
});

async function* failing(): AsyncGenerator<number> {
  yield 1;
  throw new Error('no more');
}
