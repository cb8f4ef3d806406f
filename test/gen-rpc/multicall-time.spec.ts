/** When a `multicall` ends: order and times of its outcomes, its deadline, and a caller who gives it up. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { DRIVERS } from '../support/cluster.js';
import { until } from '../support/door.js';
import { acquaint, crowd, HELPER, verdicts, type Crowd, type CrowdSettings } from './many-support.js';

const MASTER = 'master@127.0.0.1';
/** Deadlines that fall due within this many ms do so together. */
const SLOT_MS = 16;

describe('on a clock of its own', () => {
  const LATENCY_MS = 5;
  const SETTINGS: CrowdSettings = { virtual: { seed: 1, latency: () => LATENCY_MS } };

  /** Nodes that are connected, the first of which answers after `delays[0]` ms, and so on. */
  async function slowCrowd(delays: readonly number[]) {
    const nodes = await crowd(delays.length, SETTINGS);
    const { clock, others } = nodes;
    if (clock === undefined) throw new Error('no clock');
    delays.forEach((ms, index) =>
      others[index]?.register(HELPER, {
        wait: () => new Promise((resolve) => clock.after(ms, () => resolve(ms))),
      }),
    );
    const connected = acquaint(nodes);
    await clock.advance(100);
    await connected;
    /** What `promise` comes to, and when. */
    const timed = async <T>(promise: Promise<T>) => ({ value: await promise, at: clock.now() });
    return Object.assign(nodes, { clock, timed });
  }

  it('outcomes stand in the order asked, each with the time of its own reply', async () => {
    await using nodes = await slowCrowd([300, 100, 200]);
    const asked = nodes.timed(nodes.master.multicall(nodes.names, HELPER, 'wait'));
    const since = nodes.clock.now();
    await nodes.clock.advance(1000);
    const { value, at } = await asked;
    expect(value.results).toEqual([300, 100, 200]);
    expect(value.outcomes.map(({ ms }) => ms)).toEqual([300, 100, 200].map((ms) => ms + 2 * LATENCY_MS));
    expect(at - since).toBe(300 + 2 * LATENCY_MS);
  });

  it('one deadline ends whatever has not ended: a dial, a function, a function of the own node', async () => {
    await using nodes = await slowCrowd([100, 100]);
    const { master, clock, names } = nodes;
    const mute = await nodes.network.driver('127.0.0.1').listen(
      { host: '127.0.0.1', port: 0 },
      () => {},
      () => {},
    );
    nodes.discovery.locations.set('mute@127.0.0.1', { driver: 'memory', ...mute.address });
    const [first = '', second = ''] = names;
    master.register(HELPER, { wait: () => new Promise(() => {}) });
    nodes.others[1]?.register(HELPER, { wait: () => new Promise(() => {}) });
    const targets = ['mute@127.0.0.1', first, second, MASTER];
    const asked = nodes.timed(master.multicall(targets, HELPER, 'wait', [], { timeout: 400 }));
    const since = clock.now();
    await clock.advance(1000);
    const { value, at } = await asked;
    expect(verdicts(value.outcomes)).toEqual(['timeout', 'ok', 'timeout', 'timeout']);
    const maybeExecuted = value.outcomes.map((outcome) => !outcome.ok && outcome.error.maybeExecuted);
    expect(maybeExecuted).toEqual([false, false, true, true]);
    expect(at - since).toBeGreaterThanOrEqual(400);
    expect(at - since).toBeLessThanOrEqual(400 + SLOT_MS);
    for (const { node, ms } of value.outcomes) expect(ms).toBe(node === first ? 100 + 2 * LATENCY_MS : at - since);
    expect(master.stats().pendingCalls).toBe(0);
    await mute.close();
  });

  it('a node that is waited for until it is ready gets no more time than the others', async () => {
    await using nodes = await slowCrowd([100]);
    const { master, clock, names } = nodes;
    const options = { timeout: 400, waitForReady: true };
    const asked = nodes.timed(master.multicall(['fake_node@127.0.0.1', ...names], HELPER, 'wait', [], options));
    const since = clock.now();
    await clock.advance(1000);
    const { value, at } = await asked;
    expect(verdicts(value.outcomes)).toEqual(['node_down', 'ok']);
    expect(at - since).toBeLessThanOrEqual(400 + SLOT_MS);
  });

  it('the deadline of the node counts where none is given', async () => {
    await using nodes = await crowd(1, { ...SETTINGS, master: { callTimeout: 200 } });
    const asked = nodes.master.multicall([...nodes.names, MASTER], HELPER, 'never');
    await nodes.clock?.advance(200 + SLOT_MS);
    expect(verdicts((await asked).outcomes)).toEqual(['timeout', 'timeout']);
  });
});

