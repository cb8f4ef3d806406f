import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashKey } from '../../lib/protocol/key-hash.js';
import { Msgpack5Codec } from '../../lib/protocol/msgpack/msgpack5.codec.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';

const codec = new MsgpackrCodec();
const hash = (key: unknown): number => hashKey(codec, key);

/** Any key that can travel; its objects come with their properties in two orders. */
const TREE = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small' },
    fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.double({ noNaN: true })),
    fc.array(tie('tree'), { maxLength: 4 }),
    fc.dictionary(fc.stringMatching(/^[a-z]{1,4}$/), tie('tree'), { maxKeys: 4 }),
  ),
})).tree;

function turnedAround(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(turnedAround);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).toReversed();
  return Object.fromEntries(entries.map(([name, one]) => [name, turnedAround(one)]));
}

describe('the hash of a key', () => {
  it('is FNV-1a over its bytes, the same on every node', () => {
    // The MessagePack of 'a' is a1 61; of 7 it is 07; of null c0.
    const fnv = (...bytes: number[]): number =>
      bytes.reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193), 0x811c9dc5) >>> 0;
    expect(hash('a')).toBe(fnv(0xa1, 0x61));
    expect(hash(7)).toBe(fnv(0x07));
    expect(hash(null)).toBe(fnv(0xc0));
    expect(hash([7, 'a'])).toBe(fnv(0x92, 0x07, 0xa1, 0x61));
  });

  it('is a whole number of 32 bits', () => {
    fc.assert(
      fc.property(TREE, (key) => {
        const number = hash(key);
        return Number.isInteger(number) && number >= 0 && number < 2 ** 32;
      }),
    );
  });

  it('is the same for equal keys, in whatever order their properties stand', () => {
    fc.assert(fc.property(TREE, (key) => hash(key) === hash(turnedAround(key))));
    expect(hash({ a: 1, b: { c: 2, d: [{ e: 3, f: 4 }] } })).toBe(hash({ b: { d: [{ f: 4, e: 3 }], c: 2 }, a: 1 }));
  });

  it('is another where the order means something', () => {
    expect(hash([1, 2])).not.toBe(hash([2, 1]));
    expect(hash({ list: [1, 2] })).not.toBe(hash({ list: [2, 1] }));
  });

  it('tells keys apart that look alike', () => {
    const keys: unknown[] = [
      ...['1', 1, true, [1], { 1: 1 }, null, '', 'null', [], {}, [null], [[]], { a: null }, { a: '' }],
      ...[-1, 1.5, 2 ** 40, '\u00e9', 'e\u0301', Buffer.from('1'), new Date(1), 10n ** 18n],
    ];
    expect(new Set(keys.map(hash)).size).toBe(keys.length);
  });

  it('does not change the key', () => {
    const key = Object.freeze({ b: Object.freeze([Object.freeze({ d: 1, c: 2 })]), a: 1 });
    hash(key);
    expect(Object.keys(key)).toEqual(['b', 'a']);
    expect(Object.keys(key.b[0] ?? {})).toEqual(['d', 'c']);
  });

  it.each([
    ['text', (n: number) => `tenant-${n}`],
    ['numbers', (n: number) => n],
    ['objects', (n: number) => ({ tenant: n, region: 'eu' })],
  ])('spreads over the lanes of a node: %s', (_, keyOf) => {
    const LANES = 16;
    const lanes = Array<number>(LANES).fill(0);
    for (let n = 0; n < 16_000; n += 1) lanes[hash(keyOf(n)) % LANES] = (lanes[hash(keyOf(n)) % LANES] ?? 0) + 1;
    // 1,000 on the average.
    expect(Math.min(...lanes)).toBeGreaterThan(500);
    expect(Math.max(...lanes)).toBeLessThan(2000);
  });

  it.each([
    ['a function', (): void => {}],
    ['a symbol', Symbol('key')],
    ['a function inside', { deep: [(): void => {}] }],
  ])('there is none of what cannot be encoded: %s', (_, key) => {
    expect(() => hash(key)).toThrow(expect.objectContaining({ code: 'encode_error' }));
    expect(() => hashKey(new Msgpack5Codec(), key)).toThrow(expect.objectContaining({ code: 'encode_error' }));
  });

  it('there is none of a circle', () => {
    const key: { self?: unknown } = {};
    key.self = key;
    expect(() => hash(key)).toThrow(expect.objectContaining({ code: 'encode_error' }));
  });
});
