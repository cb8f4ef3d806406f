/** Who is to blame where a call of a module timed out: its node, or a caller that gave it no time. */
import { describe, expect, it } from 'vitest';
import type { VirtualSettings } from '../support/cluster.js';
import { Town, WHO } from '../support/town.js';

const EJECTION = { failures: 3, min: 60_000, max: 60_000 };

async function townOf(names: readonly string[], virtual: Partial<VirtualSettings> = {}): Promise<Town> {
  return Town.of(names, { virtual: { seed: 8, ...virtual } }, { ejection: EJECTION });
}

/** The codes of so many calls at once; the time that they take passes. */
async function callAll(town: Town, count: number, fn: string, timeout: number): Promise<Set<string>> {
  const calls = Array.from({ length: count }, () =>
    town.caller.call(WHO, 'who', fn, [], { timeout }).then(
      () => 'ok',
      ({ code }: { code: string }) => code,
    ),
  );
  await town.cluster.clock?.advance(timeout + 100);
  return new Set(await Promise.all(calls));
}

const ejected = ({ caller }: Town): number => caller.stats().counts.node_ejected ?? 0;

describe('a node whose callers time out', () => {
  it('is not passed over because they gave it a millisecond, connected or not', async () => {
    await using town = await townOf(['a'], { latency: () => 10 });
    await expect(callAll(town, 20, 'am', 1)).resolves.toEqual(new Set(['timeout']));
    await expect(callAll(town, 1, 'am', 1000)).resolves.toEqual(new Set(['ok']));
    await expect(callAll(town, 20, 'am', 1)).resolves.toEqual(new Set(['timeout']));
    expect(ejected(town)).toBe(0);
  });

  it('is not passed over because they gave it less than it takes, where it is far away', async () => {
    await using town = await townOf(['a'], { latency: () => 100 });
    for (let n = 0; n < 30; n += 1) await callAll(town, 1, 'am', 2000);
    await expect(callAll(town, 20, 'am', 100)).resolves.toEqual(new Set(['timeout']));
    expect(ejected(town)).toBe(0);
    await callAll(town, 20, 'never', 400);
    expect(ejected(town)).toBe(1);
  });

  it('is not passed over where it answers others meanwhile, but for those that it never answers', async () => {
    await using town = await townOf(['a'], { latency: () => 1 });
    const never = callAll(town, 20, 'never', 500);
    await callAll(town, 1, 'am', 100);
    await expect(never).resolves.toEqual(new Set(['timeout']));
    expect(ejected(town)).toBe(0);
    await callAll(town, 20, 'never', 500);
    expect(ejected(town)).toBe(1);
  });

  it('is passed over where it has answered once, and then stands still', async () => {
    await using town = await townOf(['a'], { latency: () => 1 });
    await callAll(town, 1, 'am', 100);
    for (let n = 0; n < 3; n += 1) await callAll(town, 1, 'never', 50);
    expect(ejected(town)).toBe(1);
  });

  it('is not passed over for streams that are longer than their callers have time', async () => {
    await using town = await townOf(['a'], { latency: () => 1 });
    const read: string[] = [];
    const reading = async (): Promise<void> => {
      for await (const item of town.caller.stream<string>(WHO, 'who', 'once', [], { timeout: 100 })) read.push(item);
    };
    for (let n = 0; n < 5; n += 1) {
      const late = expect(reading()).rejects.toMatchObject({ code: 'timeout' });
      await town.cluster.clock?.advance(200);
      await late;
    }
    expect(read).toHaveLength(5);
    expect(ejected(town)).toBe(0);
  });

  it('is not taken for well because they gave it no time: the row of its failures goes on', async () => {
    await using town = await townOf(['a'], { latency: () => 1 });
    for (let n = 0; n < 2; n += 1) await callAll(town, 1, 'never', 50);
    await callAll(town, 1, 'never', 1);
    expect(ejected(town)).toBe(0);
    await callAll(town, 1, 'never', 50);
    expect(ejected(town)).toBe(1);
  });
});
