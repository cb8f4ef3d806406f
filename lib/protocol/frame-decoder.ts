/** Bytes to frames. Every length is judged on the header, before anything of the body is kept. */
import { codeOfWire } from './errors.js';
import {
  FrameFlag,
  FrameType,
  HEADER_BYTES,
  type CallFrame,
  type CastFrame,
  type CastOrder,
  type ErrorFrame,
  type Frame,
  type HeadersFrame,
} from './frame.js';
import { checkHeader, PAYLOAD_FLAGS, readU32, SEQUENCE_BYTES, TOTAL_BYTES } from './frame-shapes.js';
import { decodeHeaders } from './headers.js';
import { NameReader } from './name-reader.js';
import { PartialFrame } from './partial-frame.js';
import type { Payload } from './payload.js';
import { corrupt } from './violation.js';

const ORDER_BYTES = 8;

export class FrameDecoder {
  /** Frames handed out or passed over so far. */
  frames = 0;
  /** Those of unknown, skippable types among them. */
  skippedFrames = 0;
  private readonly names = new NameReader();
  private partial: PartialFrame | undefined;
  /** The chunk whose first bytes were handed on, and how many are to come. */
  private chunk = { id: 0, left: 0, more: false };
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
    return this.partial !== undefined || this.chunk.left > 0;
  }

  /** No further frame is handed out, not even of bytes given before. */
  stop(): void {
    this.stopped = true;
    this.partial = undefined;
    this.chunk.left = 0;
  }

  /**
   * Hands every complete frame to `onFrame`, in order, and of a chunk what is there. `bytes` are read before this
   * returns, or copied: what frames keep is theirs, but for the bytes of chunks.
   * @throws GenRpcError `protocol_error`: the connection cannot go on.
   */
  push(bytes: Buffer, onFrame: (frame: Frame) => void): void {
    for (let at = 0; at < bytes.length && !this.stopped;) {
      if (this.partial !== undefined) at = this.goOn(this.partial, bytes, at, onFrame);
      else if (this.chunk.left > 0) at = this.passChunk(bytes, at, onFrame);
      else at = this.readRun(bytes, at, onFrame);
    }
  }

  private goOn(partial: PartialFrame, bytes: Buffer, at: number, onFrame: (frame: Frame) => void): number {
    const end = partial.add(bytes, at);
    if (partial.isWhole) {
      this.partial = undefined;
      this.readFrames(partial.join(), onFrame);
    }
    return end;
  }

  /** The frames from `at` to the next chunk are copied together, which costs less than each for itself. */
  private readRun(bytes: Buffer, at: number, onFrame: (frame: Frame) => void): number {
    let end = at;
    while (end + HEADER_BYTES <= bytes.length && bytes[end + 4] !== FrameType.Chunk) {
      end += HEADER_BYTES + readU32(bytes, end);
    }
    end = Math.min(bytes.length, end + HEADER_BYTES);
    this.readFrames(Buffer.from(bytes.subarray(at, end)), onFrame);
    return end;
  }

  private readFrames(bytes: Buffer, onFrame: (frame: Frame) => void): void {
    let at = 0;
    while (!this.stopped && at < bytes.length) {
      if (bytes.length - at < HEADER_BYTES) return this.wait(bytes, at, HEADER_BYTES);
      const length = readU32(bytes, at);
      const type = bytes[at + 4] ?? 0;
      const isKnown = checkHeader(bytes, at, this.negotiatedFlags);
      if (type === FrameType.Chunk) {
        this.chunk = { id: readU32(bytes, at + 8), left: length, more: (bytes[at + 5] ?? 0) !== 0 };
        at = this.passChunk(bytes, at + HEADER_BYTES, onFrame);
        continue;
      }
      const end = at + HEADER_BYTES + length;
      if (end > bytes.length) return this.wait(bytes, at, HEADER_BYTES + length);
      this.frames += 1;
      if (isKnown) onFrame(this.decodeBody(bytes, at, end, type));
      else this.skippedFrames += 1;
      at = end;
    }
  }

  /** A chunk need not be whole: its bytes are gathered elsewhere, once. Returns where the next frame begins. */
  private passChunk(bytes: Buffer, at: number, onFrame: (frame: Frame) => void): number {
    const { chunk } = this;
    const end = Math.min(bytes.length, at + chunk.left);
    if (end === at) return at;
    chunk.left -= end - at;
    if (chunk.left === 0) this.frames += 1;
    onFrame({
      type: FrameType.Chunk,
      id: chunk.id,
      bytes: bytes.subarray(at, end),
      more: chunk.more || chunk.left > 0,
    });
    return end;
  }

  private wait(bytes: Buffer, at: number, needed: number): void {
    if (this.stopped) return;
    this.partial = new PartialFrame(needed);
    this.partial.add(bytes, at);
  }

  private decodeBody(bytes: Buffer, at: number, end: number, type: number): Frame {
    const flags = bytes[at + 5] ?? 0;
    const id = readU32(bytes, at + 8);
    const start = at + HEADER_BYTES;
    const total = (flags & FrameFlag.Continued) === 0 ? undefined : this.totalAt(bytes, start, type);
    const body = total === undefined ? start : start + TOTAL_BYTES;
    switch (type) {
      case FrameType.Call:
        return this.decodeCall(bytes, body, end, flags, id, total);
      case FrameType.Cast:
        return this.decodeCast(bytes, body, end, flags, total);
      case FrameType.Item: {
        const payload = payloadOf(bytes, body + SEQUENCE_BYTES, end, flags);
        return { type: FrameType.Item, id, sequence: readU32(bytes, body), payload, total };
      }
      case FrameType.Error:
        return decodeError(bytes, body, end, flags, id, total);
      case FrameType.Headers:
        return decodeReplyHeaders(bytes, body, end, id);
      case FrameType.Cancel:
        return { type: FrameType.Cancel, id };
      case FrameType.Credit:
        return { type: FrameType.Credit, id, connection: readU32(bytes, body), stream: readU32(bytes, body + 4) };
      case FrameType.End:
        return { type: FrameType.End, id, count: readU32(bytes, body) };
      case FrameType.GoAway:
        return { type: FrameType.GoAway, lastId: readU32(bytes, body) };
      case FrameType.Ping:
      case FrameType.Pong:
        return { type };
      default:
        return { type: FrameType.Result, id, payload: payloadOf(bytes, body, end, flags), total };
    }
  }

  /** How long a payload is that follows in chunks. */
  private totalAt(bytes: Buffer, at: number, type: number): number {
    const total = readU32(bytes, at);
    if (total > 0 && total <= this.maxMessageBytes) return total;
    throw corrupt(`a frame of type ${type} announces ${total} bytes, at most ${this.maxMessageBytes} are allowed`);
  }

  private decodeCall(
    bytes: Buffer,
    body: number,
    end: number,
    flags: number,
    id: number,
    total: number | undefined,
  ): CallFrame {
    const name = this.names.read(bytes, body + 4, end);
    const headers = (flags & FrameFlag.Headers) === 0 ? undefined : decodeHeaders(bytes, this.names.end, end);
    return {
      type: FrameType.Call,
      id,
      name,
      timeoutMs: readU32(bytes, body),
      single: (flags & FrameFlag.Single) !== 0,
      deliver: (flags & FrameFlag.Deliver) !== 0,
      streamed: (flags & FrameFlag.Streamed) !== 0,
      headers: headers?.headers,
      payload: payloadOf(bytes, headers?.end ?? this.names.end, end, flags),
      total,
    };
  }

  private decodeCast(bytes: Buffer, body: number, end: number, flags: number, total: number | undefined): CastFrame {
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
      total,
    };
  }
}

