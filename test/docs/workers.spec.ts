/** docs/WORKERS.md: its processes are started and restarted, and what it says of ordered casts is seen to be so. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createNode } from '../../lib/node/create-node.js';
import { Cluster } from '../support/cluster.js';
import { Example } from './examples.js';
import { Page } from './pages.js';

const page = await Page.read('docs/WORKERS.md');
const COOKIE = randomBytes(32).toString('base64');
const B = 'b@127.0.0.1';

/** The page's program with two workers, on any port, which it prints once both listen; SIGHUP restarts them. */
function workersProgram(): string {
  const [main = '', , restart = ''] = page.snippets('ts');
  const changes = [
    ['secret: process.env', 'listen: { port: 0 }, secret: process.env'],
    ['availableParallelism();', '2;'],
  ] as const;
  for (const [shown] of changes) expect(main).toContain(shown);
  return `${changes.reduce((code, [shown, run]) => code.replace(shown, run), main)}${restart}
    if (cluster.isPrimary) process.on('SIGHUP', () => void restartAll());
    let listening = 0;
    cluster.on('listening', (worker, { port }) => (listening += 1) === 2 && console.log(port));`;
}

/** The page's call with a key of its own each time, for the compiler. */
function keysProgram(): string {
  const [, call = ''] = page.snippets('ts');
  return `import type { GenRpcNode } from 'nestjs-gen-rpc';\nlet next = 0;\nexport const spread = (rpc: GenRpcNode) => ${call}`;
}

/** One of several processes that are `b`, as far as others can tell. Its casts run until they are released. */
async function worker(cluster: Cluster) {
  const node = await cluster.start('b', { life: 'the same' });
  const begun: string[] = [];
  const running: (() => void)[] = [];
  const note = ([line]: [string]): void => void begun.push(line);
  const write = (args: [string]): Promise<void> => (note(args), new Promise((end) => running.push(end)));
  node.register('log', { note, write });
  const location = cluster.discovery.locations.get(B);
  if (location === undefined) throw new Error('It does not listen.');
  const release = async (): Promise<void> => {
    running.shift()?.();
    await cluster.clock?.advance(10);
  };
  return { node, location, begun, release };
}

type Worker = Awaited<ReturnType<typeof worker>>;

describe('docs/WORKERS.md', () => {
  it('shows processes that are one node, and restart one by one', { timeout: 60_000 }, async () => {
    await using example = await Example.compile({ 'main.ts': workersProgram(), 'keys.ts': keysProgram() });
    await using primary = example.start('main.js', { COOKIE });
    const nodes = { [B]: { port: Number(await primary.line(/^\d+$/)) } };
    const rpc = createNode({ name: 'a@127.0.0.1', secret: COOKIE, listen: false, nodes });
    const pid = (key?: unknown): Promise<number> => {
      return rpc.call<number>({ node: B, key }, 'who', 'pid', [], { waitForReady: true });
    };
    const all = async (): Promise<Set<number>> =>
      new Set(await Promise.all(Array.from({ length: 64 }, (_, key) => pid(key))));
    try {
      const alone = await pid();
      await expect.poll(all).toHaveLength(2);
      expect(await pid()).toBe(alone);
      const before = await all();
      primary.process.kill('SIGHUP');
      const refused: unknown[] = [];
      const old = async (): Promise<number[]> => {
        const pids = await all().catch((error: unknown) => void refused.push(error));
        return [...(pids ?? before)].filter((one) => before.has(one));
      };
      await expect.poll(old, { timeout: 30_000 }).toEqual([]);
      for (const error of refused) expect(error).toMatchObject({ code: 'refused', maybeExecuted: false });
      await expect.poll(all).toHaveLength(2);
    } finally {
      await rpc.close();
    }
  });

  it('tells what becomes of ordered casts when a connection goes to another worker', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const [first, second] = [await worker(cluster), await worker(cluster)];
    const a = cluster.create('a', { listen: false, clientInactivityTimeout: 1000 });
    const cast = async (line: string, at: Worker): Promise<void> => {
      cluster.discovery.locations.set(B, at.location);
      expect(a.cast(B, 'log', 'write', [line], { ordered: true })).toBe(true);
      await cluster.clock?.advance(10);
    };
    await cast('1', first);
    await cast('2', first);
    await cluster.clock?.advance(5000);
    await cast('3', second);
    await cluster.clock?.advance(5000);
    await cast('4', first);
    expect([first.begun, second.begun]).toEqual([['1'], ['3']]);
    expect(first.node.stats().counts).toMatchObject({ ordered_cast_missing: 1 });
    expect(second.node.stats().counts).not.toHaveProperty('ordered_cast_missing');
    for (const { release } of [second, first, first, first]) await release();
    expect(first.begun).toEqual(['1', '2', '4']);
  });

  it('tells that a worker which goes ends the ordered casts that wait', async () => {
    await using cluster = new Cluster({ virtual: { seed: 2 } });
    const old = await worker(cluster);
    const a = cluster.create('a', { listen: false });
    for (const [fn, line] of [
      ['write', '1'],
      ['note', '2'],
      ['write', '3'],
      ['note', '4'],
    ] as const) {
      a.cast(B, 'log', fn, [line], { ordered: true });
    }
    await cluster.clock?.advance(100);
    const drained = old.node.drain();
    await old.release();
    expect(old.begun).toEqual(['1', '2', '3']);
    await old.release();
    await drained;
    expect(old.begun).toEqual(['1', '2', '3', '4']);
    expect(old.node.stats().counts).not.toHaveProperty('ordered_cast_dropped');
  });
});
