/** the same key takes the same connection while that lives, and what is the matter with one key is no other's. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { hashKey } from '../../lib/protocol/key-hash.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { twoNodes, type NodeSettings } from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { keysOfLanes } from '../support/keys.js';
import { Proxy } from '../support/proxy.js';

const B = 'b@127.0.0.1';

/** `a` calls `b` through a proxy, which tells the lanes apart. */
async function lanes(options: NodeSettings = {}) {
  const nodes = await twoNodes({ driver: 'tcp' });
  const heard: unknown[] = [];
  nodes.b.register('lane', {
    hear: ([, tag]: [unknown, unknown]) => heard.push(tag),
    count: ([bytes]: [Buffer]) => bytes.length,
  });
  const a = nodes.create('keyed', { listen: false, ...options });
  const proxy = await Proxy.to({ port: portOf(nodes, B) });
  redirect(nodes, B, proxy.port);
  /** Which connections a step sends its kilobytes over. */
  const used = async (step: () => Promise<unknown>): Promise<number[]> => {
    const before = proxy.links.map(({ passed }) => passed.up);
    await step();
    return proxy.links.flatMap(({ passed }, link) => (passed.up - (before[link] ?? 0) > 2000 ? [link] : []));
  };
  const laneOf = (key: unknown): Promise<number[]> =>
    used(() => a.call({ node: B, key }, 'lane', 'count', [Buffer.alloc(2000)]));
  const castLaneOf = (key: unknown): Promise<number[]> =>
    used(async () => {
      const tag = `cast ${heard.length}`;
      a.cast({ node: B, key }, 'lane', 'hear', [Buffer.alloc(2000), tag]);
      await until(() => heard.includes(tag));
    });
  const dispose = async (): Promise<void> => {
    await nodes[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  };
  return { a, b: nodes.b, proxy, laneOf, castLaneOf, [Symbol.asyncDispose]: dispose };
}

/** Each made anew whenever it is asked for, in two ways that are equal. */
const EQUAL_KEYS: readonly (readonly [string, () => unknown, () => unknown])[] = [
  ['a number', () => 17, () => 34 / 2],
  ['a fraction', () => 0.5, () => 1 / 2],
  ['a bigint', () => 2n ** 63n, () => BigInt('9223372036854775808')],
  ['text', () => 'tea', () => ['t', 'e', 'a'].join('')],
  ['null', () => null, () => null],
  ['a truth', () => true, () => !false],
  ['a moment', () => new Date(86_400_000), () => new Date('1970-01-02T00:00:00Z')],
  ['bytes', () => Buffer.from('tea'), () => new Uint8Array([116, 101, 97])],
  ['a list', () => [1, [2, ['3']]], () => [1, [2, [String(3)]]]],
  [
    'properties',
    () => ({ a: 1, b: { c: 2, d: [{ e: 3, f: 4 }] } }),
    () => ({ b: { d: [{ f: 4, e: 3 }], c: 2 }, a: 1 }),
  ],
  [
    'moments in properties',
    () => ({ at: new Date(5), of: Buffer.of(1) }),
    () => ({ of: Buffer.of(1), at: new Date(5) }),
  ],
  ['no properties', () => ({}), () => Object.create(null) as unknown],
];

/** A value with the properties of all its objects in another order. */
function reordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reordered);
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) return value;
  const entries = Object.entries(value).toReversed();
  return Object.fromEntries(entries.map(([name, one]) => [name, reordered(one)]));
}

const codec = new MsgpackrCodec();
const FORBIDDEN = new Set(['__proto__', 'constructor', 'prototype']);
const keyValues = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.integer(),
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.constant(null),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array(),
  ),
  value: fc.oneof(
    { depthSize: 'small' },
    tie('leaf'),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(
      fc.string().filter((name) => !FORBIDDEN.has(name)),
      tie('value'),
      { maxKeys: 4 },
    ),
  ),
}));

