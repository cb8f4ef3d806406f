/** Between nodes that are far apart windows grow to what the line can carry: of items and casts as of large messages. */
import { describe, expect, it } from 'vitest';
import { STREAM_CREDIT } from '../../lib/protocol/frame.js';
import { twoNodes } from '../support/cluster.js';

const B = 'b@127.0.0.1';
const ONE_WAY_MS = 50;
const ITEM = 1024;
const ITEMS = 10_000;
/** Were there never more on the way than at first, each round trip would bring as much. */
const MS_WITHOUT_GROWTH = ((ITEMS * ITEM) / STREAM_CREDIT) * 2 * ONE_WAY_MS;

async function* items(): AsyncGenerator<Buffer> {
  for (let made = 0; made < ITEMS; made += 1) yield Buffer.alloc(ITEM);
}

async function count(read: AsyncIterable<Buffer>): Promise<number> {
  let counted = 0;
  for await (const item of read) counted += item.length / ITEM;
  return counted;
}

describe('over a line of 100 ms there and back', () => {
  it.each(['a reply', 'an argument'])(
    'a stream takes a small part of the time that it would with its first window, as %s',
    async (role) => {
      await using nodes = await twoNodes({ virtual: { seed: 1, latency: () => ONE_WAY_MS } });
      const { a, b, clock } = nodes;
      b.register('far', { items, count: ([read]: [AsyncIterable<Buffer>]) => count(read) });
      const startedAt = clock?.now() ?? 0;
      const options = { timeout: 2 * MS_WITHOUT_GROWTH };
      const counted =
        role === 'a reply'
          ? count(a.stream<Buffer>(B, 'far', 'items', [], options))
          : a.call(B, 'far', 'count', [items()], options);
      const took = counted.then((number) => {
        expect(number).toBe(ITEMS);
        return (clock?.now() ?? 0) - startedAt;
      });
      await clock?.advance(2 * MS_WITHOUT_GROWTH);
      expect(await took).toBeLessThan(MS_WITHOUT_GROWTH / 5);
    },
  );

  it('so do casts', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 2, latency: () => ONE_WAY_MS } });
    const { a, b, clock } = nodes;
    let ran = 0;
    b.register('far', { note: () => void (ran += 1) });
    for (let sent = 0; sent < ITEMS; sent += 1) expect(a.cast(B, 'far', 'note', [Buffer.alloc(ITEM)])).toBe(true);
    await clock?.advance(MS_WITHOUT_GROWTH / 3);
    expect(ran).toBe(ITEMS);
  });
});
