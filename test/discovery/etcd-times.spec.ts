/** When etcd is asked, how long it is waited for, and what is told at once: on a clock of the test's own. */
import { describe, expect, it } from 'vitest';
import { EtcdDiscovery } from '../../lib/discovery/etcd.discovery.js';
import type { EtcdOptions } from '../../lib/discovery/etcd-options.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { PREFIX, placeAt, recordOf } from '../support/etcd-source.js';
import { FakeEtcd } from '../support/fake-etcd.js';
import { SourceTable } from '../support/source-table.js';

const A = 'a@127.0.0.2';
const B = 'b@127.0.0.2';
const ONE = '10.0.0.1:2379';
const TWO = '10.0.0.2:2379';
const RANGE = '/v3/kv/range';

class World implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly etcd = new FakeEtcd(this.clock);
  readonly table = new SourceTable(this.clock);
  readonly source: EtcdDiscovery;
  tellings = 0;

  constructor(options: Partial<EtcdOptions> = {}, seed = 1) {
    const ports = { clock: this.clock, http: this.etcd, random: new SeededRandom(seed) };
    this.source = new EtcdDiscovery({ endpoints: [`http://${ONE}`], ...options }, ports);
  }

  watch(): void {
    const { membership } = this.table;
    this.source.watch({
      members: (records) => {
        this.tellings += 1;
        return membership.members(records);
      },
      failed: (cause) => membership.failed(cause),
    });
  }

  put(name: string, port: number, isTold = true): void {
    this.etcd.put(PREFIX + name, JSON.stringify(recordOf(name, port)), '0', isTold);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.source.close();
    await this.clock.advance(1000);
    await closing;
    this.table.membership.close();
    expect(this.clock.pending).toBe(0);
    expect(this.etcd.watches.size).toBe(0);
  }
}

function gaps(times: readonly number[]): number[] {
  return times.slice(1).map((at, index) => at - (times[index] ?? 0));
}

