/** What is told of a node in etcd, and that this stays so for as long as the node lives. */
import { expect, it } from 'vitest';
import { until } from '../support/door.js';
import { describeWithEtcd, Etcd } from '../support/etcd.js';
import { EtcdSource, placeAt, PREFIX, recordOf } from '../support/etcd-source.js';

const A = 'a@127.0.0.2';
const KEY = PREFIX + A;

/** Waits until `check`, which asks etcd, holds. */
async function eventually(check: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 15_000;
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`waited in vain until ${String(check)}`);
  }
}

/** A source that has registered `a`. */
async function withA(body: (etcd: Etcd, source: EtcdSource) => Promise<void>): Promise<void> {
  await using etcd = await Etcd.start();
  await using source = new EtcdSource({ endpoints: [etcd.endpoint] });
  await source.source.register(recordOf(A, 1, 'first life'));
  await body(etcd, source);
}

describeWithEtcd('a node in etcd', () => {
  it('is there under a lease once it is registered, as it is now, and is gone once it is deregistered', () =>
    withA(async (etcd, { source }) => {
      await expect(etcd.get(KEY)).resolves.toEqual(recordOf(A, 1, 'first life'));
      const lease = await etcd.leaseOf(KEY);
      expect(lease).toMatch(/^\d{5,}$/);
      await source.register({ ...recordOf(A, 2, 'first life'), modules: [{ name: 'math', versions: ['1.0.0'] }] });
      await expect(etcd.get(KEY)).resolves.toMatchObject({ locations: [placeAt(2)], modules: [{ name: 'math' }] });
      await expect(etcd.leaseOf(KEY)).resolves.toBe(lease);
      await source.deregister();
      await expect(etcd.get(KEY)).resolves.toBeUndefined();
      await source.register(recordOf(A, 3, 'first life'));
      await expect(etcd.get(KEY)).resolves.toMatchObject({ locations: [placeAt(3)] });
      await source.close();
      await expect(etcd.get(KEY)).resolves.toBeUndefined();
    }));

  it('is there for longer than its lease was granted for', () =>
    withA(async (etcd, source) => {
      const lease = await etcd.leaseOf(KEY);
      const alive = () => source.http.asked.filter((path) => path === '/v3/lease/keepalive').length;
      // Three to a lease of two seconds.
      await until(() => alive() >= 5);
      await expect(etcd.leaseOf(KEY)).resolves.toBe(lease);
    }));

  it('that has died without a word is gone when its lease ends, not before', async () => {
    await using etcd = await Etcd.start();
    await using witness = new EtcdSource({ endpoints: [etcd.endpoint] });
    await etcd.put(`${PREFIX}w@127.0.0.2`, JSON.stringify(recordOf('w@127.0.0.2', 9)));
    const since = performance.now();
    {
      await using source = new EtcdSource({ endpoints: [etcd.endpoint] });
      await source.source.register(recordOf(A, 1));
      await until(() => witness.membership.size === 2);
      // As for a process that is killed, etcd does not hear of its end.
      source.http.isRefusing = true;
    }
    expect(witness.membership.size).toBe(2);
    await until(() => witness.membership.size === 1);
    expect(performance.now() - since).toBeGreaterThan(1500);
  });

  it('is registered as soon as etcd can be reached', async () => {
    await using etcd = await Etcd.start();
    await etcd.kill();
    await using source = new EtcdSource({ endpoints: [etcd.endpoint] });
    let isRegistered = false;
    const registered = source.source.register(recordOf(A, 1)).then(() => (isRegistered = true));
    await until(() => source.failures.length > 3);
    expect(isRegistered).toBe(false);
    await etcd.restart();
    await registered;
    await expect(etcd.get(KEY)).resolves.toEqual(recordOf(A, 1));
  });

  it('goes without waiting where etcd cannot be reached', () =>
    withA(async (etcd, { source }) => {
      await etcd.stop();
      const since = performance.now();
      await source.deregister();
      await source.close();
      expect(performance.now() - since).toBeLessThan(5000);
      etcd.wake();
    }));

  it.each<[string, (etcd: Etcd) => Promise<void>]>([
    ['is deleted by hand', (etcd) => etcd.delete(KEY)],
    ['loses its lease', async (etcd) => etcd.revoke((await etcd.leaseOf(KEY)) ?? '')],
    ['is overwritten with something else', (etcd) => etcd.put(KEY, 'nonsense')],
    ['is overwritten with a place where it is not', (etcd) => etcd.put(KEY, JSON.stringify(recordOf(A, 666)))],
    [
      'is overwritten by whoever claims to be another process of it',
      (etcd) => etcd.put(KEY, JSON.stringify(recordOf(A, 666, 'made up'))),
    ],
    ['is overwritten by whoever copies it', (etcd) => etcd.put(KEY, JSON.stringify(recordOf(A, 666, 'first life')))],
    [
      'is gone with all of etcd',
      async (etcd) => {
        await etcd.kill();
        etcd.forget();
        await etcd.restart();
      },
    ],
  ])('D-05 that %s while the node lives is written again, under a lease', (_, harm) =>
    withA(async (etcd) => {
      const before = await etcd.revision();
      await harm(etcd);
      expect(await etcd.revision()).not.toBe(before);
      await eventually(async () => {
        const now = (await etcd.get(KEY).catch(() => undefined)) as { locations?: unknown } | undefined;
        return JSON.stringify(now?.locations) === JSON.stringify([placeAt(1)]);
      });
      await expect(etcd.leaseOf(KEY)).resolves.toMatch(/^\d{5,}$/);
    }),
  );

  it('D-05 whose lease ends while it stands still is written again when it goes on', () =>
    withA(async (etcd, source) => {
      source.http.isRefusing = true;
      source.http.cut();
      await eventually(async () => (await etcd.get(KEY)) === undefined);
      source.http.isRefusing = false;
      await eventually(async () => (await etcd.get(KEY)) !== undefined);
    }));

  it('D-06 that two processes claim is of the one that came last, and of the other again when that is gone', () =>
    withA(async (etcd, first) => {
      const writes = ({ http }: EtcdSource): number => http.asked.filter((path) => path === '/v3/kv/txn').length;
      {
        await using second = new EtcdSource({ endpoints: [etcd.endpoint] });
        await second.source.register(recordOf(A, 2, 'second life'));
        await first.holds({ [A]: [placeAt(2)] });
        // What it has to tell changes; but the name is not its own any more.
        await first.source.register(recordOf(A, 3, 'first life'));
        const alive = () => second.http.asked.filter((path) => path === '/v3/lease/keepalive').length;
        await until(() => alive() >= 3);
        await expect(etcd.get(KEY)).resolves.toMatchObject({ locations: [placeAt(2)] });
        expect([writes(first), writes(second)]).toEqual([1, 1]);
      }
      await eventually(async () => (await etcd.get(KEY)) !== undefined);
      await expect(etcd.get(KEY)).resolves.toMatchObject({ locations: [placeAt(3)] });
    }));

  it('D-06 that takes a name back from an earlier process of its own is not taken away with that', () =>
    withA(async (etcd, first) => {
      await using second = new EtcdSource({ endpoints: [etcd.endpoint] });
      await second.source.register(recordOf(A, 2, 'second life'));
      await first.source.close();
      await expect(etcd.get(KEY)).resolves.toMatchObject({ locations: [placeAt(2)] });
    }));

  it('that has more to tell than anybody reads says so', async () => {
    await using etcd = await Etcd.start();
    await using source = new EtcdSource({ endpoints: [etcd.endpoint] });
    const modules = Array.from({ length: 900 }, (_, at) => ({ name: `${'m'.repeat(100)}${at}`, versions: [''] }));
    void source.source.register({ ...recordOf(A, 1), modules });
    await until(() => source.hasFailed(/^The record of a@127.0.0.2 has \d+ bytes/));
    await expect(etcd.get(KEY)).resolves.toBeUndefined();
  });
});
