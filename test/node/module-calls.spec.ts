/** Calls of a module: whoever has it, and somebody else where that one did not start them. */
import { describe, expect, it } from 'vitest';
import type { Target } from '../../lib/client/target.js';
import { Cluster, DRIVERS } from '../support/cluster.js';
import { until } from '../support/door.js';
import { RawServer } from '../support/raw-peer.js';
import { recordOf, ToldDiscovery } from '../support/told-discovery.js';
import { modules, Town, WHO } from '../support/town.js';

describe.each(DRIVERS)('a call of a module, over %s', (driver) => {
  it('goes to all that have it, and to no others', async () => {
    await using town = await Town.of(['a', 'b'], { driver });
    await town.add('other', { modules: [{ name: 'elsewhere', versions: [''] }] });
    expect([...(await town.askAll(40))].sort()).toEqual(['a', 'b']);
    expect(town.caller.nodes().sort()).toEqual(['a@127.0.0.1', 'b@127.0.0.1']);
  });

  it('goes to the node of its key, each time', async () => {
    await using town = await Town.of(['a', 'b', 'c'], { driver });
    const homes = new Set<string>();
    for (let key = 0; key < 12; key += 1) {
      const answers = await town.askAll(3, { ...WHO, key });
      expect(answers.size).toBe(1);
      for (const one of answers) homes.add(one);
    }
    expect(homes.size).toBeGreaterThan(1);
  });

  it.each<[string, object]>([
    ['without a key', {}],
    ['with one', { key: 7 }],
  ])('%s goes on to another where its node is gone, and nobody hears of it', async (_, key) => {
    await using town = await Town.of(['a', 'b', 'c'], { driver });
    await town.askAll(10, { ...WHO, ...key });
    town.kill('a');
    town.kill('b');
    await until(() => !town.caller.nodes().some((node) => node.startsWith('a') || node.startsWith('b')));
    expect(await town.askAll(10, { ...WHO, ...key })).toEqual(new Set(['c']));
    const { pendingCalls } = town.caller.stats();
    expect(pendingCalls).toBe(0);
  });

  it('that may have run goes nowhere else, unless it is idempotent', async () => {
    await using town = await Town.of(['a'], { driver });
    const once = town.caller.call(WHO, 'who', 'never').catch((error: unknown) => error);
    const twice = town.caller.call(WHO, 'who', 'never', [], { idempotent: true }).catch((error: unknown) => error);
    await until(() => town.ran.length === 2);
    await town.add('b');
    town.kill('a');
    await expect(once).resolves.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    await until(() => town.ran.length === 3);
    expect(town.ran).toEqual(['a@127.0.0.1', 'a@127.0.0.1', 'b@127.0.0.1']);
    await town.caller.close();
    await expect(twice).resolves.toMatchObject({ code: 'cancelled', maybeExecuted: true });
  });

  it('streams from one node, and ends there with its reader', async () => {
    await using town = await Town.of(['a', 'b'], { driver });
    const read: string[] = [];
    for await (const item of town.caller.stream<string>(WHO, 'who', 'count')) if (read.push(item) === 5) break;
    const [first = ''] = read;
    expect(read).toEqual([0, 1, 2, 3, 4].map((n) => `${first.slice(0, 1)} ${n}`));
    await until(() => [...town.nodes.values()].every((node) => node.stats().runningCalls === 0));
  });
});

