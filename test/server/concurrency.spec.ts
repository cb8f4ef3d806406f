import { describe, expect, it } from 'vitest';
import { Deadlines } from '../../lib/connection/deadlines.js';
import { Journal } from '../../lib/connection/journal.js';
import { silentLog } from '../../lib/ports/log.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { CastQueue } from '../../lib/server/cast-queue.js';
import { Concurrency, type ConcurrencyLimits } from '../../lib/server/concurrency.js';
import { ConnectionCalls } from '../../lib/server/connection-calls.js';
import { LoopDelay } from '../../lib/server/loop-delay.js';
import { RunningCall } from '../../lib/server/running-call.js';
import { TestLog } from '../support/cluster.js';
import { HandClock } from '../support/hand.js';

describe('the delay of the event loop', () => {
  function setUp(limit = 200) {
    const clock = new HandClock();
    const loop = new LoopDelay(clock, limit);
    const isLate = (): boolean => loop.isLate(clock.now());
    /** It has been late just now: the next time counts. */
    const wasLate = (): void => {
      isLate();
      clock.pass(20 + 201);
      clock.pass(20);
    };
    return { clock, loop, isLate, wasLate };
  }

  it('is none for one pause, nor for one a second', () => {
    const { clock, isLate } = setUp();
    for (let pause = 0; pause < 5; pause += 1) {
      expect(isLate()).toBe(false);
      clock.pass(20 + 5000);
      expect(isLate()).toBe(false);
      clock.pass(20);
      for (let tick = 0; tick < 50; tick += 1) clock.pass(20);
    }
  });

  it('is none as long as ticks come in time, or late by no more than the limit', () => {
    const { clock, isLate } = setUp();
    for (const late of [0, 1, 100, 199, 200, 0, 200]) {
      expect(isLate()).toBe(false);
      clock.pass(20 + late);
      expect(isLate()).toBe(false);
    }
  });

  it('is known from a tick that comes too late, until one comes that is late by less than half of the limit', () => {
    const { clock, isLate, wasLate } = setUp();
    wasLate();
    clock.pass(20 + 201);
    expect(isLate()).toBe(true);
    clock.pass(5 + 100);
    expect(isLate()).toBe(true);
    clock.pass(4);
    expect(isLate()).toBe(true);
    clock.pass(1 + 99);
    expect(isLate()).toBe(false);
  });

  it('is known within a turn that lets no tick through', () => {
    const { clock, loop, wasLate } = setUp();
    wasLate();
    const begin = clock.now();
    expect(loop.isLate(begin)).toBe(false);
    expect(loop.isLate(begin + 20 + 200)).toBe(false);
    expect(loop.isLate(begin + 20 + 201)).toBe(true);
    // Whoever read the clock earlier is refused all the same: the node is behind.
    expect(loop.isLate(begin)).toBe(true);
  });

  it('is judged from the last arrival on: a pause that nobody had to wait for says nothing', () => {
    const { clock, isLate } = setUp();
    for (let round = 0; round < 3; round += 1) {
      expect(isLate()).toBe(false);
      for (let tick = 0; tick < 50; tick += 1) clock.pass(20);
      clock.pass(60_000);
    }
  });

  it('ticks for a second after the last arrival, and then no more', () => {
    const { clock, isLate } = setUp();
    expect(clock.pending).toBe(0);
    isLate();
    for (let tick = 0; tick < 40; tick += 1) clock.pass(20);
    isLate();
    for (let tick = 0; tick < 49; tick += 1) clock.pass(20);
    expect(clock.pending).toBe(1);
    clock.pass(20);
    expect(clock.pending).toBe(0);
    isLate();
    expect(clock.pending).toBe(1);
  });

  it('has one tick under way, however many arrive', () => {
    const { clock, isLate } = setUp();
    for (let arrival = 0; arrival < 1000; arrival += 1) isLate();
    expect(clock.pending).toBe(1);
  });

  it('ticks on while it is late, though nobody arrives any more', () => {
    const { clock, isLate } = setUp();
    isLate();
    for (let tick = 0; tick < 60; tick += 1) clock.pass(20 + 201);
    expect(clock.pending).toBe(1);
    clock.pass(20);
    expect(clock.pending).toBe(0);
    expect(isLate()).toBe(false);
  });

  it('never is with Infinity, and nothing ticks', () => {
    const { clock, loop } = setUp(Infinity);
    for (const now of [0, 1000, 1e9]) expect(loop.isLate(now)).toBe(false);
    expect(clock.pending).toBe(0);
  });

  it('is forgotten when it stops, and nothing ticks', () => {
    const { clock, loop, isLate, wasLate } = setUp();
    wasLate();
    clock.pass(900);
    expect(isLate()).toBe(true);
    loop.stop();
    loop.stop();
    expect(clock.pending).toBe(0);
    expect(isLate()).toBe(false);
  });
});