describe('a source in etcd', () => {
  it('keeps its lease alive three times while it lasts', async () => {
    await using world = new World();
    const registered = world.source.register(recordOf(A, 1));
    await world.clock.advance(60_000);
    await registered;
    expect(world.etcd.asked.find(({ path }) => path === '/v3/lease/grant')?.body).toEqual({ TTL: '15' });
    expect(world.etcd.times('/v3/lease/keepalive')).toEqual(
      [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60].map((s) => s * 1000),
    );
  });

  it('has a new lease as soon as it hears that the old one has ended', async () => {
    await using world = new World();
    void world.source.register(recordOf(A, 1));
    await world.clock.advance(4000);
    world.etcd.leases.set('1000', false);
    world.etcd.delete(PREFIX + A, false);
    await world.clock.advance(999);
    expect(world.etcd.valueOf(PREFIX + A)).toBeUndefined();
    await world.clock.advance(1);
    expect(world.etcd.valueOf(PREFIX + A)).toEqual(recordOf(A, 1));
    expect([...world.etcd.leases.values()]).toEqual([false, true]);
  });

  it('D-06 does not take a name back that another process took while its lease had ended', async () => {
    await using world = new World();
    void world.source.register(recordOf(A, 1, 'first'));
    await world.clock.advance(100);
    world.etcd.leases.set('1000', false);
    world.etcd.put(PREFIX + A, JSON.stringify(recordOf(A, 2, 'second')), '77', false);
    await world.clock.advance(60_000);
    expect(world.etcd.valueOf(PREFIX + A)).toEqual(recordOf(A, 2, 'second'));
    world.etcd.delete(PREFIX + A, false);
    await world.clock.advance(20_000);
    expect(world.etcd.valueOf(PREFIX + A)).toEqual(recordOf(A, 1, 'first'));
  });

  it('asks about every ten seconds whether it was told everything, and never in step with others', async () => {
    const seen: number[] = [];
    for (const seed of [1, 2, 3]) {
      await using world = new World({}, seed);
      world.put(A, 1);
      world.watch();
      await world.clock.advance(100_000);
      const times = world.etcd.times(RANGE);
      for (const gap of gaps(times)) expect(gap).toBeGreaterThanOrEqual(8000);
      for (const gap of gaps(times)) expect(gap).toBeLessThanOrEqual(12_000);
      seen.push(...times.slice(1));
    }
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('tells at once whoever comes to listen when it is known already', async () => {
    await using world = new World({ checkInterval: 2_000_000_000 });
    world.put(A, 1);
    void world.source.register(recordOf(B, 2));
    await world.clock.advance(1000);
    world.watch();
    await world.clock.advance(1);
    expect(Object.keys(world.table.places)).toEqual([A, B]);
  });

  it('says after each answer that what is known is as new as that', async () => {
    await using world = new World();
    world.put(A, 1);
    world.watch();
    await world.clock.advance(100_000);
    expect(world.table.membership.ageMs).toBeLessThanOrEqual(12_000);
    world.etcd.manners.set(ONE, 'is silent');
    await world.clock.advance(100_000);
    expect(world.table.membership.ageMs).toBeGreaterThan(100_000);
    expect(world.table.places).toEqual({ [A]: [placeAt(1)] });
  });

  it('D-04 reads everything again about every five minutes', async () => {
    await using world = new World({ checkInterval: 2_000_000_000 });
    world.watch();
    await world.clock.advance(3_600_000);
    const lists = gaps(world.etcd.times(RANGE));
    expect(lists.length).toBeGreaterThanOrEqual(10);
    for (const gap of lists) expect(gap).toBeGreaterThanOrEqual(240_000);
    for (const gap of lists) expect(gap).toBeLessThanOrEqual(360_100);
  });

  it('D-04 knows within a check and a moment of what it was not told', async () => {
    await using world = new World();
    world.put(A, 1);
    world.watch();
    await world.clock.advance(20_000);
    world.put(B, 2, false);
    await world.clock.advance(12_000 + 1000 + 100);
    expect(world.table.places).toEqual({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
    expect(world.table.failures.map(({ message }) => message)).toEqual([
      "etcd's watch has not told that something was written at revision 3: everything is read again.",
    ]);
  });

  it('D-04 does not read everything again for an event that is only late', async () => {
    await using world = new World();
    world.put(A, 1);
    world.watch();
    await world.clock.advance(1000);
    const lists = (): number =>
      world.etcd.asked.filter(({ path, body }) => path === RANGE && body['limit'] === '500').length;
    for (const port of [2, 3, 4]) {
      world.put(A, port, false);
      const before = world.etcd.times(RANGE).length;
      while (world.etcd.times(RANGE).length === before) await world.clock.advance(10);
      // It has been seen that something is missing; here it comes.
      const [watch] = world.etcd.watches;
      const kv = { key: Buffer.from(PREFIX + A).toString('base64'), mod_revision: String(port + 1), lease: '0' };
      const value = Buffer.from(JSON.stringify(recordOf(A, port))).toString('base64');
      watch?.push({ result: { events: [{ kv: { ...kv, value } }] } });
      await world.clock.advance(5000);
    }
    expect(lists()).toBe(1);
    expect(world.table.failures).toEqual([]);
  });

  it('D-07 leaves out a value that is larger than any answer may be, and no other', async () => {
    await using world = new World();
    for (let port = 1; port <= 30; port += 1) world.put(`n${port}@127.0.0.2`, port);
    const large = 'n15a@127.0.0.2';
    world.etcd.put(PREFIX + large, JSON.stringify({ ...recordOf(large, 1), padding: 'x'.repeat(7_000_000) }));
    world.watch();
    await world.clock.advance(100);
    expect(world.table.membership.size).toBe(30);
    expect(world.table.refused).toEqual([expect.stringContaining(large)]);
    expect(world.table.failures).toEqual([]);
  });

  it('tells of what arrives at once as of one change', async () => {
    await using world = new World();
    world.put(A, 1);
    world.watch();
    await world.clock.advance(100);
    const before = world.tellings;
    const [watch] = world.etcd.watches;
    watch?.push(
      ...Array.from({ length: 100 }, (_, at) => {
        const name = `n${at}@127.0.0.2`;
        const [key, value] = [PREFIX + name, JSON.stringify(recordOf(name, 1))].map((text) =>
          Buffer.from(text).toString('base64'),
        );
        return { result: { events: [{ kv: { key, value, mod_revision: String(10 + at) } }] } };
      }),
    );
    await world.clock.advance(10);
    expect(world.table.membership.size).toBe(101);
    expect(world.tellings - before).toBe(1);
  });

  it('D-03 reads once more, about a second later, when it has told of nobody and was not believed', async () => {
    await using world = new World({ checkInterval: 2_000_000_000 });
    world.put(A, 1);
    world.watch();
    await world.clock.advance(1000);
    world.etcd.delete(PREFIX + A);
    await world.clock.advance(790);
    expect([world.table.doubts, world.table.membership.size]).toEqual([1, 1]);
    await world.clock.advance(1200 + 100 - 790);
    expect([world.table.doubts, world.table.membership.size]).toEqual([1, 0]);
  });

  it('leaves an endpoint that does not answer within requestTimeout for the next', async () => {
    await using world = new World({ endpoints: [`http://${ONE}`, `http://${TWO}`] }, 1);
    world.put(A, 1);
    world.watch();
    await world.clock.advance(20_000);
    const [used = ''] = world.etcd.asked.map(({ host }) => host);
    const other = used === ONE ? TWO : ONE;
    world.etcd.manners.set(used, 'is silent');
    world.put(B, 2, false);
    await world.clock.advance(12_000 + 3000 + 100);
    expect(world.etcd.times('/v3/watch', other)).toHaveLength(1);
    expect(world.table.places).toEqual({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
    await world.clock.advance(60_000);
    expect(new Set(world.etcd.asked.slice(-4).map(({ host }) => host))).toEqual(new Set([other]));
    expect(world.etcd.watches.size).toBe(1);
  });

  it('begins at another endpoint than others', async () => {
    const first = new Set<string>();
    for (let seed = 0; seed < 20; seed += 1) {
      await using world = new World({ endpoints: [`http://${ONE}`, `http://${TWO}`] }, seed);
      world.watch();
      await world.clock.advance(1);
      first.add(world.etcd.asked[0]?.host ?? '');
    }
    expect(first).toEqual(new Set([ONE, TWO]));
  });

  it('D-02 asks an etcd that is away less and less often, and in an hour forgets nothing', async () => {
    await using world = new World();
    world.put(A, 1);
    world.watch();
    void world.source.register(recordOf(B, 2));
    await world.clock.advance(20_000);
    const known = world.table.places;
    world.etcd.manners.set(ONE, 'refuses');
    for (const watch of world.etcd.watches) watch.push({ error: { message: 'gone', grpc_code: 14 } });
    const before = world.etcd.asked.length;
    await world.clock.advance(3_600_000);
    // Full jitter: 5 s in the middle for what is watched, 2.5 s for what is registered.
    expect(world.etcd.asked.length - before).toBeGreaterThan(500);
    expect(world.etcd.asked.length - before).toBeLessThan(4000);
    expect(world.table.places).toEqual(known);
    expect(Object.keys(known)).toHaveLength(2);
    world.etcd.manners.delete(ONE);
    world.etcd.delete(PREFIX + A);
    await world.clock.advance(25_000);
    expect(Object.keys(world.table.places)).toEqual([B]);
  });

  it('takes a second at most to go', async () => {
    await using world = new World();
    void world.source.register(recordOf(A, 1));
    await world.clock.advance(100);
    world.etcd.manners.set(ONE, 'is silent');
    let isGone = false;
    const going = world.source.deregister().then(() => (isGone = true));
    await world.clock.advance(999);
    expect(isGone).toBe(false);
    await world.clock.advance(1);
    expect(isGone).toBe(true);
    await going;
  });

  it.each(['no JSON', '[]', '7', '{"result":{"events":[7,null,{"kv":7},{"type":"DELETE"}]}}', '{"result":[]}', '{}'])(
    'survives a watch that says %s',
    async (line) => {
      await using world = new World();
      world.put(A, 1);
      world.watch();
      await world.clock.advance(1000);
      const [watch] = world.etcd.watches;
      watch?.pushText(`${line}\n`);
      await world.clock.advance(20_000);
      world.put(B, 2);
      await world.clock.advance(20_000);
      expect(world.table.membership.get(A)?.record.locations).toEqual([placeAt(1)]);
      expect(world.table.membership.get(B)?.record.locations).toEqual([placeAt(2)]);
    },
  );
});
