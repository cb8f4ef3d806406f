/** One AbortSignal for many calls: it ends those that are under way, and keeps nothing of the others. */
import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DRIVERS, twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';

const B = 'b@127.0.0.1';

const warnings: Error[] = [];
const onWarning = (warning: Error): void => void warnings.push(warning);

beforeEach(() => {
  warnings.length = 0;
  process.on('warning', onWarning);
});

afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});

const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;

describe.each(DRIVERS)('K-06 one AbortSignal over %s', (driver) => {
  it('keeps no listener of 100,000 calls', { timeout: 120_000 }, async () => {
    await using nodes = await twoNodes({ driver });
    const { signal } = new AbortController();
    let most = 0;
    for (let round = 0; round < 100; round += 1) {
      const calls = Array.from({ length: 1_000 }, (_, n) => nodes.a.call(B, 'math', 'add', [n, 1], { signal }));
      most = Math.max(most, listeners(signal));
      const sums = await Promise.all(calls);
      expect(sums.every((sum, n) => sum === n + 1)).toBe(true);
      expect(listeners(signal)).toBe(0);
    }
    expect(most).toBe(1);
  });

  it('ends every kind of call that is under way, by one listener', async () => {
    await using nodes = await twoNodes({ driver });
    const caller = new AbortController();
    const options = { signal: caller.signal };
    const calls = Array.from({ length: 20 }, () => nodes.a.call(B, 'math', 'never', [], options));
    const handles = Array.from({ length: 20 }, () => nodes.a.asyncCall(B, 'math', 'never', [], options));
    const broadcasts = Array.from({ length: 20 }, () => nodes.a.multicall([B, B], 'math', 'never', [], options));
    await until(() => nodes.ran.length === 80);
    expect(listeners(caller.signal)).toBe(1);
    caller.abort();
    for (const ended of await Promise.allSettled([...calls, ...handles.map((handle) => handle.yield())])) {
      expect(ended).toMatchObject({ reason: { code: 'cancelled', maybeExecuted: true } });
    }
    for (const { outcomes } of await Promise.all(broadcasts)) {
      expect(outcomes).toMatchObject([{ error: { code: 'cancelled' } }, { error: { code: 'cancelled' } }]);
    }
    expect(listeners(caller.signal)).toBe(0);
    expect(nodes.a.stats().pendingCalls).toBe(0);
  });

  it('is let go by calls that fail, that are cancelled otherwise, and that are never sent', async () => {
    await using nodes = await twoNodes({ driver });
    const { signal } = new AbortController();
    await expect(nodes.a.call(B, 'math', 'fail', [], { signal })).rejects.toMatchObject({ code: 'handler_failed' });
    await expect(nodes.a.call('x@127.0.0.1', 'm', 'f', [], { signal })).rejects.toMatchObject({ code: 'node_down' });
    const handle = nodes.a.asyncCall(B, 'math', 'never', [], { signal });
    expect(listeners(signal)).toBe(1);
    handle.cancel();
    expect(listeners(signal)).toBe(0);
    expect(() => nodes.a.asyncCall(B, 'math', 'add', [1, 2], { signal, timeout: 0 })).toThrow();
    const pending = nodes.a.call(B, 'math', 'never', [], { signal, timeout: 20 });
    await expect(pending).rejects.toMatchObject({ code: 'timeout' });
    expect(listeners(signal)).toBe(0);
  });
});

describe('K-06 the signal of a function', () => {
  it('gets no listener of the calls that the function makes', async () => {
    await using nodes = await twoNodes();
    nodes.b.register('own', {
      many: async (_: unknown, { signal }) => {
        let most = 0;
        for (let round = 0; round < 10; round += 1) {
          const calls = Array.from({ length: 100 }, (__, n) => nodes.b.call(B, 'math', 'add', [n, 1]));
          most = Math.max(most, listeners(signal));
          await Promise.all(calls);
        }
        return most;
      },
    });
    expect(await nodes.a.call(B, 'own', 'many')).toBe(0);
  });
});
