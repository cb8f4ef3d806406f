/** Group B of the fault list: streams that are read slowly, and a peer that never gives any credit. */
import { describe, expect, it } from 'vitest';
import { CONNECTION_CREDIT, FrameType, STREAM_CREDIT } from '../../lib/protocol/frame.js';
import { Cluster, twoNodes, type NodeSettings } from '../support/cluster.js';
import { redirect, until } from '../support/door.js';
import { RawServer, type RawPeer } from '../support/raw-peer.js';

const KIB = 1024;
const B = 'b@127.0.0.1';

describe('B-02 a reader that takes an item a second', () => {
  /** Bytes of an item: most of them wait where they are made, a window of them with the reader. */
  const ITEM = KIB;

  it('B-02 of a reply: the producer waits, and no more wait after 60 s than after one', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1, latency: () => 5 } });
    let made = 0;
    nodes.b.register('endless', {
      async *items() {
        for (;;) {
          made += 1;
          yield Buffer.alloc(ITEM, made);
        }
      },
    });
    const clock = nodes.clock;
    const reader = nodes.a.stream<Buffer>(B, 'endless', 'items', [], { timeout: 3_600_000 })[Symbol.asyncIterator]();
    const ahead: number[] = [];
    for (let second = 1; second <= 60; second += 1) {
      const next = reader.next();
      await clock?.advance(1000);
      expect(await next).toMatchObject({ done: false, value: { length: ITEM } });
      ahead.push(made - second);
      expect(nodes.b.stats().bufferedBytes).toBe(0);
    }
    // An item on its way to be sent, one that overdraws the credit, and whatever the credit is for.
    expect(Math.max(...ahead)).toBeLessThanOrEqual(STREAM_CREDIT / ITEM + 2);
    expect(Math.max(...ahead)).toBeGreaterThan(STREAM_CREDIT / ITEM / 3);
    const left = reader.return?.();
    await clock?.advance(100);
    await left;
    expect(nodes.b.stats().runningCalls).toBe(0);
  });

  it('B-02 of an argument: so does its source, here', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 2, latency: () => 5 } });
    const { clock } = nodes;
    let made = 0;
    let stopped = false;
    async function* endless(): AsyncGenerator<Buffer> {
      try {
        for (;;) {
          made += 1;
          yield Buffer.alloc(ITEM, made);
        }
      } finally {
        stopped = true;
      }
    }
    nodes.b.register('slow', {
      read: async ([items]: [AsyncIterable<Buffer>]) => {
        let read = 0;
        for await (const item of items) {
          expect(item).toHaveLength(ITEM);
          read += 1;
          if (read === 60) return read;
          await new Promise<void>((resolve) => clock?.after(1000, resolve));
        }
        return read;
      },
    });
    const call = nodes.a.call(B, 'slow', 'read', [endless()], { timeout: 3_600_000 });
    for (let second = 1; second < 60; second += 1) {
      await clock?.advance(1000);
      expect(made - second).toBeLessThanOrEqual(STREAM_CREDIT / ITEM + 4);
      expect(nodes.a.stats().bufferedBytes).toBe(0);
    }
    await clock?.advance(2000);
    expect(await call).toBe(60);
    expect(stopped).toBe(true);
  });

  it('B-02 a source that cannot wait is stopped above the cap, and the caller told', async () => {
    const options: NodeSettings = { maxMessageBytes: 64 * KIB, maxQueuedBytes: 256 * KIB };
    await using nodes = await twoNodes({ virtual: { seed: 3 }, options });
    let sent = 0;
    let unsubscribed = 0;
    nodes.b.register('flood', {
      items: () => ({
        subscribe(observer: { next(value: unknown): void }) {
          for (; sent < 10_000; sent += 1) observer.next(Buffer.alloc(ITEM));
          return { unsubscribe: () => (unsubscribed += 1) };
        },
      }),
    });
    const reader = nodes.a.stream(B, 'flood', 'items')[Symbol.asyncIterator]();
    const read = (async () => {
      let items = 0;
      for (;;) {
        if ((await reader.next()).done === true) return items;
        items += 1;
      }
    })();
    const outcome = expect(read).rejects.toMatchObject({ code: 'handler_failed' });
    await nodes.clock?.advance(100);
    await outcome;
    expect(unsubscribed).toBe(1);
    expect([nodes.b.stats().bufferedBytes, nodes.b.stats().runningCalls]).toEqual([0, 0]);
  });
});

