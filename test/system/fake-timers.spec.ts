/** Tests of applications put fake timers into their globals, for their own code: nodes go on as they were. */
import { afterEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../lib/system/system.js';
import { SOCKET_DRIVERS, twoNodes } from '../support/cluster.js';

const B = 'b@127.0.0.1';
const HOUR = 3_600_000;

/** What Vitest can fake where its own workers live: all but `nextTick`. */
const toFake = [
  ...(['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'clearImmediate'] as const),
  ...(['Date', 'performance', 'queueMicrotask'] as const),
];

afterEach(() => void vi.useRealTimers());

it.each(SOCKET_DRIVERS)('calls are answered over %s, and an hour that passes ends no connection', async (driver) => {
  await using nodes = await twoNodes({ driver, options: { keepalive: { idle: 50, interval: 2000, count: 1 } } });
  vi.useFakeTimers({ toFake });
  expect(await nodes.a.call(B, 'math', 'add', [1, 2])).toBe(3);
  vi.advanceTimersByTime(HOUR);
  expect(await nodes.a.call(B, 'math', 'add', [2, 3])).toBe(5);
  expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
});

it('deadlines pass all the same', async () => {
  await using nodes = await twoNodes();
  vi.useFakeTimers({ toFake });
  await expect(nodes.a.call(B, 'math', 'never', [], { timeout: 50 })).rejects.toMatchObject({ code: 'timeout' });
});

it('a virtual clock goes on', async () => {
  await using nodes = await twoNodes({ driver: 'memory', virtual: { seed: 1 } });
  vi.useFakeTimers({ toFake });
  const late = expect(nodes.a.call(B, 'math', 'never', [], { timeout: 50 })).rejects.toMatchObject({ code: 'timeout' });
  await nodes.clock?.advance(100);
  await late;
});

it("Jest's nextTick is not waited for", async () => {
  const never = vi.spyOn(process, 'nextTick').mockImplementation(() => {});
  const ran = new Promise<void>((resolve) => systemClock.soon(resolve));
  never.mockRestore();
  await ran;
});
