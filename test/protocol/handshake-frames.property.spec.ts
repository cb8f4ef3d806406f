/** The handshake's bytes: read as they were written, or refused with one kind of error. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isGenRpcError } from '../../lib/protocol/errors.js';
import {
  decodeClientHello,
  decodeReject,
  decodeServerHello,
  encodeClientHello,
  encodeReject,
  encodeServerHello,
  handshakeFrame,
  HandshakeReader,
  HandshakeType,
} from '../../lib/protocol/handshake-frames.js';
import { slicesOf } from '../support/frames.js';

const TYPES = Object.values(HandshakeType);

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const u8 = fc.integer({ min: 0, max: 0xff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const name = fc.stringMatching(/^[a-z0-9_.-]{1,40}@[a-z0-9.:-]{1,40}$/);
const codec = fc.stringMatching(/^[a-z0-9-]{1,32}$/);
const clientHello = fc
  .record({
    minVersion: u8,
    maxVersion: u8,
    features: u32,
    nonce: bytes(32),
    incarnation: bytes(16),
    node: name,
    wanted: name,
    maxMessageBytes: u32,
    keepaliveMs: u32,
    codecs: fc.array(codec, { maxLength: 8 }),
  })
  .map((hello) => ({ ...hello, nonce: Buffer.from(hello.nonce), incarnation: Buffer.from(hello.incarnation) }));
const serverHello = fc
  .record({
    version: u8,
    features: u32,
    nonce: bytes(32),
    incarnation: bytes(16),
    node: name,
    maxMessageBytes: u32,
    keepaliveMs: u32,
    codec,
  })
  .map((hello) => ({ ...hello, nonce: Buffer.from(hello.nonce), incarnation: Buffer.from(hello.incarnation) }));
const reject = fc.record({ reason: u8, minVersion: u8, maxVersion: u8 });

describe('handshake messages', () => {
  it('read as they were written', () => {
    fc.assert(
      fc.property(clientHello, serverHello, reject, (fromClient, fromServer, refusal) => {
        expect(decodeClientHello(encodeClientHello(fromClient))).toEqual(fromClient);
        expect(decodeServerHello(encodeServerHello(fromServer))).toEqual(fromServer);
        expect(decodeReject(encodeReject(refusal))).toEqual(refusal);
      }),
    );
  });

  it('are refused when a byte is missing or too many', () => {
    fc.assert(
      fc.property(clientHello, serverHello, reject, fc.nat(), (fromClient, fromServer, refusal, cut) => {
        for (const [body, decode] of [
          [encodeClientHello(fromClient), decodeClientHello],
          [encodeServerHello(fromServer), decodeServerHello],
          [encodeReject(refusal), decodeReject],
        ] as const) {
          expectProtocolError(() => decode(body.subarray(0, cut % body.length)));
          expectProtocolError(() => decode(Buffer.concat([body, Buffer.of(0)])));
        }
      }),
    );
  });

  it('of random bytes are read or refused, never anything else', () => {
    const magic = fc.constantFrom(Buffer.alloc(0), Buffer.from('NGRP'));
    fc.assert(
      fc.property(magic, fc.uint8Array({ maxLength: 200, size: 'max' }), (prefix, random) => {
        const body = Buffer.concat([prefix, random]);
        for (const decode of [decodeClientHello, decodeServerHello, decodeReject])
          onlyProtocolErrors(() => decode(body));
      }),
      { numRuns: 500 },
    );
  });
});

describe('handshake frames', () => {
  const frame = fc
    .record({ type: fc.constantFrom(...TYPES), length: fc.nat({ max: 1024 }), fill: u8 })
    .map(({ type, length, fill }) => handshakeFrame(type, Buffer.alloc(Math.min(length, mostOf(type)), fill)));
  const cuts = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 20 });

  it('come out alike, wherever they are split', () => {
    fc.assert(
      fc.property(fc.array(frame, { minLength: 1, maxLength: 4 }), cuts, (frames, sizes) => {
        const reader = new HandshakeReader();
        const read: Buffer[] = [];
        for (const chunk of slicesOf(Buffer.concat(frames), ...sizes)) {
          let next = reader.next(chunk, ...TYPES);
          for (; next !== undefined; next = reader.next(Buffer.alloc(0), ...TYPES)) read.push(next.frame);
        }
        expect(Buffer.concat(read).equals(Buffer.concat(frames))).toBe(true);
        expect(read.map((one) => one.length)).toEqual(frames.map((one) => one.length));
        expect(reader.rest).toHaveLength(0);
      }),
    );
  });

  it('come out alike, a byte at a time', () => {
    fc.assert(
      fc.property(clientHello, (hello) => {
        const whole = handshakeFrame(HandshakeType.ClientHello, encodeClientHello(hello));
        const reader = new HandshakeReader();
        const read = [...whole].map((byte) => reader.next(Buffer.of(byte), HandshakeType.ClientHello));
        expect(read.slice(0, -1).every((one) => one === undefined)).toBe(true);
        expect(read.at(-1)?.frame.equals(whole)).toBe(true);
      }),
    );
  });

  it('are judged on the header: a length above its cap, a type out of turn, a reserved bit', () => {
    const length = fc.oneof(fc.nat({ max: 2000 }), u32);
    const spoilt = fc.record({ at: fc.integer({ min: 4, max: 11 }), bits: fc.integer({ min: 1, max: 255 }) });
    fc.assert(
      fc.property(fc.constantFrom(...TYPES), length, spoilt, (type, declared, { at, bits }) => {
        const header = handshakeFrame(type, Buffer.alloc(0));
        header.writeUInt32BE(declared);
        if (declared > mostOf(type)) expectProtocolError(() => new HandshakeReader().next(header, type));
        else expect(() => new HandshakeReader().next(header, type)).not.toThrow();
        header.writeUInt32BE(0);
        header[at] = (header[at] ?? 0) ^ bits;
        expectProtocolError(() => new HandshakeReader().next(header, type));
      }),
      { numRuns: 500 },
    );
  });
});

const codeOf = (error: unknown): string => (isGenRpcError(error) ? error.code : String(error));

/** The largest body of a type, as a reader tells it. */
function mostOf(type: HandshakeType): number {
  const limits = new Map<HandshakeType, number>([
    [HandshakeType.ClientHello, 1024],
    [HandshakeType.ServerHello, 1024],
    [HandshakeType.Proof, 128],
    [HandshakeType.Accept, 32],
    [HandshakeType.Reject, 64],
  ]);
  return limits.get(type) ?? 0;
}

function onlyProtocolErrors(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    expect(codeOf(error)).toBe('protocol_error');
  }
}

function expectProtocolError(read: () => unknown): void {
  let caught: unknown;
  try {
    read();
  } catch (error) {
    caught = error;
  }
  expect(codeOf(caught)).toBe('protocol_error');
}
