import { describe, expect, it } from 'vitest';
import { viewOf } from '../../../lib/protocol/msgpack/keys.js';
import { PAYLOAD_LIMITS, PayloadScanner, resolveLimits, Trait } from '../../../lib/protocol/msgpack/scan.js';
import { errorOf, fromHex, map, map32, nested, str } from './codecs.js';

const ONE = Buffer.of(1);
const scanner = new PayloadScanner();

function scan(bytes: Buffer, by = scanner): number {
  return by.scan(bytes, viewOf(bytes), bytes.length);
}

function refusal(bytes: Buffer, by = scanner): string {
  const error = errorOf(() => scan(bytes, by));
  expect(error.code).toBe('protocol_error');
  return error.message;
}

function keyed(keys: readonly (string | Buffer)[]): Buffer {
  return map32(keys.map((key) => [str(key), ONE]));
}

/** Different keys of eight bytes whose first and last four bytes cancel out in every hash that the scan computes. */
function collidingKeys(count: number): Buffer[] {
  const keys: Buffer[] = [];
  for (let first = 0x20202020; keys.length < count; first += 0x10003) {
    const last = Math.imul(first, 31) ^ 0x5a5a5a5a;
    if (((first | last) & 0x80808080) !== 0) continue;
    const key = Buffer.alloc(8);
    key.writeInt32BE(first | 0, 0);
    key.writeInt32BE(last, 4);
    keys.push(key);
  }
  return keys;
}

