/** Clocks that leap: that of the wall, which nobody here looks at, and that of a machine that was asleep. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../lib/system/system.js';
import { Cluster, twoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { HandClock } from '../support/hand.js';

const B = 'b@127.0.0.1';
const HOUR = 3_600_000;

describe('W-03 a wall clock that is set', () => {
  afterEach(() => void vi.useRealTimers());

  /** Runs calls without end, until told to stop; returns how many. */
  function load(nodes: Awaited<ReturnType<typeof twoNodes>>): { stop: () => Promise<number> } {
    let running = true;
    let done = 0;
    const run = async (): Promise<void> => {
      while (running) {
        expect(await nodes.a.call(B, 'math', 'add', [1, 2], { timeout: 10_000 })).toBe(3);
        done += 1;
      }
    };
    const workers = Promise.all([run(), run(), run()]);
    const stop = async (): Promise<number> => {
      running = false;
      await workers;
      return done;
    };
    return { stop };
  }

  it.each([
    ['an hour back', -HOUR],
    ['a day forward', 24 * HOUR],
    ['to before it all began', -60 * 365 * 24 * HOUR],
  ])('W-03 %s: no deadline passes, no heartbeat fails, nobody connects anew', async (_, ms) => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() });
    const options = {
      keepalive: { idle: 100, interval: 2000, count: 1 },
      ...{ clientInactivityTimeout: 60_000, serverInactivityTimeout: 60_000 },
    };
    await using nodes = await twoNodes({ options });
    const pending = nodes.a.call(B, 'math', 'never', [], { timeout: 600 });
    const late = expect(pending).rejects.toMatchObject({ code: 'timeout' });
    const work = load(nodes);
    await until(() => nodes.ran.length > 20);
    const began = systemClock.now();
    vi.setSystemTime(Date.now() + ms);
    await until(() => nodes.ran.length > 100 && systemClock.now() - began > 300);
    expect(await work.stop()).toBeGreaterThan(80);
    // Neither sooner nor later than it was asked for: no clock of the wall is in it.
    expect(nodes.a.stats().pendingCalls).toBe(1);
    await late;
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
    expect(nodes.b.stats().counts).toEqual({ accepted: 1 });
  });
});

describe('W-04 a machine that was asleep for ten minutes', () => {
  const TEN_MINUTES = 600_000;

  /** `a` has a clock of its own, which leaps. Nobody else notices that time passes. */
  async function sleeper(count: number) {
    const own = new HandClock();
    const awake = new HandClock();
    const cluster = new Cluster({ driver: 'memory', ports: { clock: awake } });
    const b = await cluster.start('b');
    const answers: ((value: string) => void)[] = [];
    b.register('slow', { fn: () => new Promise((resolve) => answers.push(resolve)) });
    const keepalive = { idle: 1000, interval: 1000, count };
    const a = cluster.create('a', { listen: false, keepalive, callTimeout: 2 * TEN_MINUTES }, { clock: own });
    const reply = a.call(B, 'slow', 'fn');
    await until(() => answers.length === 1);
    /** What was sent and asked for is there and answered. */
    const settled = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    /** Nothing comes through while it sleeps, and what was on its way is lost. */
    const sleep = (): void => {
      for (const link of cluster.network.links) link.hold();
      own.pass(TEN_MINUTES);
    };
    const wake = (): void => {
      for (const link of cluster.network.links) link.release();
    };
    return Object.assign(cluster, { a, b, own, reply, answers, settled, sleep, wake });
  }

  it.each([1, 2, 5])(
    'W-04 with all of %i questions open: one more is asked, and its answer keeps the call',
    async (count) => {
      await using cluster = await sleeper(count);
      const { a, own } = cluster;
      for (const link of cluster.network.links) link.hold();
      for (let question = 0; question < count; question += 1) own.pass(1000);
      cluster.sleep();
      own.pass(0);
      // The network is back some time after the machine is.
      own.pass(900);
      expect(a.stats()).toMatchObject({ openConnections: 1, pendingCalls: 1 });
      cluster.wake();
      await cluster.settled();
      own.pass(500);
      own.pass(0);
      expect(a.stats().openConnections).toBe(1);
      cluster.answers[0]?.('the answer');
      await expect(cluster.reply).resolves.toBe('the answer');
      expect(a.stats().counts).toEqual({ dialled: 1, connected: 1 });
    },
  );

  it('W-04 and whose peer is gone: found out after that one question, and not before', async () => {
    await using cluster = await sleeper(1);
    const { a, own } = cluster;
    const lost = expect(cluster.reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    for (const link of cluster.network.links) link.hold();
    own.pass(1000);
    cluster.sleep();
    own.pass(999);
    expect(a.stats().openConnections).toBe(1);
    own.pass(1);
    own.pass(0);
    await lost;
    expect(a.stats().counts).toEqual({ dialled: 1, connected: 1, connection_lost: 1 });
    cluster.wake();
  });

  it('W-04 without a question open: it asks, and goes on', async () => {
    await using cluster = await sleeper(1);
    const { a, own } = cluster;
    cluster.sleep();
    cluster.wake();
    await cluster.settled();
    own.pass(1000);
    own.pass(0);
    expect(a.stats()).toMatchObject({ openConnections: 1, pendingCalls: 1 });
    cluster.answers[0]?.('the answer');
    await expect(cluster.reply).resolves.toBe('the answer');
  });
});
