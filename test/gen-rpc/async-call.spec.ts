/** A call whose result is fetched later, once. */
import { describe, expect, it } from 'vitest';
import { until } from '../support/door.js';
import { failure, HIDDEN, pairOf, PLACES, REMOTE, SERVER, SLOT_MS } from './support.js';

const FETCHED = failure('invalid_argument', 'badrpc', false, 'fetched once');

describe.each(PLACES)('%s', (_name, place) => {
  it('async_call', async () => {
    await using pair = await pairOf(place);
    const held = pair.caller.asyncCall(pair.target, 'proc', 'hold', ['held']);
    const sum = pair.caller.asyncCall<number>(pair.target, 'math', 'add', [1, 2]);
    const node = pair.caller.asyncCall(pair.target, 'proc', 'node');
    // They run before anybody asks for a result.
    await until(() => pair.ran.length === 2);
    expect(pair.ran).toEqual(['hold held', 'add 1 2']);
    await expect(node.yield()).resolves.toEqual([SERVER, pair.caller.name]);
    await expect(sum.yield()).resolves.toBe(3);
    pair.letGo('held');
    await expect(held.yield()).resolves.toBe('held');
    expect(pair.ran).toHaveLength(2);
    expect(pair.counted()).toEqual({});
  });

  it('async_call_yield_reentrant', async () => {
    await using pair = await pairOf(place);
    const before = pair.caller.asyncCall(pair.target, 'proc', 'hold', ['before']);
    expect(before.taken).toBe(false);
    // Claimed while it runs: whoever comes second gets nothing, and takes nothing away.
    const first = before.yield();
    expect(before.taken).toBe(true);
    await expect(before.yield()).rejects.toEqual(FETCHED);
    await expect(before.nbYield(Infinity)).resolves.toBe('timeout');
    await until(() => pair.ran.length === 1);
    pair.letGo('before');
    await expect(first).resolves.toBe('before');
    await expect(before.yield()).rejects.toEqual(FETCHED);
    await expect(before.nbYield()).resolves.toBe('timeout');
    // The same for one whose result is there already.
    const after = pair.caller.asyncCall(pair.target, 'math', 'add', [1, 2]);
    await until(() => pair.caller.stats().pendingCalls === 0 && pair.ran.length === 2);
    await expect(after.yield()).resolves.toBe(3);
    await expect(after.yield()).rejects.toEqual(FETCHED);
    await expect(after.nbYield(Infinity)).resolves.toBe('timeout');
    expect(pair.ran).toEqual(['hold before', 'add 1 2']);
  });

  it.each([
    ['async_call_mfa_undef', 'undef', { ran: [], counted: { call_refused: 2 } }],
    ['async_call_mfa_exit', 'exit', { ran: ['exit', 'exit'], counted: { handler_failed: 2 } }],
    ['async_call_mfa_throw', 'throw', { ran: ['throw', 'throw'], counted: { handler_failed: 2 } }],
  ])('%s', async (_title, fn, { ran, counted }) => {
    await using pair = await pairOf(place);
    const code = fn === 'undef' ? 'undefined_function' : 'handler_failed';
    const failed = failure(code, 'badrpc', code === 'handler_failed', `proc.${fn}`);
    const one = pair.caller.asyncCall(pair.target, 'proc', fn);
    const other = pair.caller.asyncCall(pair.target, 'proc', fn);
    // Nobody asks for a while: a failure that waits to be fetched is no unhandled rejection.
    await expect(pair.caller.call(pair.target, 'health', 'ping')).resolves.toBe('pong');
    const error: unknown = await one.yield().catch((caught: unknown) => caught);
    expect(error).toEqual(failed);
    expect((error as Error).message).not.toContain(HIDDEN);
    await expect(other.nbYield()).rejects.toEqual(failed);
    await expect(one.yield()).rejects.toEqual(FETCHED);
    await expect(other.nbYield()).resolves.toBe('timeout');
    expect(pair.ran).toEqual(ran);
    expect(pair.counted()).toEqual(counted);
  });

  it('async_call_yield_timeout', async () => {
    await using pair = await pairOf(place);
    const held = pair.caller.asyncCall(pair.target, 'proc', 'hold', ['held']);
    await until(() => pair.ran.length === 1);
    await expect(held.nbYield()).resolves.toBe('timeout');
    let asked: unknown = 'waiting';
    void held.nbYield(200).then((outcome) => (asked = outcome));
    await pair.clock.advance(199);
    expect(asked).toBe('waiting');
    await pair.clock.advance(1);
    expect(asked).toBe('timeout');
    // It may be asked for again, until it has yielded once.
    const outcome = held.nbYield(200);
    pair.letGo('held');
    await expect(outcome).resolves.toEqual({ value: 'held' });
    await expect(held.nbYield(200)).resolves.toBe('timeout');
    expect(pair.counted()).toEqual({});
  });

  it('async_call_yield_timeout of the call itself', async () => {
    await using pair = await pairOf(place);
    const hangs = [1, 2].map(() => pair.caller.asyncCall(pair.target, 'proc', 'hang', [], { timeout: 500 }));
    const ends = Promise.allSettled([hangs[0]?.yield(), hangs[1]?.nbYield(1000)]);
    await until(() => pair.ran.length === 2);
    await pair.clock.advance(500 + SLOT_MS);
    const timeout = failure('timeout', 'badrpc', true, 'proc.hang', SERVER, '500 ms');
    expect(await ends).toEqual([
      { status: 'rejected', reason: timeout },
      { status: 'rejected', reason: timeout },
    ]);
    await until(() => pair.ran.length === 4);
    await expect(pair.caller.call(pair.target, 'health', 'ping')).resolves.toBe('pong');
  });

  it('async_call_nb_yield_infinity', async () => {
    await using pair = await pairOf(place);
    const held = pair.caller.asyncCall(pair.target, 'proc', 'hold', ['held'], { timeout: 10_000_000 });
    await until(() => pair.ran.length === 1);
    let asked: unknown = 'waiting';
    const waiting = held.nbYield(Infinity).then((outcome) => (asked = outcome));
    // Long enough for every deadline but its own; no ping is due on a wire where somebody answers them.
    for (let second = 0; second < 20; second += 1) {
      await pair.clock.advance(1000);
      await expect(pair.caller.call(pair.target, 'health', 'ping')).resolves.toBe('pong');
    }
    expect(asked).toBe('waiting');
    // Of several who wait, one gets it.
    const another = held.nbYield(Infinity);
    pair.letGo('held');
    await waiting;
    expect(asked).toEqual({ value: 'held' });
    await expect(another).resolves.toBe('timeout');
    await expect(held.nbYield(Infinity)).resolves.toBe('timeout');
  });

  it('async_call_inactivity_timeout', async () => {
    const options = { asyncCallInactivityTimeout: 300 };
    await using pair = await pairOf(place, { caller: options, server: options });
    const late = pair.caller.asyncCall(pair.target, 'math', 'add', [1, 2]);
    const inTime = pair.caller.asyncCall(pair.target, 'math', 'add', [3, 4]);
    const failing = pair.caller.asyncCall(pair.target, 'proc', 'exit');
    const running = pair.caller.asyncCall(pair.target, 'proc', 'hold', ['running']);
    await until(() => pair.ran.length === 4 && pair.caller.stats().pendingCalls === 1);
    await pair.clock.advance(299);
    await expect(inTime.nbYield()).resolves.toEqual({ value: 7 });
    await pair.clock.advance(1 + SLOT_MS);
    const dropped = failure('timeout', 'badrpc', true, '300 ms', 'asyncCallInactivityTimeout');
    for (const one of [late, failing]) {
      await expect(one.nbYield(Infinity)).resolves.toBe('timeout');
      await expect(one.yield()).rejects.toEqual(dropped);
    }
    // Only results wait in vain: a call that runs is not dropped, nor one that is claimed.
    pair.letGo('running');
    await expect(running.yield()).resolves.toBe('running');
  });
});

describe.each(REMOTE)('%s', (_name, place) => {
  it('async_call_inexistent_node', async () => {
    await using pair = await pairOf(place);
    const target = { node: 'nobody@127.0.0.1', key: place.key };
    const down = failure('node_down', 'badrpc', false, 'nobody@127.0.0.1', 'ECONNREFUSED');
    const calls = [1, 2, 3].map(() => pair.caller.asyncCall(target, 'math', 'add', [1, 2]));
    await expect(calls[0]?.yield()).rejects.toEqual(down);
    await expect(calls[1]?.nbYield(Infinity)).rejects.toEqual(down);
    await expect(calls[2]?.nbYield()).rejects.toEqual(down);
    await expect(calls[2]?.yield()).rejects.toEqual(FETCHED);
    expect(pair.counted()).toEqual({ dial_failed: 1 });
    // A name that is none is known to be none at once.
    const nameless = pair.caller.asyncCall('no-node', 'math', 'add');
    await expect(nameless.yield()).rejects.toEqual(failure('invalid_argument', 'badrpc', false, 'no-node'));
    expect(pair.ran).toEqual([]);
    pair.dials = 0;
    pair.failedDials = 1;
  });
});
