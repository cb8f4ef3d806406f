/** B-16: more work than a node can do. What it accepts it does in time, and what it cannot do it refuses at once. */
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createNode } from '../../lib/node/create-node.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { Cluster, SECRET } from '../support/cluster.js';

const B = 'b@127.0.0.1';

describe('B-16 a node whose event loop is late', () => {
  const LATE = { code: 'refused', maybeExecuted: false, details: { limit: 'loopDelay' } };

  /** `b`, whose `cpu.burn` keeps the loop as long as it is told. */
  async function world() {
    const cluster = new Cluster({ virtual: { seed: 16 } });
    const { clock } = cluster;
    const b = await cluster.start('b', { concurrency: { loopDelay: 200 } });
    const ran: number[] = [];
    b.register('cpu', {
      burn: ([ms]: [number]) => {
        clock?.stall(ms);
        ran.push(ms);
      },
      never: () => new Promise(() => {}),
    });
    const a = cluster.create('a', { listen: false, callTimeout: 3_600_000 });
    await Promise.all([a.connect(B), clock?.advance(100)]);
    /** It has been late just now: the next time counts. */
    const wasLate = async (): Promise<void> => {
      const first = a.call(B, 'cpu', 'burn', [300]);
      await clock?.advance(50);
      await first;
      ran.length = 0;
    };
    /** Makes calls, and returns how they end within `ms`. */
    const burn = async (each: readonly number[], ms = 10): Promise<unknown[]> => {
      const ends: unknown[] = each.map(() => 'none');
      each.forEach((one, at) => {
        a.call(B, 'cpu', 'burn', [one]).then(
          () => (ends[at] = 'done'),
          (error: unknown) => (ends[at] = error),
        );
      });
      await clock?.advance(ms);
      return ends;
    };
    return Object.assign(cluster, { a, b, burn, ran, wasLate });
  }

  const codesOf = (ends: readonly unknown[]) => ends.map((end) => (end instanceof GenRpcError ? end.code : end));

  it('B-16 refuses what it reads in a turn that lasts too long already, and goes on after a tick in time', async () => {
    await using nodes = await world();
    await nodes.wasLate();
    const ends = await nodes.burn([50, 100, 69, 2, 1, 1, 1]);
    expect(codesOf(ends)).toEqual([...['done', 'done', 'done', 'done'], ...['refused', 'refused', 'refused']]);
    for (const end of ends.slice(4)) expect(end).toMatchObject(LATE);
    expect(nodes.ran).toEqual([50, 100, 69, 2]);
    expect(await nodes.burn([1])).toMatchObject([LATE]);
    await nodes.clock?.advance(20);
    expect(await nodes.burn([1])).toEqual(['done']);
    expect(nodes.b.stats().counts.call_overload).toBe(4);
  });

  it('B-16 refuses until a tick is late by less than half', async () => {
    await using nodes = await world();
    await nodes.wasLate();
    nodes.b.register('loop', { keep: () => void nodes.clock?.after(5, () => nodes.clock?.stall(300)) });
    await Promise.all([nodes.a.call(B, 'loop', 'keep'), nodes.clock?.advance(4)]);
    await nodes.clock?.advance(20);
    expect(await nodes.burn([1], 1)).toMatchObject([LATE]);
    const tick = async (late: number): Promise<void> => {
      nodes.clock?.stall(5 + late);
      await nodes.clock?.advance(0);
    };
    await tick(110);
    expect(await nodes.burn([1], 0)).toMatchObject([LATE]);
    await tick(100);
    expect(await nodes.burn([1], 0)).toMatchObject([LATE]);
    await tick(90);
    expect(await nodes.burn([1], 0)).toEqual(['done']);
  });

  it('B-16 answers what runs, and takes casts, all the while', async () => {
    await using nodes = await world();
    await nodes.wasLate();
    let answer: (value: string) => void = () => {};
    nodes.b.register('slow', { wait: () => new Promise((resolve) => (answer = resolve)) });
    const waits = nodes.a.call(B, 'slow', 'wait');
    await nodes.clock?.advance(10);
    nodes.a.cast(B, 'cpu', 'burn', [300]);
    nodes.a.cast(B, 'cpu', 'burn', [7]);
    const [end] = await nodes.burn([1]);
    expect(end).toMatchObject(LATE);
    expect(nodes.ran).toEqual([300, 7]);
    answer('answered');
    await nodes.clock?.advance(10);
    expect(await waits).toBe('answered');
  });

  it('B-16 does not refuse its own calls', async () => {
    await using nodes = await world();
    await nodes.wasLate();
    const ends = nodes.burn([50, 300, 1]);
    expect(codesOf(await ends)).toEqual(['done', 'done', 'refused']);
    await nodes.b.call(B, 'cpu', 'burn', [2]);
    expect(nodes.ran).toEqual([50, 300, 2]);
  });

  it('B-16 is not mistaken for late by a pause before anybody called', async () => {
    await using nodes = await world();
    expect(await nodes.burn([1])).toEqual(['done']);
    await nodes.clock?.advance(2000);
    nodes.clock?.stall(60_000);
    expect(await nodes.burn([1])).toEqual(['done']);
  });

  it('B-16 leaves no tick behind when it ends, though a function does not', async () => {
    await using nodes = await world();
    const never = nodes.a.call(B, 'cpu', 'never').catch((error: unknown) => error);
    await nodes.clock?.advance(10);
    nodes.b.abort();
    nodes.a.abort();
    await never;
    await nodes.clock?.advance(1);
    expect(nodes.clock?.pending).toBe(0);
  });
});

