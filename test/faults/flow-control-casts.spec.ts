/** Group B of the fault list: casts that come faster than they are run. */
import { describe, expect, it } from 'vitest';
import { STREAM_CREDIT } from '../../lib/protocol/frame.js';
import { twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { heldBytes } from '../support/heap.js';

const SOAK = process.env['GEN_RPC_SOAK'] === '1';
const CASTS = SOAK ? 1_000_000 : 100_000;
const B = 'b@127.0.0.1';

describe('B-07 a flood of casts to a slow function', { timeout: SOAK ? 600_000 : 60_000 }, () => {
  it(`B-07 ${CASTS} of them: those that are not accepted are said to be, the others run once each`, async () => {
    await using nodes = await twoNodes({ driver: 'tcp' });
    const ran = new Uint8Array(CASTS);
    let most = 0;
    let running = 0;
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    nodes.b.register('slow', {
      cast: async ([n]: [number]) => {
        ran[n] = (ran[n] ?? 0) + 1;
        running += 1;
        most = Math.max(most, running);
        await gate;
        running -= 1;
      },
    });
    await nodes.a.connect(B);
    const before = await heldBytes();
    const accepted = new Uint8Array(CASTS);
    const flood = (from: number, to: number): void => {
      for (let n = from; n < to; n += 1) accepted[n] = nodes.a.cast(B, 'slow', 'cast', [n]) ? 1 : 0;
    };
    // Half of them while nothing ends: credit runs out here, and then the line that waits for it is full.
    for (let n = 0; n < CASTS / 2; n += 1000) {
      flood(n, n + 1000);
      if (n % 10_000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(accepted.lastIndexOf(1)).toBeLessThan(CASTS / 2 - 1);
    expect((await heldBytes()) - before).toBeLessThan(32 * 1024 * 1024);
    // Those that cost more than 64 bytes each have left as far as there was credit, and no further.
    await until(() => running > 0);
    expect(most).toBeLessThanOrEqual(STREAM_CREDIT / 64 + 1);
    open();
    // The others while they do.
    for (let n = CASTS / 2; n < CASTS; n += 100) {
      flood(n, n + 100);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const count = accepted.reduce((sum, one) => sum + one, 0);
    await until(() => ran.reduce((sum, one) => sum + one, 0) >= count && running === 0);
    expect(Buffer.from(ran).equals(Buffer.from(accepted))).toBe(true);
    expect(count).toBeGreaterThan(10_000);
    const { a, b } = nodes;
    expect(a.stats().counts.cast_not_accepted).toBe(CASTS - count);
    expect(b.stats().counts).not.toHaveProperty('cast_overload');
    expect([a.stats().bufferedBytes, b.stats().bufferedBytes]).toEqual([0, 0]);
  });

  it('B-07 and the connection ends: each that was accepted has run, or is counted as dropped or unseen', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 7, latency: () => 1 } });
    let ran = 0;
    nodes.b.register('slow', { cast: () => new Promise(() => (ran += 1)) });
    const connected = nodes.a.connect(B);
    await nodes.clock?.advance(100);
    await connected;
    let accepted = 0;
    for (let n = 0; n < 20_000; n += 1) accepted += nodes.a.cast(B, 'slow', 'cast', [n]) ? 1 : 0;
    await nodes.clock?.advance(100);
    expect(ran).toBeGreaterThan(100);
    for (const link of nodes.network.links) link.cut();
    await nodes.clock?.advance(100);
    expect(nodes.a.stats().counts.cast_dropped).toBe(accepted - ran);
    expect(accepted).toBeLessThan(20_000);
    // Functions that never end would hold the drain of this test.
    nodes.b.abort();
  });
});
