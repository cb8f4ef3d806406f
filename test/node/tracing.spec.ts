/** The port for tracing, by one of a test's own: what it is told, and that nothing it does harms a call. */
import { describe, expect, it } from 'vitest';
import type { IncomingTrace, OutgoingTrace, Tracing } from '../../lib/ports/tracing.js';
import { Cluster, type NodeSettings } from '../support/cluster.js';
import { until } from '../support/door.js';

const B = 'b@127.0.0.1';
const HARMLESS: OutgoingTrace & IncomingTrace = { headers: undefined, attempt() {}, run: (body) => body(), ended() {} };

/** Keeps the trace of one call that goes out and comes in, and does otherwise as `outgoing` and `incoming` say. */
function tracingOf(outgoing: Partial<OutgoingTrace>, incoming: Partial<IncomingTrace> = {}): Tracing {
  return { outgoing: () => ({ ...HARMLESS, ...outgoing }), incoming: () => ({ ...HARMLESS, ...incoming }) };
}

async function nodesWith(tracing: Tracing, options: NodeSettings = {}) {
  const cluster = new Cluster({ options: { tracing, ...options } });
  const b = await cluster.start('b');
  const ran: unknown[] = [];
  b.register('math', {
    add: ([x, y]: [number, number]) => x + y,
    headers: (_, { headers }) => Object.fromEntries(headers ?? []),
    note: ([what]: [unknown]) => void ran.push(what),
    count: async function* () {
      yield 1;
      yield 2;
    },
  });
  return Object.assign(cluster, { a: cluster.create('a'), b, ran });
}

const fail = (): never => {
  throw new Error('no span for you');
};