describe('PayloadScanner', () => {
  it.each([
    ['nil', 'c0'],
    ['booleans', '92 c2 c3'],
    ['fixints', '92 7f e0'],
    ['floats', '92 ca 3fc00000 cb 3ff8000000000000'],
    ['unsigned integers', '93 cc ff cd ffff ce ffffffff'],
    ['signed integers', '93 d0 80 d1 8000 d2 80000000'],
    ['strings', '94 a0 a1 61 d9 01 61 da 0001 61'],
    ['a long string', 'db 00000001 61'],
    ['binaries', '93 c4 01 ff c5 0001 ff c6 00000001 ff'],
    ['arrays', '92 dc 0001 01 dd 00000001 01'],
    ['maps', '92 de 0001 a161 01 df 00000001 a161 01'],
    ['undefined', 'd4 00 00'],
    ['timestamps', '93 d6 ff 00000001 d7 ff 0000000000000001 c7 0c ff 00000000 ffffffffffffffff'],
    ['empty containers', '92 90 80'],
    ['two-, three- and four-byte characters', 'a9 c3a9 e697a5 f09f9880'],
  ])('lets %s pass', (_, hex) => {
    expect(() => scan(fromHex(hex))).not.toThrow();
  });

  it('tells what a library may need help with', () => {
    expect(scan(fromHex('01'))).toBe(Trait.None);
    expect(scan(fromHex('cf 0000000000000001'))).toBe(Trait.Wide);
    expect(scan(fromHex('d3 0000000000000001'))).toBe(Trait.Wide);
    expect(scan(fromHex('cb 3ff8000000000000'))).toBe(Trait.None);
    expect(scan(fromHex('c4 00'))).toBe(Trait.Binary);
    expect(scan(fromHex('a3 efbbbf'))).toBe(Trait.ByteOrderMark);
    expect(scan(fromHex('81 a3 efbbbf 92 c4 00 cf 0000000000000001'))).toBe(7);
  });

  it('forgets one payload before the next', () => {
    expect(scan(fromHex('c4 00'))).toBe(Trait.Binary);
    expect(scan(fromHex('01'))).toBe(Trait.None);
    refusal(Buffer.concat([map([str('a'), keyed(Array.from({ length: 40 }, (_, i) => `k${i}`))]), ONE]));
    expect(scan(map([str('a'), keyed(['a', 'b'])]))).toBe(Trait.None);
  });

  it('reads no further than it is told', () => {
    const bytes = fromHex('92 01 02 ff ff');
    expect(scanner.scan(bytes, viewOf(bytes), 3)).toBe(Trait.None);
    expect(() => scanner.scan(bytes, viewOf(bytes), 2)).toThrow('a container of 2 declared, with 1 bytes left');
    const halfAKey = fromHex('81 a2 61 61 01');
    expect(() => scanner.scan(halfAKey, viewOf(halfAKey), 3)).toThrow('2 bytes declared, with 1 left');
  });

  it('names the rule and the offset', () => {
    expect(refusal(fromHex('92 01 c1'))).toBe('Payload refused at byte 2: the byte 0xc1 stands for nothing.');
    expect(refusal(fromHex('81 01 01'))).toBe(
      'Payload refused at byte 1: a map key begins with 0x01; only strings are allowed.',
    );
    expect(refusal(fromHex('d4 05 00'))).toBe(
      'Payload refused at byte 2: extension 5 is not allowed; allowed are -1, 0.',
    );
  });

  it('allows the depth of its limits and no more', () => {
    expect(scan(nested(PAYLOAD_LIMITS.depth, ONE))).toBe(Trait.None);
    expect(refusal(nested(PAYLOAD_LIMITS.depth + 1, ONE))).toContain(
      'byte 64: a container at depth 65; 64 is the limit',
    );
    expect(refusal(nested(64, Buffer.of(0x80)))).toContain('depth 65');
  });

  it('allows the nodes of its limits and no more', () => {
    const small = new PayloadScanner(resolveLimits({ nodes: 5 }));
    expect(scan(fromHex('92 92 01 02 03'), small)).toBe(Trait.None);
    expect(refusal(fromHex('92 93 01 02 03 04'), small)).toContain('byte 1: more values than 5');
    expect(scan(fromHex('84 a161 01 a162 01 a163 01 a164 01'), small)).toBe(Trait.None);
  });

  it('allows the keys of its limits and no more', () => {
    const keys = Array.from({ length: PAYLOAD_LIMITS.keysPerMap + 1 }, (_, i) => `key ${i}`);
    expect(scan(keyed(keys.slice(1)))).toBe(Trait.None);
    expect(refusal(keyed(keys))).toContain('byte 0: a map of 10001 keys; 10000 is the limit');
  });

  it.each([2, 5, 31, 32, 33, 100, 1000])('finds a key that is twice among %i, wherever it is', (size) => {
    const keys = Array.from({ length: size }, (_, i) => `the ${i}. key`);
    expect(scan(keyed(keys))).toBe(Trait.None);
    for (const twin of new Set([0, (size - 1) >> 1, size - 2])) {
      const twice = [...keys.slice(0, -1), keys[twin] as string];
      expect(refusal(keyed(twice))).toContain('a key that its map has already');
    }
  });

  it('finds a key that is twice in different clothes', () => {
    expect(refusal(fromHex('82 a161 01 d9 01 61 01'))).toContain('already');
    expect(refusal(fromHex('82 db 00000001 61 01 da 0001 61 01'))).toContain('already');
    expect(refusal(fromHex('82 a0 01 a0 01'))).toContain('already');
  });

  it('tells keys apart that look alike', () => {
    const alike = ['', 'a', 'aa', 'aaa', 'aaaa', 'aaaaa', 'aaaabaaaa', 'aaaacaaaa', 'é', 'e', 'É', '\0', '\0\0'];
    const long = ['x', 'y'].map((middle) => `${'a'.repeat(100)}${middle}${'a'.repeat(100)}`);
    expect(scan(keyed([...alike, ...long]))).toBe(Trait.None);
    const many = Array.from({ length: 300 }, (_, i) => `same start ${i} same end`);
    expect(scan(keyed([...many, ...alike]))).toBe(Trait.None);
    const prefixes = Array.from({ length: 200 }, (_, i) => 'a'.repeat(i));
    expect(scan(keyed(prefixes))).toBe(Trait.None);
    expect(scan(keyed(prefixes.toReversed()))).toBe(Trait.None);
  });

  it('takes the same key in maps inside and beside each other', () => {
    const inner = keyed(['a', 'b']);
    expect(scan(map([str('a'), inner], [str('b'), inner], [str('c'), map([str('a'), inner])]))).toBe(Trait.None);
    const large = keyed(Array.from({ length: 50 }, (_, i) => `key ${i}`));
    expect(scan(map([str('key 1'), large], [str('key 2'), large]))).toBe(Trait.None);
    expect(refusal(map([str('a'), inner], [str('b'), large], [str('a'), inner]))).toContain('already');
  });

  it('stays linear when keys are made to collide', () => {
    const payload = keyed(collidingKeys(10_000));
    const durations = [1, 2, 3].map(() => {
      const start = performance.now();
      expect(scan(payload)).toBe(Trait.None);
      return performance.now() - start;
    });
    // Comparing each key with all before it would be 50 million comparisons.
    expect(Math.min(...durations)).toBeLessThan(60);
    expect(refusal(keyed([...collidingKeys(1000), ...collidingKeys(1)]))).toContain('already');
  });

  it('looks at every byte of a string', () => {
    for (let length = 1; length <= 40; length++) {
      for (let bad = 0; bad < length; bad++) {
        const text = Buffer.alloc(length, 'a');
        text[bad] = 0xff;
        expect(refusal(str(text))).toContain(`byte ${bad + (length < 32 ? 1 : 2)}: 0xff`);
        expect(refusal(map([str(text), ONE]))).toContain(`byte ${bad + (length < 32 ? 2 : 3)}: 0xff`);
      }
    }
  });

  it.each([
    ['a lone continuation', '80'],
    ['a lead with nothing after it', 'c3'],
    ['a lead with no continuation', 'c328'],
    ['an overlong two-byte form', 'c0af'],
    ['an overlong three-byte form', 'e080af'],
    ['an overlong four-byte form', 'f08080af'],
    ['a high surrogate', 'eda080'],
    ['a low surrogate', 'edb080'],
    ['a pair of surrogates', 'eda080edb080'],
    ['a code point above U+10FFFF', 'f4908080'],
    ['a five-byte form', 'f888808080'],
    ['a four-byte form cut short', 'f09f98'],
    ['0xff', 'ff'],
  ])('refuses %s in short and in long strings, in keys and in values', (_, hex) => {
    const bad = fromHex(hex);
    for (const before of [0, 1, 3, 40, 200]) {
      const text = Buffer.concat([Buffer.alloc(before, 'a'), bad]);
      expect(refusal(str(text))).toContain('is not part of valid UTF-8');
      expect(refusal(map([str(text), ONE]))).toContain('is not part of valid UTF-8');
      expect(refusal(str(Buffer.concat([text, Buffer.from('é')])))).toContain('is not part of valid UTF-8');
    }
    const long = Buffer.concat([Buffer.alloc(1000, 'a'), bad]);
    expect(refusal(Buffer.concat([Buffer.of(0xda, long.length >> 8, long.length & 0xff), long]))).toContain(
      'byte 1003',
    );
  });

  it.each([
    '',
    'a',
    'ab',
    'abc',
    'abcd',
    'abcde',
    'é',
    'aé',
    'abcé',
    'abcdeé',
    'éabcd',
    '日本',
    '😀',
    '\u{10ffff}',
    '\ud7ff\ue000',
  ])('lets %j pass', (text) => {
    for (const padding of ['', 'a'.repeat(60), 'é'.repeat(60)])
      expect(() => scan(keyed([text + padding]))).not.toThrow();
  });

  it('lets the extension types through that its owner named', () => {
    const open = new PayloadScanner(PAYLOAD_LIMITS, new Set([5]));
    expect(scan(fromHex('c7 03 05 ffffff'), open)).toBe(Trait.None);
    expect(refusal(fromHex('c7 03 06 ffffff'), open)).toContain('extension 6 is not allowed; allowed are -1, 0, 5');
    expect(refusal(fromHex('d4 05 00'))).toContain('extension 5 is not allowed');
  });

  it.each([
    ['nodes', 0],
    ['nodes', 1.5],
    ['depth', 513],
    ['keysPerMap', Number.NaN],
  ])('refuses a limit of %s that is %d', (name, value) => {
    const error = errorOf(() => resolveLimits({ [name]: value }));
    expect(error.code).toBe('invalid_argument');
    expect(error.message).toContain(name);
  });
});
