/** Bytes to frames. Every length is judged on the header, before anything of the body is kept. */
import { codeOfWire, GenRpcError } from './errors.js';
import {
  FrameFlag,
  FrameType,
  HEADER_BYTES,
  MAX_HEAD_BYTES,
  SKIPPABLE_TYPE,
  type CallFrame,
  type CastFrame,
  type CastOrder,
  type ErrorFrame,
  type Frame,
} from './frame.js';
import { decodeHeaders, NameReader } from './frame-head.js';
import { PartialFrame } from './partial-frame.js';
import type { Payload } from './payload.js';

const PAYLOAD_FLAGS = FrameFlag.PayloadCodec | FrameFlag.PayloadRaw;
const INVOCATION_FLAGS = PAYLOAD_FLAGS | FrameFlag.Headers | FrameFlag.Single;
const NAME_BYTES = 4;
const ORDER_BYTES = 8;

interface Shape {
  readonly least: number;
  readonly flags: number;
  readonly withStream: boolean;
  /** The most a body may hold; `undefined`: the limit of messages. */
  readonly most?: number;
}

/** What each type may look like, told from its header alone. */
const SHAPES = new Map<number, Shape>([
  [FrameType.Call, { least: 4 + NAME_BYTES, flags: INVOCATION_FLAGS | FrameFlag.Deliver, withStream: true }],
  [FrameType.Cast, { least: NAME_BYTES, flags: INVOCATION_FLAGS | FrameFlag.Ordered, withStream: false }],
  [FrameType.Item, { least: 0, flags: PAYLOAD_FLAGS, withStream: true }],
  [FrameType.Result, { least: 0, flags: PAYLOAD_FLAGS, withStream: true }],
  [FrameType.Error, { least: 3, flags: PAYLOAD_FLAGS, withStream: true }],
  [FrameType.Cancel, { least: 0, flags: 0, withStream: true, most: 0 }],
  [FrameType.GoAway, { least: 4, flags: 0, withStream: false, most: 4 }],
  [FrameType.Ping, { least: 0, flags: 0, withStream: false, most: 0 }],
  [FrameType.Pong, { least: 0, flags: 0, withStream: false, most: 0 }],
]);

export class FrameDecoder {
  /** Frames handed out or passed over so far. */
  frames = 0;
  /** Those of unknown, skippable types among them. */
  skippedFrames = 0;
  private readonly names = new NameReader();
  private partial: PartialFrame | undefined;
  private stopped = false;

  /** Flags that were agreed on in the handshake, for every type that has a payload. */
  private readonly negotiatedFlags: number;

  /**
   * @param maxMessageBytes largest payload this side accepts
   * @param compression have both sides agreed to compress?
   */
  constructor(
    private readonly maxMessageBytes: number,
    compression = false,
  ) {
    this.negotiatedFlags = compression ? FrameFlag.Compressed : 0;
  }

  /** Is a frame half received? */
  get midFrame(): boolean {
    return this.partial !== undefined;
  }

  /** No further frame is handed out, not even of bytes given before. */
  stop(): void {
    this.stopped = true;
    this.partial = undefined;
  }

  /**
   * Hands every complete frame to `onFrame`, in order. Their payloads are views of `bytes`.
   * @throws GenRpcError `protocol_error`: the connection cannot go on.
   */
  push(bytes: Buffer, onFrame: (frame: Frame) => void): void {
    if (this.partial === undefined) return this.readFrames(bytes, onFrame);
    if (!this.partial.add(bytes)) return;
    const whole = this.partial.join();
    this.partial = undefined;
    this.readFrames(whole, onFrame);
  }

  private readFrames(bytes: Buffer, onFrame: (frame: Frame) => void): void {
    let at = 0;
    while (!this.stopped && at < bytes.length) {
      if (bytes.length - at < HEADER_BYTES) return this.wait(bytes, at, HEADER_BYTES);
      const length = readU32(bytes, at);
      const type = bytes[at + 4] ?? 0;
      const shape = this.check(bytes, at, length, type);
      const end = at + HEADER_BYTES + length;
      if (end > bytes.length) return this.wait(bytes, at, HEADER_BYTES + length);
      this.frames += 1;
      if (shape === undefined) this.skippedFrames += 1;
      else onFrame(this.decodeBody(bytes, at, end, type));
      at = end;
    }
  }

  private wait(bytes: Buffer, at: number, needed: number): void {
    if (this.stopped) return;
    this.partial = new PartialFrame(needed);
    this.partial.add(at === 0 ? bytes : bytes.subarray(at));
  }

