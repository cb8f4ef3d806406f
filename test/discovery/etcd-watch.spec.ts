/** What becomes of a watch that etcd drops, forgets, cancels, or lets fall silent. */
import { expect, it } from 'vitest';
import { until } from '../support/door.js';
import { describeWithEtcd, Etcd } from '../support/etcd.js';
import { EtcdSource, placeAt, PREFIX, recordOf } from '../support/etcd-source.js';
import type { Places } from '../support/source-table.js';

const A = 'a@127.0.0.2';
const B = 'b@127.0.0.2';
const C = 'c@127.0.0.2';

async function put(etcd: Etcd, name: string, port: number): Promise<void> {
  await etcd.put(PREFIX + name, JSON.stringify(recordOf(name, port)));
}

function places(ports: Readonly<Record<string, number>>): Places {
  return Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, [placeAt(port)]]));
}

/** With `a` in it, and a source that knows it. */
async function withA(body: (etcd: Etcd, source: EtcdSource) => Promise<void>, options: object = {}): Promise<void> {
  await using etcd = await Etcd.start();
  await put(etcd, A, 1);
  await using source = new EtcdSource({ endpoints: [etcd.endpoint], ...options });
  await source.holds(places({ [A]: 1 }));
  await until(() => source.http.lines.some((line) => line.includes('created')));
  await body(etcd, source);
}

function listsOf({ http }: EtcdSource): number {
  // The state of all keys is asked for by the same path, but on a watch of its own clock: see `NEVER`.
  return http.asked.filter((path) => path === '/v3/kv/range').length;
}

/** Only lists are read. */
const NEVER = { checkInterval: 600_000 };

