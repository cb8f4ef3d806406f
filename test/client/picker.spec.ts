/** Which node gets a call that several could have. */
import { describe, expect, it } from 'vitest';
import { Candidates } from '../../lib/client/candidates.js';
import { Ejections } from '../../lib/client/ejections.js';
import { Picker } from '../../lib/client/picker.js';
import { choiceOf, versioned, type Choice, type Target } from '../../lib/client/target.js';
import { Journal } from '../../lib/connection/journal.js';
import type { ModuleRecord, NodeRecord } from '../../lib/discovery/discovery.js';
import { Membership } from '../../lib/discovery/membership.js';
import { FunctionNames } from '../../lib/protocol/invocation.js';
import { hashKey } from '../../lib/protocol/key-hash.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { silentLog } from '../../lib/ports/log.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

const NOBODY: ReadonlySet<string> = new Set();
const MATH = choice({ module: 'math' });
const DRAWS = 20_000;

function choice(target: Target): Choice {
  return choiceOf(target) ?? expect.fail('one node');
}

/** A picker, and what it knows. */
class Scene {
  readonly clock = new VirtualClock();
  readonly journal = new Journal(silentLog, this.clock);
  readonly down = new Set<string>();
  readonly load = new Map<string, number>();
  readonly connected = new Set<string>();
  private readonly random = new SeededRandom(7);
  private readonly codec = new MsgpackrCodec();

  readonly membership = new Membership({
    clock: this.clock,
    isConnected: (node) => this.connected.has(node),
    problemOf: () => undefined,
    events: { changed() {}, refused: (why) => expect.fail(why), failed() {}, doubted() {}, read() {} },
  });

  readonly ejections = new Ejections(
    { failures: 3, min: 1000, max: 8000 },
    {
      ...{ clock: this.clock, random: this.random, journal: this.journal },
      isMember: (node) => this.membership.get(node) !== undefined,
    },
  );

  readonly picker = new Picker({
    candidates: new Candidates(this.membership, (node) => this.hashOf(node)),
    ejections: this.ejections,
    random: this.random,
    loadOf: (node) => this.load.get(node) ?? 0,
    isDown: (node) => this.down.has(node),
    hashOf: (key) => this.hashOf(key),
  });

  constructor(...records: NodeRecord[]) {
    this.membership.members(records);
  }

  /** How many of `times` picks each node got. */
  shares(wanted = MATH, times = DRAWS): Record<string, number> {
    const shares: Record<string, number> = {};
    for (let time = 0; time < times; time += 1) {
      const node = this.picker.pick(wanted, NOBODY) ?? 'nobody';
      shares[node] = (shares[node] ?? 0) + 1;
    }
    return shares;
  }

  private hashOf(key: unknown): number {
    return hashKey(this.codec, key);
  }
}

const module = (name: string, ...versions: string[]): ModuleRecord => ({
  name,
  versions: versions.length > 0 ? versions : [''],
});

function node(name: string, more: Partial<NodeRecord> = {}): NodeRecord {
  return { name: `${name}@h`, locations: [{}], modules: [module('math')], ...more };
}

const named = (count: number): NodeRecord[] => Array.from({ length: count }, (_, n) => node(`n${n}`));

describe('who will do', () => {
  it('has the module, in the version that is wanted', () => {
    const { picker } = new Scene(
      node('one', { modules: [module('math', '1.2.0')] }),
      node('two', { modules: [module('math', '2.0.0', '1.9.0'), module('stats')] }),
      node('none', { modules: [] }),
    );
    const fits = (target: Target): string[] => picker.all(choice(target));
    expect(fits({ module: 'math' })).toEqual(['one@h', 'two@h']);
    expect(fits({ module: 'math', version: '^1.0.0' })).toEqual(['one@h', 'two@h']);
    expect(fits({ module: 'math', version: '1.2.0' })).toEqual(['one@h']);
    expect(fits({ module: 'math', version: '^3.0.0' })).toEqual([]);
    expect(fits({ module: 'stats' })).toEqual(['two@h']);
    expect(fits({ module: 'Math' })).toEqual([]);
    expect(fits({ module: '__proto__' })).toEqual([]);
  });

  it('may be anyone whose modules nobody tells', () => {
    const { picker } = new Scene(node('one', { modules: undefined }), node('two', { modules: [] }));
    expect(picker.all(MATH)).toEqual(['one@h']);
  });

  it('is named as is wanted', () => {
    const { picker } = new Scene(node('math'), { ...node('x'), name: 'math@other' }, node('mathematics'));
    expect(picker.all(choice({ node: 'math' }))).toEqual(['math@h', 'math@other']);
  });

  it('is found anew when the table changes', () => {
    const { picker, membership } = new Scene(node('one'));
    expect(picker.pick(MATH, NOBODY)).toBe('one@h');
    membership.members([node('two')]);
    expect(picker.pick(MATH, NOBODY)).toBe('two@h');
    membership.members([node('two', { modules: [] })]);
    expect(picker.pick(MATH, NOBODY)).toBeUndefined();
  });

  it('is not found by memory alone: a caller that asks for ever new names costs no more of it', () => {
    const { picker } = new Scene(node('one'));
    for (let n = 0; n < 5000; n += 1) expect(picker.pick(choice({ module: `m${n}` }), NOBODY)).toBeUndefined();
    expect(picker.pick(MATH, NOBODY)).toBe('one@h');
  });

  it.each([[{ node: 'a@h' }], [{ node: 'no name' }], [{ node: '' }]])('is no choice for %j', (target) => {
    expect(choiceOf(target)).toBeUndefined();
  });
});

