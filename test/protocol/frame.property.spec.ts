import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FrameType,
  type CallFrame,
  type CastFrame,
  type ErrorFrame,
  type Frame,
  type PayloadFrame,
} from '../../lib/protocol/frame.js';
import type { GenRpcErrorCode } from '../../lib/protocol/errors.js';
import type { Headers } from '../../lib/protocol/invocation.js';
import type { Payload } from '../../lib/protocol/payload.js';
import { comparable, framesIn, messagesIn, slicesOf, withWholeChunks } from '../support/frames.js';
import { bytesOf, chunksOf, headOf } from '../support/raw-peer.js';

/** Sizes at which the sender's or the reader's way of keeping bytes changes: the copy limit, the slab, its neighbours. */
const EDGES = [
  0,
  1,
  4083,
  4095,
  4096,
  4097,
  16 * 1024 - 12,
  16 * 1024 - 1,
  16 * 1024,
  16 * 1024 + 1,
  64 * 1024,
  70_000,
];

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const id = fc.integer({ min: 1, max: 0xffffffff });
const size = fc.oneof({ weight: 3, arbitrary: fc.nat(40) }, fc.constantFrom(...EDGES));
const text = (maxLength: number): fc.Arbitrary<string> => fc.string({ unit: 'binary', maxLength });

const payload: fc.Arbitrary<Payload> = fc.oneof(
  fc.constant<Payload>({ kind: 'none', bytes: Buffer.alloc(0) }),
  fc.record({
    kind: fc.constantFrom('raw' as const, 'codec' as const),
    bytes: fc.tuple(size, fc.nat(255)).map(([length, fill]) => Buffer.alloc(length, fill)),
  }),
);
const name = fc.record({ module: text(60), fn: text(200), version: text(16) });
const headersOf = (minLength: number): fc.Arbitrary<Headers> =>
  fc
    .uniqueArray(fc.tuple(fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }), text(60)), {
      selector: ([key]) => key,
      minLength,
      maxLength: 8,
    })
    .map((pairs) => new Map(pairs));
const headers = fc.option(headersOf(0), { nil: undefined });
const head = fc.record({ name, headers, single: fc.boolean(), payload });

const order = fc.option(fc.record({ lane: u32, sequence: u32 }), { nil: undefined });

const CODES: readonly GenRpcErrorCode[] = [
  'timeout',
  'cancelled',
  'refused',
  'handler_failed',
  'encode_error',
  'incompatible',
];

/** Those with a payload; `total` is what a decoder says of all of them. */
const message: fc.Arbitrary<PayloadFrame> = fc.oneof(
  fc
    .tuple(head, id, u32, fc.boolean(), fc.boolean())
    .map(([fields, number, timeoutMs, deliver, streamed]): CallFrame => {
      return { type: FrameType.Call, id: number, timeoutMs, deliver, streamed, ...fields };
    }),
  fc.tuple(head, order).map(([fields, placed]): CastFrame => ({ type: FrameType.Cast, order: placed, ...fields })),
  fc.record({ type: fc.constant(FrameType.Item), id, sequence: u32, payload }),
  fc.record({ type: fc.constant(FrameType.Result), id, payload }),
  fc.record({ code: fc.constantFrom(...CODES), message: text(200), id, payload }).map((fields): ErrorFrame => {
    return { type: FrameType.Error, ...fields };
  }),
);
const frame: fc.Arbitrary<Frame> = fc.oneof(
  { weight: 4, arbitrary: message },
  fc.record({ type: fc.constant(FrameType.Headers), id, headers: headersOf(1) }),
  id.map((number): Frame => ({ type: FrameType.Cancel, id: number })),
  fc.constantFrom<Frame>({ type: FrameType.Ping }, { type: FrameType.Pong }),
  fc.record({ type: fc.constant(FrameType.Credit), id: u32, connection: u32, stream: u32 }),
  fc.record({ type: fc.constant(FrameType.End), id, count: u32 }),
  u32.map((lastId): Frame => ({ type: FrameType.GoAway, lastId })),
);

/** Sizes of reads; a short list goes on with its last size. */
const reads = fc.array(fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 20_000 })), {
  minLength: 1,
});

describe('frames of every kind', () => {
  it('are read as they were sent, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 12 }), reads, (frames, sizes) => {
        const bytes = bytesOf(...frames);
        expect(comparable(messagesIn(slicesOf(bytes, ...sizes)))).toEqual(comparable(frames));
      }),
      { numRuns: 300 },
    );
  });

  it('have one encoding: what was read is written as the same bytes', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 6 }), (frames) => {
        const bytes = bytesOf(...frames);
        expect(bytesOf(...framesIn(bytes)).equals(bytes)).toBe(true);
      }),
    );
  });
});

describe('messages in chunks', () => {
  /** A message, its length, and that of its chunks. */
  const long = fc.tuple(message, fc.integer({ min: 16 * 1024 + 1, max: 40_000 }), fc.integer({ min: 1024, max: 9000 }));
  const streamOf = (one: Frame): number => ('id' in one ? one.id : 0);

  it('are put together, wherever they are cut into chunks and reads, and whoever takes turns with them', () => {
    fc.assert(
      fc.property(fc.array(long, { minLength: 1, maxLength: 4 }), reads, fc.array(fc.nat(3)), (given, sizes, turns) => {
        const sent: PayloadFrame[] = [];
        const waiting: Buffer[][] = [];
        given.forEach(([one, length, chunk], index) => {
          const payload: Payload = { kind: 'raw', bytes: Buffer.alloc(length, index + 1) };
          const whole = 'id' in one ? { ...one, id: index + 1, payload } : { ...one, payload };
          // One message at a time on a stream: all casts share theirs.
          if (sent.some((other) => streamOf(other) === streamOf(whole))) return;
          sent.push(whole);
          waiting.push([headOf(whole, length), ...chunksOf(whole, chunk).map((part) => bytesOf(part))]);
        });
        const inTurn = turns.map((turn) => waiting[turn]?.shift() ?? Buffer.alloc(0));
        const written = Buffer.concat([...inTurn, ...waiting.flat()]);
        const arrived = messagesIn(slicesOf(written, ...sizes));
        const sorted = (frames: readonly Frame[]): unknown =>
          comparable([...frames].sort((frame, other) => streamOf(frame) - streamOf(other)));
        expect(sorted(arrived)).toEqual(sorted(sent));
      }),
      { numRuns: 100, endOnFailure: true },
    );
  });
});

describe('any bytes at all', () => {
  it('are frames or a protocol error, and the same of the two however they are cut', () => {
    const outcomeOf = (pieces: readonly Buffer[]): unknown => {
      try {
        return comparable(withWholeChunks(framesIn(pieces)));
      } catch (error) {
        return error;
      }
    };
    const damaged = fc.tuple(frame, fc.nat(), fc.nat(255)).map(([whole, at, value]) => {
      const bytes = bytesOf(whole);
      bytes[at % bytes.length] = value;
      return bytes;
    });
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      damaged,
    );
    fc.assert(
      fc.property(anything, reads, (bytes, sizes) => {
        const whole = outcomeOf([bytes]);
        expect(outcomeOf(slicesOf(bytes, ...sizes))).toEqual(whole);
        if (!Array.isArray(whole)) expect(whole).toMatchObject({ code: 'protocol_error' });
      }),
      { numRuns: 2000 },
    );
  });
});
