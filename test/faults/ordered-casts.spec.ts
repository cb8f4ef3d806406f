/** Casts that must not overtake each other: whatever breaks, none runs twice, beside another, or behind a later one. */
import { describe, expect, it } from 'vitest';
import { Deadlines } from '../../lib/connection/deadlines.js';
import { Journal } from '../../lib/connection/journal.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { silentLog } from '../../lib/ports/log.js';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { Casts } from '../../lib/server/casts.js';
import { Invoker } from '../../lib/server/invoker.js';
import { ModulePolicy } from '../../lib/server/module-policy.js';
import { ModuleRegistry } from '../../lib/server/module-registry.js';
import { OrderedCasts } from '../../lib/server/ordered-casts.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import {
  Cluster,
  DRIVERS,
  SOCKET_DRIVERS,
  twoNodes,
  type NodeSettings,
  type SocketDriver,
  type TwoNodes,
} from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const KEYED = { node: B, key: 'one' };
const ORDERED = { ordered: true };

/** What `line.work` of a node did. */
class Line {
  readonly got: number[] = [];
  /** Most that ran at a time. */
  atOnce = 0;
  private running = 0;

  /** @param wait how long each takes. */
  constructor(node: GenRpcNode, wait: () => Promise<void> | undefined) {
    node.register('line', {
      work: ([number]: [number]) => {
        this.got.push(number);
        this.running += 1;
        this.atOnce = Math.max(this.atOnce, this.running);
        const ended = (): void => void (this.running -= 1);
        const waited = wait();
        return waited === undefined ? ended() : waited.then(ended);
      },
    });
  }

  expectIncreasing(): void {
    const wrong = this.got.filter((number, at) => at > 0 && number <= (this.got[at - 1] ?? 0));
    expect(wrong).toEqual([]);
    expect(this.atOnce).toBeLessThanOrEqual(1);
  }
}

const castOn = (a: GenRpcNode, number: number, key: string = KEYED.key): boolean =>
  a.cast({ node: B, key }, 'line', 'work', [number], ORDERED);

const sleeper = (clock: VirtualClock | undefined, ms: () => number) => (): Promise<void> =>
  new Promise((resolve) => clock?.after(ms(), resolve));

describe.each(DRIVERS)(
  'R-09 ordered casts that a listener sends as soon as there is a connection, over %s',
  (driver) => {
    it('R-09 run behind those that waited for it', async () => {
      await using nodes = await twoNodes({ driver });
      const line = new Line(nodes.b, () => undefined);
      nodes.a.onStatus((node, connected) => connected && nodes.a.cast(node, 'line', 'work', [3], ORDERED));
      for (const number of [1, 2]) nodes.a.cast(B, 'line', 'work', [number], ORDERED);
      await until(() => line.got.includes(3));
      expect(line.got).toEqual([1, 2, 3]);
      expect(nodes.b.stats().counts.ordered_cast_late).toBeUndefined();
    });
  },
);

