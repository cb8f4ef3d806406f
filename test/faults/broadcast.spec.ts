/** Many nodes at once, some of which are dead, slow, unwilling or dying: whoever asked knows of each what became of it. */
import { describe, expect, it } from 'vitest';
import type { MemoryLink } from '../../lib/driver/memory.driver.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import type { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { Cluster } from '../support/cluster.js';

describe('T-12 a multicall to five nodes, one of each kind', () => {
  const DEADLINE_MS = 400;
  const LATENCY_MS = 3;
  /** How late an outcome may be. */
  const SLACK_MS = 50;
  const KINDS = ['dead', 'slow', 'refusing', 'failing', 'fine'] as const;
  const NAMES = KINDS.map((kind) => `${kind}@127.0.0.1`);

  /** Nobody is connected yet; functions that a caller gave up are in `stopped`. */
  async function oneOfEachKind() {
    const cluster = new Cluster({ virtual: { seed: 12, latency: () => LATENCY_MS } });
    const { clock } = cluster;
    if (clock === undefined) throw new Error('no clock');
    const stopped: string[] = [];
    const ran: string[] = [];
    const [dead, slow, refusing, failing, fine] = await Promise.all([
      cluster.start('dead'),
      cluster.start('slow'),
      cluster.start('refusing', { moduleControl: 'blacklist', moduleList: ['work'] }),
      cluster.start('failing'),
      cluster.start('fine'),
    ]);
    const functions: readonly [GenRpcNode, () => unknown][] = [
      [dead, () => 'alive'],
      [slow, () => new Promise((resolve) => clock.after(10 * DEADLINE_MS, () => resolve('late')))],
      [refusing, () => 'allowed'],
      [failing, () => Promise.reject(new Error('/srv/secret.ts: out of paper'))],
      [fine, () => 'done'],
    ];
    for (const [node, run] of functions) {
      node.register('work', {
        do: (_args, { signal }) => {
          ran.push(node.name);
          signal.addEventListener('abort', () => stopped.push(node.name));
          return run();
        },
      });
    }
    const caller = cluster.create('caller', { listen: false });
    const ask = async () => {
      const since = clock.now();
      const { outcomes } = await caller.multicall(NAMES, 'work', 'do', [], { timeout: DEADLINE_MS });
      return { outcomes, ms: clock.now() - since };
    };
    return Object.assign(cluster, { clock, caller, dead, ran, stopped, ask });
  }

  type Five = Awaited<ReturnType<typeof oneOfEachKind>>;

  /** Ways to be dead: how the node gets there, and what is known of a call to it. */
  const DEATHS: readonly (readonly [how: string, die: (nodes: Five) => Promise<void>, told: object, late: boolean])[] =
    [
      ['does not listen any more', ({ dead }) => dead.close(), { code: 'node_down', maybeExecuted: false }, false],
      [
        'accepts and says nothing',
        async (nodes) => {
          await nodes.dead.close();
          const { host, port } = nodes.discovery.locations.get(nodes.dead.name) ?? { host: '', port: 0 };
          await nodes.network.driver('127.0.0.1').listen(
            { host, port },
            () => {},
            () => {},
          );
        },
        { code: 'timeout', maybeExecuted: false },
        true,
      ],
      [
        'is connected and silent',
        async (nodes) => {
          await during(nodes.clock, nodes.caller.connect(nodes.dead.name));
          for (const link of nodes.network.links) link.hold();
        },
        { code: 'timeout', maybeExecuted: true },
        true,
      ],
    ];

  it.each(DEATHS)('T-12 the dead one %s', async (_how, die, told, late) => {
    await using nodes = await oneOfEachKind();
    await die(nodes);
    const { outcomes, ms } = await during(nodes.clock, nodes.ask());
    expect(ms).toBeGreaterThanOrEqual(DEADLINE_MS);
    expect(ms).toBeLessThanOrEqual(DEADLINE_MS + SLACK_MS);
    expect(outcomes.map(({ node }) => node)).toEqual(NAMES);
    expect(outcomes).toMatchObject([
      { ok: false, error: told },
      { ok: false, error: { code: 'timeout', maybeExecuted: true } },
      { ok: false, error: { code: 'unauthorized', maybeExecuted: false } },
      { ok: false, error: { code: 'handler_failed', maybeExecuted: true, message: 'work.do failed.' } },
      { ok: true, value: 'done' },
    ]);
    // Connect, three flights of the handshake, call and answer: nobody waits for the slow.
    const [ofDead, ofSlow, ...ofOthers] = outcomes.map((outcome) => outcome.ms);
    expect(ofOthers.every((own) => own <= 10 * LATENCY_MS)).toBe(true);
    expect(ofSlow).toBe(ms);
    expect((ofDead ?? 0) >= DEADLINE_MS).toBe(late);
    expect(nodes.caller.stats().pendingCalls).toBe(0);
    await nodes.clock.advance(LATENCY_MS);
    expect(nodes.stopped).toEqual(['slow@127.0.0.1']);
    expect(nodes.ran.toSorted()).toEqual(['failing@127.0.0.1', 'fine@127.0.0.1', 'slow@127.0.0.1']);
  });

  it('T-12 again and again on the same connections: the fine one never suffers, nothing adds up', async () => {
    await using nodes = await oneOfEachKind();
    await nodes.dead.close();
    for (let round = 1; round <= 20; round += 1) {
      const { outcomes, ms } = await during(nodes.clock, nodes.ask());
      expect(ms).toBeLessThanOrEqual(DEADLINE_MS + SLACK_MS);
      expect(outcomes.map(({ ok }) => ok)).toEqual([false, false, false, false, true]);
      if (round > 1) expect(outcomes[4]?.ms).toBe(2 * LATENCY_MS);
      expect(nodes.caller.stats().pendingCalls).toBe(0);
    }
    expect(nodes.caller.stats()).toMatchObject({ openConnections: 4, counts: { connected: 4 } });
    expect(nodes.ran.filter((name) => name === 'fine@127.0.0.1')).toHaveLength(20);
  });
});