describe('a call of a module', () => {
  it('goes on from a node that does not have the function after all, or not in the version', async () => {
    await using town = await Town.of(['a']);
    const b = await town.cluster.start('b');
    b.register('other', { am: () => 'b' });
    town.discovery.tell(recordOf(town.node('a'), { modules, priority: 1 }), recordOf(b, { modules }));
    await expect(town.caller.call(WHO, 'who', 'am')).resolves.toBe('a');
    b.register('who', { am: () => 'b' }, { version: '1.0.0' });
    await expect(town.caller.call(WHO, { module: 'who', version: '' }, 'am')).resolves.toBe('b');
    expect(town.caller.stats().counts).toMatchObject({ call_failed_over: 1 });
  });

  it('fails as the last of three nodes did', async () => {
    await using town = await Town.of(['a', 'b', 'c', 'd']);
    await expect(town.caller.call(WHO, 'who', 'misspelt')).rejects.toMatchObject({ code: 'undefined_function' });
    expect(town.caller.stats().counts).toMatchObject({ call_failed_over: 2, connected: 3 });
  });

  it('takes nodes of the version that it wants', async () => {
    await using town = await Town.of([]);
    for (const [name, version] of [
      ['old', '1.0.0'],
      ['new', '2.0.0'],
    ] as const) {
      const node = await town.add(name, { modules: [{ name: 'which', versions: [version] }] });
      node.register('which', { version: () => version }, { version });
    }
    for (const wanted of ['^1.0.0', '2.0.0'] as const) {
      const called = { module: 'which', version: wanted };
      const answers = Array.from({ length: 5 }, () => town.caller.call({ module: 'which' }, called, 'version'));
      expect(new Set(await Promise.all(answers)).size).toBe(1);
    }
    await expect(town.caller.call({ module: 'which', version: '^3' }, 'which', 'version')).rejects.toMatchObject({
      code: 'node_down',
      message: expect.stringMatching(
        /No node that is known has module which in version \^3\. .*old@127\.0\.0\.1, new@/,
      ),
    });
  });

  it('may name nodes instead, by what stands before their host', async () => {
    await using town = await Town.of(['a', 'b']);
    await expect(town.caller.call('a', 'who', 'am')).resolves.toBe('a');
    await expect(town.caller.call({ node: 'b', key: 1 }, 'who', 'am')).resolves.toBe('b');
    await expect(town.caller.call('c', 'who', 'am')).rejects.toMatchObject({
      code: 'node_down',
      message: expect.stringContaining('No node that is known is named c@…'),
    });
  });

  it('fails at once where nobody has it, and with waitForReady waits until somebody does', async () => {
    await using town = await Town.of([]);
    town.discovery.tell();
    await expect(town.caller.call(WHO, 'who', 'am')).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
    const waiting = town.caller.call(WHO, 'who', 'am', [], { waitForReady: true });
    expect(town.caller.stats().pendingCalls).toBe(1);
    await town.add('a');
    await expect(waiting).resolves.toBe('a');
  });

  it('with waitForReady goes on from a node that is down, and comes back to it when it is up', async () => {
    await using town = await Town.of(['a'], {}, { reconnect: { min: 1, max: 20 } });
    const [place] = town.node('a').endpoints();
    town.kill('a');
    await town.node('a').close();
    const waiting = town.caller.call(WHO, 'who', 'am', [], { waitForReady: true });
    await until(() => (town.caller.stats().counts.dial_failed ?? 0) > 0);
    const again = await town.cluster.start('a', { listen: { port: place?.port ?? 0 } });
    again.register('who', { am: () => 'again' });
    await expect(waiting).resolves.toBe('again');
  });

  it('waits for the first word of discovery, but not once that has said that it cannot tell', async () => {
    await using town = await Town.of([]);
    const early = town.caller.call(WHO, 'who', 'am');
    await town.add('a');
    await expect(early).resolves.toBe('a');
    const discovery = new ToldDiscovery();
    const lonely = town.cluster.create('lonely', { listen: false, discovery });
    const call = lonely.call(WHO, 'who', 'am').catch((error: unknown) => error);
    discovery.fail('the registry is away');
    await expect(call).resolves.toMatchObject({ code: 'node_down' });
    await expect(lonely.call(WHO, 'who', 'am')).rejects.toMatchObject({
      message: expect.stringContaining('It failed since: the registry is away'),
    });
  });

  it('says what is missing where nothing tells which nodes there are', async () => {
    await using cluster = new Cluster();
    const a = cluster.create('a', { listen: false });
    await expect(a.call(WHO, 'who', 'am')).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('give the option nodes as an object, or a discovery that can watch'),
    });
  });

  it('knows of nodes that are written down', async () => {
    await using town = await Town.of(['a']);
    const [place] = town.node('a').endpoints();
    const nodes = { 'a@127.0.0.1': { ...place, modules: ['who'] }, 'b@127.0.0.1': { port: 1, modules: ['other'] } };
    const caller = town.cluster.create('reader', { listen: false, nodes, discovery: undefined } as never);
    await expect(caller.call(WHO, 'who', 'am')).resolves.toBe('a');
    expect(caller.members().map(({ name }) => name)).toEqual(Object.keys(nodes));
  });

  it('counts the own node too, if discovery tells of it', async () => {
    await using town = await Town.of(['a']);
    town.caller.register('who', { am: () => 'caller' });
    town.discovery.tell({ name: 'caller@127.0.0.1', locations: [{}], modules });
    await expect(town.caller.call(WHO, 'who', 'am')).resolves.toBe('caller');
    expect(town.caller.stats().counts).toEqual({});
  });

  it('ends with its signal, its deadline and its node, while it waits for somebody to call', async () => {
    await using town = await Town.of([]);
    town.discovery.tell();
    const giveUp = new AbortController();
    const aborted = town.caller.call(WHO, 'who', 'am', [], { waitForReady: true, signal: giveUp.signal });
    const late = town.caller.call(WHO, 'who', 'am', [], { waitForReady: true, timeout: 30 });
    const left = town.caller.call(WHO, 'who', 'am', [], { waitForReady: true });
    const ends = Promise.allSettled([aborted, late, left]);
    giveUp.abort();
    await expect(late).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
    expect(town.caller.stats().pendingCalls).toBe(1);
    await town.caller.close();
    expect((await ends).map((end) => end.status === 'rejected' && (end.reason as { code: string }).code)).toEqual([
      'cancelled',
      'node_down',
      'cancelled',
    ]);
  });

  it('is refused once its node is closed, also where it would wait for somebody to call', async () => {
    await using town = await Town.of([]);
    await town.caller.close();
    const waiting = town.caller.call(WHO, 'who', 'am', [], { waitForReady: true });
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: false });
    await expect(town.caller.call(WHO, 'who', 'am')).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('with a key that cannot be one fails for itself alone, whoever is known', async () => {
    await using town = await Town.of(['a']);
    for (const module of ['who', 'nobody']) {
      const target = { module, key: () => {} };
      await expect(town.caller.call(target, 'who', 'am')).rejects.toMatchObject({ code: 'encode_error' });
      const { outcomes } = await town.caller.multicall([target, 'a'], 'who', 'am');
      expect(outcomes).toMatchObject([{ ok: false }, { ok: true, value: 'a' }]);
    }
  });

  it('goes on to another node while its own drains', async () => {
    await using hole = await RawServer.listen('tcp', () => {});
    await using town = await Town.of([]);
    await town.add('b', { priority: 1 });
    town.add('hole', { locations: [{ host: '127.0.0.1', port: hole.port }] }).catch(() => {});
    await until(() => town.caller.members().length === 2);
    const call = town.caller.call(WHO, 'who', 'am');
    await until(() => hole.peers.length > 0);
    const drained = town.caller.drain(10_000);
    hole.peers[0]?.reset();
    await expect(call).resolves.toBe('b');
    await drained;
  });

  it('keeps nobody in mind who is gone', async () => {
    await using town = await Town.of(['a'], {}, { ejection: { failures: 1, min: 60_000, max: 60_000 } });
    const call = town.caller.call(WHO, 'who', 'never').catch((error: unknown) => error);
    await until(() => town.ran.length === 1);
    town.discovery.tell({ name: 'other@127.0.0.1', locations: [{}], modules: [] });
    town.kill('a');
    await expect(call).resolves.toMatchObject({ code: 'connection_lost' });
    expect(town.caller.members().map(({ name }) => name)).toEqual(['other@127.0.0.1']);
    expect(town.caller.stats().counts).not.toHaveProperty('node_ejected');
  });

  it('shares one deadline with all nodes that it goes to', async () => {
    await using town = await Town.of(['a', 'b', 'c'], { virtual: { seed: 3 } });
    const call = town.caller.call(WHO, 'who', 'never', [], { timeout: 500 }).catch((error: unknown) => error);
    await town.cluster.clock?.advance(490);
    expect(town.caller.stats().pendingCalls).toBe(1);
    await town.cluster.clock?.advance(100);
    await expect(call).resolves.toMatchObject({ code: 'timeout', maybeExecuted: true });
    expect(town.ran).toHaveLength(1);
  });
});