describe('a choice', () => {
  it('of a module is not that of nodes of the same name', () => {
    const { picker } = new Scene(node('math', { modules: [] }), node('other'));
    expect(picker.all(MATH)).toEqual(['other@h']);
    expect(picker.all(choice({ node: 'math' }))).toEqual(['math@h']);
    expect(picker.all(MATH)).toEqual(['other@h']);
  });

  it('wants the version of the call only where that is a call of the module itself', () => {
    const { module: called, fn, version } = { module: 'math', fn: 'add', version: '2.0.0' };
    const name = new FunctionNames().resolve(called, fn, version);
    expect(versioned(MATH, name)).toMatchObject({ version });
    expect(versioned(choice({ module: 'shop' }), name)).toMatchObject({ version: '' });
    expect(versioned(choice({ module: 'math', version: '^1' }), name)).toMatchObject({ version: '^1' });
    expect(versioned(choice({ node: 'math' }), name)).toMatchObject({ version: '' });
  });
});

describe('without a key', () => {
  it('spreads calls evenly', () => {
    const shares = Object.values(new Scene(...named(10)).shares());
    expect(shares).toHaveLength(10);
    for (const share of shares) expect(share).toBeGreaterThan(0.09 * DRAWS * 0.9);
  });

  it('prefers the less busy of two, and never takes the busiest where all others have less', () => {
    const scene = new Scene(...named(4));
    scene.load.set('n0@h', 9).set('n1@h', 5);
    const { 'n0@h': busiest = 0, 'n1@h': busy = 0, 'n2@h': idle = 0 } = scene.shares();
    // Drawn twice, it has no rival: once in 16.
    expect(busiest / DRAWS).toBeCloseTo(1 / 16, 1);
    expect(busy).toBeGreaterThan(busiest);
    expect(idle).toBeGreaterThan(busy);
  });

  it('passes over those that were tried, that are down and that were ejected, in this order of last resorts', () => {
    const scene = new Scene(...named(3));
    scene.down.add('n0@h');
    for (let time = 0; time < 3; time += 1) scene.ejections.failed('n1@h');
    expect(scene.shares()).toEqual({ 'n2@h': DRAWS });
    const tried = new Set(['n2@h']);
    expect(scene.picker.pick(MATH, tried)).toBe('n1@h');
    expect(scene.picker.pick(MATH, tried.add('n1@h'))).toBe('n0@h');
    expect(scene.picker.pick(MATH, tried.add('n0@h'))).toBeUndefined();
  });

  it('D-05 passes over those that are connected but no longer told of, while there are others', () => {
    const scene = new Scene(...named(2));
    scene.connected.add('n0@h');
    scene.membership.members(named(2).slice(1));
    expect(scene.shares()).toEqual({ 'n1@h': DRAWS });
    scene.down.add('n1@h');
    expect(scene.shares()).toEqual({ 'n0@h': DRAWS });
    const keyed = Array.from({ length: 100 }, (_, key) => scene.picker.pick({ ...MATH, key }, NOBODY));
    expect(new Set(keyed)).toEqual(new Set(['n0@h', 'n1@h']));
  });

  it('D-08 asks nodes of the lowest priority alone, and the next ones when they cannot be reached', () => {
    const scene = new Scene(node('a', { priority: 20 }), node('b', { priority: 10 }), node('c', { priority: 10 }));
    expect(Object.keys(scene.shares()).sort()).toEqual(['b@h', 'c@h']);
    scene.down.add('b@h');
    expect(scene.shares()).toEqual({ 'c@h': DRAWS });
    scene.down.add('c@h');
    expect(scene.shares()).toEqual({ 'a@h': DRAWS });
  });

  it('D-08 gives each its share by weight, and hardly any to weight 0', () => {
    const scene = new Scene(
      node('heavy', { weight: 60 }),
      node('light', { weight: 20 }),
      node('least', { weight: 0 }),
      node('other', { weight: 20 }),
    );
    // Equal load: of two that are drawn the first one has it.
    const { 'heavy@h': heavy = 0, 'light@h': light = 0, 'least@h': least = 0 } = scene.shares();
    expect(heavy / DRAWS).toBeCloseTo(0.6, 1);
    expect(light / DRAWS).toBeCloseTo(0.2, 1);
    expect(least).toBeGreaterThan(0);
    expect(least / DRAWS).toBeLessThan(0.03);
  });

  it('D-08 spreads equal weights, and weights that are all 0, evenly', () => {
    for (const weight of [0, 7]) {
      const shares = new Scene(...named(4).map((one) => ({ ...one, weight }))).shares();
      for (const share of Object.values(shares)) expect(share / DRAWS).toBeCloseTo(0.25, 1);
    }
  });
});