describe('R-09 ordered casts of one key, whose connection is killed again and again', () => {
  const CASTS = 10_000;
  const KILLS = 20;
  const RECONNECT = { min: 5, max: 50 };

  /** The numbers that are not there, on both sides' books. */
  function expectBooked({ a, b }: TwoNodes, line: Line, refused: number): void {
    const { ordered_cast_missing: missing = 0, ordered_cast_dropped: overflow = 0 } = b.stats().counts;
    const { cast_not_accepted = 0, cast_dropped = 0 } = a.stats().counts;
    line.expectIncreasing();
    expect(line.got[0]).toBe(1);
    expect(line.got.at(-1)).toBe(CASTS);
    expect(cast_not_accepted).toBe(refused);
    expect(CASTS - line.got.length).toBe(refused + missing);
    // Of what is missing there, the sender knows a part.
    expect(cast_dropped).toBeLessThanOrEqual(missing);
    expect(overflow).toBe(0);
  }

  it.each([1, 2, 3, 4])('R-09 run in order, none twice, and the gaps are counted, seed %i', async (seed) => {
    const latency = (random: SeededRandom): number => random.below(10);
    await using nodes = await twoNodes({ virtual: { seed, latency }, options: { reconnect: RECONNECT } });
    const random = new SeededRandom(seed);
    const line = new Line(
      nodes.b,
      sleeper(nodes.clock, () => random.below(3)),
    );
    let [refused, number, kills] = [0, 1, 0];
    castOn(nodes.a, number);
    await nodes.clock?.advance(200);
    const burst = 40;
    const killAt = new Set<number>();
    while (killAt.size < KILLS) killAt.add(1 + random.below(CASTS / burst - 10));
    for (let round = 0; number < CASTS - 1; round += 1) {
      for (let one = 0; one < burst && number < CASTS - 1; one += 1) {
        number += 1;
        if (!castOn(nodes.a, number)) refused += 1;
      }
      // In the turn that wrote them, while they are under way, or when the connection is made.
      if (random.fraction() < 0.7) await nodes.clock?.advance(random.below(20));
      if (!killAt.has(round)) continue;
      kills += 1;
      const links = [...nodes.network.links];
      if (random.fraction() < 0.3) links.forEach((link) => link.hold());
      if (random.fraction() < 0.5) await nodes.clock?.advance(random.below(10));
      links.forEach((link) => link.cut());
      if (random.fraction() < 0.5) await nodes.clock?.advance(random.below(60));
    }
    expect(kills).toBe(KILLS);
    await nodes.clock?.advance(1000);
    expect(castOn(nodes.a, CASTS)).toBe(true);
    await nodes.clock?.advance(60_000);
    expectBooked(nodes, line, refused);
    // The kills have bitten, and were not all there was.
    expect(nodes.a.stats().counts.connected).toBeGreaterThan(KILLS / 2);
    expect(line.got.length).toBeLessThan(CASTS);
    expect(line.got.length).toBeGreaterThan(CASTS / 4);
    if (seed === 1) expect(nodes.b.stats().counts.ordered_cast_missing).toBeGreaterThan(0);
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('R-09 run in order over tcp, too', async () => {
      await using nodes = await twoNodes({ driver, options: { reconnect: { min: 1, max: 5 } } });
      await using proxy = await Proxy.to({ port: portOf(nodes, B) });
      redirect(nodes, B, proxy.port);
      const random = new SeededRandom(9);
      const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
      const line = new Line(nodes.b, () => (random.fraction() < 0.3 ? turn() : undefined));
      castOn(nodes.a, 1);
      await until(() => line.got.length === 1);
      let [refused, kills] = [0, 0];
      for (let number = 2; number < CASTS; number += 1) {
        if (!castOn(nodes.a, number)) refused += 1;
        if (number % 20 === 0) await turn();
        if (number % (CASTS / KILLS) !== 250) continue;
        kills += 1;
        await until(() => proxy.links.length > 0);
        for (let turns = random.below(4); turns > 0; turns -= 1) await turn();
        proxy.links.at(-1)?.reset();
        if (kills % 2 === 0) await until(() => nodes.a.stats().openConnections === 0);
      }
      expect(kills).toBe(KILLS);
      const answered = (): Promise<boolean> =>
        nodes.a.call(KEYED, 'math', 'add', [1, 2], { waitForReady: true }).then(
          () => true,
          () => false,
        );
      while (!(await answered()));
      expect(castOn(nodes.a, CASTS)).toBe(true);
      await until(() => line.got.at(-1) === CASTS && nodes.b.stats().runningCalls === 0);
      expectBooked(nodes, line, refused);
      expect(nodes.a.stats().counts.connected).toBeGreaterThan(KILLS / 2);
    });
  });
});