describe('B-03 a peer that gives no credit', () => {
  /** A server that reads, and answers nothing at all. */
  async function miser(options: NodeSettings) {
    const server = await RawServer.listen('tcp');
    const cluster = new Cluster({ driver: 'tcp', options: { keepalive: false, ...options } });
    redirect(cluster, B, server.port);
    const a = cluster.create('a', { listen: false });
    const connected = a.connect(B);
    const peer: RawPeer = (await (await server.accept()).welcome(B)).count();
    await connected;
    return {
      a,
      peer,
      chunkBytes: () =>
        peer.frames.reduce((sum, frame) => sum + (frame.type === FrameType.Chunk ? frame.bytes.length : 0), 0),
      async [Symbol.asyncDispose]() {
        peer.destroy();
        await server[Symbol.asyncDispose]();
        await cluster[Symbol.asyncDispose]();
      },
    };
  }

  it('B-03 large calls end at their deadlines, and nothing of them is left', async () => {
    await using at = await miser({ sendTimeout: 30_000, maxQueuedBytes: 4 * KIB * KIB });
    const large = Buffer.alloc(KIB * KIB, 5);
    const outcomes = Array.from({ length: 20 }, () => at.a.call(B, 'math', 'echo', [large], { timeout: 600 }));
    const codes = Promise.allSettled(outcomes).then((all) =>
      all.map((one) => (one.status === 'rejected' ? (one.reason as { code: string }).code : 'fulfilled')),
    );
    await until(() => at.chunkBytes() === CONNECTION_CREDIT);
    expect(at.a.stats().bufferedBytes).toBeLessThanOrEqual(6 * KIB * KIB);
    // No byte more, and no write at all, however long it takes.
    const writes = at.peer.received.length;
    const told = await codes;
    expect(at.chunkBytes()).toBe(CONNECTION_CREDIT);
    // Then a CANCEL for each of those that were begun.
    expect(at.peer.received.length - writes).toBeLessThanOrEqual(6);
    expect(told.filter((code) => code === 'refused').length).toBeGreaterThan(10);
    expect(told.filter((code) => code === 'timeout').length + told.filter((code) => code === 'refused').length).toBe(
      20,
    );
    expect(at.a.stats()).toMatchObject({ bufferedBytes: 0, pendingCalls: 0 });
    // What is small needs no credit.
    const small = at.a.call(B, 'math', 'echo', [1], { timeout: 5000 });
    await until(() => at.peer.frames.some((frame) => frame.type === FrameType.Call && frame.timeoutMs > 4000));
    const call = at.peer.frames.findLast((frame) => frame.type === FrameType.Call);
    at.peer.send(resultFor(call?.id ?? 0));
    expect(await small).toBe(7);
  });

  it('B-03 a source is asked for a window of items, and no more', async () => {
    await using at = await miser({ sendTimeout: 300 });
    let made = 0;
    async function* endless(): AsyncGenerator<Buffer> {
      for (;;) {
        made += 1;
        yield Buffer.alloc(KIB);
      }
    }
    const call = at.a.call(B, 'math', 'sum', [endless()], { timeout: 1200 });
    // Longer than sendTimeout: a slow consumer is no dead peer.
    await expect(call).rejects.toMatchObject({ code: 'timeout', maybeExecuted: true });
    expect(made).toBeLessThanOrEqual(STREAM_CREDIT / KIB + 2);
    const items = at.peer.frames.filter((frame) => frame.type === FrameType.Item);
    expect(items).toHaveLength(Math.ceil(STREAM_CREDIT / (KIB + 64)));
    await until(() => at.peer.frames.at(-1)?.type === FrameType.Cancel);
    expect(at.a.stats()).toMatchObject({ bufferedBytes: 0, openConnections: 1 });
  });

  it('B-03 of the connection for as long as sendTimeout: it is not reading, and cut', async () => {
    await using at = await miser({ sendTimeout: 300 });
    const call = at.a.call(B, 'math', 'echo', [Buffer.alloc(KIB * KIB)], { timeout: 10_000 });
    await expect(call).rejects.toMatchObject({ code: 'send_timeout', maybeExecuted: true });
    await at.peer.closed();
    expect(at.a.stats()).toMatchObject({ bufferedBytes: 0, openConnections: 0 });
  });
});

function resultFor(id: number): Buffer {
  const frame = Buffer.from([0, 0, 0, 1, FrameType.Result, 1, 0, 0, 0, 0, 0, 0, 7]);
  frame.writeUInt32BE(id, 8);
  return frame;
}