/** The calls of connections of one node, as their acceptors keep them. */
function node(limits: Partial<ConcurrencyLimits> = {}) {
  const clock = new HandClock();
  const log = new TestLog();
  const journal = new Journal(log, clock);
  const all = { callsPerConnection: 3, calls: 5, casts: 5, loopDelay: 200, ...limits };
  const concurrency = new Concurrency(all, { clock, journal });
  const answers = { item() {}, headers() {}, isReady: () => true, whenReady() {}, done() {}, end() {}, failed() {} };
  const connect = (name: string) => {
    const calls = new ConnectionCalls(name, { concurrency, journal });
    let id = 0;
    const open = (): RunningCall | GenRpcError => {
      const refusal = calls.refuse(clock.now(), false);
      if (refusal !== undefined) return refusal;
      const incoming = { name: { module: 'm', fn: 'f', version: '' }, single: false, headers: undefined };
      const ports = { clock, journal, deadlines: new Deadlines(clock) };
      const ended = (one: RunningCall): void => calls.delete(one);
      id += 1;
      const caller = { node: name, address: '' };
      const call = new RunningCall(id, incoming, caller, Infinity, { ...answers, ended }, ports);
      calls.add(call);
      return call;
    };
    /** Opens a call that must be let in. */
    const run = (): RunningCall => {
      const call = open();
      return call instanceof RunningCall ? call : expect.fail(call.message);
    };
    return { calls, open, run };
  };
  return { clock, log, journal, concurrency, connect };
}

const GONE = new GenRpcError('cancelled');