describe('R-09 ordered casts beside others', () => {
  const setUp = (options: NodeSettings = {}) => twoNodes({ virtual: { seed: 1 }, options });

  it('R-09 of two keys do not wait for each other', async () => {
    await using nodes = await setUp({ maxLanesPerNode: 1024 });
    const ended: string[] = [];
    nodes.b.register('line', {
      work: ([key, ms]: [string, number]) =>
        new Promise<void>((resolve) => nodes.clock?.after(ms, () => (ended.push(key), resolve()))),
    });
    const cast = (key: string, ms: number): boolean =>
      nodes.a.cast({ node: B, key }, 'line', 'work', [key, ms], ORDERED);
    cast('slow', 10_000);
    cast('slow', 1);
    cast('fast', 1);
    cast('fast', 1);
    nodes.a.cast(B, 'line', 'work', ['without', 5], ORDERED);
    await nodes.clock?.advance(100);
    expect(ended).toEqual(['fast', 'fast', 'without']);
    await nodes.clock?.advance(10_000);
    expect(ended).toEqual(['fast', 'fast', 'without', 'slow', 'slow']);
  });

  it('R-09 of two callers do not wait for each other', async () => {
    await using nodes = await setUp();
    const other = nodes.create('other', { listen: false });
    const begun: string[] = [];
    nodes.b.register('line', { work: (_args, { caller }) => (begun.push(caller.node), new Promise(() => {})) });
    castOn(nodes.a, 1);
    castOn(other, 1);
    castOn(nodes.a, 2);
    await nodes.clock?.advance(10);
    expect(begun.toSorted()).toEqual([nodes.a.name, other.name]);
  });

  it('R-09 that are slow delay no call and no cast without an order', async () => {
    await using nodes = await setUp();
    const line = new Line(nodes.b, () => new Promise(() => {}));
    const logged: unknown[] = [];
    nodes.b.register('log', { write: ([text]: [string]) => void logged.push(text) });
    castOn(nodes.a, 1);
    castOn(nodes.a, 2);
    await expect(nodes.a.call(KEYED, 'math', 'add', [1, 2])).resolves.toBe(3);
    nodes.a.cast(KEYED, 'log', 'write', ['now']);
    await nodes.clock?.advance(0);
    expect(logged).toEqual(['now']);
    expect(line.got).toEqual([1]);
  });

  it('R-09 run on behind one that fails, is not there, or may not be called', async () => {
    await using nodes = await setUp({ moduleControl: 'blacklist', moduleList: ['secret'] });
    const line = new Line(nodes.b, () => undefined);
    nodes.b.register('secret', { work: () => line.got.push(-1) });
    castOn(nodes.a, 1);
    for (const [module, fn] of [
      ['math', 'fail'],
      ['math', 'nothing'],
      ['none', 'work'],
      ['secret', 'work'],
    ] as const) {
      nodes.a.cast(KEYED, module, fn, [], ORDERED);
    }
    nodes.b.register('late', { fail: () => Promise.reject(new Error('later')) });
    nodes.a.cast(KEYED, 'late', 'fail', [], ORDERED);
    castOn(nodes.a, 2);
    await nodes.clock?.advance(10);
    expect(line.got).toEqual([1, 2]);
    expect(nodes.ran).toEqual(['fail']);
    expect(nodes.b.stats().counts).toMatchObject({ cast_failed: 5 });
  });

  it('R-09 of abcast and evalEverywhere stand in the same line', async () => {
    await using nodes = await setUp();
    const done: string[] = [];
    nodes.b.registerEvent('line.work', (message: unknown) => {
      done.push(`${String(message)} begins`);
      return new Promise<void>((resolve) =>
        nodes.clock?.after(10, () => (done.push(`${String(message)} ends`), resolve())),
      );
    });
    nodes.a.evalEverywhere([KEYED], 'line', 'work', ['eval'], ORDERED);
    nodes.a.abcast([KEYED], 'line.work', 'abcast', ORDERED);
    nodes.a.cast(KEYED, 'line', 'work', ['cast'], ORDERED);
    await nodes.clock?.advance(100);
    expect(done).toEqual(['eval', 'abcast', 'cast'].flatMap((verb) => [`${verb} begins`, `${verb} ends`]));
  });

  it('R-09 keep their order while the connection goes for want of use, and comes again', async () => {
    await using nodes = await setUp({ clientInactivityTimeout: 100 });
    const line = new Line(
      nodes.b,
      sleeper(nodes.clock, () => 1000),
    );
    for (let number = 1; number <= 10; number += 1) {
      castOn(nodes.a, number);
      await nodes.clock?.advance(number % 2 === 0 ? 200 : 10);
    }
    expect(nodes.a.stats().counts.connected).toBe(5);
    await nodes.clock?.advance(20_000);
    expect(line.got).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(line.atOnce).toBe(1);
    expect(nodes.b.stats().counts).toEqual({ accepted: 5 });
  });
});