describe('X-05 keys and the lanes they take', () => {
  it.each(EQUAL_KEYS)('X-05 %s: one connection, however it is written, for calls and casts', async (_, one, other) => {
    await using at = await lanes();
    await at.laneOf('another key');
    const [lane] = await at.laneOf(one());
    for (let round = 0; round < 3; round += 1) {
      expect(await at.laneOf(other())).toEqual([lane]);
      expect(await at.castLaneOf(one())).toEqual([lane]);
    }
  });

  it('X-05 200 keys, each on its connection for as long as that lives', async () => {
    await using at = await lanes();
    const keys = Array.from({ length: 200 }, (_, key) => ({ user: key }));
    const first = [];
    for (const key of keys) first.push(await at.laneOf(key));
    expect(new Set(first.flat()).size).toBe(16);
    for (const [index, key] of keys.entries()) expect(await at.laneOf(reordered(key))).toEqual(first[index]);
    expect(at.a.stats().counts).toEqual({ dialled: 16, connected: 16 });
    expect(at.b.stats().acceptedConnections).toBe(16);
  });

  it('X-05 a key whose connection is lost gets another one, and keeps it; the others keep theirs', async () => {
    await using at = await lanes();
    const keys = [0, 1, 2, 3];
    for (const key of keys) expect(await at.laneOf(key)).toEqual([key]);
    at.proxy.links[2]?.reset();
    await until(() => at.a.stats().openConnections === 3);
    for (let round = 0; round < 3; round += 1) {
      for (const key of keys) expect(await at.laneOf(key)).toEqual([key === 2 ? 4 : key]);
    }
  });

  it('X-05 casts on lanes of their own keep to them', async () => {
    await using at = await lanes({ castLanes: 'separate' });
    for (const key of ['tea', undefined]) {
      const [[call], [cast]] = [await at.laneOf(key), await at.castLaneOf(key)];
      expect(call).not.toBe(cast);
      expect([await at.castLaneOf(key), await at.laneOf(key)]).toEqual([[cast], [call]]);
    }
  });

  it('X-05 a hot key whose connection takes nothing more starves no other', async () => {
    await using at = await lanes({ maxQueuedBytes: 8 * 1024 * 1024 });
    for (const key of [0, 1, 2, 3]) expect(await at.laneOf(key)).toEqual([key]);
    const hot = at.proxy.links[0];
    hot?.client.pause();
    let accepted = 0;
    while (at.a.cast({ node: B, key: 0 }, 'lane', 'hear', [Buffer.alloc(256 * 1024), 'hot'])) accepted += 1;
    const refused = at.a.call({ node: B, key: 0 }, 'lane', 'count', [Buffer.alloc(1)]);
    await expect(refused).rejects.toMatchObject({ code: 'refused', maybeExecuted: false });
    const others = Array.from({ length: 300 }, (_, call) =>
      at.a.call({ node: B, key: 1 + (call % 3) }, 'lane', 'count', [Buffer.alloc(call)]),
    );
    expect(await Promise.all(others)).toEqual(others.map((_, call) => call));
    hot?.client.resume();
    let answer = 0;
    while (answer !== 1) {
      const again = at.a.call<number>({ node: B, key: 0 }, 'lane', 'count', [Buffer.alloc(1)]);
      answer = await again.catch(({ code }: GenRpcError) => (expect(code).toBe('refused'), 0));
      await new Promise(setImmediate);
    }
    expect(at.a.stats().counts).toMatchObject({ dialled: 4, connected: 4 });
    expect(accepted).toBeGreaterThan(16);
  });

  it('X-05 a hot key whose connection is held starves no other', async () => {
    const keys = await keysOfLanes('memory', 8);
    await using nodes = await twoNodes({ driver: 'memory' });
    for (const key of keys) await nodes.a.connect({ node: B, key });
    const [hotKey, ...coldKeys] = keys;
    const [hotLink] = nodes.network.links;
    hotLink?.hold();
    const hot = Array.from({ length: 1000 }, (_, call) =>
      nodes.a.call({ node: B, key: hotKey }, 'math', 'add', [call, 0]),
    );
    const cold = coldKeys.flatMap((key) =>
      Array.from({ length: 100 }, () => nodes.a.call({ node: B, key }, 'math', 'add', [key, 0])),
    );
    expect(await Promise.all(cold)).toEqual(coldKeys.flatMap((key) => Array.from({ length: 100 }, () => key)));
    expect(nodes.a.stats().pendingCalls).toBe(1000);
    hotLink?.release();
    expect(await Promise.all(hot)).toEqual(hot.map((_, call) => call));
  });

  it('X-05 an ordered cast of a hot key that never ends holds up no other key', async () => {
    const keys = await keysOfLanes('memory', 4);
    await using nodes = await twoNodes({ driver: 'memory' });
    const begun: number[] = [];
    let finish = (): void => {};
    nodes.b.register('order', {
      run: ([key]: [number]) => {
        begun.push(key);
        return key === keys[0] ? new Promise<void>((resolve) => (finish = resolve)) : undefined;
      },
    });
    for (let round = 0; round < 10; round += 1) {
      for (const key of keys) nodes.a.cast({ node: B, key }, 'order', 'run', [key], { ordered: true });
    }
    await until(() => begun.length === 31);
    expect(begun.filter((key) => key === keys[0])).toHaveLength(1);
    expect(nodes.b.stats().runningCalls).toBe(10);
    while (nodes.b.stats().runningCalls > 0) {
      finish();
      await new Promise(setImmediate);
    }
    expect(begun).toHaveLength(40);
  });

  it('X-05 equal keys have one number, whatever they are', () => {
    fc.assert(
      fc.property(keyValues.value, (key) => {
        expect(hashKey(codec, reordered(key))).toBe(hashKey(codec, key));
        expect(hashKey(codec, structuredClone(key))).toBe(hashKey(codec, key));
      }),
      { numRuns: 1000 },
    );
  });

  it('X-05 keys that differ rarely have one number', () => {
    const keys = [
      1,
      '1',
      1n,
      [1],
      [[1]],
      { a: 1 },
      { a: '1' },
      { b: 1 },
      { a: 1, b: 1 },
      [1, 1],
      null,
      true,
      Buffer.of(1),
      new Date(1),
      '',
      [],
      {},
    ];
    expect(new Set(keys.map((key) => hashKey(codec, key))).size).toBe(keys.length);
  });

  it.each<[string, (random: SeededRandom, index: number) => unknown]>([
    ['random numbers', (random) => random.below(2 ** 32)],
    ['random bytes', (random) => Buffer.from(random.bytes(8))],
    ['random names', (random) => Buffer.from(random.bytes(8)).toString('hex')],
    ['numbers in a row', (_, index) => index],
    ['names in a row', (_, index) => `user-${index}`],
    ['objects', (random, index) => ({ tenant: random.below(100), id: index })],
    ['moments', (random) => new Date(random.below(2 ** 40))],
  ])('X-05 10,000 keys that are %s spread evenly over 16 lanes', (_, keyAt) => {
    const random = new SeededRandom(5);
    const counts = Array.from({ length: 16 }, () => 0);
    for (let index = 0; index < 10_000; index += 1) {
      const lane = hashKey(codec, keyAt(random, index)) % 16;
      counts[lane] = (counts[lane] ?? 0) + 1;
    }
    // 625 each; chance alone stays within six standard deviations of 24.
    for (const count of counts) expect(Math.abs(count - 625)).toBeLessThan(150);
  });
});
