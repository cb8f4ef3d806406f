import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { DRIVERS, twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';

const B = 'b@127.0.0.1';

/** The code that a call ends with. */
async function codeOf(reply: Promise<unknown>): Promise<string> {
  return reply.then(
    () => 'none',
    (error: GenRpcError) => error.code,
  );
}

describe.each(DRIVERS)('asyncCall over %s', (driver) => {
  it('is eager: it runs before anybody asks for the result', async () => {
    await using nodes = await twoNodes({ driver });
    const call = nodes.a.asyncCall<number>(B, 'math', 'add', [1, 2]);
    await until(() => nodes.ran.length === 1);
    await expect(call.yield()).resolves.toBe(3);
    expect(nodes.ran).toEqual(['add']);
  });

  it('calls run beside each other, each with its own result', async () => {
    await using nodes = await twoNodes({ driver });
    const calls = Array.from({ length: 50 }, (_, n) => nodes.a.asyncCall<number>(B, 'math', 'add', [n, 1]));
    const values = await Promise.all(calls.toReversed().map((call) => call.yield()));
    expect(values.toReversed()).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
  });

  it('calls oneself like others', async () => {
    await using nodes = await twoNodes({ driver });
    await expect(nodes.b.asyncCall(B, 'math', 'add', [1, 2]).nbYield(Infinity)).resolves.toEqual({ value: 3 });
    await expect(codeOf(nodes.b.asyncCall(B, 'math', 'fail').yield())).resolves.toBe('handler_failed');
  });

  it('a failure that nobody fetches disturbs nobody', async () => {
    await using nodes = await twoNodes({ driver });
    const call = nodes.a.asyncCall(B, 'math', 'fail');
    await until(() => nodes.ran.includes('fail') && nodes.a.stats().pendingCalls === 0);
    await new Promise(setImmediate);
    await expect(call.nbYield()).rejects.toMatchObject({ code: 'handler_failed', maybeExecuted: true });
  });

  it('cancel stops the function there', async () => {
    await using nodes = await twoNodes({ driver });
    const signals: AbortSignal[] = [];
    nodes.b.register('slow', {
      fn: (_: unknown, { signal }) => {
        signals.push(signal);
        return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('stopped'))));
      },
    });
    const call = nodes.a.asyncCall(B, 'slow', 'fn');
    await until(() => signals.length === 1);
    call.cancel();
    await until(() => signals[0]?.aborted === true && nodes.b.stats().runningCalls === 0);
    await expect(call.yield()).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: true });
    expect(nodes.a.stats().pendingCalls).toBe(0);
  });

  it('an AbortSignal gives it up, with or without somebody who waits', async () => {
    await using nodes = await twoNodes({ driver });
    const controller = new AbortController();
    const { signal } = controller;
    const waited = nodes.a.asyncCall(B, 'math', 'never', [], { signal });
    const unheard = nodes.a.asyncCall(B, 'math', 'never', [], { signal });
    await until(() => nodes.ran.length === 2);
    const claimed = codeOf(waited.yield());
    controller.abort();
    await expect(claimed).resolves.toBe('cancelled');
    await expect(codeOf(unheard.yield())).resolves.toBe('cancelled');
    const never = nodes.a.asyncCall(B, 'math', 'add', [1, 2], { signal });
    await expect(never.yield()).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: false });
    expect(nodes.ran).toEqual(['never', 'never']);
  });

  it('waits for its own deadline, whoever asks how often', async () => {
    await using nodes = await twoNodes({ driver });
    // Its time is not for connecting.
    await nodes.a.connect(B);
    const call = nodes.a.asyncCall(B, 'math', 'never', [], { timeout: 300 });
    await expect(call.nbYield(1)).resolves.toBe('timeout');
    await expect(call.nbYield(Infinity)).rejects.toMatchObject({ code: 'timeout', maybeExecuted: true });
  });

  it('ends with its connection, and with its node', async () => {
    await using nodes = await twoNodes({ driver });
    const lost = nodes.a.asyncCall(B, 'math', 'never');
    await until(() => nodes.ran.length === 1);
    const closed = nodes.b.asyncCall(B, 'math', 'never');
    nodes.b.abort();
    await expect(lost.yield()).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    await expect(codeOf(closed.yield())).resolves.toBe('cancelled');
  });

  it('what is wrong with the call itself is thrown at once', async () => {
    await using nodes = await twoNodes({ driver });
    const wrong: readonly ((node: GenRpcNode) => unknown)[] = [
      (node) => node.asyncCall(B, 'm'.repeat(256), 'fn'),
      (node) => node.asyncCall(B, 'math', 'add', Array(256).fill(0)),
      (node) => node.asyncCall(B, 'math', 'add', [], { timeout: 0 }),
    ];
    for (const call of wrong) {
      expect(() => call(nodes.a)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    }
    expect(nodes.a.stats().pendingCalls).toBe(0);
  });
});

describe('asyncCallInactivityTimeout', () => {
  it('drops what nobody fetched in time, and nothing else', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: { asyncCallInactivityTimeout: 2000 } });
    const call = nodes.a.asyncCall(B, 'math', 'add', [1, 2]);
    const fetched = nodes.a.asyncCall(B, 'math', 'add', [3, 4]);
    const slow = nodes.a.asyncCall(B, 'math', 'never', [], { timeout: 10_000 });
    await nodes.clock?.advance(1000);
    await expect(fetched.yield()).resolves.toBe(7);
    await nodes.clock?.advance(1100);
    await expect(call.yield()).rejects.toMatchObject({ code: 'timeout', maybeExecuted: true });
    await expect(slow.nbYield()).resolves.toBe('timeout');
    await nodes.clock?.advance(8000);
    await expect(slow.yield()).rejects.toMatchObject({ message: expect.stringContaining('did not reply') });
  });

  it('leaves no timer behind its node', async () => {
    // Longer than a cluster waits for what is left of its nodes.
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: { asyncCallInactivityTimeout: 3_600_000 } });
    const call = nodes.a.asyncCall(B, 'math', 'add', [1, 2]);
    await nodes.clock?.advance(1000);
    await nodes.a.close();
    await expect(call.yield()).resolves.toBe(3);
    const kept = nodes.b.asyncCall(B, 'math', 'add', [1, 2]);
    await nodes.clock?.advance(1000);
    await nodes.b.close();
    expect(nodes.clock?.pending).toBe(0);
    await expect(kept.yield()).resolves.toBe(3);
  });
});