describe('a call of a module by a key whose node is known to be down', () => {
  /** `caller` has met with `hole`, which nobody reaches; `key` belongs there, and to `a` after it. */
  async function withHole(): Promise<{ town: Town; target: Target }> {
    const town = await Town.of(['a'], {}, { reconnect: { min: 60_000, max: 60_000 } });
    await town.add('hole', { locations: [{ host: '127.0.0.1', port: 1 }] });
    const keys = Array.from({ length: 100 }, (_, key): Target => ({ module: 'who', key }));
    const target = keys.find((one) => town.caller.choose(one) === 'hole@127.0.0.1') ?? expect.fail('no key');
    await town.caller.call(target, 'who', 'am');
    expect(town.caller.stats().counts).toMatchObject({ dial_failed: 1 });
    return { town, target };
  }

  it('is cancelled on the node that it went on to', async () => {
    const { town, target } = await withHole();
    await using _ = town;
    const giveUp = new AbortController();
    const call = town.caller.call(target, 'who', 'never', [], { signal: giveUp.signal });
    const ended = expect(call).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: true });
    await until(() => town.ran.includes('a@127.0.0.1'));
    giveUp.abort();
    await ended;
    expect(town.caller.stats().pendingCalls).toBe(0);
  });

  it('goes nowhere else with an argument that is a stream', async () => {
    const { town, target } = await withHole();
    await using _ = town;
    const numbers = (async function* () {
      yield 1;
    })();
    await expect(town.caller.call(target, 'who', 'am', [numbers])).rejects.toMatchObject({ code: 'node_down' });
  });
});