describe('the calls of a node', () => {
  it('are refused above the limit of their connection; others have theirs', () => {
    const { connect, journal } = node();
    const [one, other] = [connect('one'), connect('other')];
    const running = [one.run(), one.run(), one.run()];
    expect(one.open()).toMatchObject({
      code: 'refused',
      maybeExecuted: false,
      details: { limit: 'callsPerConnection', running: 3 },
      message: expect.stringMatching(/3 calls of this connection.*callsPerConnection.*Nothing was started/),
    });
    other.run();
    running[1]?.succeed(1);
    one.run();
    expect(one.open()).toBeInstanceOf(GenRpcError);
    expect(journal.snapshot()).toEqual({ call_overload: 2 });
  });

  it('are refused above the limit of all connections together', () => {
    const { connect } = node();
    const [one, other] = [connect('one'), connect('other')];
    const running = [one.run(), one.run(), one.run(), other.run(), other.run()];
    expect(other.open()).toMatchObject({ code: 'refused', details: { limit: 'calls', running: 5 } });
    running[0]?.fail(new GenRpcError('handler_failed'));
    other.run();
    expect(connect('third').open()).toMatchObject({ details: { limit: 'calls', running: 5 } });
  });

  it('say how many run now, refusal after refusal', () => {
    const { connect } = node({ callsPerConnection: 3, calls: 3 });
    const [one, other] = [connect('one'), connect('other')];
    for (let call = 0; call < 3; call += 1) one.run();
    const first = one.open();
    expect(one.open()).toBe(first);
    expect(other.open()).toMatchObject({ details: { limit: 'calls', running: 3 } });
    expect(one.open()).toMatchObject({ details: { limit: 'callsPerConnection', running: 3 } });
    const late = node();
    const behind = late.connect('one');
    const running = [behind.run(), behind.run()];
    late.clock.pass(900);
    late.clock.pass(900);
    expect(behind.open()).toMatchObject({ details: { limit: 'loopDelay', running: 2 } });
    running[0]?.succeed(1);
    expect(behind.open()).toMatchObject({ details: { limit: 'loopDelay', running: 1 } });
  });

  it('keep their places when they are given up, until their functions end', () => {
    const { connect, concurrency } = node();
    const { run, open } = connect('one');
    const running = [run(), run(), run()];
    for (const call of running) call.abort(GONE);
    expect(concurrency.abandoned).toBe(3);
    expect(open()).toBeInstanceOf(GenRpcError);
    running[0]?.succeed('too late');
    expect(concurrency.abandoned).toBe(2);
    run();
  });

  it('free their places at once when they are streams whose producers have been stopped', () => {
    const { connect, concurrency } = node({ callsPerConnection: 1 });
    const { run } = connect('one');
    const stream = run();
    stream.stopProducer = () => {};
    stream.abort(GONE);
    expect(concurrency.abandoned).toBe(0);
    run();
  });

  it('free one place each, though their functions end twice', () => {
    const { connect } = node({ callsPerConnection: 100, calls: 2 });
    const { run, open } = connect('one');
    const [first] = [run(), run()];
    for (let end = 0; end < 5; end += 1) first.succeed(end);
    run();
    expect(open()).toMatchObject({ details: { limit: 'calls', running: 2 } });
  });

  it('keep the places of the node after their connection is gone, and are still counted as given up', () => {
    const { connect, concurrency } = node();
    const { calls, run } = connect('one');
    const running = [run(), run(), run()];
    for (const call of running) call.abort(GONE);
    calls.leave();
    expect(concurrency.abandoned).toBe(3);
    const again = connect('one');
    again.run();
    again.run();
    expect(again.open()).toMatchObject({ details: { limit: 'calls', running: 5 } });
    for (const call of running) call.succeed(undefined);
    expect(concurrency.abandoned).toBe(0);
    again.run();
  });

  it('are refused while the event loop is late, and so are messages that wait to begin', () => {
    const { connect, clock, journal } = node();
    const { calls, run, open } = connect('one');
    run();
    clock.pass(20 + 201);
    clock.pass(20 + 201);
    const late = { code: 'refused', maybeExecuted: false, details: { limit: 'loopDelay', running: 1 } };
    expect(open()).toMatchObject(late);
    expect(calls.refuse(clock.now(), true)).toMatchObject(late);
    clock.pass(20);
    run();
    expect(calls.refuse(clock.now(), true)).toBeUndefined();
    expect(journal.snapshot()).toEqual({ call_overload: 2 });
  });

  it('leave their places to themselves: messages that wait to begin take none', () => {
    const { connect, clock } = node();
    const { calls, run } = connect('one');
    for (let call = 0; call < 3; call += 1) run();
    expect(calls.refuse(clock.now(), true)).toBeUndefined();
  });

  it('are counted each when refused, and spoken of once a second', () => {
    const { connect, clock, log, journal } = node({ callsPerConnection: 1 });
    const { run, open } = connect('one');
    run();
    for (let call = 0; call < 1000; call += 1) open();
    expect(journal.countOf('call_overload')).toBe(1000);
    expect(log.lines).toEqual([expect.stringMatching(/^Refused a call of one: 1 calls of this connection/)]);
    clock.pass(1000);
    open();
    expect(log.lines[1]).toMatch(/\(and 999 more of this kind\)$/);
  });
});

