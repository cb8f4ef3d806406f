import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isGenRpcError } from '../../../lib/protocol/errors.js';
import type { Codec } from '../../../lib/protocol/payload.js';
import { FORBIDDEN_KEYS } from '../../../lib/protocol/msgpack/keys.js';
import { readPlain } from '../../../lib/protocol/msgpack/plain.js';
import { codecs } from './codecs.js';

/** Printed with every failure; set it to see the failure again. */
const seed = Number(process.env['PROPERTY_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

const [msgpackr, msgpack5] = codecs;

const text = fc.oneof(
  { weight: 4, arbitrary: fc.string({ maxLength: 12 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 25, maxLength: 90 }) },
  { weight: 1, arbitrary: fc.string({ maxLength: 3 }).map((end) => `\ufeff${'x'.repeat(70)}${end}`) },
);

const key = fc
  .oneof({ weight: 8, arbitrary: fc.string({ maxLength: 6 }) }, { weight: 1, arbitrary: text })
  .filter((name) => !FORBIDDEN_KEYS.includes(name));

const edge = fc.constantFrom(
  ...[7, 8, 15, 16, 28, 31, 32, 53].flatMap((bits) => [2 ** bits - 1, 2 ** bits, -(2 ** bits), -(2 ** bits) - 1]),
  ...[-32, -33, -214_748_364, -214_748_365, 255, 256, 65_535, 65_536],
);

const wideEdge = fc.constantFrom(
  -(2n ** 63n),
  1n - 2n ** 63n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
  2n ** 53n + 1n,
  0n,
  -1n,
);

const leaf = fc.oneof(
  fc.constantFrom(null, undefined, true, false),
  // -0 travels as 0.
  fc.oneof(fc.integer(), fc.maxSafeInteger(), fc.double(), fc.float(), edge).map((value) => value + 0),
  fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), wideEdge),
  text,
  fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  fc.date({ noInvalidDate: true }),
  fc.date({ noInvalidDate: true, min: new Date(2 ** 31 * 1000), max: new Date(2 ** 35 * 1000) }),
);

const value = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    { weight: 2, arbitrary: leaf },
    { weight: 2, arbitrary: fc.array(tie('value'), { maxLength: 5 }) },
    { weight: 3, arbitrary: fc.dictionary(key, tie('value'), { maxKeys: 5, noNullPrototype: true }) },
  ),
})).value;

function check<T>(arbitrary: fc.Arbitrary<T>, numRuns: number, predicate: (value: T) => void): void {
  fc.assert(fc.property(arbitrary, predicate), { seed, numRuns });
}

/** Much faster than `toStrictEqual`, which then explains the difference. */
function expectEqual(actual: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual).toStrictEqual(expected);
}

function outcome(codec: Codec, bytes: Buffer): { value: unknown } | { refused: string } {
  try {
    return { value: codec.decode(bytes) };
  } catch (error) {
    if (isGenRpcError(error) && error.code === 'protocol_error') return { refused: error.message };
    throw error;
  }
}

describe(`codecs, with PROPERTY_SEED=${seed}`, () => {
  it('C-17 what msgpackr encodes it decodes equal', () => {
    check(value, 60_000, (sent) => expectEqual(msgpackr.decode(msgpackr.encode(sent)), sent));
  });

  it('C-17 what msgpackr encodes msgpack5 decodes equal', () => {
    check(value, 15_000, (sent) => expectEqual(msgpack5.decode(msgpackr.encode(sent)), sent));
  });

  it('C-17 what msgpack5 encodes msgpackr decodes equal', () => {
    check(value, 15_000, (sent) => expectEqual(msgpackr.decode(msgpack5.encode(sent)), sent));
  });

  it('C-17 what msgpack5 encodes it decodes equal', () => {
    check(value, 10_000, (sent) => expectEqual(msgpack5.decode(msgpack5.encode(sent)), sent));
  });

  it('reads without a library what msgpackr reads', () => {
    check(value, 5_000, (sent) => expectEqual(readPlain(Buffer.from(msgpackr.encode(sent))), sent));
  });

  it('C-12 refuses every truncation', () => {
    check(value, 100, (sent) => {
      const bytes = Buffer.from(msgpackr.encode(sent));
      for (let end = 0; end < bytes.length; end++)
        expect(outcome(msgpackr, bytes.subarray(0, end))).toHaveProperty('refused');
    });
  });

  it('agree on bytes that were tampered with: the same value, or a refusal', () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 });
    check(fc.tuple(value, edits), 10_000, ([sent, changes]) => {
      const bytes = Buffer.from(msgpackr.encode(sent));
      for (const [offset, byte] of changes) bytes[offset % bytes.length] = byte;
      const read = outcome(msgpackr, bytes);
      expectEqual(outcome(msgpack5, bytes), read);
      if ('value' in read) expectEqual(readPlain(bytes), read.value);
    });
  });

  it('agree on bytes at random', () => {
    check(fc.uint8Array({ maxLength: 30 }), 5_000, (random) => {
      const bytes = Buffer.from(random);
      expectEqual(outcome(msgpack5, bytes), outcome(msgpackr, bytes));
    });
  });
});
