/** What travels of a trace, and what does not: beside headers of one's own, with baggage, and from peers that mean no good. */
import { context, propagation, trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { openTelemetry } from '../../lib/opentelemetry.js';
import { Cluster } from '../support/cluster.js';
import { isChildOf, Spans } from '../support/spans.js';
import { B, C, NOBODY, tracedNodes } from './nodes.js';

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

describe('headers', () => {
  it('have the trace beside those of the call, once, whatever these say of another', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const stale = { TraceParent: PARENT, tracestate: 'vendor=stale', tenant: 'blue', baggage: 'own=1' };
    const seen = await nodes.a.call<object>(C, 'math', 'headers', [], { headers: stale });
    const { traceId, spanId } = (await spans.one('CLIENT', 'math/headers')).spanContext();
    expect(seen).toEqual({ tenant: 'blue', baggage: 'own=1', traceparent: `00-${traceId}-${spanId}-01` });
    expect(stale).toEqual({ TraceParent: PARENT, tracestate: 'vendor=stale', tenant: 'blue', baggage: 'own=1' });
  });

  it('carry baggage where that is asked for, and only there', async () => {
    await using spans = new Spans();
    const generous = openTelemetry({ baggage: true });
    await using open = await tracedNodes('tcp', generous);
    await using closed = await tracedNodes();
    const baggage = propagation.createBaggage({ tenant: { value: 'blue' } });
    const ask = async ({ a, b, c }: typeof open): Promise<unknown> => {
      const told: unknown[] = [];
      c.register('bag', { open: () => void told.push(propagation.getActiveBaggage()?.getEntry('tenant')?.value) });
      b.register('bag', { pass: () => b.call(C, 'bag', 'open') });
      await context.with(propagation.setBaggage(context.active(), baggage), () => a.call(B, 'bag', 'pass'));
      return told;
    };
    await expect(ask(open)).resolves.toEqual(['blue']);
    await expect(ask(closed)).resolves.toEqual([undefined]);
    expect(spans.ended).toHaveLength(8);
  });

  it('are left alone without the option, also those of a trace, and until there is an SDK', async () => {
    await using spans = new Spans();
    await using plain = new Cluster();
    const b = await plain.start('b');
    const active: unknown[] = [];
    b.register('see', {
      headers: (_, { headers }) => {
        active.push(trace.getActiveSpan());
        return Object.fromEntries(headers ?? []);
      },
    });
    const a = plain.create('a');
    const given = { traceparent: PARENT, tenant: 'blue' };
    await spans.inside('request', async () => {
      await expect(a.call(B, 'see', 'headers', [], { headers: given })).resolves.toEqual(given);
      await expect(a.call(B, 'see', 'headers')).resolves.toEqual({});
    });
    expect(spans.ended).toHaveLength(1);
    await spans[Symbol.asyncDispose]();
    await using nodes = await tracedNodes();
    await expect(nodes.a.call(C, 'math', 'headers')).resolves.toEqual({});
    await expect(nodes.a.call(C, 'math', 'headers', [], { headers: given })).resolves.toEqual(given);
    await using late = new Spans();
    await expect(nodes.a.call(C, 'math', 'headers')).resolves.toEqual({ traceparent: expect.any(String) });
    await expect(late.all(2)).resolves.toHaveLength(2);
  });

  it('of a peer that has no tracing, but a trace, make its call the parent', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const plain = nodes.create('plain', { tracing: NOBODY });
    await plain.call(C, 'math', 'headers', [], { headers: { traceparent: PARENT } });
    const server = await spans.one('SERVER', 'math/headers');
    expect(server.parentSpanContext).toMatchObject({ traceId: PARENT.slice(3, 35), spanId: PARENT.slice(36, 52) });
  });

  it.each([
    ['no hexadecimal', PARENT.replace('0af7', 'zzzz')],
    ['nothing but zeros', `00-${'0'.repeat(32)}-${'0'.repeat(16)}-01`],
    ['of a version that is none', PARENT.replace('00-', 'ff-')],
    ['cut short', PARENT.slice(0, 30)],
    ['of 10,000 characters', `${PARENT}-${'f'.repeat(10_000)}`],
    ['of control characters', '\u0000\r\n\u001b[31m'],
    ['empty', ''],
  ])('with a traceparent that is %s begin a trace of their own', async (_, traceparent) => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const plain = nodes.create('plain', { tracing: NOBODY });
    const headers = { traceparent, tracestate: `${'k=v,'.repeat(500)}=,;`, baggage: '%%%=;,'.repeat(200) };
    await plain.call(C, 'math', 'headers', [], { headers });
    plain.cast(C, 'math', 'headers', [], { headers });
    const ended = await spans.all(2);
    expect(ended.map(({ parentSpanContext, links }) => [parentSpanContext, links])).toEqual([
      [undefined, []],
      [undefined, []],
    ]);
    expect(nodes.c.stats().counts).not.toHaveProperty('tracing_failed');
  });

  it('of a trace that is not sampled travel all the same, and are not recorded anywhere', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const plain = nodes.create('plain', { tracing: NOBODY });
    const headers = { traceparent: PARENT.replace(/01$/, '00') };
    await expect(plain.call(B, 'shop', 'total', [1, 2], { headers })).resolves.toBe(3);
    expect(spans.ended).toEqual([]);
    nodes.b.register('pass', { on: () => nodes.b.call(C, 'math', 'headers') });
    await expect(plain.call(B, 'pass', 'on', [], { headers })).resolves.toEqual({
      traceparent: expect.stringMatching(new RegExp(`^00-${PARENT.slice(3, 35)}-[0-9a-f]{16}-00$`)),
    });
  });

  it('that a function passes on as it got them do not make siblings of children', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    nodes.b.register('pass', {
      on: (_, { headers = new Map() }) => nodes.b.call(C, 'math', 'add', [1, 2], { headers }),
    });
    await expect(nodes.a.call(B, 'pass', 'on')).resolves.toBe(3);
    const passed = await spans.one('CLIENT', 'math/add');
    expect(isChildOf(await spans.one('SERVER', 'math/add'), passed)).toBe(true);
    expect(isChildOf(passed, await spans.one('SERVER', 'pass/on'))).toBe(true);
  });
});