describe('R-09 ordered casts of the own node', () => {
  it('R-09 run one after the other, key by key, and are bounded as others are', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const own = await cluster.start('own', { maxQueuedCasts: 50, maxLanesPerNode: 1024 });
    const line = new Line(
      own,
      sleeper(cluster.clock, () => 10),
    );
    const other: number[] = [];
    own.register('other', { work: ([number]: [number]) => void other.push(number) });
    for (let number = 1; number <= 100; number += 1) {
      expect(own.cast({ node: own.name, key: 'one' }, 'line', 'work', [number], ORDERED)).toBe(true);
      own.cast({ node: own.name, key: 'two' }, 'other', 'work', [number], ORDERED);
    }
    await cluster.clock?.advance(0);
    expect(other).toHaveLength(100);
    expect(line.got).toEqual([1]);
    expect(own.stats().runningCalls).toBe(51);
    await cluster.clock?.advance(10_000);
    expect(line.got).toEqual(Array.from({ length: 51 }, (_, at) => at + 1));
    line.expectIncreasing();
    expect(own.stats().counts).toMatchObject({ ordered_cast_dropped: 49 });
  });

  it('R-09 that cast again from within run behind those that wait already', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const own = await cluster.start('own');
    const got: string[] = [];
    const cast = (text: string): boolean => own.cast(own.name, 'line', 'work', [text], ORDERED);
    own.register('line', {
      work: ([text]: [string]) => {
        got.push(text);
        if (text.length < 3) cast(`${text}'`);
      },
    });
    cast('a');
    cast('b');
    await cluster.clock?.advance(10);
    expect(got).toEqual(['a', "a'", "a''", 'b', "b'", "b''"]);
  });
});

describe('R-09 a line that grows too long', () => {
  it('R-09 by casts: the newest are dropped and counted', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: { maxQueuedCasts: 100 } });
    const line = new Line(
      nodes.b,
      sleeper(nodes.clock, () => 1),
    );
    await nodes.a.connect(KEYED);
    for (let number = 1; number <= 500; number += 1) expect(castOn(nodes.a, number)).toBe(true);
    await nodes.clock?.advance(1000);
    // One that runs, a hundred that wait.
    expect(line.got).toEqual(Array.from({ length: 101 }, (_, at) => at + 1));
    expect(nodes.b.stats().counts).toMatchObject({ ordered_cast_dropped: 399 });
    castOn(nodes.a, 501);
    await nodes.clock?.advance(10);
    expect(line.got.at(-1)).toBe(501);
    // Dropped is not missing: they were there.
    expect(nodes.b.stats().counts.ordered_cast_missing).toBeUndefined();
  });

  it('R-09 by bytes: what would be too much is dropped and counted, smaller ones still fit', async () => {
    const bounds = { maxMessageBytes: 1024, maxQueuedBytes: 5000 };
    await using nodes = await twoNodes({ virtual: { seed: 1 } });
    const b = await nodes.start('small', bounds);
    const sizes: number[] = [];
    b.register('line', {
      work: ([bytes]: [Buffer]) => {
        sizes.push(bytes.length);
        return new Promise((resolve) => nodes.clock?.after(1, () => resolve(undefined)));
      },
    });
    const cast = (size: number): boolean => nodes.a.cast(b.name, 'line', 'work', [Buffer.alloc(size)], ORDERED);
    for (let one = 0; one < 20; one += 1) expect(cast(900)).toBe(true);
    for (let one = 0; one < 3; one += 1) cast(50);
    await nodes.clock?.advance(1000);
    // One runs at once; five of nine hundred fit into five thousand, and the small ones behind them.
    expect(sizes).toEqual([...new Array<number>(6).fill(900), 50, 50, 50]);
    expect(b.stats().counts).toMatchObject({ ordered_cast_dropped: 14 });
    for (let one = 0; one < 3; one += 1) cast(900);
    await nodes.clock?.advance(100);
    expect(sizes).toHaveLength(12);
  });

  it('R-09 where none may wait: each runs as long as none runs', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 } });
    const b = await nodes.start('strict', { maxQueuedCasts: 0 });
    const line = new Line(
      b,
      sleeper(nodes.clock, () => 10),
    );
    const cast = (number: number): boolean => nodes.a.cast(b.name, 'line', 'work', [number], ORDERED);
    cast(1);
    await nodes.clock?.advance(1);
    cast(2);
    await nodes.clock?.advance(20);
    cast(3);
    await nodes.clock?.advance(20);
    expect(line.got).toEqual([1, 3]);
    expect(b.stats().counts).toMatchObject({ ordered_cast_dropped: 1 });
  });
});