describe('by key', () => {
  const KEYS = Array.from({ length: 5000 }, (_, n) => `user-${n}`);
  const homes = ({ picker }: Scene): (string | undefined)[] => KEYS.map((key) => picker.pick({ ...MATH, key }, NOBODY));

  it('picks the same node in every process, whatever the order of the list', () => {
    expect(homes(new Scene(...named(10)))).toEqual(homes(new Scene(...named(10).reverse())));
  });

  it.each([undefined, 1, 5])('spreads keys evenly (weight %s)', (weight) => {
    const counts = new Map<string | undefined, number>();
    for (const home of homes(new Scene(...named(10).map((one) => ({ ...one, weight }))))) {
      counts.set(home, (counts.get(home) ?? 0) + 1);
    }
    expect(counts.size).toBe(10);
    for (const count of counts.values()) expect(count / KEYS.length).toBeCloseTo(0.1, 1);
  });

  it('spreads keys by weight', () => {
    const [heavy, light] = [node('heavy', { weight: 3 }), node('light', { weight: 1 })];
    const count = homes(new Scene(heavy, light)).filter((home) => home === 'heavy@h').length;
    expect(count / KEYS.length).toBeCloseTo(0.75, 1);
  });

  it('moves only the keys of a node that goes, and only to a node that comes', () => {
    const [before, without] = [homes(new Scene(...named(10))), homes(new Scene(...named(9)))];
    before.forEach((home, at) => {
      if (home !== 'n9@h') expect(without[at]).toBe(home);
      else expect(without[at]).not.toBe('n9@h');
    });
  });

  it('moves no key for ejection or load, and hands on to the same next one from a node that was tried', () => {
    const scene = new Scene(...named(5));
    const before = homes(scene);
    for (let time = 0; time < 3; time += 1) scene.ejections.failed('n0@h');
    scene.load.set('n1@h', 1000);
    expect(homes(scene)).toEqual(before);
    const next = new Set(KEYS.map((key) => scene.picker.pick({ ...MATH, key }, new Set([before[0] ?? '']))));
    expect(next.has(before[0])).toBe(false);
  });
});

describe('ejection', () => {
  function failed(scene: Scene, name: string, times: number): void {
    for (let time = 0; time < times; time += 1) scene.ejections.failed(name);
  }

  it('is for those that fail so often in a row, for a while; then one more failure is enough, for longer', async () => {
    const scene = new Scene(...named(2));
    failed(scene, 'n0@h', 2);
    scene.ejections.answered('n0@h', scene.clock.now());
    failed(scene, 'n0@h', 2);
    expect(scene.ejections.has('n0@h')).toBe(false);
    failed(scene, 'n0@h', 1);
    expect(scene.ejections.has('n0@h')).toBe(true);
    expect(scene.shares()).toEqual({ 'n1@h': DRAWS });
    await scene.clock.advance(1000);
    expect(scene.ejections.has('n0@h')).toBe(false);
    failed(scene, 'n0@h', 1);
    await scene.clock.advance(500);
    expect(scene.ejections.has('n0@h')).toBe(true);
    await scene.clock.advance(1500);
    expect(scene.ejections.has('n0@h')).toBe(false);
    expect(scene.journal.countOf('node_ejected')).toBe(2);
  });

  it('is not longer for failures of calls that were under way when it began, and forgotten with its node', async () => {
    const scene = new Scene(...named(2));
    failed(scene, 'n0@h', 10);
    expect(scene.journal.countOf('node_ejected')).toBe(1);
    await scene.clock.advance(1000);
    expect(scene.ejections.has('n0@h')).toBe(false);
    failed(scene, 'n0@h', 1);
    scene.ejections.forget('n0@h');
    expect(scene.ejections.has('n0@h')).toBe(false);
    failed(scene, 'n0@h', 2);
    expect(scene.ejections.has('n0@h')).toBe(false);
  });

  it('remembers neither failures nor answers of a node that discovery has dropped', () => {
    const scene = new Scene(...named(2));
    const late = (): void => {
      for (let time = 0; time < 3; time += 1) scene.ejections.timedOut('n0@h', -10, 1000);
    };
    scene.membership.members(named(2).slice(1));
    failed(scene, 'n0@h', 3);
    scene.ejections.answered('n0@h', 0);
    scene.membership.members(named(2));
    expect(scene.ejections.has('n0@h')).toBe(false);
    late();
    expect(scene.ejections.has('n0@h')).toBe(true);
    scene.ejections.answered('n0@h', 0);
    late();
    expect(scene.ejections.has('n0@h')).toBe(false);
  });

  it('never leaves nobody', () => {
    const scene = new Scene(...named(3));
    for (const name of ['n0@h', 'n1@h', 'n2@h']) failed(scene, name, 3);
    expect(Object.keys(scene.shares())).toHaveLength(3);
  });

  it('ends with the first success', async () => {
    const scene = new Scene(...named(2));
    failed(scene, 'n0@h', 3);
    scene.ejections.answered('n0@h', scene.clock.now());
    expect(scene.ejections.has('n0@h')).toBe(false);
  });
});
