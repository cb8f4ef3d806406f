/** A cast: whatever becomes of it is counted, and never the caller's problem. */
import { describe, expect, it } from 'vitest';
import { until } from '../support/door.js';
import { pairOf, PLACES, REMOTE, SERVER, type Pair } from './support.js';

const NOBODY = 'nobody@127.0.0.1';
const numbersTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** Registers `log.write`, which notes its argument, and takes as many turns of the loop as it is told. */
function logOf(pair: Pair) {
  const log = { begun: [] as number[], done: [] as number[], most: 0 };
  pair.server.register('log', {
    write: async ([number, turns = 0]: [number, number?]) => {
      log.begun.push(number);
      log.most = Math.max(log.most, log.begun.length - log.done.length);
      for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      log.done.push(number);
    },
  });
  return log;
}

describe.each(PLACES)('%s', (_name, place) => {
  it('cast', async () => {
    await using pair = await pairOf(place);
    expect(pair.caller.cast(pair.target, 'math', 'add', [1, 2])).toBe(true);
    await until(() => pair.ran.length === 1);
    expect(pair.caller.cast(pair.target, 'math', 'add', [3, 4])).toBe(true);
    await until(() => pair.ran.length === 2);
    expect(pair.ran).toEqual(['add 1 2', 'add 3 4']);
    expect(pair.counted()).toEqual({});
  });

  it('cast_mfa_undef', async () => {
    await using pair = await pairOf(place);
    for (const [module, fn] of [
      ['math', 'ad'],
      ['mth', 'add'],
    ] as const) {
      expect(pair.caller.cast(pair.target, module, fn, [1, 2])).toBe(true);
      expect(pair.caller.cast(pair.target, module, fn, [1, 2], { ordered: true })).toBe(true);
    }
    await until(() => pair.counted()['cast_failed'] === 4);
    await expect(pair.caller.call(pair.target, 'health', 'ping')).resolves.toBe('pong');
    expect(pair.counted()).toEqual({ call_refused: 4, cast_failed: 4 });
    expect(pair.ran).toEqual([]);
  });

  it.each([
    ['cast_mfa_exit', 'exit'],
    ['cast_mfa_throw', 'throw'],
  ])('%s', async (_title, fn) => {
    await using pair = await pairOf(place);
    expect(pair.caller.cast(pair.target, 'proc', fn)).toBe(true);
    expect(pair.caller.cast(pair.target, 'math', 'add', [1, 2])).toBe(true);
    await until(() => pair.ran.length === 2);
    expect(pair.ran).toEqual([fn, 'add 1 2']);
    expect(pair.counted()).toEqual({ handler_failed: 1, cast_failed: 1 });
    await expect(pair.caller.call(pair.target, 'health', 'ping')).resolves.toBe('pong');
  });

  it('multiple_casts', async () => {
    await using pair = await pairOf(place);
    const log = logOf(pair);
    const numbers = numbersTo(200);
    // Later ones are done sooner: nobody waits for another.
    for (const number of numbers) {
      expect(pair.caller.cast(pair.target, 'log', 'write', [number, 1 + ((200 - number) % 7)])).toBe(true);
    }
    await until(() => log.done.length === numbers.length);
    expect(log.begun).toEqual(numbers);
    expect(log.done).not.toEqual(numbers);
    expect([...log.done].sort((one, other) => one - other)).toEqual(numbers);
    expect(log.most).toBeGreaterThan(1);
    expect(pair.counted()).toEqual({});
  });

  it('multiple_ordered_casts', async () => {
    await using pair = await pairOf(place);
    const log = logOf(pair);
    const numbers = numbersTo(200);
    for (const number of numbers) {
      const args = [number, (200 - number) % 7];
      expect(pair.caller.cast(pair.target, 'log', 'write', args, { ordered: true })).toBe(true);
    }
    await until(() => log.done.length === numbers.length);
    expect(log).toEqual({ begun: numbers, done: numbers, most: 1 });
    expect(pair.counted()).toEqual({});
  });

  it('multiple_ordered_casts, of which some fail', async () => {
    await using pair = await pairOf(place);
    const log = logOf(pair);
    for (const number of numbersTo(10)) {
      pair.caller.cast(pair.target, 'log', 'write', [number, 2], { ordered: true });
      pair.caller.cast(pair.target, 'proc', number % 2 === 0 ? 'exit' : 'nothing', [], { ordered: true });
    }
    await until(() => log.done.length === 10 && pair.counted()['cast_failed'] === 10);
    expect(log).toEqual({ begun: numbersTo(10), done: numbersTo(10), most: 1 });
    expect(pair.counted()).toEqual({ handler_failed: 5, call_refused: 5, cast_failed: 10 });
  });

  it('multiple_ordered_casts that overtake others without an order', async () => {
    await using pair = await pairOf(place);
    const log = logOf(pair);
    pair.caller.cast(pair.target, 'proc', 'hold', ['ordered'], { ordered: true });
    pair.caller.cast(pair.target, 'log', 'write', [2], { ordered: true });
    pair.caller.cast(pair.target, 'log', 'write', [1]);
    await until(() => log.done.length === 1);
    expect(log.done).toEqual([1]);
    pair.letGo('ordered');
    await until(() => log.done.length === 2);
    expect(log.done).toEqual([1, 2]);
  });
});

