import { describe, expect, it } from 'vitest';
import type { ReplySink } from '../../lib/client/pending-calls.js';
import { Deadlines } from '../../lib/connection/deadlines.js';
import { AsyncCall } from '../../lib/node/async-call.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

const FAILURE = new GenRpcError('handler_failed', 'out of stock');
const FETCHED = { code: 'invalid_argument', message: expect.stringContaining('fetched once') };

/** A call whose reply comes when the test says so, on a clock of its own. */
function setUp(inactivityTimeout = Infinity) {
  const clock = new VirtualClock();
  const replies: ReplySink[] = [];
  const deadlines = new Deadlines(clock);
  let stopped = 0;
  const call = new AsyncCall<unknown>(clock, deadlines, inactivityTimeout, (sink) => {
    replies.push(sink);
    return () => (stopped += 1) > 0;
  });
  const [reply] = replies;
  if (reply === undefined) throw new Error('the call was not made');
  return { clock, deadlines, call, reply, stopped: () => stopped };
}

/** What a promise has come to by now. */
async function stateOf(promise: Promise<unknown>): Promise<unknown> {
  let state: unknown = 'pending';
  promise.then(
    (value) => (state = { value }),
    (error: unknown) => (state = { error }),
  );
  await new Promise(setImmediate);
  return state;
}

describe('yield', () => {
  it('waits for the value, however long it takes', async () => {
    const { clock, call, reply } = setUp();
    const value = call.yield();
    await clock.advance(1_000_000);
    await expect(stateOf(value)).resolves.toBe('pending');
    reply.done('late');
    await expect(value).resolves.toBe('late');
    expect(clock.pending).toBe(0);
  });

  it('gives a value that was there before', async () => {
    const { call, reply } = setUp();
    reply.done('early');
    await expect(call.yield()).resolves.toBe('early');
  });

  it.each(['before', 'after'])('fails as the call did, %s it was asked', async (when) => {
    const { call, reply } = setUp();
    const asked = when === 'after' ? call.yield() : undefined;
    reply.failed(FAILURE);
    await expect(asked ?? call.yield()).rejects.toBe(FAILURE);
  });

  it('is for one: while somebody waits, and afterwards, others are refused', async () => {
    const { call, reply } = setUp();
    const first = call.yield();
    await expect(call.yield()).rejects.toMatchObject(FETCHED);
    reply.done(1);
    await expect(first).resolves.toBe(1);
    await expect(call.yield()).rejects.toMatchObject(FETCHED);
  });

  it('is for one also when the call failed', async () => {
    const { call, reply } = setUp();
    reply.failed(FAILURE);
    await expect(call.yield()).rejects.toBe(FAILURE);
    await expect(call.yield()).rejects.toMatchObject(FETCHED);
  });

  it('gives undefined where the function returned nothing', async () => {
    const { call, reply } = setUp();
    reply.done(undefined);
    await expect(call.yield()).resolves.toBeUndefined();
    await expect(call.nbYield()).resolves.toBe('timeout');
  });

  it.each([
    { items: [1, 2], end: undefined, last: 2 },
    { items: [1, 2], end: 3, last: 3 },
    { items: [1, null], end: undefined, last: null },
  ])('gives the last of several values: $items, then $end', async ({ items, end, last }) => {
    const { call, reply } = setUp();
    const value = call.yield();
    for (const item of items) reply.item(item, 65, { used: () => {} });
    await expect(stateOf(value)).resolves.toBe('pending');
    reply.done(end);
    await expect(value).resolves.toBe(last);
  });
});

