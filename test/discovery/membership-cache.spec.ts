/** The file of what was known of others: written seldom, and not after the end. */
import { describe, expect, it } from 'vitest';
import { MembershipCache } from '../../lib/discovery/membership-cache.js';
import type { Files } from '../../lib/ports/files.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

const RECORDS = [{ name: 'a@h', locations: [{}] }];

function cacheWith(replace: Files['replace']) {
  const clock = new VirtualClock();
  const failures: string[] = [];
  const files: Files = { read: () => Buffer.from('[]'), replace, watch: () => ({ close() {} }) };
  const failed = (doing: string, { message }: Error): void => void failures.push(`${doing}: ${message}`);
  return { clock, failures, cache: new MembershipCache({ path: 'nodes.json', clock, files, failed }) };
}

describe('the cache of members', () => {
  it('writes what changes within a second once, as it is then', async () => {
    const written: string[] = [];
    const { clock, cache } = cacheWith((_, text) => void written.push(text));
    cache.write(() => []);
    await clock.advance(500);
    cache.write(() => RECORDS);
    await clock.advance(5000);
    expect(written).toHaveLength(1);
    cache.write(() => RECORDS);
    await clock.advance(1000);
    expect(JSON.parse(written[1] ?? '')).toEqual(RECORDS);
  });

  it('writes nothing after the end, and leaves no timer', async () => {
    const written: string[] = [];
    const { clock, cache } = cacheWith((_, text) => void written.push(text));
    cache.write(() => RECORDS);
    cache.close();
    expect(clock.pending).toBe(0);
    await clock.advance(5000);
    expect(written).toEqual([]);
  });

  it('tells each time that it cannot write, and goes on', async () => {
    const { clock, cache, failures } = cacheWith(() => {
      throw new Error('no such directory');
    });
    for (let time = 0; time < 2; time += 1) {
      cache.write(() => RECORDS);
      await clock.advance(1000);
    }
    expect(failures).toEqual(['write: no such directory', 'write: no such directory']);
  });
});
