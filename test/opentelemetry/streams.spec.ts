/** Streams: their spans end when they do, and whatever makes their items belongs to them. */
import { trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { until } from '../support/door.js';
import { isChildOf, Spans, statusOf } from '../support/spans.js';
import { readOf } from '../support/streams.js';
import { B, C, tracedNodes, type Nodes } from './nodes.js';

const LARGE = 64 * 1024;
const activeSpan = (): string | undefined => trace.getActiveSpan()?.spanContext().spanId;

/** `b` has streams that tell which span is active while they make their items. */
async function streamingNodes(): Promise<Nodes & { readonly active: (string | undefined)[] }> {
  const nodes = await tracedNodes();
  const active: (string | undefined)[] = [];
  const { b } = nodes;
  b.register('stock', {
    ticks: async function* ([most]: [number]) {
      for (let at = 0; at < most; at += 1) {
        active.push(activeSpan());
        yield Buffer.alloc(LARGE);
      }
    },
    sums: async function* () {
      yield await b.call(C, 'math', 'add', [1, 2]);
      await new Promise(setImmediate);
      yield await b.call(C, 'math', 'add', [3, 4]);
    },
    pushed: () => ({
      subscribe: (observer: { next(value: unknown): void; complete(): void }) => {
        active.push(activeSpan());
        const timer = setImmediate(() => {
          active.push(activeSpan());
          observer.next(1);
          observer.complete();
        });
        return { unsubscribe: () => clearImmediate(timer) };
      },
    }),
    breaks: async function* () {
      yield 1;
      throw new Error('secret');
    },
    read: async ([items]: [AsyncIterable<unknown>]) => (await readOf(items)).items.length,
  });
  return Object.assign(nodes, { active });
}

describe('the span of a stream', () => {
  it('is active for all of its items, however long the reader makes it wait', async () => {
    await using spans = new Spans();
    await using nodes = await streamingNodes();
    let read = 0;
    await spans.inside('reader', async () => {
      for await (const item of nodes.a.stream(B, 'stock', 'ticks', [20])) {
        expect(item).toHaveLength(LARGE);
        read += 1;
        if (read % 5 === 0) await until(() => nodes.b.stats().bufferedBytes === 0);
      }
    });
    const server = await spans.one('SERVER', 'stock/ticks');
    expect(read).toBe(20);
    expect(nodes.active).toHaveLength(20);
    expect(new Set(nodes.active)).toEqual(new Set([server.spanContext().spanId]));
    expect([server, await spans.one('CLIENT', 'stock/ticks')].map(statusOf)).toEqual(['ok', 'ok']);
  });

  it('is the parent of what its items are made of', async () => {
    await using spans = new Spans();
    await using nodes = await streamingNodes();
    await expect(readOf(nodes.a.stream(B, 'stock', 'sums'))).resolves.toEqual({ items: [3, 7] });
    const server = await spans.one('SERVER', 'stock/sums');
    await spans.all(6);
    expect(spans.ended.filter((span) => isChildOf(span, server)).map(({ name }) => name)).toEqual([
      'math/add',
      'math/add',
    ]);
  });

  it('is active where its source is subscribed to, and in what that has begun', async () => {
    await using spans = new Spans();
    await using nodes = await streamingNodes();
    await expect(readOf(nodes.a.stream(B, 'stock', 'pushed'))).resolves.toEqual({ items: [1] });
    const { spanId } = (await spans.one('SERVER', 'stock/pushed')).spanContext();
    expect(nodes.active).toEqual([spanId, spanId]);
  });

  it('lasts as long as it, and not only until its first item', async () => {
    await using spans = new Spans();
    await using nodes = await streamingNodes();
    for await (const item of nodes.a.stream(B, 'stock', 'ticks', [100])) {
      expect([item, spans.ended]).toEqual([expect.anything(), []]);
      break;
    }
    expect((await spans.all(2)).map(statusOf)).toEqual(['cancelled', 'cancelled']);
  });

  it('ends as it does: broken, out of time', async () => {
    await using spans = new Spans();
    await using nodes = await streamingNodes();
    await expect(readOf(nodes.a.stream(B, 'stock', 'breaks'))).resolves.toMatchObject({ error: 'handler_failed' });
    const failed = { failed: 'handler_failed', type: 'handler_failed' };
    expect((await spans.all(2)).map(statusOf)).toEqual([failed, failed]);
    const iterator = nodes.a.stream(B, 'stock', 'ticks', [100], { timeout: 1000 })[Symbol.asyncIterator]();
    await iterator.next();
    await until(() => spans.ended.length === 4);
    expect(statusOf(await spans.one('CLIENT', 'stock/ticks'))).toEqual({ failed: 'timeout', type: 'timeout' });
  });

  it('is that of the caller where an argument is one, whoever has opened the connection', async () => {
    await using spans = new Spans();
    await using nodes = await streamingNodes();
    const count = async (node: GenRpcNode, name: string, items: AsyncIterable<unknown>): Promise<void> =>
      spans.inside(name, async () => {
        await expect(node.call(B, 'stock', 'read', [items])).resolves.toBe(2);
      });
    const seen: Record<string, (string | undefined)[]> = { first: [], second: [] };
    async function* items(name: string): AsyncGenerator<number> {
      for (let at = 0; at < 2; at += 1) {
        seen[name]?.push(activeSpan());
        await new Promise(setImmediate);
        yield at;
      }
    }
    await Promise.all([count(nodes.a, 'first', items('first')), count(nodes.a, 'second', items('second'))]);
    for (const name of ['first', 'second']) {
      const { spanId } = (await spans.one('INTERNAL', name)).spanContext();
      expect(seen[name]).toEqual([spanId, spanId]);
    }
  });
});