/** A process of its own, and a node that calls it. */
async function burner(): Promise<AsyncDisposable & { a: GenRpcNode }> {
  const script = join(import.meta.dirname, 'children', 'burner.mjs');
  const child = fork(script, { env: { ...process.env, NODE_OPTIONS: '', SECRET }, execArgv: [] });
  const { port } = await new Promise<{ port: number }>((resolve, reject) => {
    child.once('message', (message) => resolve(message as { port: number }));
    child.once('exit', (status) => reject(new Error(`The burner ended with ${status}.`)));
  });
  const a = createNode({
    ...{ name: 'a@127.0.0.1', secret: SECRET, listen: false, callTimeout: 60_000 },
    ...{ nodes: { [B]: { port } }, keepalive: false },
  });
  await a.connect(B);
  const dispose = async (): Promise<void> => {
    await a.close();
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  return { a, [Symbol.asyncDispose]: dispose };
}

interface Measured {
  /** Calls that were answered, a second. */
  readonly goodput: number;
  /** ms, of those that were answered. */
  readonly p99: number;
  readonly refused: readonly GenRpcError[];
  readonly failed: readonly unknown[];
}

/** Offers `rate` calls a second for `ms`, whatever becomes of them, and waits for all. */
async function offer(a: GenRpcNode, fn: string, { rate, ms }: { rate: number; ms: number }): Promise<Measured> {
  const latencies: number[] = [];
  const [refused, failed]: [GenRpcError[], unknown[]] = [[], []];
  const calls: Promise<void>[] = [];
  const begin = performance.now();
  let last = begin;
  const one = async (): Promise<void> => {
    const asked = performance.now();
    try {
      await a.call(B, 'cpu', fn, [BURN_MS]);
      last = performance.now();
      latencies.push(last - asked);
    } catch (error) {
      if (error instanceof GenRpcError && error.code === 'refused') refused.push(error);
      else failed.push(error);
    }
  };
  for (let now = begin; now < begin + ms; now = performance.now()) {
    while (calls.length < ((now - begin) * rate) / 1000) calls.push(one());
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await Promise.all(calls);
  latencies.sort((first, second) => first - second);
  const goodput = (latencies.length * 1000) / Math.max(ms, last - begin);
  return { goodput, p99: latencies[Math.floor(latencies.length * 0.99)] ?? Infinity, refused, failed };
}

const BURN_MS = 4;

/** Calls answered a second when there is always one to work on, and never many. */
async function peakOf(a: GenRpcNode, fn: string, ms: number): Promise<number> {
  const begin = performance.now();
  let answered = 0;
  const caller = async (): Promise<void> => {
    while (performance.now() < begin + ms) {
      const answer = await a.call(B, 'cpu', fn, [BURN_MS]).catch((error: unknown) => error);
      if (answer === BURN_MS) answered += 1;
      else await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  await Promise.all(Array.from({ length: 16 }, caller));
  return (answered * 1000) / (performance.now() - begin);
}

describe('B-16 three times more calls than a process can answer, over tcp', { timeout: 60_000 }, () => {
  it.each([
    ['that work at once', 'burn'],
    ['that work later', 'burnLater'],
  ])('B-16 %s: what is accepted is answered in time, and is most of what it can do', async (_, fn) => {
    await using process = await burner();
    const shares: number[] = [];
    // Others work on this machine too, and take from the one or the other.
    for (let round = 0; round < 5 && !shares.some((share) => share > 0.6); round += 1) {
      const peak = await peakOf(process.a, fn, 1000);
      const measured = await offer(process.a, fn, { rate: 3 * (1000 / BURN_MS), ms: 3000 });
      expect(measured.failed).toEqual([]);
      // Where this process stood still, it has offered all at once, which is a single pause: that says nothing.
      if (measured.refused.length <= 100) continue;
      shares.push(measured.goodput / peak);
      for (const error of measured.refused) {
        expect(error).toMatchObject({ maybeExecuted: false, details: { limit: 'loopDelay' } });
      }
      // Without refusals it is 6 s and more.
      expect(measured.p99).toBeLessThan(5000);
    }
    // 0.8 and more on a machine that does nothing else; other tests run beside this one.
    expect(Math.max(...shares)).toBeGreaterThan(0.6);
  });
});