describeWithEtcd('a watch of etcd', () => {
  it('D-04 that is cut goes on where it was, without reading all again', () =>
    withA(async (etcd, source) => {
      source.http.isRefusing = true;
      source.http.cut();
      await until(() => source.hasFailed(/refuses/));
      await put(etcd, B, 2);
      await etcd.delete(PREFIX + A);
      await put(etcd, C, 3);
      expect(source.places).toEqual(places({ [A]: 1 }));
      source.http.isRefusing = false;
      await source.holds(places({ [B]: 2, [C]: 3 }));
      expect(listsOf(source)).toBe(1);
    }, NEVER));

  it('D-04 whose revision is compacted meanwhile reads all again, and tells what is different', () =>
    withA(async (etcd, source) => {
      source.http.isRefusing = true;
      source.http.cut();
      await put(etcd, B, 2);
      await etcd.delete(PREFIX + A);
      await etcd.compact(await etcd.revision());
      source.http.isRefusing = false;
      await source.holds(places({ [B]: 2 }));
      expect(source.http.lines.some((line) => line.includes('compact_revision'))).toBe(true);
      expect(listsOf(source)).toBe(2);
      expect(Object.fromEntries(source.changes)).toEqual({ [A]: 2, [B]: 1 });
    }, NEVER));

  it('D-04 that etcd cancels reads all again', () =>
    withA(async (etcd, source) => {
      source.http.alter = () => '{"result":{"canceled":true,"cancel_reason":"the test wants it so"}}';
      await put(etcd, B, 2);
      await until(() => source.hasFailed(/cancelled the watch: "the test wants it so/));
      source.http.alter = (line) => line;
      await source.holds(places({ [A]: 1, [B]: 2 }));
      expect(source.changes.get(A)).toBe(1);
      expect(listsOf(source)).toBe(2);
    }, NEVER));

  it('D-04 that loses an event finds out, and tells what is different', () =>
    withA(async (etcd, source) => {
      source.http.alter = (line) => (line.includes('events') ? undefined : line);
      await put(etcd, B, 2);
      await until(() => source.hasFailed(/has not told that something was written at revision 3/));
      await source.holds(places({ [A]: 1, [B]: 2 }));
      await etcd.delete(PREFIX + A);
      await until(() => source.hasFailed(/has not told that there are 1 keys, and not 2/));
      await source.holds(places({ [B]: 2 }));
      expect(Object.fromEntries(source.changes)).toEqual({ [A]: 2, [B]: 1 });
    }));

  it('D-04 that loses an event, with nobody who would ask, is read as a whole all the same, now and then', () =>
    withA(
      async (etcd, source) => {
        source.http.alter = (line) => (line.includes('events') ? undefined : line);
        await put(etcd, B, 2);
        await source.holds(places({ [A]: 1, [B]: 2 }));
        expect(source.failures).toEqual([]);
      },
      { ...NEVER, resync: 800 },
    ));

  it('D-04 that falls silent is given up; what happened meanwhile is told when etcd is there again', () =>
    withA(async (etcd, source) => {
      await etcd.stop();
      await until(() => source.hasFailed(/has not answered within 700 ms/));
      expect(source.places).toEqual(places({ [A]: 1 }));
      etcd.wake();
      await put(etcd, B, 2);
      await source.holds(places({ [A]: 1, [B]: 2 }));
      expect(source.changes.get(A)).toBe(1);
    }));

  it('D-04 at an endpoint that falls silent goes on at another', { timeout: 60_000 }, async () => {
    const members = await Etcd.cluster();
    try {
      const [first] = members;
      if (first === undefined) return;
      await put(first, A, 1);
      await using source = new EtcdSource({ endpoints: members.map(({ endpoint }) => endpoint), requestTimeout: 1500 });
      await source.holds(places({ [A]: 1 }));
      // Each in turn: wherever the watch was, it was left.
      let ports: Readonly<Record<string, number>> = { [A]: 1 };
      for (const [at, member] of members.entries()) {
        const other = members[(at + 1) % members.length] ?? member;
        await member.stop();
        await tryUntilDone(() => put(other, B, 10 + at));
        ports = { ...ports, [B]: 10 + at };
        await source.holds(places(ports));
        member.wake();
        await tryUntilDone(() => put(member, C, 20 + at));
        ports = { ...ports, [C]: 20 + at };
        await source.holds(places(ports));
      }
      expect(source.changes.get(A)).toBe(1);
    } finally {
      await Promise.all(members.map((member) => member[Symbol.asyncDispose]()));
    }
  });

  it('D-03 of an etcd that has lost its data doubts it, believes it the second time, and goes on from there', () =>
    withA(async (etcd, source) => {
      await put(etcd, B, 2);
      await source.holds(places({ [A]: 1, [B]: 2 }));
      await etcd.kill();
      etcd.forget();
      await etcd.restart();
      await source.holds({});
      expect(source.doubts).toBe(1);
      await put(etcd, C, 3);
      await source.holds(places({ [C]: 3 }));
    }));

  it('D-04 of an etcd that has lost its data, and has as many keys again, goes on from there', async () => {
    await using etcd = await Etcd.start();
    // So that its revision is one that the next etcd does not come to.
    for (let times = 0; times < 20; times += 1) await etcd.put('/elsewhere', String(times));
    await put(etcd, A, 1);
    await using source = new EtcdSource({ endpoints: [etcd.endpoint] });
    await source.holds(places({ [A]: 1 }));
    await etcd.kill();
    etcd.forget();
    await etcd.restart();
    await put(etcd, B, 2);
    await source.holds(places({ [B]: 2 }));
    await put(etcd, C, 3);
    await source.holds(places({ [B]: 2, [C]: 3 }));
  });

  it('D-03 that is told of no keys at all for a moment forgets nobody', () =>
    withA(async (etcd, source) => {
      await etcd.delete(PREFIX + A);
      await until(() => source.doubts === 1);
      await put(etcd, A, 1);
      await until(() => listsOf(source) === 2);
      expect(source.places).toEqual(places({ [A]: 1 }));
      expect(source.changes.get(A)).toBe(1);
    }, NEVER));

  it('D-03 reads a list that is too large for one answer in several, and leaves out what is too large by itself', async () => {
    await using etcd = await Etcd.start();
    const ports: Record<string, number> = {};
    const padding = 'x'.repeat(60_000);
    for (let port = 1; port <= 200; port += 1) {
      const name = `n${port}@127.0.0.2`;
      ports[name] = port;
      await etcd.put(PREFIX + name, JSON.stringify({ ...recordOf(name, port), padding }));
    }
    await etcd.put(
      `${PREFIX}large@127.0.0.2`,
      JSON.stringify({ ...recordOf('large@127.0.0.2', 1), padding: padding + padding }),
    );
    await using source = new EtcdSource({ endpoints: [etcd.endpoint], requestTimeout: 5000 });
    await source.holds(places(ports));
    expect(source.refused).toContainEqual(expect.stringMatching(/the value of \\?"large@127.0.0.2/));
    expect(source.failures).toEqual([]);
  });

  it('D-03 takes in 10,000 nodes, and one more', { timeout: 60_000 }, async () => {
    await using etcd = await Etcd.start();
    const names = Array.from({ length: 10_000 }, (_, at) => `node-${at}@127.0.0.2`);
    for (let from = 0; from < names.length; from += 100) {
      const success = names.slice(from, from + 100).map((name) => {
        const [key, value] = [PREFIX + name, JSON.stringify(recordOf(name, 5369))].map((text) =>
          Buffer.from(text).toString('base64'),
        );
        return { request_put: { key, value } };
      });
      await etcd.ask('/v3/kv/txn', { success });
    }
    await using source = new EtcdSource({ endpoints: [etcd.endpoint] });
    await until(() => source.membership.size === 10_000);
    await put(etcd, A, 1);
    await until(() => source.membership.size === 10_001);
    expect(source.failures).toEqual([]);
    expect(source.refused).toEqual([]);
  });
});

/** While a member is missing, the others may have no leader yet. */
async function tryUntilDone(ask: () => Promise<void>): Promise<void> {
  const end = performance.now() + 15_000;
  for (;;) {
    const error = await ask().then(
      () => undefined,
      (cause: Error) => cause,
    );
    if (error === undefined) return;
    if (performance.now() > end) throw error;
  }
}