describe('nbYield', () => {
  it('does not wait unless told to', async () => {
    const { clock, call, reply } = setUp();
    await expect(call.nbYield()).resolves.toBe('timeout');
    await expect(call.nbYield(0)).resolves.toBe('timeout');
    expect(clock.pending).toBe(0);
    reply.done(1);
    await expect(call.nbYield()).resolves.toEqual({ value: 1 });
  });

  it('waits as long as it is told, and no longer; then it may be asked again', async () => {
    const { clock, call, reply } = setUp();
    for (let round = 0; round < 3; round += 1) {
      const asked = call.nbYield(100);
      await clock.advance(99);
      await expect(stateOf(asked)).resolves.toBe('pending');
      await clock.advance(1);
      await expect(stateOf(asked)).resolves.toEqual({ value: 'timeout' });
    }
    const asked = call.nbYield(100);
    await clock.advance(50);
    reply.done('in time');
    await expect(asked).resolves.toEqual({ value: 'in time' });
    expect(clock.pending).toBe(0);
  });

  it('waits for ever with Infinity, without a timer', async () => {
    const { clock, call, reply } = setUp();
    const asked = call.nbYield(Infinity);
    expect(clock.pending).toBe(0);
    await clock.advance(2 ** 40);
    await expect(stateOf(asked)).resolves.toBe('pending');
    reply.done(undefined);
    await expect(asked).resolves.toEqual({ value: undefined });
  });

  it.each([0, 50, Infinity])('gives timeout at once after somebody has fetched the result: nbYield(%s)', async (ms) => {
    const { clock, call, reply } = setUp();
    reply.done(1);
    await expect(call.nbYield(ms)).resolves.toEqual({ value: 1 });
    await expect(stateOf(call.nbYield(ms))).resolves.toEqual({ value: 'timeout' });
    await expect(call.yield()).rejects.toMatchObject(FETCHED);
    expect(clock.pending).toBe(0);
  });

  it.each([0, 50, Infinity])('gives timeout at once while somebody yields: nbYield(%s)', async (ms) => {
    const { call, reply } = setUp();
    const claimed = call.yield();
    await expect(stateOf(call.nbYield(ms))).resolves.toEqual({ value: 'timeout' });
    reply.done(1);
    await expect(claimed).resolves.toBe(1);
    await expect(call.nbYield(ms)).resolves.toBe('timeout');
  });

  it.each([50, Infinity])('gives way to a yield that comes while it waits: nbYield(%s)', async (ms) => {
    const { clock, call, reply } = setUp();
    const asked = call.nbYield(ms);
    const claimed = call.yield();
    await expect(stateOf(asked)).resolves.toEqual({ value: 'timeout' });
    expect(clock.pending).toBe(0);
    reply.done(1);
    await expect(claimed).resolves.toBe(1);
  });

  it('gives the result to the first of several who wait, and timeout to the others at once', async () => {
    const { clock, call, reply } = setUp();
    const asked = [call.nbYield(100), call.nbYield(Infinity), call.nbYield(50)];
    reply.done(1);
    await expect(Promise.all(asked)).resolves.toEqual([{ value: 1 }, 'timeout', 'timeout']);
    expect(clock.pending).toBe(0);
  });

  it('passes over those who have stopped waiting', async () => {
    const { clock, call, reply } = setUp();
    const first = call.nbYield(10);
    const second = call.nbYield(100);
    await clock.advance(10);
    reply.done(1);
    await expect(first).resolves.toBe('timeout');
    await expect(second).resolves.toEqual({ value: 1 });
  });

  it('fails as the call did, once', async () => {
    const { call, reply } = setUp();
    const asked = call.nbYield(Infinity);
    reply.failed(FAILURE);
    await expect(asked).rejects.toBe(FAILURE);
    await expect(call.nbYield()).resolves.toBe('timeout');
    const { call: other, reply: otherReply } = setUp();
    otherReply.failed(FAILURE);
    await expect(other.nbYield()).rejects.toBe(FAILURE);
  });

  it.each([-1, NaN, -Infinity, 2 ** 31, '5', null])('refuses to wait %s ms, and the result stays', async (ms) => {
    const { call, reply } = setUp();
    reply.done(1);
    const refused = { code: 'invalid_argument', message: expect.stringContaining(`got ${String(ms)}`) };
    // Text and null would pass a comparison with 0.
    if (typeof ms === 'number') await expect(call.nbYield(ms)).rejects.toMatchObject(refused);
    await expect(call.yield()).resolves.toBe(1);
  });
});