describe.each(DRIVERS)('R-09 ordered casts that wait when their node ends, over %s', (driver) => {
  const waitingAt = async (
    nodes: TwoNodes,
    kinds: string,
  ): Promise<{ ended: string[]; stopped: string[]; open: () => void }> => {
    const [ended, stopped]: [string[], string[]] = [[], []];
    let open = (): void => {};
    const opened = new Promise<void>((resolve) => (open = resolve));
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    nodes.b.register('line', {
      work: ([name]: [string], { signal }) => {
        signal.addEventListener('abort', () => stopped.push(name));
        const end = (): void => void ended.push(name);
        if (name.startsWith('gate')) return opened.then(end);
        return name.startsWith('sync') ? end() : turn().then(turn).then(end);
      },
    });
    for (const kind of ['gate', ...kinds.split(' ')]) nodes.a.cast(B, 'line', 'work', [kind], ORDERED);
    await until(() => nodes.b.stats().runningCalls === 1 + kinds.split(' ').length);
    return { ended, stopped, open };
  };

  it.each(['slow1 slow2 slow3', 'sync1 sync2 sync3', 'sync1 slow2 sync3 sync4 slow5', 'slow1 sync2 slow3 sync4'])(
    'R-09 drain waits for all of them: gate %s',
    async (kinds) => {
      await using nodes = await twoNodes({ driver });
      const { ended, stopped, open } = await waitingAt(nodes, kinds);
      let drained = false;
      const draining = nodes.b.drain().then(() => (drained = true));
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      expect(drained).toBe(false);
      open();
      await draining;
      expect(ended).toEqual(['gate', ...kinds.split(' ')]);
      expect(stopped).toEqual([]);
      expect(nodes.b.stats().counts.ordered_cast_dropped).toBeUndefined();
    },
  );

  it.each(['close', 'abort'] as const)(
    'R-09 %s waits for none, counts them, and tells the one that runs',
    async (how) => {
      await using nodes = await twoNodes({ driver });
      const { ended, stopped, open } = await waitingAt(nodes, 'slow1 sync2 slow3');
      if (how === 'abort') nodes.b.abort();
      await nodes.b.close();
      expect(stopped).toEqual(['gate']);
      expect(nodes.b.stats()).toMatchObject({ runningCalls: 0, counts: { ordered_cast_dropped: 3 } });
      open();
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      expect(ended).toEqual(['gate']);
    },
  );

  it('R-09 drain waits no longer than its grace period', async () => {
    await using nodes = await twoNodes({ driver });
    const { ended, stopped, open } = await waitingAt(nodes, 'slow1 sync2 slow3');
    await nodes.b.drain(50);
    expect(stopped).toEqual(['gate']);
    expect(ended).toEqual([]);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 0, counts: { ordered_cast_dropped: 3 } });
    open();
  });
});