describe('X-08 an sbcast to a hundred nodes, ten of which die', () => {
  const COUNT = 100;
  const DEADLINE_MS = 1000;

  interface Member {
    readonly node: GenRpcNode;
    readonly link: MemoryLink;
  }

  /** `caller`, connected to all of them; `heard` are those whose handler has begun. */
  async function hundred(seed: number, latency: (random: SeededRandom) => number) {
    let far = false;
    const virtual = { seed, latency: (random: SeededRandom) => (far ? latency(random) : 0) };
    const cluster = new Cluster({ virtual, options: { keepalive: false } });
    const { clock } = cluster;
    if (clock === undefined) throw new Error('no clock');
    const heard = new Set<string>();
    const caller = cluster.create('caller', { listen: false });
    const members: Member[] = [];
    for (let index = 0; index < COUNT; index += 1) {
      const node = await cluster.start(`m${index}`);
      node.registerEvent('news', () => void heard.add(node.name));
      const before = new Set(cluster.network.links);
      await during(clock, caller.connect(node.name));
      for (const link of cluster.network.links) if (!before.has(link)) members.push({ node, link });
    }
    const names = members.map(({ node }) => node.name);
    expect(names).toHaveLength(COUNT);
    far = true;
    const ask = async () => {
      const since = clock.now();
      const report = await caller.sbcast(names, 'news', 'extra', { timeout: DEADLINE_MS });
      return { ...report, ms: clock.now() - since };
    };
    return Object.assign(cluster, { clock, heard, caller, members, names, ask });
  }

  it('X-08 good and bad are exact: who answered, and who did not get to it', async () => {
    const LATENCY_MS = 10;
    await using nodes = await hundred(8, () => LATENCY_MS);
    const { members, clock, heard, names } = nodes;
    /** Every node has the message after 10 ms, and the caller every answer after 20. */
    const deaths: readonly (readonly [at: number, die: (member: Member) => void, good: boolean, ran: boolean])[] = [
      [5, ({ link }) => link.cut(), false, false],
      [5, ({ link }) => link.cut('ETIMEDOUT'), false, false],
      [5, ({ node }) => node.abort(), false, false],
      [5, ({ node }) => node.abort(), false, false],
      [5, ({ link }) => link.hold(), false, true],
      [5, ({ node }) => void node.close(), false, false],
      [15, ({ link }) => link.cut(), false, true],
      [15, ({ link }) => link.cut(), false, true],
      // What it answered is on its way and arrives.
      [15, ({ node }) => node.abort(), true, true],
      [25, ({ link }) => link.cut(), true, true],
    ];
    const dying = deaths.map(([at, die, good, ran], index) => {
      const member = members[7 + 10 * index];
      if (member === undefined) throw new Error('no such member');
      clock.after(at, () => die(member));
      return { name: member.node.name, good, ran };
    });
    const { good, bad, ms } = await during(clock, nodes.ask());
    const lost = dying.filter((one) => !one.good).map(({ name }) => name);
    expect(bad).toEqual(lost);
    // One of them is silent, and no more than silent.
    expect(ms).toBeGreaterThanOrEqual(DEADLINE_MS);
    expect(ms).toBeLessThanOrEqual(DEADLINE_MS + 50);
    expect(good).toEqual(names.filter((name) => !lost.includes(name)));
    expect(heard).toEqual(new Set(names.filter((name) => !dying.some((one) => one.name === name && !one.ran))));
    expect(nodes.caller.stats().pendingCalls).toBe(0);
    for (const { link } of members) link.release();
  });

  it('X-08 whenever they die: nobody twice, nobody forgotten, nobody good who did not hear', async () => {
    const totals = { good: 0, bad: 0 };
    for (let seed = 1; seed <= 10; seed += 1) {
      await using nodes = await hundred(seed, (random) => 1 + random.below(20));
      const random = new SeededRandom(seed);
      const dying = new Set<Member>();
      while (dying.size < 10) dying.add(nodes.members[random.below(COUNT)] as Member);
      for (const member of dying) {
        const die = random.below(2) === 0 ? () => member.link.cut() : () => member.node.abort();
        nodes.clock.after(random.below(40), die);
      }
      const { good, bad, ms } = await during(nodes.clock, nodes.ask());
      const doomed = [...dying].map(({ node }) => node.name);
      const told = `seed ${seed}`;
      // The last of them dies after 40 ms, and word of it takes 20: a broken connection waits for no deadline.
      expect(ms, told).toBeLessThanOrEqual(60);
      expect([...good, ...bad].toSorted(), told).toEqual(nodes.names.toSorted());
      expect(good, told).toEqual(nodes.names.filter((name) => good.includes(name)));
      expect(bad, told).toEqual(nodes.names.filter((name) => bad.includes(name)));
      expect(
        bad.filter((name) => !doomed.includes(name)),
        told,
      ).toEqual([]);
      expect(
        good.filter((name) => !nodes.heard.has(name)),
        told,
      ).toEqual([]);
      expect(nodes.caller.stats().pendingCalls, told).toBe(0);
      totals.good += good.filter((name) => doomed.includes(name)).length;
      totals.bad += bad.length;
    }
    // Both happened, so that the lines above meant something.
    expect(Math.min(totals.good, totals.bad)).toBeGreaterThan(10);
    expect(totals.good + totals.bad).toBe(100);
  });
});

/** Lets time pass until `promise` has settled. */
async function during<T>(clock: VirtualClock, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = (): void => void (settled = true);
  promise.then(done, done);
  for (let ms = 0; !settled && ms < 60_000; ms += 1) await clock.advance(1);
  return promise;
}
