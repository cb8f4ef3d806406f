import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { plainToInstance } from 'class-transformer';
import { addExtension, Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import type { GenRpcError } from '../../../lib/protocol/errors.js';
import { Msgpack5Codec } from '../../../lib/protocol/msgpack/msgpack5.codec.js';
import { MsgpackrCodec } from '../../../lib/protocol/msgpack/msgpackr.codec.js';
import { codecs, errorOf, fromHex, map, map32, nested, str, type Entry } from './codecs.js';
import { runCompiled } from './compiled.js';

const ONE = Buffer.of(1);
const MIB = 1024 * 1024;
const FORBIDDEN = ['__proto__', 'constructor', 'prototype'];

function array32(count: number, item: Buffer): Buffer {
  const header = Buffer.alloc(5, 0xdd);
  header.writeUInt32BE(count, 1);
  return Buffer.concat([header, Buffer.alloc(count * item.length, item)]);
}

/** Milliseconds of the best of five rounds: what else the machine does meanwhile does not count. */
function quickest(act: () => void): number {
  const rounds = Array.from({ length: 5 }, () => {
    const start = performance.now();
    act();
    return performance.now() - start;
  });
  return Math.min(...rounds);
}

function numberedKeys(count: number, ...more: readonly Entry[]): Buffer {
  return map32([...Array.from({ length: count }, (_, i): Entry => [str(`key ${i}`), ONE]), ...more]);
}

describe.each(codecs)('$id', (codec) => {
  const other = codec === codecs[0] ? codecs[1] : codecs[0];

  /** What comes back, after this codec wrote it and after the other did: they must agree. */
  function roundTrip(value: unknown): unknown {
    const back = codec.decode(codec.encode(value));
    expect(codec.decode(other.encode(value))).toStrictEqual(back);
    return back;
  }

  function refusal(bytes: Buffer): GenRpcError {
    const error = errorOf(() => codec.decode(bytes));
    expect(error.code).toBe('protocol_error');
    expect(error.message).toMatch(/^Payload refused at byte \d+: /);
    return error;
  }

  function encodeRefusal(value: unknown): GenRpcError {
    const error = errorOf(() => codec.encode(value));
    expect(error.code).toBe('encode_error');
    expect(codec.decode(codec.encode([1, 'after']))).toStrictEqual([1, 'after']);
    return error;
  }

  describe('what comes back', () => {
    it.each(
      [
        null,
        undefined,
        true,
        false,
        0,
        -1,
        127,
        128,
        -32,
        -33,
        0xffff_ffff,
        0x1_0000_0000,
        -214_748_365,
        -(2 ** 31),
        -(2 ** 31) - 1,
        1_700_000_000_000,
        Number.MAX_SAFE_INTEGER,
        Number.MIN_SAFE_INTEGER,
        2 ** 60,
        Number.MAX_VALUE,
        Number.MIN_VALUE,
        0.1,
        1.5,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
        0n,
        -1n,
        5n,
        2n ** 53n + 1n,
        2n ** 63n - 1n,
        2n ** 63n,
        2n ** 64n - 1n,
        -(2n ** 63n),
        '',
        'text',
        'é日😀',
        'x'.repeat(31),
        'x'.repeat(32),
        'é'.repeat(40_000),
        '\ufeffa short one',
        `\ufeff${'a,b,c\n'.repeat(50)}`,
        Buffer.from('bytes'),
        Buffer.alloc(0),
        Buffer.alloc(300, 1),
        Buffer.alloc(70_000, 1),
        new Date(0),
        new Date(1),
        new Date(-1),
        new Date(1_700_000_000_123),
        new Date(2 ** 32 * 1000),
        new Date(2 ** 34 * 1000 - 1),
        new Date(2 ** 34 * 1000),
        new Date(8.64e15),
        new Date(-8.64e15),
        [],
        {},
        [1, [2, [3]], { a: [{}] }],
        { '': 1, 'a b': 2, ключ: 3, [`\ufeff${'k'.repeat(100)}`]: 4, hasOwnProperty: 5, toString: 6, length: 7 },
        { a: undefined, b: [undefined], c: { d: null } },
        { at: new Date(5), id: 5n, bytes: Buffer.from('x'), ms: 1_700_000_000_000, text: 'y' },
        Array.from({ length: 70_000 }, (_, i) => i),
      ].map((value): [string, unknown] => [inspect(value).slice(0, 40).replaceAll(/\s+/g, ' '), value]),
    )('%s is itself', (_, value) => {
      expect(roundTrip(value)).toStrictEqual(value);
    });

    it.each<[string, unknown, unknown]>([
      ['-0 as 0', [-0], [0]],
      ['a Uint8Array as a Buffer', new Uint8Array([1, 2]), Buffer.of(1, 2)],
      ['a part of a Uint8Array as that part', new Uint8Array([1, 2, 3, 4]).subarray(1, 3), Buffer.of(2, 3)],
      // eslint-disable-next-line no-sparse-arrays
      ['holes as undefined', [1, , 3], [1, undefined, 3]],
      ['an object without prototype as a plain one', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
      ['an array of a class of its own as an array', new (class Stack extends Array<number> {})(1, 2, 3), [1, 2, 3]],
      ['a Date of a class of its own as a Date', [new (class Day extends Date {})(5)], [new Date(5)]],
      ['what toJSON returns, of an instance', { url: new URL('http://a/b') }, { url: 'http://a/b' }],
      ['what toJSON returns, of a plain object', { a: { toJSON: () => [1] } }, { a: [1] }],
      ['what toJSON returns, once', { toJSON: () => ({ toJSON: 'kept', a: 1n }) }, { toJSON: 'kept', a: 1n }],
      [
        'what toJSON returns, of a Map',
        new (class extends Map {
          toJSON = () => 'map';
        })(),
        'map',
      ],
      ['what a Proxy shows', new Proxy({ a: 1 }, { get: () => 2 }), { a: 2 }],
      [
        'what a getter returns',
        {
          get a() {
            return 1;
          },
        },
        { a: 1 },
      ],
    ])('%s', (_, value, expected) => {
      expect(roundTrip(value)).toStrictEqual(expected);
    });

    it('an instance as its own enumerable properties', () => {
      class Base {
        inherited = 1;
        method(): void {}
        get getter(): number {
          return 1;
        }
      }
      class User extends Base {
        readonly #secret = 'hidden';
        name = 'Ann';
        friends = [new Base()];
        secretLength = this.#secret.length;
      }
      const user = Object.defineProperty(Object.assign(new User(), { [Symbol('s')]: 1 }), 'hidden', { value: 1 });
      const expected = { inherited: 1, name: 'Ann', friends: [{ inherited: 1 }], secretLength: 6 };
      expect(roundTrip([user])).toStrictEqual([expected]);
    });

    it('a Buffer, also when it was read from a Uint8Array', () => {
      const decoded = codec.decode(new Uint8Array(codec.encode({ a: Buffer.from('x') }))) as { a: Buffer };
      expect(Buffer.isBuffer(decoded.a)).toBe(true);
    });
  });

  it('C-01 refuses lengths that the bytes cannot hold, without allocating for them', () => {
    for (const hex of [
      'dd01312d00',
      'ddffffffff',
      'dfffffffff',
      'dbffffffff',
      'c6ffffffff',
      'c9ffffffff01',
      'dcffff',
      'c8ffff05',
    ]) {
      const before = process.memoryUsage();
      refusal(fromHex(hex));
      const after = process.memoryUsage();
      expect(after.heapUsed - before.heapUsed).toBeLessThan(MIB);
      expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(MIB);
    }
  });

  it('C-02 refuses nested arrays of 65,535 in a process of 128 MiB, which lives', () => {
    const name = codec.id === 'msgpackr' ? 'MsgpackrCodec' : 'Msgpack5Codec';
    const script = `
      const { ${name} } = await import('./protocol/msgpack/${codec.id}.codec.js');
      const codec = new ${name}();
      const bytes = Buffer.concat(Array.from({ length: 24000 }, () => Buffer.of(0xdc, 0xff, 0xff)));
      let code = 'none';
      try { codec.decode(bytes); } catch (error) { code = error.code; }
      console.log(code, codec.decode(codec.encode('alive')));
    `;
    expect(runCompiled(script, ['--max-old-space-size=128'])).toBe('protocol_error alive');
  });

  it('C-03 refuses depth at the first level too many, however much follows', () => {
    const arrays = Buffer.alloc(1_000_000, 0x91);
    const maps = Buffer.concat(Array.from({ length: 100_000 }, () => fromHex('81a161')));
    for (const [bytes, offset] of [
      [arrays, 64],
      [maps, 64 * 3],
    ] as const) {
      const message = `byte ${offset}: a container at depth 65`;
      expect(quickest(() => expect(refusal(bytes).message).toContain(message))).toBeLessThan(50);
    }
  });

  it('C-04 refuses 4 MiB of maps, arrays, dates or keys before the event loop notices', () => {
    const thousands = (item: Buffer): Buffer => array32(64, array32(Math.floor(65_536 / item.length), item));
    const manyKeys = (count: number, keys: number): Buffer => array32(count, numberedKeys(keys));
    const payloads: [Buffer, string][] = [
      [array32(4 * MIB, Buffer.of(0x80)), 'more values than 100000'],
      [array32(4 * MIB, Buffer.of(0x90)), 'more values than 100000'],
      [array32(700_000, fromHex('d6ff00000001')), 'more values than 100000'],
      [thousands(Buffer.of(0x80)), 'more values than 100000'],
      [thousands(fromHex('d6ff00000001')), 'more values than 100000'],
      [numberedKeys(400_000), 'more values than 100000'],
      [manyKeys(1, 20_000), '10000 is the limit'],
      [manyKeys(40, 10_000), 'more values than 100000'],
    ];
    for (const [bytes, message] of payloads) {
      expect(quickest(() => expect(refusal(bytes).message).toContain(message))).toBeLessThan(50);
    }
  });

  it.each(FORBIDDEN)('C-05 refuses the key %s at any depth, and no prototype is touched', (key) => {
    const evil = map([str(key), map([str('polluted'), str('yes')])]);
    for (const depth of [0, 1, 5]) {
      expect(refusal(nested(depth, evil)).message).toContain(`the key ${key}`);
      expect(refusal(map([str('a'), nested(depth, map([str('b'), ONE], [str('c'), evil]))])).message).toContain(key);
    }
    const inALargeMap = numberedKeys(50, [str(key), ONE]);
    expect(refusal(inALargeMap).message).toContain(`the key ${key}`);
    expect(
      refusal(Buffer.concat([fromHex('81 da 00'), Buffer.of(key.length), Buffer.from(key), ONE])).message,
    ).toContain(key);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it('C-05 what is decoded stays harmless when it is assigned, spread, cloned and transformed', () => {
    class Target {}
    const lookalikes = ['__proto', 'proto__', '__PROTO__', 'constructor ', 'prototypes'];
    const evil = map(...lookalikes.map((key) => [str(key), map([str('polluted'), str('yes')])] as const));
    const decoded = codec.decode(map([str('a'), evil])) as { a: Record<string, unknown> };
    for (const copy of [
      Object.assign({}, decoded.a),
      { ...decoded.a },
      structuredClone(decoded.a),
      plainToInstance(Target, decoded.a),
      Object.assign(new Target(), decoded.a),
    ]) {
      expect(Object.keys(copy)).toStrictEqual(lookalikes);
      expect((copy as { polluted?: unknown }).polluted).toBeUndefined();
    }
    expect(Object.getPrototypeOf(decoded.a)).toBe(Object.prototype);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect((Target.prototype as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it.each(FORBIDDEN)('C-06 neither renames nor drops the key %s: sending and receiving it are errors', (key) => {
    const value: unknown = JSON.parse(`{"list":[{"${key}":1,"other":2}]}`);
    expect(encodeRefusal(value).message).toContain(`$.list[0] has the key ${key}`);
    refusal(map([str(key), ONE], [str('other'), ONE]));
    class Instance {}
    const instance = Object.defineProperty(new Instance(), key, { value: 1, enumerable: true });
    expect(encodeRefusal(instance).message).toContain(`$ has the key ${key}`);
  });

  it('C-07 refuses a key that its map has twice', () => {
    expect(refusal(map([str('role'), str('user')], [str('role'), str('admin')])).message).toContain('already');
    expect(refusal(fromHex('82 a161 01 d901 61 02')).message).toContain('already');
    refusal(numberedKeys(50, [str('key 7'), ONE]));
  });

  it.each([
    ['array', '90'],
    ['map', '80'],
    ['float', 'cb 3ff0000000000000'],
    ['NaN', 'cb 7ff8000000000000'],
    ['nil', 'c0'],
    ['boolean', 'c3'],
    ['integer', '01'],
    ['negative integer', 'ff'],
    ['binary', 'c4 01 61'],
    ['extension', 'd4 00 00'],
    ['date', 'd6 ff 00000000'],
  ])('C-08 refuses a map key of type %s', (_, hex) => {
    const bytes = Buffer.concat([Buffer.of(0x81), fromHex(hex), ONE, ONE]);
    expect(refusal(bytes).message).toContain('only strings are allowed');
  });

  it.each(['c328', 'c080', 'e08080', 'f0808080', 'eda080', 'edbfbf', 'f4908080', 'fe', '80', 'c3'])(
    'C-09 refuses the bytes %s in a string, be it value or key',
    (hex) => {
      for (const text of [str(fromHex(hex)), str(Buffer.concat([Buffer.alloc(90, 'a'), fromHex(hex)]))]) {
        expect(refusal(text).message).toContain('not part of valid UTF-8');
        expect(refusal(map([text, ONE])).message).toContain('not part of valid UTF-8');
      }
    },
  );

  it.each(['\ud800', '\udc00', 'a\ud800b', '\udc00\ud800', `${'a'.repeat(100)}\ud83d`])(
    'C-09 does not send the lone surrogate of %j',
    (text) => {
      expect(encodeRefusal([text]).message).toContain('$[0] is a string with a lone surrogate');
      expect(encodeRefusal({ [text]: 1 }).message).toContain('$ has a key with a lone surrogate');
    },
  );

  it('C-10 refuses the byte 0xc1 wherever it stands', () => {
    for (const hex of ['c1', '91c1', '81a161c1', '81c101']) refusal(fromHex(hex));
  });

  it.each([
    ['an unknown type', 'd4 05 00'],
    ['a timestamp of 1 byte', 'd4 ff ff'],
    ['a timestamp of 2 bytes', 'd5 ff 0000'],
    ['a timestamp of 0 bytes', 'c7 00 ff'],
    ['a timestamp of 16 bytes', 'd8 ff 00000000000000000000000000000000'],
    ['12 bytes with 1,000,000,000 nanoseconds', 'c7 0c ff 3b9aca00 0000000000000000'],
    ['8 bytes with 1,000,000,000 nanoseconds', 'd7 ff ee6b280000000000'],
    ['a timestamp finer than a millisecond', 'd7 ff 0000000400000000'],
    ['a timestamp beyond any Date', 'c7 0c ff 00000000 7fffffffffffffff'],
    ['a timestamp just beyond any Date', 'c7 0c ff 000f4240 000007dba8218000'],
    ['undefined of two bytes', 'd5 00 0000'],
    ['undefined with content', 'd4 00 01'],
    ['the pointer 0x69', 'd6 69 00000000'],
    ['the pointer 0x70', 'd6 70 00000000'],
    ['the record 0x72', 'd4 72 40 91 a161 01'],
    ['the record 0x72 of two bytes', 'd5 72 4000 91 a161 01'],
    ['the RegExp 0x78', '92 d4 78 00 92 a161 a0'],
    ['the Error 0x65', '92 d4 65 00 93 a5 4572726f72 a161 c0'],
    ['the Set 0x73', '92 d4 73 00 90'],
    ['the bigint 0x42', 'd7 42 0000000000000001'],
    ['the bundle 0x62', 'd6 62 00000000'],
    ['the typed array 0x74', 'c7 02 74 0100'],
    ['the private type 126', 'c7 09 7e cf 0000000000000001'],
    ['the private type 127', 'd4 7f 00'],
  ])('C-11 refuses %s', (_, hex) => {
    refusal(fromHex(hex));
    refusal(Buffer.concat([fromHex('82 a161 01 a162'), fromHex(hex)]));
  });

  it('C-11 reads the tokens of records as the integers that they are', () => {
    expect(codec.decode(fromHex('93 40 41 7f'))).toStrictEqual([64, 65, 127]);
  });

  it('C-12 refuses trailing bytes, every truncation, and nothing at all', () => {
    const sent = {
      a: [1, 'two', 3n, 4.5, null],
      b: Buffer.from('five'),
      c: new Date(6),
      d: { e: undefined },
      f: 2 ** 40,
    };
    const bytes = Buffer.from(codec.encode(sent));
    for (let length = 0; length < bytes.length; length++) refusal(bytes.subarray(0, length));
    for (const extra of ['00', 'c0', 'c1']) refusal(Buffer.concat([bytes, fromHex(extra)]));
    expect(refusal(Buffer.alloc(0)).message).toBe(
      'Payload refused at byte 0: the payload ends where a value should begin.',
    );
    expect(codec.decode(bytes)).toStrictEqual(sent);
  });

  it('C-13 rounds no integer', () => {
    const integers: [string, bigint][] = [
      ['cf ffffffffffffffff', 2n ** 64n - 1n],
      ['cf 0020000000000001', 2n ** 53n + 1n],
      ['d3 8000000000000000', -(2n ** 63n)],
      ['d3 ffdfffffffffffff', -(2n ** 53n) - 1n],
      ['cf 0000000000000001', 1n],
    ];
    for (const [hex, value] of integers) expect(codec.decode(fromHex(hex))).toBe(value);
    for (const value of [2n ** 64n, -(2n ** 63n) - 1n, 10n ** 40n]) {
      expect(encodeRefusal({ n: value }).message).toContain('$.n is a bigint outside 64 bits');
    }
  });

  describe('C-14 names what it cannot encode, and goes on:', () => {
    const circular: Record<string, unknown> = { a: {} };
    circular['a'] = { list: [circular] };
    const thrown = new Error('a secret');
    const throwing = (): never => {
      throw thrown;
    };

    it.each<[string, unknown, string]>([
      ['circular object', circular, '$.a.list[0] is circular'],
      ['function', { a: [0, 1, 2, { b: () => {} }] }, '$.a[3].b is a function'],
      ['class', [class A {}], '$[0] is a function'],
      ['symbol', { a: Symbol('s') }, '$.a is a symbol'],
      ['bigint of 65 bits', { a: 2n ** 64n }, '$.a is a bigint outside 64 bits'],
      ['Map', { a: new Map([['b', 1]]) }, '$.a is of type Map'],
      ['Map of a class of its own', [new (class Registry extends Map {})()], '$[0] is of type Map'],
      ['Set', new Set([1]), '$ is of type Set'],
      ['WeakMap', [new WeakMap()], '$[0] is of type WeakMap'],
      ['RegExp', [/a/], '$[0] is of type RegExp'],
      ['Error', { e: new RangeError('x') }, '$.e is of type Error'],
      ['Promise', { p: Promise.resolve(1) }, '$.p is of type Promise'],
      ['boxed number', [Object(1)], '$[0] is of type Number'],
      ['generator', [(function* () {})()], '$[0] is of type Generator'],
      ['ArrayBuffer', new ArrayBuffer(4), '$ is of type ArrayBuffer'],
      ['Float64Array', { f: new Float64Array(2) }, '$.f is of type Float64Array'],
      ['DataView', { f: new DataView(new ArrayBuffer(1)) }, '$.f is of type DataView'],
      ['invalid Date', [new Date(Number.NaN)], '$[0] is an invalid Date'],
      [
        'getter that throws',
        {
          a: {
            get b() {
              return throwing();
            },
          },
        },
        '$.a.b cannot be read',
      ],
      ['toJSON that throws', [{ toJSON: throwing }], '$[0] cannot be read'],
      ['Proxy that throws', { a: new Proxy({}, { ownKeys: throwing }) }, '$.a cannot be read'],
      ['revoked Proxy', [revoked()], '$[0] cannot be read'],
      ['200 levels', JSON.parse('['.repeat(200) + ']'.repeat(200)), 'is deeper than 64 levels'],
      ['65 levels', JSON.parse('{"a":'.repeat(64) + '{}' + '}'.repeat(64)), 'is deeper than 64 levels'],
      ['array of 100,001', Array.from({ length: 100_001 }, () => 0), '$ is an array of 100001'],
      ['array of 100,000', [Array.from({ length: 99_999 }, () => 0)], 'is beyond the 100000 values of a payload'],
      ['object of 120,000 in two', halves(60_000), '$.b[39997] is beyond the 100000 values of a payload'],
      ['toJSON of what toJSON returned', { toJSON: () => ({ toJSON: () => 1 }) }, '$.toJSON is a function'],
      ['sparse array of 4,294,967,295', new Array(2 ** 32 - 1), '$ is an array of 4294967295'],
      ['key that is no identifier', { 'a b': { 'c"d': Symbol.iterator } }, '$["a b"]["c\\"d"] is a symbol'],
    ])('%s', (_, value, message) => {
      const error = encodeRefusal(value);
      expect(error.message).toContain(message);
      expect(error.message).not.toContain('secret');
      expect([undefined, thrown]).toContain(error.cause instanceof TypeError ? undefined : error.cause);
    });

    it('64 levels and 99,999 items are within the profile', () => {
      const deep: unknown = JSON.parse('['.repeat(64) + ']'.repeat(64));
      expect(roundTrip(deep)).toStrictEqual(deep);
      const long = Array.from({ length: 99_999 }, () => 0);
      expect(codec.decode(codec.encode(long))).toHaveLength(99_999);
    });

    it('the same object twice is not circular', () => {
      const shared = { a: 1 };
      expect(roundTrip([shared, shared, { shared }])).toStrictEqual([shared, shared, { shared }]);
    });
  });

  it('C-14 sends bytes and dates as such, whatever toJSON their prototypes were given', () => {
    const prototypes = [Uint8Array.prototype, Buffer.prototype, Date.prototype];
    const before = prototypes.map((prototype) => Object.getOwnPropertyDescriptor(prototype, 'toJSON'));
    try {
      for (const prototype of prototypes) {
        Object.defineProperty(prototype, 'toJSON', { value: () => 'other', configurable: true, writable: true });
      }
      expect(roundTrip([new Uint8Array([1]), Buffer.of(2), new Date(3)])).toStrictEqual([
        Buffer.of(1),
        Buffer.of(2),
        new Date(3),
      ]);
    } finally {
      prototypes.forEach((prototype, i) => {
        const descriptor = before[i];
        if (descriptor === undefined) Reflect.deleteProperty(prototype, 'toJSON');
        else Object.defineProperty(prototype, 'toJSON', descriptor);
      });
    }
  });

  it('C-14 sends the bytes of a pooled Buffer and none of its neighbours', () => {
    const secret = Buffer.from('a neighbour in the pool: secret');
    const part = Buffer.from('public');
    expect(part.buffer.byteLength).toBeGreaterThan(part.length);
    for (const value of [part, { a: part }, new Uint8Array(part.buffer, part.byteOffset, part.length)]) {
      const bytes = Buffer.from(codec.encode(value));
      expect(bytes.includes('public')).toBe(true);
      expect(bytes.includes('secret')).toBe(false);
      expect(bytes.length).toBeLessThan(20);
    }
    expect(secret.length).toBeGreaterThan(0);
  });

  it('C-15 a decoded binary neither changes with the buffer that was read nor pins it', () => {
    for (const size of [10, 1000, 20_000]) {
      const sent = { a: Buffer.alloc(size, 7), b: [Buffer.of(1, 2, 3)], text: 'x'.repeat(300) };
      const bytes = codec.encode(sent);
      const read = Buffer.alloc(65_536);
      read.set(bytes, 100);
      const decoded = codec.decode(read.subarray(100, 100 + bytes.length)) as typeof sent;
      read.fill(0xff);
      codec.decode(codec.encode({ a: Buffer.alloc(size, 9), b: [], text: 'y'.repeat(300) }));
      expect(decoded).toStrictEqual(sent);
      expect(decoded.a.buffer.byteLength).toBe(size);
      expect(decoded.b[0]?.buffer.byteLength).toBe(3);
    }
  });

  it('C-16 takes 10,000 arguments or keys, and refuses a map of 10,001 keys at both ends', () => {
    const entries = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`key ${i}`, i]));
    expect(codec.decode(codec.encode(Object.values(entries)))).toHaveLength(10_000);
    expect(codec.decode(codec.encode(entries))).toStrictEqual(entries);
    refusal(numberedKeys(10_001));
    expect(encodeRefusal({ metadata: { ...entries, more: 1 } }).message).toContain('$.metadata has 10001 keys');
  });

  it('keeps to limits of its own', () => {
    const limits = { nodes: 4, depth: 2, keysPerMap: 1 };
    const small = codec.id === 'msgpackr' ? new MsgpackrCodec(limits) : new Msgpack5Codec(undefined, limits);
    for (const value of [[1, 2, 3], [[]], { a: 1 }]) {
      expect(small.decode(small.encode(value))).toStrictEqual(value);
    }
    for (const value of [[1, 2, 3, 4], [[[]]], { a: 1, b: 2 }]) {
      expect(errorOf(() => small.encode(value)).code).toBe('encode_error');
      expect(errorOf(() => small.decode(codec.encode(value))).code).toBe('protocol_error');
    }
    expect(errorOf(() => new MsgpackrCodec({ depth: 0 })).code).toBe('invalid_argument');
    expect(errorOf(() => new Msgpack5Codec(undefined, { depth: 10_000 })).code).toBe('invalid_argument');
  });

  it('encodes and decodes while it encodes', () => {
    const inner = codec.encode({ inner: Buffer.from('x') });
    const value = {
      before: 1,
      get nested() {
        return codec.decode(codec.encode(codec.decode(inner)));
      },
      after: 2,
    };
    expect(codec.decode(codec.encode(value))).toStrictEqual({
      before: 1,
      nested: { inner: Buffer.from('x') },
      after: 2,
    });
  });

  it('leaves bytes that it encoded alone when it encodes more', () => {
    const first = codec.encode('first');
    const copy = Buffer.from(first);
    for (let i = 0; i < 5000; i++) codec.encode({ i, text: 'second' });
    expect(Buffer.from(first)).toStrictEqual(copy);
  });
});

describe('docs/payload-profile.md', () => {
  const text = readFileSync(new URL('../../../docs/payload-profile.md', import.meta.url), 'utf8');

  it.each<[string, unknown]>([
    ['c0', null],
    ['d4 00 00', undefined],
    ['c3', true],
    ['cd 012c', 300],
    ['ff', -1],
    ['cb 4270000000000000', 2 ** 40],
    ['cb 3fb999999999999a', 0.1],
    ['cb 7ff0000000000000', Number.POSITIVE_INFINITY],
    ['00', 0],
    ['d3 0000000000000001', 1n],
    ['cf ffffffffffffffff', 2n ** 64n - 1n],
    ['a3 68c3a9', 'hé'],
    ['c4 02 0102', Buffer.of(1, 2)],
    ['d7 ff 003d090000000000', new Date(1)],
    ['92 01 02', [1, 2]],
    ['81 a1 61 01', { a: 1 }],
    ['81 a1 61 d4 00 00', { a: undefined }],
  ])('shows %s as it is written and read', (hex, value) => {
    expect(text).toContain(`\`${hex}\``);
    expect(Buffer.from(codecs[0].encode(value))).toStrictEqual(fromHex(hex));
    for (const codec of codecs) expect(codec.decode(fromHex(hex))).toStrictEqual(value);
  });
});

function halves(length: number): object {
  return { a: Array.from({ length }, () => 0), b: Array.from({ length }, () => 0) };
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

describe('MsgpackrCodec', () => {
  it('is untouched by other users of msgpackr in the process', () => {
    class Celsius {
      constructor(readonly degrees: number) {}
    }
    addExtension({
      Class: Celsius,
      type: 7,
      write: (value: Celsius) => value.degrees,
      read: (degrees: number) => degrees,
    });
    const codec = new MsgpackrCodec();
    expect(codec.decode(codec.encode(new Celsius(20)))).toStrictEqual({ degrees: 20 });
    expect(errorOf(() => codec.decode(fromHex('d40700'))).code).toBe('protocol_error');
    const theirs = new Packr({ useRecords: true });
    expect(theirs.unpack(theirs.pack([{ a: 1 }, new Celsius(20)]))).toStrictEqual([{ a: 1 }, 20]);
  });

  it('keeps a byte order mark without the native part of msgpackr', () => {
    const script = `
      const { MsgpackrCodec } = await import('./protocol/msgpack/msgpackr.codec.js');
      const { isNativeAccelerationEnabled } = await import('msgpackr');
      const codec = new MsgpackrCodec();
      const sent = { ['\\ufeff' + 'k'.repeat(90)]: ['\\ufeff' + 'v'.repeat(90), 'x'.repeat(300)] };
      console.log(isNativeAccelerationEnabled, JSON.stringify(codec.decode(codec.encode(sent))) === JSON.stringify(sent));
    `;
    expect(runCompiled(script, [], { MSGPACKR_NATIVE_ACCELERATION_DISABLED: 'true' })).toBe('false true');
  });
});

describe('Msgpack5Codec', () => {
  class Money {
    constructor(
      readonly cents: bigint,
      readonly currency: string,
    ) {}
  }
  const withMoney = (): Msgpack5Codec =>
    new Msgpack5Codec((registry) =>
      registry.register(
        1,
        Money,
        (money) => Buffer.from(`${money.cents} ${money.currency}`),
        (content) => {
          const [cents, currency] = content.toString().split(' ');
          return new Money(BigInt(cents ?? 0), currency ?? '');
        },
      ),
    );

  it('carries the extension types that are registered, at any depth', () => {
    const codec = withMoney();
    const sent = { price: new Money(5n, 'EUR'), list: [new Money(-7n, 'USD'), 5n, Buffer.from('x')] };
    expect(codec.decode(codec.encode(sent))).toStrictEqual(sent);
  });

  it('refuses the extension types of others', () => {
    const bytes = Buffer.from(withMoney().encode(new Money(5n, 'EUR')));
    for (const codec of codecs)
      expect(errorOf(() => codec.decode(bytes)).message).toContain('extension 1 is not allowed');
  });

  it('takes msgpack5 encoders and decoders one by one', () => {
    const codec = new Msgpack5Codec((registry) =>
      registry
        .registerEncoder(
          (value) => value instanceof Money,
          () => Buffer.of(9, 42),
        )
        .registerDecoder(9, (content) => content[0]),
    );
    expect(codec.decode(codec.encode([new Money(1n, 'x')]))).toStrictEqual([42]);
  });

  it('hands a decoder bytes that are its own', () => {
    const seen: Buffer[] = [];
    const codec = new Msgpack5Codec((registry) =>
      registry.register(
        1,
        Money,
        () => Buffer.alloc(10, 1),
        (content) => seen.push(content),
      ),
    );
    const bytes = codec.encode([new Money(1n, 'x'), 'x'.repeat(1000)]);
    codec.decode(bytes);
    bytes.fill(0);
    expect(seen[0]).toStrictEqual(Buffer.alloc(10, 1));
    expect(seen[0]?.buffer.byteLength).toBe(10);
  });

  it.each([0, -1, 126, 127, 128, 1.5])('does not register the type %d', (type) => {
    const register = (): unknown => new Msgpack5Codec((registry) => registry.registerDecoder(type, () => 1));
    expect(errorOf(register).code).toBe('invalid_argument');
  });

  it('turns what an extension throws into a typed error', () => {
    const codec = new Msgpack5Codec((registry) =>
      registry.register(
        1,
        Money,
        (money) => {
          if (money.cents === 0n) throw new Error('no money');
          return Buffer.of(1);
        },
        () => {
          throw new Error('no money');
        },
      ),
    );
    expect(errorOf(() => codec.encode(new Money(0n, ''))).code).toBe('encode_error');
    expect(errorOf(() => codec.decode(codec.encode(new Money(1n, '')))).code).toBe('protocol_error');
  });

  it.each<[string, (value: object) => unknown]>([
    ['nothing', () => undefined],
    ['text', () => 'text'],
    ['no bytes', () => Buffer.alloc(0)],
    ['bytes of a type that has no decoder', () => Buffer.of(55, 1)],
    ['bytes of a private type', () => Buffer.of(126, 0xc1, 1, 1, 1, 1, 1, 1, 1, 1)],
    ['bytes of a timestamp that is none', () => Buffer.of(0xff, 1)],
  ])('does not send what an encoder returned when that is %s', (_, encode) => {
    const codec = new Msgpack5Codec((registry) =>
      registry.registerEncoder((value) => value instanceof Money, encode as () => Uint8Array),
    );
    expect(errorOf(() => codec.encode({ a: 1n, money: new Money(1n, '') })).code).toBe('encode_error');
  });

  it('does not let an extension take a Map or a look-alike of a Buffer', () => {
    const codec = new Msgpack5Codec((registry) => {
      registry.register(
        1,
        Map,
        () => Buffer.of(1),
        () => new Map(),
      );
    });
    expect(errorOf(() => codec.encode({ m: new Map() })).message).toContain('$.m is of type Map');
    const lookalike = { readUInt32LE: true, length: 15 };
    expect(errorOf(() => codec.encode([lookalike])).message).toContain('$[0] has the property readUInt32LE');
  });
});
