import { describe, expect, it } from 'vitest';
import { twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { B, failureOf, gated, turns, withFailures } from './local-support.js';

describe('a node that ends while it calls itself', () => {
  it('drain waits for the call, as for any other', async () => {
    await using nodes = await twoNodes();
    const { contexts, open } = gated(nodes.b);
    const running = nodes.b.call(B, 'gate', 'pass');
    let drained = false;
    const drain = nodes.b.drain().then(() => (drained = true));
    await turns();
    expect(drained).toBe(false);
    expect(contexts[0]?.signal.aborted).toBe(false);
    open('done');
    await expect(running).resolves.toBe('done');
    await drain;
  });

  it('drain waits for the cast, and for the ordered ones behind it', async () => {
    await using nodes = await twoNodes();
    const { contexts, open } = gated(nodes.b);
    for (const ordered of [false, true, true]) nodes.b.cast(B, 'gate', 'pass', [], { ordered });
    expect(contexts).toHaveLength(2);
    let drained = false;
    const drain = nodes.b.drain().then(() => (drained = true));
    await turns();
    open(0);
    await turns();
    expect(contexts).toHaveLength(3);
    expect(drained).toBe(false);
    open(0);
    await drain;
    expect(contexts.map(({ signal }) => signal.aborted)).toEqual([false, false, false]);
    expect(nodes.b.stats().counts.ordered_cast_dropped).toBeUndefined();
  });

  it('drain waits for none of them beyond the grace period', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 } });
    const { contexts } = gated(nodes.b);
    const failure = failureOf(nodes.b.call(B, 'gate', 'pass'));
    nodes.b.cast(B, 'gate', 'pass');
    const drain = nodes.b.drain(2000);
    await nodes.clock?.advance(1999);
    expect(contexts.map(({ signal }) => signal.aborted)).toEqual([false, false]);
    await nodes.clock?.advance(1);
    await drain;
    await expect(failure).resolves.toMatchObject({ code: 'cancelled', maybeExecuted: true });
    expect(contexts.map(({ signal }) => signal.aborted)).toEqual([true, true]);
  });

  it.each(['close', 'abort'] as const)(
    '%s fails the call, which may have run, and tells the functions',
    async (how) => {
      await using nodes = await twoNodes();
      const { contexts, open } = gated(nodes.b);
      const failure = failureOf(nodes.b.call(B, 'gate', 'pass'));
      for (const ordered of [false, true, true]) nodes.b.cast(B, 'gate', 'pass', [], { ordered });
      expect(contexts).toHaveLength(3);
      await nodes.b[how]();
      await expect(failure).resolves.toMatchObject({ code: 'cancelled', maybeExecuted: true });
      expect(contexts.map(({ signal }) => signal.aborted)).toEqual([true, true, true]);
      expect(nodes.b.stats()).toMatchObject({ runningCalls: 0, counts: { ordered_cast_dropped: 1 } });
      open(1);
      await turns();
      expect(contexts).toHaveLength(3);
    },
  );

  it('takes nothing afterwards', async () => {
    await using nodes = await twoNodes();
    await nodes.b.close();
    const failure = await failureOf(nodes.b.call(B, 'math', 'add', [1, 2]));
    expect(failure).toMatchObject({ code: 'cancelled', maybeExecuted: false });
    expect(nodes.b.cast(B, 'math', 'add', [1, 2])).toBe(false);
    await expect(nodes.b.sbcast([B], 'math.add')).resolves.toEqual({ good: [], bad: [B] });
    expect(nodes.ran).toEqual([]);
  });
});