describe('a node that fails calls of a module', () => {
  const EJECTION = { failures: 2, min: 60_000, max: 60_000 };

  async function failingTown(): Promise<{ town: Town; fail: () => Promise<unknown> }> {
    const town = await Town.of(['a'], { virtual: { seed: 4 } }, { ejection: EJECTION });
    const fail = async (): Promise<unknown> => {
      const call = town.caller
        .call(WHO, 'who', 'never', [], { timeout: 50 })
        .catch(({ code }: { code: string }) => code);
      await town.cluster.clock?.advance(100);
      return call;
    };
    return { town, fail };
  }

  async function succeed(town: Town): Promise<void> {
    const call = town.caller.call(WHO, 'who', 'am');
    await town.cluster.clock?.advance(10);
    await call;
  }

  it('so often in a row gets none for a while, as long as there is another', async () => {
    const { town, fail } = await failingTown();
    await using _ = town;
    await expect(fail()).resolves.toBe('timeout');
    await fail();
    expect(town.caller.stats().counts).toMatchObject({ node_ejected: 1 });
    await succeed(town);
    await fail();
    await fail();
    await town.add('b');
    const answers = town.askAll(10);
    await town.cluster.clock?.advance(1000);
    await expect(answers).resolves.toEqual(new Set(['b']));
  });

  it('only now and then is not passed over; what was wrong with a call itself is no success', async () => {
    const { town, fail } = await failingTown();
    await using _ = town;
    await fail();
    await succeed(town);
    await fail();
    expect(town.caller.stats().counts).not.toHaveProperty('node_ejected');
    await expect(town.caller.call(WHO, 'who', 'am', [() => {}])).rejects.toMatchObject({ code: 'encode_error' });
    await fail();
    expect(town.caller.stats().counts).toMatchObject({ node_ejected: 1 });
  });

  it('is called at once when discovery tells of it, by whoever waits for one', async () => {
    await using town = await Town.of([], { virtual: { seed: 4 } });
    town.tell();
    const call = town.caller.call(WHO, 'who', 'am', [], { waitForReady: true });
    await town.cluster.clock?.advance(100);
    await town.add('a');
    await town.cluster.clock?.advance(10);
    expect(town.ran).toEqual(['a@127.0.0.1']);
    await expect(call).resolves.toBe('a');
  });
});

