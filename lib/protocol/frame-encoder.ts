/** Frames to bytes. Pure but for a memory of the names it has written. */
import { MAX_ERROR_MESSAGE_BYTES, wireOfCode } from './errors.js';
import {
  FrameFlag,
  FrameType,
  HEADER_BYTES,
  MAX_WHOLE_BYTES,
  type CallFrame,
  type CancelFrame,
  type CastFrame,
  type CreditFrame,
  type EndFrame,
  type Frame,
  type GoAwayFrame,
  type PingFrame,
  type PongFrame,
} from './frame.js';
import { encodeHeaders } from './headers.js';
import type { FunctionName } from './invocation.js';
import { NO_PAYLOAD, type Payload } from './payload.js';

/** Where bytes go: room for small ones in a buffer that is filled up, and a way to hand large ones on uncopied. */
export interface ByteSink {
  /** Makes room for `length` bytes and returns the offset in `buffer` at which they go. */
  reserve(length: number): number;
  /** The one that `reserve` spoke of; another one after the next `reserve`. */
  readonly buffer: Buffer;
  /** Queues bytes behind what was reserved, without copying them. */
  append(bytes: Uint8Array): void;
}

/** Payloads up to this many bytes are copied beside their header; larger ones are handed on as they are. */
const COPY_LIMIT = 4096;
/** The time left in front of a CALL's name; lane and sequence number in front of an ordered CAST's. */
const CALL_FRONT_BYTES = 4;
const CAST_ORDER_BYTES = 8;
const TOTAL_BYTES = 4;

export class FrameEncoder {
  private readonly nameBytes = new WeakMap<FunctionName, Buffer>();

  /**
   * A payload that is too large for its frame is left out: chunks of it have to follow.
   * @throws GenRpcError `invalid_argument` when the headers are too large or no text; nothing is written then.
   */
  encode(frame: Frame, sink: ByteSink): void {
    switch (frame.type) {
      case FrameType.Call:
      case FrameType.Cast:
        return this.encodeInvocation(frame, sink);
      case FrameType.Result:
        writeFrame(sink, frame.type, 0, frame.id, 0, frame.payload);
        return;
      case FrameType.Item: {
        const at = writeFrame(sink, frame.type, 0, frame.id, 4, frame.payload);
        writeU32(sink.buffer, frame.sequence, at);
        return;
      }
      case FrameType.Error: {
        const message = truncatedUtf8(frame.message, MAX_ERROR_MESSAGE_BYTES);
        const at = writeFrame(sink, frame.type, 0, frame.id, 3 + message.length, frame.payload);
        sink.buffer[at] = wireOfCode(frame.code);
        sink.buffer.writeUInt16BE(message.length, at + 1);
        sink.buffer.set(message, at + 3);
        return;
      }
      case FrameType.Headers: {
        const headers = encodeHeaders(frame.headers);
        const at = writeFrame(sink, frame.type, 0, frame.id, headers.length, NO_PAYLOAD);
        sink.buffer.set(headers, at);
        return;
      }
      case FrameType.Chunk: {
        const { id, bytes, more } = frame;
        const at = sink.reserve(HEADER_BYTES);
        writeHeader(sink.buffer, at, bytes.length, frame.type, more ? FrameFlag.Continued : 0, id);
        sink.append(bytes);
        return;
      }
      default:
        return encodeSignal(frame, sink);
    }
  }

  /**
   * The frame as it may wait to be encoded: with headers of its own, which nobody changes meanwhile.
   * @throws GenRpcError as `encode` would.
   */
  kept<F extends Frame>(frame: F): F {
    if (!('headers' in frame) || frame.headers === undefined) return frame;
    const headers = new Map(frame.headers);
    encodeHeaders(headers);
    return { ...frame, headers };
  }

  private encodeInvocation(frame: CallFrame | CastFrame, sink: ByteSink): void {
    const names = this.bytesOf(frame.name);
    const headers = frame.headers === undefined ? undefined : encodeHeaders(frame.headers);
    const isCall = frame.type === FrameType.Call;
    const front = isCall ? CALL_FRONT_BYTES : frame.order === undefined ? 0 : CAST_ORDER_BYTES;
    const head = front + names.length + (headers?.length ?? 0);
    const special = isCall ? frame.deliver === true : frame.order !== undefined;
    const flags =
      (frame.single ? FrameFlag.Single : 0) |
      (headers === undefined ? 0 : FrameFlag.Headers) |
      (special ? FrameFlag.Deliver | FrameFlag.Ordered : 0) |
      (isCall && frame.streamed === true ? FrameFlag.Streamed : 0);
    const at = writeFrame(sink, frame.type, flags, isCall ? frame.id : 0, head, frame.payload);
    if (isCall) {
      writeU32(sink.buffer, frame.timeoutMs, at);
    } else if (frame.order !== undefined) {
      writeU32(sink.buffer, frame.order.lane, at);
      writeU32(sink.buffer, frame.order.sequence, at + 4);
    }
    sink.buffer.set(names, at + front);
    if (headers !== undefined) sink.buffer.set(headers, at + front + names.length);
  }

