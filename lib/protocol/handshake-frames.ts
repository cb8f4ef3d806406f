/** The bytes of the handshake: fixed binary, a few hundred bytes, no general decoder. */
import { HEADER_BYTES } from './frame.js';
import { corrupt } from './violation.js';
import { INCARNATION_BYTES, MAX_SECRETS, NONCE_BYTES, PROOF_BYTES } from './handshake.js';

export const HandshakeType = { ClientHello: 0x01, ServerHello: 0x02, Proof: 0x03, Accept: 0x04, Reject: 0x05 } as const;
export type HandshakeType = (typeof HandshakeType)[keyof typeof HandshakeType];

/** The largest body a type may have, and so the most that is ever kept of a stranger's bytes. */
const MOST: Readonly<Record<HandshakeType, number>> = {
  [HandshakeType.ClientHello]: 1024,
  [HandshakeType.ServerHello]: 1024,
  [HandshakeType.Proof]: MAX_SECRETS * PROOF_BYTES,
  [HandshakeType.Accept]: PROOF_BYTES,
  [HandshakeType.Reject]: 64,
};

/** Feature bits from here up must be understood by the other side; lower ones may be ignored. */
export const MANDATORY_FEATURES = 0xffff0000;

/** What both sides must offer before either may use it. */
export const Feature = { Compression: 0x01 } as const;

export interface ClientHello {
  /** Wire versions that the client speaks, both ends included. */
  readonly minVersion: number;
  readonly maxVersion: number;
  readonly features: number;
  readonly nonce: Uint8Array;
  /** Drawn when the node started: tells a restart from a reconnect. */
  readonly incarnation: Uint8Array;
  readonly node: string;
  /** The node that the client means to talk to. */
  readonly wanted: string;
  /** Largest message that the client accepts, in payload bytes. */
  readonly maxMessageBytes: number;
  /** ms of silence after which the client asks whether the server is there; 0: it does not ask. */
  readonly keepaliveMs: number;
  /** Codecs that the client has, best first. */
  readonly codecs: readonly string[];
}

export interface ServerHello {
  readonly version: number;
  readonly features: number;
  readonly nonce: Uint8Array;
  readonly incarnation: Uint8Array;
  readonly node: string;
  readonly maxMessageBytes: number;
  readonly keepaliveMs: number;
  readonly codec: string;
}

/** Why a server ends a handshake. `Denied` is the one answer to everything that touches the secret. */
export const RejectReason = { Denied: 1, Version: 2, Feature: 3, Codec: 4, WrongNode: 5, Duplicate: 6 } as const;

export interface Reject {
  readonly reason: number;
  readonly minVersion: number;
  readonly maxVersion: number;
}

const MAGIC = Buffer.from('NGRP');

export function handshakeFrame(type: HandshakeType, body: Uint8Array): Buffer {
  const frame = Buffer.alloc(HEADER_BYTES + body.length);
  frame.writeUInt32BE(body.length);
  frame[4] = type;
  frame.set(body, HEADER_BYTES);
  return frame;
}

/** Gathers one peer's handshake frames out of the bytes that arrive. */
export class HandshakeReader {
  private pending: Buffer = Buffer.alloc(0);

  /**
   * The next frame of the type that must come now, or `undefined` while it is incomplete.
   * @throws GenRpcError `protocol_error` as soon as a byte says that it cannot be one.
   */
  next(
    bytes: Buffer,
    ...allowed: readonly HandshakeType[]
  ): { type: HandshakeType; frame: Buffer; body: Buffer } | undefined {
    this.pending = this.pending.length === 0 ? bytes : Buffer.concat([this.pending, bytes]);
    if (this.pending.length < HEADER_BYTES) return undefined;
    const length = this.pending.readUInt32BE(0);
    const type = allowed.find((candidate) => candidate === this.pending[4]);
    if (type === undefined || length > MOST[type]) throw corrupt('this is not a handshake of nestjs-gen-rpc');
    if (this.pending[5] !== 0 || this.pending.readUInt16BE(6) !== 0 || this.pending.readUInt32BE(8) !== 0) {
      throw corrupt('reserved bits of a handshake header are not zero');
    }
    const end = HEADER_BYTES + length;
    if (this.pending.length < end) return undefined;
    const frame = this.pending.subarray(0, end);
    this.pending = this.pending.subarray(end);
    return { type, frame, body: frame.subarray(HEADER_BYTES) };
  }

