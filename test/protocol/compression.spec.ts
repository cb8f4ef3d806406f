import { randomBytes } from 'node:crypto';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deflated, inflated } from '../../lib/protocol/compression.js';
import type { Payload, PayloadKind } from '../../lib/protocol/payload.js';

const LIMIT = 1024 * 1024;
const FAST = { level: 1, threshold: 100 };

function plain(bytes: Uint8Array, kind: PayloadKind = 'codec'): Payload {
  return { kind, bytes };
}

function squeezed(bytes: Uint8Array, kind: PayloadKind = 'codec'): Payload {
  return { kind, bytes, compressed: true };
}

describe('deflated', () => {
  it.each([
    [0, false],
    [99, false],
    [100, false],
    [101, true],
    [5000, true],
  ])('compresses payloads above the threshold only: %i bytes, %s', (size, expected) => {
    const payload = plain(Buffer.alloc(size, 'a'));
    const result = deflated(payload, FAST);
    expect(result.compressed === true).toBe(expected);
    if (!expected) expect(result).toBe(payload);
    else expect(result.bytes.length).toBeLessThan(size);
  });

  it('leaves alone what would not become smaller', () => {
    const payload = plain(randomBytes(5000));
    expect(deflated(payload, FAST)).toBe(payload);
    expect(deflated(plain(Buffer.alloc(0), 'none'), { level: 9, threshold: 0 })).toEqual(
      plain(Buffer.alloc(0), 'none'),
    );
    expect(deflated(plain(Buffer.of(0xc0)), { level: 9, threshold: 0 })).toEqual(plain(Buffer.of(0xc0)));
  });

  it('is smaller at a higher level', () => {
    const text = Buffer.from(Array.from({ length: 3000 }, (_, n) => `line ${n * 7919} of ${n % 13}`).join('\n'));
    const size = (level: number): number => deflated(plain(text), { level, threshold: 0 }).bytes.length;
    expect(size(9)).toBeLessThan(size(1));
  });

  it('is raw DEFLATE, without a header or a checksum', () => {
    const bytes = Buffer.alloc(1000, 'ab');
    expect(Buffer.from(deflated(plain(bytes), FAST).bytes)).toEqual(deflateRawSync(bytes, { level: 1 }));
  });

  it('does not touch the bytes that it was given', () => {
    const bytes = Buffer.alloc(1000, 'ab');
    deflated(plain(bytes), FAST);
    expect(bytes.equals(Buffer.alloc(1000, 'ab'))).toBe(true);
  });
});

describe('inflated', () => {
  it('is the way back, whatever the bytes, the kind, the level and the threshold', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 3000 }),
      fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 8 }), fc.nat(1000)).map(([part, times]) => {
        return new Uint8Array(Buffer.concat(Array.from({ length: times }, () => part)));
      }),
    );
    const settings = fc.record({ level: fc.integer({ min: 1, max: 9 }), threshold: fc.nat(2000) });
    fc.assert(
      fc.property(bytes, fc.constantFrom<PayloadKind>('codec', 'raw'), settings, (given, kind, compression) => {
        const back = inflated(deflated(plain(given, kind), compression), LIMIT);
        expect(back.kind).toBe(kind);
        expect(back.compressed).toBeUndefined();
        expect(Buffer.compare(back.bytes, given)).toBe(0);
      }),
    );
  });

  it('leaves alone what is not compressed, whatever it looks like', () => {
    const payload = plain(deflateRawSync(Buffer.alloc(1000)));
    expect(inflated(payload, 10)).toBe(payload);
  });

  it.each([
    [1000, 1000, true],
    [1001, 1000, false],
    [16 * LIMIT, LIMIT, false],
  ])('allows as much as was said, and not a byte more: %i of %i', (size, limit, allowed) => {
    const payload = squeezed(deflateRawSync(Buffer.alloc(size)));
    if (allowed) return expect(inflated(payload, limit).bytes.length).toBe(size);
    expect(() => inflated(payload, limit)).toThrow(
      expect.objectContaining({
        code: 'message_too_large',
        details: { limit },
        message: expect.stringContaining(`${limit}`),
      }),
    );
  });

  const GOOD = deflateRawSync(Buffer.from('hello hello hello hello'));

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['a reserved kind of block', Buffer.of(0x07)],
    ['noise', Buffer.of(0xff, 0xff, 0xff, 0xff)],
    ['the zlib format', deflateSync(Buffer.from('hello'))],
    ['gzip', gzipSync(Buffer.from('hello'))],
    ['a stream cut short', GOOD.subarray(0, -1)],
    ['bytes behind the end', Buffer.concat([GOOD, Buffer.of(0)])],
    ['two streams', Buffer.concat([GOOD, GOOD])],
  ])('is an error where the bytes are none: %s', (_, bytes) => {
    expect(() => inflated(squeezed(bytes), LIMIT)).toThrow(expect.objectContaining({ code: 'protocol_error' }));
  });

  it('throws no other error, whatever comes', () => {
    const broken = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.tuple(fc.nat(GOOD.length - 1), fc.nat(255)).map(([at, byte]) => {
        const bytes = new Uint8Array(GOOD);
        bytes[at] = byte;
        return bytes;
      }),
    );
    fc.assert(
      fc.property(broken, (bytes) => {
        try {
          expect(inflated(squeezed(bytes), 4096).bytes.length).toBeLessThanOrEqual(4096);
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^(protocol_error|message_too_large)$/) });
        }
      }),
    );
  });
});