describe.each(REMOTE)('%s', (_name, place) => {
  it.each([
    ['cast_inexistent_node', false],
    ['ordered_cast_inexistent_node', true],
  ])('%s', async (_title, ordered) => {
    await using pair = await pairOf(place);
    const log = logOf(pair);
    const target = { node: NOBODY, key: place.key };
    const castTo = (one: typeof target, number: number) => pair.caller.cast(one, 'log', 'write', [number], { ordered });
    // Accepted until the node is known to be down.
    expect([1, 2, 3].map((number) => castTo(target, number))).toEqual([true, true, true]);
    await until(() => pair.counted()['cast_dropped'] === 3);
    expect(pair.counted()).toEqual({ dial_failed: 1, cast_dropped: 3 });
    // And from then on refused, until the next attempt.
    expect([4, 5].map((number) => castTo(target, number))).toEqual([false, false]);
    expect(pair.counted()).toEqual({ dial_failed: 1, cast_dropped: 3, cast_not_accepted: 2 });
    // Meanwhile, others are not kept waiting.
    expect(castTo({ ...target, node: SERVER }, 6)).toBe(true);
    await until(() => log.done.length === 1);
    expect(log.done).toEqual([6]);
    expect(pair.caller.stats().counts.dialled).toBe(2);
    pair.failedDials = 1;
  });

  it('ordered_cast_inexistent_node that comes to exist', async () => {
    await using pair = await pairOf(place);
    const home = pair.cluster.discovery.locations.get(SERVER);
    if (home === undefined) throw new Error('the server listens');
    const log = logOf(pair);
    const castTo = (number: number) => pair.caller.cast(pair.target, 'log', 'write', [number, 1], { ordered: true });
    pair.cluster.discovery.locations.delete(SERVER);
    expect([1, 2].map(castTo)).toEqual([true, true]);
    await until(() => pair.counted()['cast_dropped'] === 2);
    expect([3, 4].map(castTo)).toEqual([false, false]);
    pair.cluster.discovery.locations.set(SERVER, home);
    await pair.clock.advance(100);
    expect([5, 6].map(castTo)).toEqual([true, true]);
    await until(() => log.done.length === 2);
    expect(log).toMatchObject({ done: [5, 6], most: 1 });
    expect(pair.counted()).toEqual({ dial_failed: 1, cast_dropped: 2, cast_not_accepted: 2 });
    pair.failedDials = 1;
  });

  it('cast_inexistent_node by a name that is none', async () => {
    await using pair = await pairOf(place);
    const invalid = expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining('no-node') });
    expect(() => pair.caller.cast({ node: 'no-node', key: place.key }, 'math', 'add')).toThrow(invalid);
    expect(pair.counted()).toEqual({ cast_not_accepted: 1 });
    pair.dials = 0;
  });

  it('multiple_casts_batch', async () => {
    const frames = 10;
    await using pair = await pairOf(place, { caller: { batching: { frames, bytes: 1_000_000 } } });
    const log = logOf(pair);
    await pair.caller.connect(pair.target);
    const [channel] = pair.callerWire.dialled;
    const before = channel?.writes.length ?? 0;
    const numbers = numbersTo(95);
    for (const number of numbers) pair.caller.cast(pair.target, 'log', 'write', [number]);
    await until(() => log.done.length === numbers.length);
    expect(log.done).toEqual(numbers);
    expect((channel?.writes.length ?? 0) - before).toBe(10);
    expect(pair.counted()).toEqual({});
  });

  it('multiple_casts_batch by size', async () => {
    await using pair = await pairOf(place, { caller: { batching: { frames: 100_000, bytes: 500 } } });
    const log = logOf(pair);
    await pair.caller.connect(pair.target);
    const [channel] = pair.callerWire.dialled;
    const before = channel?.writes.length ?? 0;
    const numbers = numbersTo(95);
    for (const number of numbers) pair.caller.cast(pair.target, 'log', 'write', [number, 0, 'x'.repeat(100)]);
    await until(() => log.done.length === numbers.length);
    expect(log.done).toEqual(numbers);
    const writes = channel?.writes.slice(before) ?? [];
    // Each leaves with the frame that fills it; the last with the turn.
    const frame = (writes[0] ?? 0) / 4;
    expect(frame).toBeGreaterThan(125);
    expect(frame).toBeLessThan(500 / 3);
    expect(writes.length).toBe(Math.ceil(95 / 4));
    for (const bytes of writes.slice(0, -1)) expect(bytes).toBeGreaterThanOrEqual(500);
  });

  it('multiple_casts_batch of one frame each', async () => {
    await using pair = await pairOf(place, { caller: { batching: { frames: 1 } } });
    const log = logOf(pair);
    await pair.caller.connect(pair.target);
    const [channel] = pair.callerWire.dialled;
    const before = channel?.writes.length ?? 0;
    for (const number of numbersTo(20)) pair.caller.cast(pair.target, 'log', 'write', [number]);
    await until(() => log.done.length === 20);
    expect((channel?.writes.length ?? 0) - before).toBe(20);
  });

  it('multiple_abcasts_batch', async () => {
    await using pair = await pairOf(place, { caller: { batching: { frames: 10, bytes: 1_000_000 } } });
    const heard: unknown[] = [];
    pair.server.registerEvent('price.changed', (message: unknown) => heard.push(message));
    const other = await pair.cluster.start('other');
    other.registerEvent('price.changed', (message: { number: number }) => heard.push(-message.number));
    await pair.caller.connect(pair.target);
    const [channel] = pair.callerWire.dialled;
    const before = channel?.writes.length ?? 0;
    const accepted = [SERVER, other.name];
    for (const number of numbersTo(95)) {
      const report = pair.caller.abcast([pair.target, other.name], 'price.changed', { number });
      expect(report).toEqual({ accepted, refused: [] });
    }
    await until(() => heard.length === 190);
    expect(heard.filter((one) => typeof one === 'object')).toEqual(numbersTo(95).map((number) => ({ number })));
    expect(heard.filter((one) => typeof one === 'number')).toEqual(numbersTo(95).map((number) => -number));
    expect((channel?.writes.length ?? 0) - before).toBe(10);
    expect(pair.counted()).toEqual({});
    pair.dials = 2;
  });
});