describe('R-09 numbers, as the wire brings them', () => {
  const name = { module: 'line', fn: 'work', version: '' };
  const castFrame = (sequence: number, value: number, lane = 7): Frame => ({
    type: FrameType.Cast,
    name,
    single: false,
    order: { lane, sequence: sequence >>> 0 },
    headers: undefined,
    payload: { kind: 'codec', bytes: Buffer.of(0x91, value) },
  });

  /** Two connections of one process, or of two. */
  async function twoPeers(
    driver: SocketDriver,
    nodes: TwoNodes,
    incarnations: [number, number],
  ): Promise<[RawPeer, RawPeer]> {
    const login = async (driver: SocketDriver, which: number): Promise<RawPeer> => {
      // The first 8 bytes are the life, which both share.
      const incarnation = Buffer.concat([Buffer.alloc(8, 1), Buffer.alloc(8, which)]);
      return (await RawPeer.dial(driver, portOf(nodes, B))).login('raw@127.0.0.1', B, { incarnation });
    };
    return [await login(driver, incarnations[0]), await login(driver, incarnations[1])];
  }

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('R-09 that come late over an older connection are not run, and are counted', async () => {
      await using nodes = await twoNodes({ driver });
      const line = new Line(nodes.b, () => undefined);
      const [older, newer] = await twoPeers(driver, nodes, [1, 1]);
      older.send(bytesOf(castFrame(1, 1), castFrame(2, 2)));
      await until(() => line.got.length === 2);
      newer.send(bytesOf(castFrame(5, 5)));
      await until(() => line.got.length === 3);
      older.send(bytesOf(castFrame(3, 3), castFrame(4, 4), castFrame(5, 5)));
      await until(() => nodes.b.stats().counts.ordered_cast_late === 3);
      newer.send(bytesOf(castFrame(6, 6)));
      await until(() => line.got.length === 4);
      expect(line.got).toEqual([1, 2, 5, 6]);
      expect(nodes.b.stats().counts).toEqual({ accepted: 2, ordered_cast_missing: 2, ordered_cast_late: 3 });
      for (const peer of [older, newer]) peer.destroy();
    });

    it('R-09 wait for those of an older connection that still run, even once it is gone', async () => {
      await using nodes = await twoNodes({ driver });
      let open = (): void => {};
      const line = new Line(nodes.b, () => new Promise<void>((resolve) => (open = resolve)));
      const [older, newer] = await twoPeers(driver, nodes, [1, 1]);
      older.send(bytesOf(castFrame(1, 1), castFrame(2, 2)));
      await until(() => nodes.b.stats().runningCalls === 2);
      older.destroy();
      await until(() => nodes.b.stats().acceptedConnections === 1);
      newer.send(bytesOf(castFrame(3, 3)));
      await until(() => nodes.b.stats().runningCalls === 3);
      expect(line.got).toEqual([1]);
      for (let left = 2; left >= 0; left -= 1) {
        open();
        await until(() => nodes.b.stats().runningCalls === left);
      }
      expect(line.got).toEqual([1, 2, 3]);
      expect(line.atOnce).toBe(1);
      newer.destroy();
    });

    it('R-09 of another process of the same name, and of another lane, are lines of their own', async () => {
      await using nodes = await twoNodes({ driver });
      const line = new Line(nodes.b, () => undefined);
      const [one, other] = await twoPeers(driver, nodes, [1, 2]);
      one.send(bytesOf(castFrame(9, 1)));
      await until(() => line.got.length === 1);
      other.send(bytesOf(castFrame(1, 2)));
      await until(() => line.got.length === 2);
      one.send(bytesOf(castFrame(3, 3, 8), castFrame(10, 4)));
      await until(() => line.got.length === 4);
      expect(line.got).toEqual([1, 2, 3, 4]);
      expect(nodes.b.stats().counts).toEqual({ accepted: 2 });
      for (const peer of [one, other]) peer.destroy();
    });

    it('R-09 go round', async () => {
      await using nodes = await twoNodes({ driver });
      const line = new Line(nodes.b, () => undefined);
      const [peer, spare] = await twoPeers(driver, nodes, [1, 1]);
      const sequences = [0xfffffffd, 0xfffffffe, 0xffffffff, 0, 1, 3];
      peer.send(bytesOf(...sequences.map((sequence, at) => castFrame(sequence, at + 1))));
      // From before the turn: late, not four billion ahead.
      peer.send(bytesOf(castFrame(0xffffffff, 99), castFrame(0, 99), castFrame(2, 99), castFrame(3, 99)));
      peer.send(bytesOf(castFrame(4, 7)));
      await until(() => line.got.length === 7);
      expect(line.got).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect(nodes.b.stats().counts).toEqual({ accepted: 2, ordered_cast_missing: 1, ordered_cast_late: 4 });
      for (const one of [peer, spare]) one.destroy();
    });
  });

  describe('R-09 in the line itself', () => {
    function setUp(bounds: { maxQueuedCasts?: number; maxQueuedBytes?: number } = {}) {
      const clock = new VirtualClock();
      const journal = new Journal(silentLog, clock);
      const registry = new ModuleRegistry(new ModulePolicy('disabled', []));
      const invoker = new Invoker({ registry, journal, clock, exposeErrors: false, inheritDeadlines: true });
      const limits = { running: 10_000, maxQueuedCasts: 10_000, maxQueuedBytes: 10_000 };
      const casts = new Casts({ invoker, journal, clock, deadlines: new Deadlines(clock), limits });
      const lines = new OrderedCasts({ casts, journal, maxQueuedCasts: 10, maxQueuedBytes: 1000, ...bounds });
      const got: number[] = [];
      const opened: (() => void)[] = [];
      registry.register(name, {
        run: (value) => {
          got.push(value as number);
          return value === -1 ? new Promise<void>((resolve) => opened.push(resolve)) : undefined;
        },
      });
      const run = (sequence: number, value = sequence, lane = 1): void => {
        const caller = { node: 'a@127.0.0.1', address: 'here' };
        const what = { name, single: true, headers: undefined };
        lines.run('life', { lane, sequence: sequence >>> 0 }, { what, caller, bytes: 1, readArgs: () => value });
      };
      return { run, lines, casts, got, opened, journal };
    }

    it.each([1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1, 0])(
      'R-09 half the circle ahead is missing, the other half is late, from %i',
      (start) => {
        const { run, got, journal } = setUp();
        run(start, 1);
        run(start, 99);
        run(start - 1, 99);
        run(start - 2 ** 31 + 1, 99);
        expect(got).toEqual([1]);
        expect(journal.countOf('ordered_cast_late')).toBe(3);
        run(start + 2 ** 31 - 1, 2);
        expect(got).toEqual([1, 2]);
        expect(journal.countOf('ordered_cast_missing')).toBe(2 ** 31 - 2);
      },
    );

    it('R-09 a hundred thousand that end at once do not nest', async () => {
      const { run, got, opened, lines } = setUp({ maxQueuedCasts: 200_000, maxQueuedBytes: 1_000_000 });
      run(1, -1);
      for (let sequence = 2; sequence <= 100_001; sequence += 1) run(sequence);
      expect(lines.waiting).toBe(100_000);
      opened[0]?.();
      await new Promise((resolve) => setImmediate(resolve));
      expect(got).toHaveLength(100_001);
      expect(lines.waiting).toBe(0);
    });

    it('R-09 lines that are idle are forgotten, the oldest first; those that wait are not', async () => {
      const { run, got, opened, journal } = setUp();
      run(1, -1, 1);
      run(2, 2, 1);
      for (let lane = 2; lane <= 10_010; lane += 1) run(5, 5, lane);
      got.length = 0;
      // Lane 2 is forgotten: its number is believed. The last lane is not: the same number is late.
      run(5, 20, 2);
      run(5, 30, 10_010);
      expect(got).toEqual([20]);
      expect(journal.countOf('ordered_cast_late')).toBe(1);
      // Lane 1 still waits.
      opened[0]?.();
      await new Promise((resolve) => setImmediate(resolve));
      expect(got).toEqual([20, 2]);
    });
  });
});