  /** Bytes that came behind the last frame. */
  get rest(): Buffer {
    return this.pending;
  }
}

export function encodeClientHello(hello: ClientHello): Buffer {
  return Buffer.concat([
    MAGIC,
    Buffer.of(hello.minVersion, hello.maxVersion),
    u32(hello.features),
    hello.nonce,
    hello.incarnation,
    shortText(hello.node),
    shortText(hello.wanted),
    u32(hello.maxMessageBytes),
    u32(hello.keepaliveMs),
    Buffer.of(hello.codecs.length),
    ...hello.codecs.map(shortText),
  ]);
}

export function decodeClientHello(body: Buffer): ClientHello {
  const reader = new BodyReader(body);
  reader.magic();
  const hello = {
    minVersion: reader.u8(),
    maxVersion: reader.u8(),
    features: reader.u32(),
    nonce: reader.bytes(NONCE_BYTES),
    incarnation: reader.bytes(INCARNATION_BYTES),
    node: reader.text(),
    wanted: reader.text(),
    maxMessageBytes: reader.u32(),
    keepaliveMs: reader.u32(),
    codecs: Array.from({ length: reader.u8() }, () => reader.text()),
  };
  reader.end();
  return hello;
}

export function encodeServerHello(hello: ServerHello): Buffer {
  return Buffer.concat([
    MAGIC,
    Buffer.of(hello.version),
    u32(hello.features),
    hello.nonce,
    hello.incarnation,
    shortText(hello.node),
    u32(hello.maxMessageBytes),
    u32(hello.keepaliveMs),
    shortText(hello.codec),
  ]);
}

export function decodeServerHello(body: Buffer): ServerHello {
  const reader = new BodyReader(body);
  reader.magic();
  const hello = {
    version: reader.u8(),
    features: reader.u32(),
    nonce: reader.bytes(NONCE_BYTES),
    incarnation: reader.bytes(INCARNATION_BYTES),
    node: reader.text(),
    maxMessageBytes: reader.u32(),
    keepaliveMs: reader.u32(),
    codec: reader.text(),
  };
  reader.end();
  return hello;
}

export function encodeReject(reject: Reject): Buffer {
  return Buffer.of(reject.reason, reject.minVersion, reject.maxVersion);
}

export function decodeReject(body: Buffer): Reject {
  const reader = new BodyReader(body);
  const reject = { reason: reader.u8(), minVersion: reader.u8(), maxVersion: reader.u8() };
  reader.end();
  return reject;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** `u8 length · bytes`. */
function shortText(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

/** Reads fields off a body and complains the same way about every one that is missing. */
class BodyReader {
  private at = 0;
  constructor(private readonly body: Buffer) {}

  bytes(length: number): Buffer {
    const end = this.at + length;
    if (end > this.body.length) throw corrupt('a handshake message is too short');
    const bytes = this.body.subarray(this.at, end);
    this.at = end;
    return bytes;
  }

  u8(): number {
    return this.bytes(1)[0] ?? 0;
  }

  u32(): number {
    return this.bytes(4).readUInt32BE(0);
  }

  /** Names and codec ids are ASCII by rule; whoever reads one checks that rule. */
  text(): string {
    return this.bytes(this.u8()).toString('latin1');
  }

  magic(): void {
    if (!this.bytes(MAGIC.length).equals(MAGIC)) throw corrupt('this is not a handshake of nestjs-gen-rpc');
  }

  end(): void {
    if (this.at !== this.body.length) throw corrupt('a handshake message is too long');
  }
}