describe('a connection that is full', () => {
  function full(abandoned: number, limits: Partial<ConcurrencyLimits> = {}) {
    const world = node({ callsPerConnection: 4, calls: 100, ...limits });
    const one = world.connect('one');
    const running = [one.run(), one.run(), one.run(), one.run()];
    for (const call of running.slice(0, abandoned)) call.abort(GONE);
    const flooded = (): boolean => {
      const refusal = one.open();
      return refusal instanceof GenRpcError && one.calls.flooded(refusal, world.clock.now());
    };
    return { ...world, running, flooded };
  }

  it.each([
    [0, false],
    [2, false],
    [3, true],
    [4, true],
  ])('with %i of 4 calls given up: is flooded: %s', (abandoned, expected) => {
    const { flooded, journal } = full(abandoned);
    expect(flooded()).toBe(expected);
    expect(journal.countOf('cancel_flood')).toBe(expected ? 1 : 0);
  });

  it('is looked at again 20 ms later', () => {
    const { flooded, running, clock } = full(2);
    expect(flooded()).toBe(false);
    running[3]?.abort(GONE);
    clock.pass(19);
    expect(flooded()).toBe(false);
    clock.pass(1);
    expect(flooded()).toBe(true);
  });

  it('is not to blame for a node that is full, or behind', () => {
    expect(full(4, { callsPerConnection: 5, calls: 4 }).flooded()).toBe(false);
    const behind = full(4, { callsPerConnection: 5 });
    behind.clock.pass(1000);
    expect(behind.flooded()).toBe(false);
  });
});

describe('casts that wait for room', () => {
  const limits = { running: 2, maxQueuedCasts: 3, maxQueuedBytes: 100 };
  const cast = (id: number, bytes = 10) => ({ id, bytes });

  it('wait from the limit on, and behind those that wait already', () => {
    const queue = new CastQueue<ReturnType<typeof cast>>(limits);
    expect([0, 1, 2, 3].map((running) => queue.isFull(running))).toEqual([false, false, true, true]);
    queue.add(cast(1));
    expect(queue.isFull(0)).toBe(true);
  });

  it('begin in the order in which they came, when there is room', () => {
    const queue = new CastQueue<ReturnType<typeof cast>>(limits);
    const began: unknown[] = [];
    for (let id = 0; id < 100; id += 1) {
      expect(queue.add(cast(id))).toBe(true);
      if (id < 2) continue;
      expect(queue.take(2)).toBeUndefined();
      began.push(queue.take(1)?.id);
    }
    began.push(queue.take(0)?.id, queue.take(1)?.id);
    expect(began).toEqual(Array.from({ length: 100 }, (_, id) => id));
    expect(queue.take(0)).toBeUndefined();
    expect(queue.size).toBe(0);
  });

  it('are bounded in number and in bytes', () => {
    const queue = new CastQueue<ReturnType<typeof cast>>(limits);
    expect([40, 60, 1].map((bytes, id) => queue.add(cast(id, bytes)))).toEqual([true, true, false]);
    queue.take(0);
    expect([20, 20, 0].map((bytes, id) => queue.add(cast(id, bytes)))).toEqual([true, true, false]);
    expect(queue.size).toBe(3);
  });

  it('are handed back when they are cleared, and leave no trace', () => {
    const queue = new CastQueue<ReturnType<typeof cast>>(limits);
    for (const id of [1, 2, 3]) queue.add(cast(id, 30));
    queue.take(0);
    expect(queue.clear().map(({ id }) => id)).toEqual([2, 3]);
    expect([queue.size, queue.isFull(1), queue.add(cast(4, 100))]).toEqual([0, false, true]);
  });
});

it('lets in without a timer, a line or a count for each', () => {
  const clock = new HandClock();
  const journal = new Journal(silentLog, clock);
  const limits = { callsPerConnection: 10, calls: 10, casts: 10, loopDelay: 200 };
  const concurrency = new Concurrency(limits, { clock, journal });
  for (let call = 0; call < 1000; call += 1) {
    expect(concurrency.refuse('one', 9, clock.now())).toBeUndefined();
    concurrency.started();
    concurrency.ended();
  }
  expect(clock.pending).toBe(1);
  expect(journal.snapshot()).toEqual({});
  concurrency.stop();
  expect(clock.pending).toBe(0);
});