describe('a cast to a module', () => {
  it('goes to one node that takes it', async () => {
    await using town = await Town.of(['a', 'b']);
    town.kill('a');
    await town.node('a').close();
    for (let n = 0; n < 5; n += 1) expect(town.caller.cast(WHO, 'who', 'told', [`${n}`])).toBe(true);
    await until(() => town.ran.length > 0);
  });

  it('that is ordered has one node by its key, and fails without one', async () => {
    await using town = await Town.of(['a', 'b']);
    expect(() => town.caller.cast(WHO, 'who', 'told', ['x'], { ordered: true })).toThrowError(/need a key/);
    const target = { ...WHO, key: 'cart 7' };
    for (let n = 0; n < 20; n += 1) town.caller.cast(target, 'who', 'told', [`${n}`], { ordered: true });
    await until(() => town.ran.length === 20);
    const home = town.ran[0]?.slice(0, 1);
    expect(town.ran).toEqual(Array.from({ length: 20 }, (_, n) => `${home} ${n}`));
  });

  it('that is ordered waits for its node, and overtakes no other one by way of another node', async () => {
    await using hole = await RawServer.listen('tcp', () => {});
    await using town = await Town.of(['b'], {}, { maxQueuedCasts: 2 });
    await town.add('hole', { priority: 0, locations: [{ host: '127.0.0.1', port: hole.port }] });
    await town.add('b', { priority: 1 });
    const cast = (text: string, ordered: boolean): boolean =>
      town.caller.cast({ ...WHO, key: 'cart 7' }, 'who', 'told', [text], { ordered });
    expect(['1', '2', '3'].map((text) => cast(text, true))).toEqual([true, true, false]);
    expect(cast('any', false)).toBe(true);
    await until(() => town.ran.length > 0);
    expect(town.ran).toEqual(['b any']);
  });

  it('that nobody can take is not accepted', async () => {
    await using town = await Town.of([]);
    town.discovery.tell();
    expect(town.caller.cast(WHO, 'who', 'told', ['x'])).toBe(false);
    expect(town.caller.stats().counts).toMatchObject({ cast_not_accepted: 1 });
  });
});

describe('many nodes at once', () => {
  it('are all of those that a target stands for', async () => {
    await using town = await Town.of(['a', 'b']);
    await town.add('other', { modules: [] });
    const { outcomes, results, badNodes } = await town.caller.multicall([WHO, 'other'], 'who', 'am');
    expect((results as string[]).toSorted()).toEqual(['a', 'b', 'other']);
    expect(outcomes.map(({ node }) => node)).toEqual(['a@127.0.0.1', 'b@127.0.0.1', 'other@127.0.0.1']);
    expect(badNodes).toEqual([]);
    expect(town.caller.evalEverywhere([WHO], 'who', 'told', ['x']).accepted).toEqual(['a@127.0.0.1', 'b@127.0.0.1']);
  });

  it('or none, which is told by the name that was asked for', async () => {
    await using town = await Town.of(['a']);
    const nobody: Target = { module: 'nobody' };
    const { outcomes, badNodes } = await town.caller.multicall([nobody, 'a'], 'who', 'am');
    expect(outcomes).toMatchObject([
      { node: 'nobody', ok: false, error: { code: 'node_down' } },
      { node: 'a@127.0.0.1', ok: true, value: 'a' },
    ]);
    expect(badNodes).toEqual(['nobody']);
    expect(town.caller.abcast([nobody], 'who.told', 'x')).toEqual({ accepted: [], refused: ['nobody'] });
  });
});

describe('many nodes at once, before one of them is known', () => {
  it.each([{ waitForReady: true }, {}])('are none, not the one that comes first (%j)', async (options) => {
    await using town = await Town.of([]);
    const asked = [
      town.caller.multicall([WHO], 'who', 'am', [], options),
      town.caller.sbcast([WHO], 'who.told', 'x', options),
    ];
    await town.add('a');
    await town.add('b');
    await expect(Promise.all(asked)).resolves.toMatchObject([{ badNodes: ['who'] }, { good: [], bad: ['who'] }]);
  });
});

describe('a connection to a module', () => {
  it('is one to any node that has it, and passes over those that are down', async () => {
    await using town = await Town.of(['a', 'b']);
    expect(town.caller.isConnected(WHO)).toBe(false);
    town.kill('a');
    await town.node('a').close();
    for (let time = 0; time < 5; time += 1) await town.caller.connect(WHO);
    expect(town.caller.isConnected(WHO)).toBe(true);
    expect(town.caller.nodes()).toEqual(['b@127.0.0.1']);
  });

  it('cannot be made where there is nobody', async () => {
    await using town = await Town.of([]);
    town.discovery.tell();
    await expect(town.caller.connect(WHO)).rejects.toMatchObject({ code: 'node_down' });
  });
});
