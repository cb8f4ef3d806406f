/** Streams that are left in every way: nothing of them stays, on either side. */
import { describe, expect, it } from 'vitest';
import { twoNodes, type TwoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { heldBytes } from '../support/heap.js';

const SOAK = process.env['GEN_RPC_SOAK'] === '1';
const STREAMS = SOAK ? 100_000 : 21_000;
const AT_ONCE = 500;
const MIB = 1024 * 1024;
const B = 'b@127.0.0.1';

interface Left {
  begun: number;
  ended: number;
}

/** Endless streams on `b`, counted. */
function endless(nodes: TwoNodes): Left {
  const left = { begun: 0, ended: 0 };
  nodes.b.register('endless', {
    async *items() {
      left.begun += 1;
      try {
        for (let n = 0; ; n += 1) {
          yield Buffer.alloc(500, n);
          // Some of them are in the middle of something when they are left.
          if (n % 50 === 49) await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        left.ended += 1;
      }
    },
    read: async ([items]: [AsyncIterable<unknown>]) => {
      for await (const _ of items) return 'enough';
      return 'none';
    },
  });
  return left;
}

function nothingLeft({ a, b }: TwoNodes): void {
  const nothing = { pendingCalls: 0, runningCalls: 0, stuckCalls: 0, bufferedBytes: 0 };
  expect(a.stats()).toMatchObject(nothing);
  expect(b.stats()).toMatchObject(nothing);
}

/** Runs a fifth to warm up, then the rest; the heap must not have grown with them. */
async function staysFlat(nodes: TwoNodes, total: number, round: (count: number) => Promise<void>): Promise<void> {
  const quiet = (): Promise<void> => {
    return until(() => nodes.b.stats().runningCalls === 0 && nodes.a.stats().pendingCalls === 0);
  };
  for (let n = 0; n < total / 5; n += AT_ONCE) await round(AT_ONCE);
  await quiet();
  const before = await heldBytes();
  for (let n = total / 5; n < total; n += AT_ONCE) await round(AT_ONCE);
  await quiet();
  expect((await heldBytes()) - before).toBeLessThan(4 * MIB);
  nothingLeft(nodes);
}

describe('K-03 streams that are abandoned', { timeout: SOAK ? 1_200_000 : 120_000 }, () => {
  it(`K-03 ${STREAMS / 3} by whoever reads them: before, during and between reads`, async () => {
    await using nodes = await twoNodes({ driver: 'tcp' });
    const left = endless(nodes);
    await staysFlat(nodes, STREAMS / 3, async (count) => {
      await Promise.all(
        Array.from({ length: count }, async (_, n) => {
          const iterator = nodes.a.stream(B, 'endless', 'items')[Symbol.asyncIterator]();
          if (n % 3 === 1) void iterator.next();
          if (n % 3 === 2) await iterator.next();
          await iterator.return?.();
          expect(await iterator.next()).toEqual({ done: true, value: undefined });
        }),
      );
    });
    expect(left.ended).toBe(left.begun);
  });

  it(`K-03 ${STREAMS / 3} by never reading them: they end at their deadline`, async () => {
    await using nodes = await twoNodes({ virtual: { seed: 5 } });
    const left = endless(nodes);
    const { clock } = nodes;
    let made = 0;
    const round = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n += 1) {
        const iterator = nodes.a.stream(B, 'endless', 'items', [], { timeout: 1000 })[Symbol.asyncIterator]();
        made += 1;
        // Half of them are forgotten after the first item.
        if (n % 2 === 0) void iterator.next();
      }
      await clock?.advance(500);
      expect(nodes.b.stats().runningCalls).toBe(count);
      await clock?.advance(600);
      await until(() => nodes.b.stats().runningCalls === 0);
    };
    const total = STREAMS / 3;
    for (let n = 0; n < total / 5; n += AT_ONCE) await round(AT_ONCE);
    const before = await heldBytes();
    for (let n = total / 5; n < total; n += AT_ONCE) await round(AT_ONCE);
    expect((await heldBytes()) - before).toBeLessThan(4 * MIB);
    nothingLeft(nodes);
    expect([left.begun, left.ended]).toEqual([made, made]);
  });

  it(`K-03 ${STREAMS / 3} by losing their connection`, async () => {
    await using nodes = await twoNodes({ virtual: { seed: 6 }, options: { reconnect: { min: 1, max: 1 } } });
    const left = endless(nodes);
    const round = async (count: number): Promise<void> => {
      const reads = Array.from({ length: count }, async () => {
        const items = nodes.a.stream(B, 'endless', 'items', [], { waitForReady: true, timeout: 60_000 });
        for await (const _ of items) await new Promise((resolve) => setImmediate(resolve));
      });
      const outcomes = Promise.allSettled(reads);
      await nodes.clock?.advance(50);
      for (const link of nodes.network.links) link.cut();
      await nodes.clock?.advance(50);
      for (const outcome of await outcomes) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'connection_lost' } });
      }
    };
    for (let n = 0; n < STREAMS / 15; n += AT_ONCE) await round(AT_ONCE);
    const before = await heldBytes();
    for (let n = STREAMS / 15; n < STREAMS / 3; n += AT_ONCE) await round(AT_ONCE);
    await until(() => left.begun === left.ended);
    expect((await heldBytes()) - before).toBeLessThan(4 * MIB);
    nothingLeft(nodes);
  });

  it('K-03 arguments whose function has read enough: their sources are stopped, also in the middle of an item', async () => {
    await using nodes = await twoNodes({ driver: 'tcp' });
    endless(nodes);
    let stopped = 0;
    async function* source(bytes: number): AsyncGenerator<Buffer> {
      try {
        for (;;) yield Buffer.alloc(bytes);
      } finally {
        stopped += 1;
      }
    }
    for (let n = 0; n < 200; n += 1) {
      const bytes = n % 2 === 0 ? 100 : MIB;
      const calls = Array.from({ length: 5 }, () => nodes.a.call(B, 'endless', 'read', [source(bytes)]));
      expect(await Promise.all(calls)).toEqual(Array.from({ length: 5 }, () => 'enough'));
    }
    await until(() => stopped === 1000);
    await until(() => nodes.b.stats().bufferedBytes === 0);
    nothingLeft(nodes);
    expect(nodes.a.stats().counts.connected).toBe(1);
  });
});