  private bytesOf(name: FunctionName): Buffer {
    let bytes = this.nameBytes.get(name);
    if (bytes === undefined) this.nameBytes.set(name, (bytes = encodeName(name)));
    return bytes;
  }
}

type Signal = CancelFrame | PingFrame | PongFrame | GoAwayFrame | EndFrame | CreditFrame;

/** Frames of a few numbers. */
function encodeSignal(frame: Signal, sink: ByteSink): void {
  switch (frame.type) {
    case FrameType.Cancel:
      return writeNumbers(sink, frame.type, frame.id);
    case FrameType.Ping:
    case FrameType.Pong:
      return writeNumbers(sink, frame.type, 0);
    case FrameType.GoAway:
      return writeNumbers(sink, frame.type, 0, frame.lastId);
    case FrameType.End:
      return writeNumbers(sink, frame.type, frame.id, frame.count);
    case FrameType.Credit:
      return writeNumbers(sink, frame.type, frame.id, frame.connection, frame.stream);
  }
}

function writeNumbers(sink: ByteSink, type: number, id: number, ...numbers: readonly number[]): void {
  const at = writeFrame(sink, type, 0, id, 4 * numbers.length, NO_PAYLOAD);
  numbers.forEach((number, index) => writeU32(sink.buffer, number, at + 4 * index));
}

/**
 * Writes header and payload, leaves `head` bytes between them free, and returns where these begin. Of a payload that is
 * too large, only how long it is.
 */
function writeFrame(sink: ByteSink, type: number, flags: number, id: number, head: number, payload: Payload): number {
  const { kind, bytes, compressed } = payload;
  const { length } = bytes;
  const kindAndMore =
    flags |
    (kind === 'codec' ? FrameFlag.PayloadCodec : kind === 'raw' ? FrameFlag.PayloadRaw : 0) |
    (compressed === true ? FrameFlag.Compressed : 0);
  if (length > MAX_WHOLE_BYTES) {
    const at = sink.reserve(HEADER_BYTES + TOTAL_BYTES + head);
    writeHeader(sink.buffer, at, TOTAL_BYTES + head, type, kindAndMore | FrameFlag.Continued, id);
    writeU32(sink.buffer, length, at + HEADER_BYTES);
    return at + HEADER_BYTES + TOTAL_BYTES;
  }
  const copied = length <= COPY_LIMIT;
  const at = sink.reserve(HEADER_BYTES + head + (copied ? length : 0));
  writeHeader(sink.buffer, at, head + length, type, kindAndMore, id);
  if (copied) sink.buffer.set(bytes, at + HEADER_BYTES + head);
  else sink.append(bytes);
  return at + HEADER_BYTES;
}

function writeHeader(buffer: Buffer, at: number, length: number, type: number, flags: number, id: number): void {
  writeU32(buffer, length, at);
  buffer[at + 4] = type;
  buffer[at + 5] = flags;
  buffer[at + 6] = 0;
  buffer[at + 7] = 0;
  writeU32(buffer, id, at + 8);
}

/** `Buffer#writeUInt32BE` without its checks: every value here was bounded before. */
function writeU32(buffer: Buffer, value: number, at: number): void {
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
}

/** `u8 length · module · u16 length · function · u8 length · version`. */
function encodeName({ module, fn, version }: FunctionName): Buffer {
  const parts = [Buffer.from(module), Buffer.from(fn), Buffer.from(version)] as const;
  const functionLength = Buffer.alloc(2);
  functionLength.writeUInt16BE(parts[1].length);
  return Buffer.concat([
    Buffer.of(parts[0].length),
    parts[0],
    functionLength,
    parts[1],
    Buffer.of(parts[2].length),
    parts[2],
  ]);
}

/** The text as UTF-8, cut at a character so that it fits `limit` bytes. */
function truncatedUtf8(text: string, limit: number): Buffer {
  const bytes = Buffer.from(text.slice(0, limit));
  if (bytes.length <= limit) return bytes;
  let end = limit;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end);
}
