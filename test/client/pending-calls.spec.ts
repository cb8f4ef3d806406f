import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PendingCall, PendingCalls } from '../../lib/client/pending-calls.js';
import { Deadlines } from '../../lib/connection/deadlines.js';
import { Journal } from '../../lib/connection/journal.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { MAX_CALL_ID } from '../../lib/protocol/frame.js';
import { silentLog } from '../../lib/ports/log.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

const MAX_ID = MAX_CALL_ID;
const INVOCATION = { name: { module: 'math', fn: 'add', version: '' }, args: [], single: false, headers: undefined };

function setUp() {
  const clock = new VirtualClock();
  const deadlines = new Deadlines(clock);
  const journal = new Journal(silentLog, clock);
  const heard: string[] = [];
  const newCall = (onFailed: () => void = () => {}): PendingCall =>
    new PendingCall('b@127.0.0.1', INVOCATION, 1000, clock.now() + 1000, sinkOf(onFailed), deadlines, journal);
  const sinkOf = (onFailed: () => void) => ({
    item: (value: unknown) => void heard.push(`item ${String(value)}`),
    done: (value: unknown) => void heard.push(`done ${String(value)}`),
    failed: (error: GenRpcError) => {
      heard.push(`failed ${error.code}${error.maybeExecuted ? ', may have run' : ''}`);
      onFailed();
    },
  });
  return { clock, deadlines, heard, newCall };
}

describe('a call whose deadline passes', () => {
  it.each([
    [0, 'did not reply'],
    [1, 'sent 1 item and did not end'],
    [3, 'sent 3 items and did not end'],
  ])('says how much of its reply came: %i', async (items, came) => {
    const clock = new VirtualClock();
    const failures: string[] = [];
    const sink = {
      item: (): void => {},
      done: (): void => {},
      failed: ({ code, message }: GenRpcError) => void failures.push(`${code}: ${message}`),
    };
    const deadlines = new Deadlines(clock);
    const call = new PendingCall('b@host', INVOCATION, 1000, 1000, sink, deadlines, new Journal(silentLog, clock));
    for (let item = 0; item < items; item += 1) call.item(item, 1);
    await clock.advance(2000);
    expect(failures).toEqual([`timeout: math.add on b@host ${came} within 1000 ms.`]);
  });
});

describe('numbers of calls', () => {
  it('go on at 1 behind the last one', () => {
    const { newCall } = setUp();
    const calls = new PendingCalls(MAX_ID - 2);
    const ids = Array.from({ length: 5 }, () => calls.open(newCall()));
    expect(ids).toEqual([MAX_ID - 1, MAX_ID, 1, 2, 3]);
    expect(ids.map((id) => calls.resolve(id)?.id)).toEqual(ids);
  });

  it('W-01 go round from ten before the last, a hundred of them, and each finds its call', () => {
    const { newCall } = setUp();
    const calls = new PendingCalls(MAX_ID - 10);
    const opened = Array.from({ length: 100 }, () => {
      const call = newCall();
      calls.open(call);
      return call;
    });
    expect(opened.map(({ id }) => id)).toEqual([
      ...Array.from({ length: 10 }, (_, at) => MAX_ID - 9 + at),
      ...Array.from({ length: 90 }, (_, at) => at + 1),
    ]);
    for (const call of opened) expect(calls.resolve(call.id)).toBe(call);
    expect(calls.highestId).toBe(MAX_ID);
  });

  it('pass over those that are pending, however often they go around', () => {
    const { newCall } = setUp();
    const calls = new PendingCalls(0, 5);
    const ids = (count: number): number[] => Array.from({ length: count }, () => calls.open(newCall()));
    const close = (id: number): void => {
      const call = calls.resolve(id);
      if (call !== undefined) calls.close(call);
    };
    expect(ids(4)).toEqual([1, 2, 3, 4]);
    close(2);
    expect(ids(2)).toEqual([5, 2]);
    for (const id of [4, 5]) close(id);
    expect(ids(2)).toEqual([4, 5]);
    expect(calls.size).toBe(5);
  });

  it('are never those of another pending call', () => {
    const steps = fc.array(fc.oneof(fc.constant('open' as const), fc.nat()), { maxLength: 100 });
    fc.assert(
      fc.property(steps, fc.integer({ min: 0, max: 8 }), (todo, lastId) => {
        const { newCall } = setUp();
        const calls = new PendingCalls(lastId, 8);
        const open = new Map<number, PendingCall>();
        for (const step of todo) {
          if (step === 'open' && open.size < 8) {
            const call = newCall();
            const id = calls.open(call);
            expect(open.has(id)).toBe(false);
            expect(id).toBeGreaterThanOrEqual(1);
            expect(id).toBeLessThanOrEqual(8);
            open.set(id, call);
          } else if (step !== 'open' && open.size > 0) {
            const [id, call] = [...open][step % open.size] ?? [0, newCall()];
            calls.close(call);
            open.delete(id);
          }
          for (const [id, call] of open) expect(calls.resolve(id)).toBe(call);
          expect(calls.size).toBe(open.size);
        }
      }),
    );
  });
});

describe('a pending call', () => {
  it('settles once, whatever comes afterwards', async () => {
    const { clock, deadlines, heard, newCall } = setUp();
    const call = newCall();
    call.item(1, 65);
    call.succeed(2);
    call.item(3, 65);
    call.succeed(4);
    call.fail(new GenRpcError('connection_lost'));
    call.cancel();
    await clock.advance(2000);
    expect(heard).toEqual(['item 1', 'done 2']);
    expect(deadlines.size).toBe(0);
  });

  it('may have run when its deadline passes, unless nobody has carried it yet', async () => {
    const { clock, heard, newCall } = setUp();
    newCall();
    newCall().carrier = { release() {}, used() {}, mayHaveStarted: () => true };
    await clock.advance(1000 + 16);
    expect(heard.sort()).toEqual(['failed timeout', 'failed timeout, may have run']);
  });

  it('tells its carrier once that it has settled, and whether the peer must know', () => {
    const { newCall } = setUp();
    const released: unknown[] = [];
    const carried = (): PendingCall => {
      const call = newCall();
      call.carrier = { release: (_, cancel) => void released.push(cancel), used() {}, mayHaveStarted: () => true };
      return call;
    };
    const [answered, abandoned] = [carried(), carried()];
    answered.succeed(undefined);
    answered.cancel();
    abandoned.cancel();
    abandoned.fail(new GenRpcError('timeout'));
    expect(released).toEqual([false, true]);
  });
});

describe('calls that fail together', () => {
  it('are those that wait then, whatever each of them does about it', () => {
    const { heard, newCall } = setUp();
    const calls = new PendingCalls();
    const opened: PendingCall[] = [];
    const open = (onFailed?: () => void): void => {
      const call = newCall(onFailed);
      call.carrier = { release: (one) => calls.close(one), used() {}, mayHaveStarted: () => true };
      calls.open(call);
      opened.push(call);
    };
    open(() => opened[1]?.cancel());
    open();
    open(() => open());
    open();
    calls.failAll(() => new GenRpcError('connection_lost'));
    expect(heard).toEqual(['failed connection_lost', 'failed connection_lost', 'failed connection_lost']);
    expect(opened.map(({ settled }) => settled)).toEqual([true, true, true, true, false]);
    expect(calls.size).toBe(1);
  });
});
