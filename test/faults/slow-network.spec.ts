/** A slow network that is shared: large messages leave room for small ones, and their slowness is not taken for death. */
import { describe, expect, it } from 'vitest';
import type { Target } from '../../lib/client/target.js';
import { SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { describeOnNetworks, Link } from '../support/net-namespace.js';
import { NetNode } from '../support/net-node.js';

const MEGABITS = 10;
/** 4 MiB, the largest there is, as a list of arguments. */
const MESSAGE = 4 * 1024 * 1024 - 16;
const AT_ONCE = 16;
/** What a slow connection may have waiting: the bulk of these tests, which is not what they are about. */
const ROOM = 2 * AT_ONCE * MESSAGE;
const PINGS = { count: 300, every: 15 };

const DIRECTIONS = ['up', 'down'] as const;

/** ms below which so large a part of `times` is. */
function percentile(times: readonly number[], share: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * share) - 1] ?? NaN;
}

describeOnNetworks(`small calls beside ${AT_ONCE} of 4 MiB on a link of ${MEGABITS} Mbit/s`, () => {
  /** The slowest but 1 % of small calls to `b` by this key, while large ones without a key fill the link. */
  async function slowestSmallCall(driver: SocketDriver, direction: 'up' | 'down', key?: string): Promise<number> {
    await using link = await Link.create();
    await Promise.all(link.ends.map((end) => end.limitOutgoing(MEGABITS)));
    await using b = await NetNode.start(driver, link.far, 'b', { maxQueuedBytes: ROOM });
    await using a = await NetNode.start(driver, link.near, 'a', { maxQueuedBytes: ROOM });
    const target: Target = { node: b.name, key };
    await a.call(b.name, 'echo', ['connected', 1]);
    await a.call(target, 'echo', ['connected by key', 1]);
    await a.startBulk({ target: b.name, count: AT_ONCE, bytes: MESSAGE, direction });
    // The link is full from now on.
    const receiver = direction === 'up' ? b : a;
    while ((await receiver.stats()).bytesRead < 512 * 1024) expect((await a.stats()).pendingCalls).toBe(AT_ONCE);
    const pings = await a.ping(target, PINGS);
    expect(await a.stopBulk()).toMatchObject({ failed: [] });
    expect(pings.filter(({ value }) => value !== 1)).toEqual([]);
    expect((await a.stats()).counts).toEqual({
      dialled: key === undefined ? 1 : 2,
      connected: key === undefined ? 1 : 2,
    });
    return percentile(
      pings.map(({ ms }) => ms),
      0.99,
    );
  }

  it.each(DIRECTIONS)(
    'B-10 on the connection that large ones go %s: 99 % within 300 ms',
    { timeout: 90_000 },
    async (direction) => {
      expect(await slowestSmallCall('tcp', direction)).toBeLessThanOrEqual(300);
    },
  );

  it.each(DIRECTIONS)(
    'B-10 on one of their own, while large ones go %s: 99 % within 100 ms',
    { timeout: 90_000 },
    async (direction) => {
      expect(await slowestSmallCall('tcp', direction, 'small')).toBeLessThanOrEqual(100);
    },
  );
});

describeOnNetworks('a message that takes longer than a peer may be silent', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each(DIRECTIONS)('S-08 on its way %s: bytes that flow are life', { timeout: 60_000 }, async (direction) => {
      const keepalive = { idle: 250, interval: 250, count: 2 };
      await using link = await Link.create();
      await Promise.all(link.ends.map((end) => end.limitOutgoing(MEGABITS)));
      await using b = await NetNode.start(driver, link.far, 'b', { keepalive });
      await using a = await NetNode.start(driver, link.near, 'a', { keepalive });
      const [fn, args] = direction === 'up' ? ['take', ['x'.repeat(MESSAGE)]] : ['give', [MESSAGE]];
      const end = await a.call(b.name, fn, args, { timeout: 30_000 });
      expect(end).toMatchObject({ value: MESSAGE });
      // Or there was nothing to be patient about.
      expect(end.ms).toBeGreaterThan(1500);
      expect((await a.stats()).counts).toEqual({ dialled: 1, connected: 1 });
    });
  });
});

describeOnNetworks('a node that drains behind a slow link', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it(
      'G-01 a reply that is half sent arrives, however long it takes within the grace period',
      { timeout: 60_000 },
      async () => {
        await using link = await Link.create();
        await using b = await NetNode.start(driver, link.far, 'b');
        await using a = await NetNode.start(driver, link.near, 'a');
        await a.call(b.name, 'echo', ['connected', 1]);
        await link.far.limitOutgoing(4);
        const reply = a.call(b.name, 'give', [MESSAGE], { timeout: 40_000 });
        while ((await a.stats()).bytesRead < 256 * 1024);
        await b.drain(40_000);
        expect(await reply).toMatchObject({ value: MESSAGE });
      },
    );
  });
});