describe('tracing', () => {
  it('is told of each call once, and of its one end', async () => {
    const told: unknown[] = [];
    const tracing: Tracing = {
      outgoing: ({ kind, module, fn, node }) => {
        told.push(['out', kind, module, fn, node]);
        return {
          headers: new Map([['seen', 'yes']]),
          attempt: (to) => told.push(['attempt', to]),
          ended: (code, place) => told.push(['out ended', code, place?.transport]),
        };
      },
      incoming: ({ kind, module, fn, node, known, caller, transport, headers }) => {
        told.push(['in', kind, module, fn, node, known, caller.node, transport, headers?.get('seen')]);
        return { run: (body) => body(), ended: (code) => told.push(['in ended', code]) };
      },
    };
    await using nodes = await nodesWith(tracing);
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    expect(told.splice(0)).toEqual([
      ['out', 'call', 'math', 'add', B],
      ['attempt', B],
      ['in', 'call', 'math', 'add', B, true, 'a@127.0.0.1', 'tcp', 'yes'],
      ['in ended', undefined],
      ['out ended', undefined, 'tcp'],
    ]);
    nodes.a.cast(B, 'no', 'such');
    await until(() => told.length === 5);
    expect(told).toEqual([
      ['out', 'cast', 'no', 'such', B],
      ['attempt', B],
      ['out ended', undefined, 'tcp'],
      ['in', 'cast', 'no', 'such', B, false, 'a@127.0.0.1', 'tcp', 'yes'],
      ['in ended', 'undefined_function'],
    ]);
  });

  it('is not told of a call that it does not follow', async () => {
    await using nodes = await nodesWith({ outgoing: () => undefined, incoming: () => undefined });
    const headers = { tenant: 'blue' };
    await expect(nodes.a.call(B, 'math', 'headers', [], { headers })).resolves.toEqual(headers);
  });

  it.each<[string, Tracing]>([
    ['at once', { outgoing: fail, incoming: fail }],
    ['at every step', tracingOf({ attempt: fail, ended: fail }, { run: fail, ended: fail })],
    ['behind the function', tracingOf({}, { run: (body) => [body(), fail()] })],
    [
      'when it is asked for headers',
      { ...tracingOf({}), outgoing: () => Object.defineProperty({ ...HARMLESS }, 'headers', { get: fail }) },
    ],
    ['instead of being one', { outgoing: () => 7 as never, incoming: () => ({}) as never }],
  ])('that throws %s harms no call, cast or stream, and is counted', async (_, tracing) => {
    await using nodes = await nodesWith(tracing);
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(nodes.a.cast(B, 'math', 'note', ['once'])).toBe(true);
    const items: unknown[] = [];
    for await (const item of nodes.a.stream(B, 'math', 'count')) items.push(item);
    await until(() => nodes.ran.length > 0);
    expect([items, nodes.ran]).toEqual([[1, 2], ['once']]);
    const counted = [nodes.a, nodes.b].map((node) => node.stats().counts.tracing_failed ?? 0);
    expect(Math.max(...counted)).toBeGreaterThan(0);
    expect(nodes.log.lines.filter((line) => line.includes('(tracing) threw')).length).toBeLessThanOrEqual(2);
    expect(nodes.a.stats().counts).not.toHaveProperty('listener_failed');
    expect(nodes.b.stats().counts).not.toHaveProperty('handler_failed');
  });

  it.each<[string, Tracing]>([
    ['when it is told of it', { outgoing: () => undefined, incoming: fail }],
    ['when it is told of its end', tracingOf({}, { ended: fail })],
  ])('that throws %s harms no call that is refused', async (_, tracing) => {
    await using nodes = await nodesWith(tracing, { concurrency: { calls: 1 } });
    let open: (() => void) | undefined;
    nodes.b.register('gate', { pass: () => new Promise<void>((resolve) => (open = resolve)) });
    const first = nodes.a.call(B, 'gate', 'pass');
    await until(() => open !== undefined);
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({ code: 'refused' });
    expect(nodes.b.stats().counts.tracing_failed).toBeGreaterThan(0);
    open?.();
    await first;
  });

  it('is not told of the key of a call that is refused, and runs nothing for it', async () => {
    const told: unknown[] = [];
    const tracing: Tracing = {
      outgoing: () => undefined,
      incoming: ({ kind, fn, known, headers }) => {
        told.push([kind, fn, known, Object.fromEntries(headers ?? [])]);
        return { run: () => told.push('ran'), ended: (code) => told.push(code) };
      },
    };
    await using nodes = await nodesWith(tracing, { concurrency: { calls: 1 } });
    let open: (() => void) | undefined;
    nodes.b.register('gate', { pass: () => new Promise<void>((resolve) => (open = resolve)) });
    const first = nodes.a.call(B, 'gate', 'pass');
    await until(() => open !== undefined);
    told.length = 0;
    const repeated = nodes.create('caller', { listen: false, retry: { attempts: 1 } });
    const options = { headers: { tenant: 'blue' }, idempotent: true };
    await expect(repeated.call(B, 'math', 'add', [1, 2], options)).rejects.toMatchObject({ code: 'refused' });
    expect(told).toEqual([['call', 'add', true, { tenant: 'blue' }], 'refused']);
    open?.();
    await first;
  });

  it.each<[string, number]>([
    ['twice', 2],
    ['never', 0],
  ])('that runs the function %s has it run once', async (_, times) => {
    const run: IncomingTrace['run'] = (body) => {
      for (let time = 0; time < times; time += 1) body();
    };
    await using nodes = await nodesWith(tracingOf({}, { run }));
    await nodes.a.call(B, 'math', 'note', ['once']);
    expect(nodes.ran).toEqual(['once']);
  });

  it.each<[string, ReadonlyMap<string, string>]>([
    ['more than fit', new Map([['baggage', 'x'.repeat(16 * 1024)]])],
    ['half a character', new Map([['baggage', '\ud800']])],
    ['a name that is none', new Map([['', 'x']])],
    ['a name that is too long', new Map([['x'.repeat(256), 'x']])],
    ['no text', new Map([['baggage', 7 as never]])],
    ['no headers', 7 as never],
  ])('that adds %s is left out, and the call made', async (_, headers) => {
    await using nodes = await nodesWith(tracingOf({ headers }));
    const own = { tenant: 'blue' };
    await expect(nodes.a.call(B, 'math', 'headers', [], { headers: own })).resolves.toEqual(own);
    expect(nodes.a.stats().counts.tracing_failed).toBeGreaterThan(0);
  });
});