describe.each(DRIVERS)('what is wrong with the call itself, over %s', (driver) => {
  const TOO_MANY = Array.from({ length: 256 }, (_, index) => index);
  const WRONG: readonly (readonly [what: string, call: (nodes: Crowd) => Promise<unknown>])[] = [
    ['a timeout of 0', ({ master, names }) => master.multicall(names, HELPER, 'whoami', [], { timeout: 0 })],
    ['a timeout that is none', ({ master, names }) => master.multicall(names, HELPER, 'whoami', [], { timeout: NaN })],
    ['a list of 256 arguments', ({ master, names }) => master.multicall(names, HELPER, 'whoami', TOO_MANY)],
    ['a module of 256 bytes', ({ master, names }) => master.multicall(names, 'm'.repeat(256), 'whoami')],
    ['a version of 65 bytes', ({ master }) => master.multicall({ module: HELPER, version: '1'.repeat(65) }, 'whoami')],
  ];

  it.each(WRONG)('%s is the caller’s to hear, and nobody is called', async (_what, call) => {
    await using nodes = await crowd(2, { driver });
    await acquaint(nodes);
    await expect(call(nodes)).rejects.toMatchObject({ code: 'invalid_argument', maybeExecuted: false });
    await nodes.master.multicall(nodes.names, HELPER, 'nothing');
    expect(nodes.ran.every((entry) => entry.endsWith('nothing'))).toBe(true);
    expect(nodes.master.stats().pendingCalls).toBe(0);
  });
});

describe.each(DRIVERS)('an AbortSignal over %s', (driver) => {
  const MANY = 20;

  /** Warnings of the process since this began: of too many listeners, for one. */
  function watchWarnings() {
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on('warning', note);
    return {
      warnings,
      [Symbol.dispose]: (): void => void process.off('warning', note),
    };
  }

  it(`ends the calls to ${MANY} targets at once, by one listener`, async () => {
    await using nodes = await crowd(4, { driver });
    await acquaint(nodes);
    using watch = watchWarnings();
    const { signal, abort } = abortable();
    const targets = Array.from({ length: MANY }, (_, index) => nodes.names[index % 4] ?? '');
    const asked = nodes.master.multicall(targets, HELPER, 'never', [], { signal });
    await until(() => nodes.ran.length === MANY);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    abort();
    const { outcomes, badNodes } = await asked;
    expect(verdicts(outcomes)).toEqual(targets.map(() => 'cancelled'));
    expect(badNodes).toEqual(targets);
    expect(nodes.master.stats().pendingCalls).toBe(0);
    await until(() => nodes.stopped.length === MANY);
    expect(nodes.stopped.toSorted()).toEqual(targets.map((node) => `${node} cancelled`).toSorted());
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(watch.warnings).toEqual([]);
  });

  it('takes nothing back from those who have answered', async () => {
    await using nodes = await crowd(2, { driver });
    const { signal, abort } = abortable();
    nodes.others[0]?.register(HELPER, { never: () => 'once' });
    const asked = nodes.master.multicall([...nodes.names, MASTER], HELPER, 'never', [], { signal });
    await until(() => nodes.ran.length === 2 && nodes.master.stats().pendingCalls === 2);
    abort();
    const { outcomes, results } = await asked;
    expect(verdicts(outcomes)).toEqual(['ok', 'cancelled', 'cancelled']);
    expect(results).toEqual(['once']);
    await until(() => nodes.stopped.length === 2);
  });

  it('that was aborted before sends nothing and connects nobody', async () => {
    await using nodes = await crowd(MANY, { driver });
    const signal = AbortSignal.abort();
    const { outcomes } = await nodes.master.multicall([...nodes.names, MASTER], HELPER, 'whoami', [], { signal });
    expect(verdicts(outcomes)).toEqual(outcomes.map(() => 'cancelled'));
    expect(outcomes).toHaveLength(MANY + 1);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ error: { maybeExecuted: false } });
    expect(nodes.master.stats().counts).toEqual({});
    expect(nodes.ran).toEqual([]);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('is let go of when all have answered, be it well or not', async () => {
    await using nodes = await crowd(2, { driver });
    const { signal } = abortable();
    await nodes.master.multicall(nodes.names, HELPER, 'whoami', [], { signal });
    await nodes.master.multicall([...nodes.names, 'fake_node@127.0.0.1'], HELPER, 'exit', [], { signal });
    await expect(nodes.master.multicall(nodes.names, HELPER, 'exit', [], { signal, timeout: -1 })).rejects.toThrow();
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});

function abortable() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: (): void => controller.abort() };
}