function orderAt(bytes: Buffer, at: number, end: number): CastOrder {
  if (at + ORDER_BYTES > end) throw corrupt('the order of a cast is longer than its frame');
  return { lane: readU32(bytes, at), sequence: readU32(bytes, at + 4) };
}

function decodeReplyHeaders(bytes: Buffer, body: number, end: number, id: number): HeadersFrame {
  const { headers, end: last } = decodeHeaders(bytes, body, end);
  if (last !== end) throw corrupt('headers of a reply have bytes left');
  return { type: FrameType.Headers, id, headers };
}

function decodeError(
  bytes: Buffer,
  body: number,
  end: number,
  flags: number,
  id: number,
  total: number | undefined,
): ErrorFrame {
  const message = body + 3;
  const messageEnd = message + bytes.readUInt16BE(body + 1);
  if (messageEnd > end) throw corrupt('the message of an error is longer than its frame');
  return {
    type: FrameType.Error,
    id,
    code: codeOfWire(bytes[body] ?? 0) ?? 'handler_failed',
    message: bytes.toString('utf8', message, messageEnd),
    payload: payloadOf(bytes, messageEnd, end, flags),
    total,
  };
}

function payloadOf(bytes: Buffer, start: number, end: number, flags: number): Payload {
  if ((flags & FrameFlag.Continued) !== 0 && start !== end) throw corrupt('bytes stand where chunks were announced');
  if ((flags & PAYLOAD_FLAGS) !== 0) {
    const kind = (flags & FrameFlag.PayloadCodec) === 0 ? 'raw' : 'codec';
    if ((flags & FrameFlag.Compressed) !== 0) return { kind, bytes: bytes.subarray(start, end), compressed: true };
    return { kind, bytes: bytes.subarray(start, end) };
  }
  if (start !== end) throw corrupt('a frame without a payload has bytes left');
  return { kind: 'none', bytes: bytes.subarray(start, end) };
}