describe('casts of a node to itself', () => {
  it('run apart from the caller, who hears of no failure; policy and version hold', async () => {
    await using nodes = await withFailures();
    expect(nodes.b.cast(B, 'math', 'fail')).toBe(true);
    expect(nodes.b.cast(B, 'closed', 'fn')).toBe(true);
    expect(nodes.b.cast(B, { module: 'versioned', version: '2.0.0' }, 'fn')).toBe(true);
    expect(nodes.b.cast(B, 'math', 'sub')).toBe(true);
    await until(() => nodes.b.stats().counts.cast_failed === 4);
    expect(nodes.b.stats().counts).toEqual({ cast_failed: 4, call_refused: 3, handler_failed: 1 });
    expect(nodes.ran).toEqual(['fail']);
  });

  it('that cannot travel are refused to the caller', async () => {
    await using nodes = await twoNodes();
    const cast = (): boolean => nodes.b.cast(B, 'math', 'add', [() => 1]);
    expect(cast).toThrow(expect.objectContaining({ code: 'encode_error' }));
    expect(nodes.b.stats().counts).toEqual({ cast_not_accepted: 1 });
  });

  it('run one after the other where they are ordered, those of another key beside them', async () => {
    await using nodes = await twoNodes();
    const events: string[] = [];
    const gates: (() => void)[] = [];
    nodes.b.register('line', {
      step: async ([name]: [string]) => {
        events.push(`${name} begins`);
        await new Promise<void>((resolve) => gates.push(resolve));
        events.push(`${name} ends`);
      },
    });
    for (const name of ['one', 'two', 'three']) nodes.b.cast(B, 'line', 'step', [name], { ordered: true });
    nodes.b.cast({ node: B, key: 'other' }, 'line', 'step', ['beside'], { ordered: true });
    nodes.b.cast(B, 'line', 'step', ['unordered']);
    await turns();
    expect(events).toEqual(['one begins', 'beside begins', 'unordered begins']);
    expect(nodes.b.stats().runningCalls).toBe(5);
    events.length = 0;
    while (nodes.b.stats().runningCalls > 0) {
      for (const open of gates.splice(0)) open();
      await turns();
    }
    expect(events.filter((event) => /one|two|three/.test(event))).toEqual([
      ...['one ends', 'two begins', 'two ends', 'three begins', 'three ends'],
    ]);
  });

  it('go on behind one that fails or is refused', async () => {
    await using nodes = await withFailures();
    const options = { ordered: true };
    for (const fn of ['fail', 'sub', 'add']) nodes.b.cast(B, 'math', fn, [1, 2], options);
    nodes.b.cast(B, 'closed', 'fn', [], options);
    expect(() => nodes.b.cast(B, 'math', 'add', [() => 1], options)).toThrow();
    nodes.b.cast(B, 'math', 'add', [1, 2], options);
    await until(() => nodes.ran.length === 3 && nodes.b.stats().runningCalls === 0);
    expect(nodes.ran).toEqual(['fail', 'add', 'add']);
    expect(nodes.b.stats().counts.ordered_cast_missing).toBeUndefined();
  });

  it('wait in a line that is bounded: what does not fit is counted', async () => {
    await using nodes = await twoNodes({ options: { maxQueuedCasts: 3 } });
    const { contexts, open } = gated(nodes.b);
    for (let n = 0; n < 10; n += 1) nodes.b.cast(B, 'gate', 'pass', [], { ordered: true });
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 4, counts: { ordered_cast_dropped: 6 } });
    while (nodes.b.stats().runningCalls > 0) {
      open(0);
      await turns();
    }
    expect(contexts).toHaveLength(4);
  });
});

describe('messages of a node to itself', () => {
  it('abcast and sbcast reach its event handlers, as single values', async () => {
    await using nodes = await twoNodes();
    const heard: unknown[] = [];
    nodes.b.registerEvent('price.changed', (message: unknown, { single, caller }) => {
      heard.push([message, single, caller.node]);
    });
    expect(nodes.b.abcast([B], 'price.changed', { tea: 5 })).toEqual({ accepted: [B], refused: [] });
    await expect(nodes.b.sbcast([B], 'price.changed', [1, 2])).resolves.toEqual({ good: [B], bad: [] });
    // Without targets: to oneself and every connected node, of which there is none.
    expect(nodes.b.abcast('price.changed', 'all')).toEqual({ accepted: [B], refused: [] });
    await expect(nodes.b.sbcast('price.changed')).resolves.toEqual({ good: [B], bad: [] });
    expect(heard).toEqual([{ tea: 5 }, [1, 2], 'all', undefined].map((message) => [message, true, B]));
  });

  it('sbcast says good once the handler has begun, whatever becomes of it', async () => {
    await using nodes = await twoNodes();
    const { contexts, open } = gated(nodes.b);
    await expect(nodes.b.sbcast([B], 'gate.pass')).resolves.toEqual({ good: [B], bad: [] });
    expect(contexts[0]?.signal.aborted).toBe(false);
    expect(nodes.b.stats()).toMatchObject({ pendingCalls: 0, runningCalls: 1 });
    open(1);
    await expect(nodes.b.sbcast([B], 'math.fail')).resolves.toEqual({ good: [B], bad: [] });
    await until(() => nodes.b.stats().counts.handler_failed === 1);
  });

  it('an ordered message that waits is what was sent, whatever becomes of the bytes there', async () => {
    await using nodes = await twoNodes();
    const { open } = gated(nodes.b);
    const got: string[] = [];
    nodes.b.registerEvent('files.put', (bytes: Buffer) => void got.push(bytes.toString()));
    const bytes = Buffer.from('before');
    nodes.b.cast(B, 'gate', 'pass', [], { ordered: true });
    nodes.b.abcast([B], 'files.put', bytes, { ordered: true });
    bytes.write('after!');
    open('done');
    await until(() => got.length === 1);
    expect(got).toEqual(['before']);
  });

  it('sbcast says bad where there is no such name, or it is closed', async () => {
    await using nodes = await withFailures();
    for (const name of ['math.sub', 'unheard', 'closed.fn']) {
      await expect(nodes.b.sbcast([B], name, 1)).resolves.toEqual({ good: [], bad: [B] });
    }
    expect(nodes.ran).toEqual([]);
  });
});