describe('a result that nobody fetches', () => {
  it.each(['done', 'failed'] as const)(
    'is dropped after the timeout, counted from when it was there: %s',
    async (how) => {
      const { clock, call, reply } = setUp(1000);
      await clock.advance(5000);
      if (how === 'done') reply.done(1);
      else reply.failed(FAILURE);
      expect(call.taken).toBe(false);
      // Deadlines are late by up to a slot of 16 ms.
      await clock.advance(1016);
      expect(call.taken).toBe(true);
      await expect(call.nbYield(Infinity)).resolves.toBe('timeout');
      const dropped = { code: 'timeout', maybeExecuted: true, message: expect.stringContaining('1000 ms') };
      await expect(call.yield()).rejects.toMatchObject(dropped);
      await expect(call.yield()).rejects.toMatchObject(dropped);
      expect(clock.pending).toBe(0);
    },
  );

  it('is there until the last moment, and asking in vain does not keep it', async () => {
    const { clock, deadlines, call, reply } = setUp(1000);
    await expect(call.nbYield()).resolves.toBe('timeout');
    reply.done(1);
    expect(deadlines.size).toBe(1);
    await clock.advance(999);
    await expect(call.nbYield()).resolves.toEqual({ value: 1 });
    expect(deadlines.size).toBe(0);
  });

  it('is kept for as long as the handle, by default', async () => {
    const { clock, call, reply } = setUp();
    reply.done(1);
    expect(clock.pending).toBe(0);
    await clock.advance(2 ** 40);
    await expect(call.yield()).resolves.toBe(1);
  });

  it('is not kept where somebody waits: it has no timeout then', async () => {
    const { clock, deadlines, call, reply } = setUp(1000);
    const claimed = call.yield();
    await clock.advance(5000);
    reply.done(1);
    await expect(claimed).resolves.toBe(1);
    expect(deadlines.size).toBe(0);
  });
});

describe('cancel', () => {
  const CANCELLED = { code: 'cancelled', family: 'badrpc', maybeExecuted: true };

  it('tells whoever yields, and stops the call, once', async () => {
    const { call, reply, stopped } = setUp();
    const claimed = call.yield();
    call.cancel();
    call.cancel();
    await expect(claimed).rejects.toMatchObject(CANCELLED);
    expect(stopped()).toBe(1);
    reply.done('too late');
    await expect(call.yield()).rejects.toMatchObject(FETCHED);
  });

  it('tells whoever waits by nbYield', async () => {
    const { clock, call } = setUp();
    const asked = [call.nbYield(100), call.nbYield(100)];
    call.cancel();
    await expect(asked[0]).rejects.toMatchObject(CANCELLED);
    await expect(asked[1]).resolves.toBe('timeout');
    expect(clock.pending).toBe(0);
  });

  it('is what a later yield is told', async () => {
    const { call, reply } = setUp();
    call.cancel();
    reply.done('too late');
    await expect(call.yield()).rejects.toMatchObject(CANCELLED);
  });

  it('leaves a result that is there alone', async () => {
    const { call, reply, stopped } = setUp();
    reply.done(1);
    call.cancel();
    expect(stopped()).toBe(0);
    await expect(call.yield()).resolves.toBe(1);
  });
});

describe('taken', () => {
  it('says whether there is nothing left to fetch', async () => {
    const { call, reply } = setUp();
    expect(call.taken).toBe(false);
    await call.nbYield();
    expect(call.taken).toBe(false);
    const claimed = call.yield();
    expect(call.taken).toBe(true);
    reply.done(1);
    await claimed;
    expect(call.taken).toBe(true);
  });
});