  /** Judges a header. Returns `undefined` for a frame to skip. */
  private check(bytes: Buffer, at: number, length: number, type: number): Shape | undefined {
    const shape = SHAPES.get(type);
    const most = shape?.most ?? this.maxMessageBytes + MAX_HEAD_BYTES;
    if (length > most) {
      throw corrupt(`a frame of type ${type} declares ${length} bytes, at most ${most} are allowed`);
    }
    if (((bytes[at + 6] ?? 0) | (bytes[at + 7] ?? 0)) !== 0) throw corrupt('reserved bytes of a header are not zero');
    if (shape === undefined) {
      if ((type & SKIPPABLE_TYPE) === 0) throw corrupt(`unknown frame type ${type}`);
      return undefined;
    }
    const flags = bytes[at + 5] ?? 0;
    if (!this.allowsFlags(flags, shape)) {
      throw corrupt(`flags ${flags} are not allowed on a frame of type ${type}`);
    }
    if (length < shape.least) throw corrupt(`a frame of type ${type} has ${length} bytes, needs ${shape.least}`);
    const withStream = readU32(bytes, at + 8) !== 0;
    if (withStream !== shape.withStream) throw corrupt(`a frame of type ${type} is on the wrong stream`);
    return shape;
  }

  private allowsFlags(flags: number, shape: Shape): boolean {
    const kinds = flags & PAYLOAD_FLAGS;
    const withPayload = (shape.flags & PAYLOAD_FLAGS) !== 0;
    const allowed = shape.flags | (withPayload ? this.negotiatedFlags : 0);
    if ((flags & ~allowed) !== 0 || kinds === PAYLOAD_FLAGS) return false;
    return kinds !== 0 || (flags & FrameFlag.Compressed) === 0;
  }

  private decodeBody(bytes: Buffer, at: number, end: number, type: number): Frame {
    const flags = bytes[at + 5] ?? 0;
    const id = readU32(bytes, at + 8);
    const body = at + HEADER_BYTES;
    switch (type) {
      case FrameType.Call:
        return this.decodeCall(bytes, body, end, flags, id);
      case FrameType.Cast:
        return this.decodeCast(bytes, body, end, flags);
      case FrameType.Item:
        return { type: FrameType.Item, id, payload: payloadOf(bytes, body, end, flags) };
      case FrameType.Error:
        return decodeError(bytes, body, end, flags, id);
      case FrameType.Cancel:
        return { type: FrameType.Cancel, id };
      case FrameType.GoAway:
        return { type: FrameType.GoAway, lastId: readU32(bytes, body) };
      case FrameType.Ping:
      case FrameType.Pong:
        return { type };
      default:
        return { type: FrameType.Result, id, payload: payloadOf(bytes, body, end, flags) };
    }
  }

  private decodeCall(bytes: Buffer, body: number, end: number, flags: number, id: number): CallFrame {
    const name = this.names.read(bytes, body + 4, end);
    const headers = (flags & FrameFlag.Headers) === 0 ? undefined : decodeHeaders(bytes, this.names.end, end);
    return {
      type: FrameType.Call,
      id,
      name,
      timeoutMs: readU32(bytes, body),
      single: (flags & FrameFlag.Single) !== 0,
      deliver: (flags & FrameFlag.Deliver) !== 0,
      headers: headers?.headers,
      payload: payloadOf(bytes, headers?.end ?? this.names.end, end, flags),
    };
  }

  private decodeCast(bytes: Buffer, body: number, end: number, flags: number): CastFrame {
    const ordered = (flags & FrameFlag.Ordered) !== 0;
    const order = ordered ? orderAt(bytes, body, end) : undefined;
    const name = this.names.read(bytes, body + (ordered ? ORDER_BYTES : 0), end);
    const headers = (flags & FrameFlag.Headers) === 0 ? undefined : decodeHeaders(bytes, this.names.end, end);
    return {
      type: FrameType.Cast,
      name,
      single: (flags & FrameFlag.Single) !== 0,
      order,
      headers: headers?.headers,
      payload: payloadOf(bytes, headers?.end ?? this.names.end, end, flags),
    };
  }
}

function orderAt(bytes: Buffer, at: number, end: number): CastOrder {
  if (at + ORDER_BYTES > end) throw corrupt('the order of a cast is longer than its frame');
  return { lane: readU32(bytes, at), sequence: readU32(bytes, at + 4) };
}

function decodeError(bytes: Buffer, body: number, end: number, flags: number, id: number): ErrorFrame {
  const message = body + 3;
  const messageEnd = message + bytes.readUInt16BE(body + 1);
  if (messageEnd > end) throw corrupt('the message of an error is longer than its frame');
  return {
    type: FrameType.Error,
    id,
    code: codeOfWire(bytes[body] ?? 0) ?? 'handler_failed',
    message: bytes.toString('utf8', message, messageEnd),
    details: payloadOf(bytes, messageEnd, end, flags),
  };
}

function payloadOf(bytes: Buffer, start: number, end: number, flags: number): Payload {
  if ((flags & PAYLOAD_FLAGS) !== 0) {
    const kind = (flags & FrameFlag.PayloadCodec) === 0 ? 'raw' : 'codec';
    if ((flags & FrameFlag.Compressed) !== 0) return { kind, bytes: bytes.subarray(start, end), compressed: true };
    return { kind, bytes: bytes.subarray(start, end) };
  }
  if (start !== end) throw corrupt('a frame without a payload has bytes left');
  return { kind: 'none', bytes: bytes.subarray(start, end) };
}

/** `Buffer#readUInt32BE` without its checks. */
function readU32(bytes: Buffer, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  );
}

export function corrupt(what: string): GenRpcError {
  return new GenRpcError('protocol_error', `Protocol error: ${what}.`);
}
