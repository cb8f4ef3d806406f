/** Casts are followed by links: nobody waits for them, and their sender's span has ended when they run. */
import { SpanKind, trace } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { describe, expect, it } from 'vitest';
import { openTelemetry } from '../../lib/opentelemetry.js';
import { DRIVERS } from '../support/cluster.js';
import { until } from '../support/door.js';
import { isChildOf, Spans, statusOf } from '../support/spans.js';
import { B, C, NOBODY, tracedNodes } from './nodes.js';

/** Has it a trace of its own, that goes back to `sent`? */
function expectLink(ran: ReadableSpan, sent: ReadableSpan): void {
  expect(ran.parentSpanContext).toBeUndefined();
  expect(ran.spanContext().traceId).not.toBe(sent.spanContext().traceId);
  expect(ran.links.map((link) => link.context.spanId)).toEqual([sent.spanContext().spanId]);
}

describe.each(DRIVERS)('a cast over %s', (driver) => {
  it('is linked to the span that sent it, which has ended, and what it calls is its own', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes(driver);
    let go: (() => void) | undefined;
    nodes.b.register('log', {
      write: async () => {
        await new Promise<void>((resolve) => (go = resolve));
        await nodes.b.call(C, 'math', 'add', [1, 2]);
      },
    });
    await spans.inside('request', () => void nodes.a.cast(B, 'log', 'write'));
    const request = await spans.one('INTERNAL', 'request');
    const sent = await spans.one('CLIENT', 'log/write');
    expect(isChildOf(sent, request)).toBe(true);
    await until(() => go !== undefined);
    go?.();
    const ran = await spans.one('SERVER', 'log/write');
    expectLink(ran, sent);
    expect(isChildOf(await spans.one('CLIENT', 'math/add'), ran)).toBe(true);
    expect([sent, ran].map(statusOf)).toEqual(['ok', 'ok']);
  });
});

describe('casts', () => {
  it('of a broadcast are one each, of the own node too', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const active: (ReadableSpan | undefined)[] = [];
    for (const node of [nodes.a, nodes.b])
      node.registerEvent('tea.sold', () => active.push(trace.getActiveSpan() as ReadableSpan | undefined));
    nodes.a.abcast([nodes.a.name, B], 'tea.sold', 1);
    await spans.all(4);
    const of = (kind: SpanKind): ReadableSpan[] => spans.ended.filter((span) => span.kind === kind);
    const [sent, ran] = [of(SpanKind.CLIENT), of(SpanKind.SERVER)];
    const idsOf = (all: readonly (ReadableSpan | undefined)[]): unknown =>
      new Set(all.map((span) => span?.spanContext().spanId));
    expect(new Set(ran.map(({ links }) => links[0]?.context.spanId))).toEqual(idsOf(sent));
    expect(idsOf(active)).toEqual(idsOf(ran));
    expect([sent, ran, active].map(({ length }) => length)).toEqual([2, 2, 2]);
  });

  it('that are waited for until they begin (sbcast) are linked too', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    nodes.b.registerEvent('tea.sold', () => new Promise(setImmediate));
    await expect(nodes.a.sbcast([B, C], 'tea.sold', 1)).resolves.toEqual({ good: [B], bad: [C] });
    await spans.all(4);
    const sent = spans.ended.filter(({ kind }) => kind === SpanKind.CLIENT);
    const toB = sent.find(({ attributes }) => attributes['gen_rpc.peer.node'] === B) ?? expect.fail('b was sent it');
    const toC = sent.find((span) => span !== toB) ?? expect.fail('c was sent it');
    expect([toB, toC].map(statusOf)).toEqual(['ok', { failed: 'undefined_function', type: 'undefined_function' }]);
    expectLink(await spans.one('SERVER', 'tea/sold'), toB);
    expectLink(await spans.one('SERVER', 'gen_rpc'), toC);
  });

  it('that fail, or cannot be sent, say so', async () => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    expect(nodes.a.cast(C, 'math', 'fail')).toBe(true);
    const failed = { failed: 'handler_failed', type: 'handler_failed' };
    expect(statusOf(await spans.one('SERVER', 'math/fail'))).toEqual(failed);
    expect(statusOf(await spans.one('CLIENT', 'math/fail'))).toBe('ok');
    nodes.discovery.locations.set('gone@127.0.0.1', { driver: 'tcp', host: '127.0.0.1', port: 1 });
    // It is told at once of the second one: there is no attempt in between.
    const caller = nodes.create('caller', { reconnect: { min: 20_000, max: 20_000 } });
    expect(caller.cast('gone@127.0.0.1', 'math', 'add')).toBe(true);
    expect(statusOf(await spans.one('CLIENT', 'math/add'))).toEqual({ failed: 'node_down', type: 'node_down' });
    expect(caller.cast('gone@127.0.0.1', 'math', 'sub')).toBe(false);
    expect(statusOf(await spans.one('CLIENT', 'math/sub'))).toEqual({ failed: 'node_down', type: 'node_down' });
  });

  it.each([
    ['a node that follows its own', openTelemetry(), 1],
    ['one that does not', NOBODY, 0],
  ])('that wait for those before them are not of their trace, from %s', async (_, tracing, links) => {
    await using spans = new Spans();
    await using nodes = await tracedNodes();
    const caller = nodes.create('caller', { tracing });
    nodes.b.register('log', { write: () => new Promise(setImmediate) });
    for (let at = 0; at < 3; at += 1) caller.cast(B, 'log', 'write', [], { ordered: true });
    await until(() => spans.ended.filter(({ kind }) => kind === SpanKind.SERVER).length === 3);
    const ran = spans.ended.filter(({ kind }) => kind === SpanKind.SERVER);
    expect(new Set(ran.map((span) => span.spanContext().traceId)).size).toBe(3);
    for (const span of ran) {
      expect({ parent: span.parentSpanContext, links: span.links.length }).toEqual({ parent: undefined, links });
    }
  });
});
