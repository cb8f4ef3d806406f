/** What each type of frame may look like, told from its header alone: whatever can be refused is refused there. */
import type { GenRpcError } from './errors.js';
import {
  FrameFlag,
  FrameType,
  MAX_BODY_BYTES,
  MAX_CHUNK_BYTES,
  MAX_HEADERS_BYTES,
  MIN_CHUNK_BYTES,
  SKIPPABLE_TYPE,
} from './frame.js';
import { corrupt, violation } from './violation.js';

export const PAYLOAD_FLAGS = FrameFlag.PayloadCodec | FrameFlag.PayloadRaw;
const INVOCATION_FLAGS = PAYLOAD_FLAGS | FrameFlag.Headers | FrameFlag.Single;
const CALL_FLAGS = INVOCATION_FLAGS | FrameFlag.Deliver | FrameFlag.Streamed;
const NAME_BYTES = 4;
/** One with a name of one byte, and nothing to say. */
const LEAST_HEADERS_BYTES = 2 + 4;
const MOST_HEADERS_BYTES = 2 + MAX_HEADERS_BYTES;
export const SEQUENCE_BYTES = 4;
export const TOTAL_BYTES = 4;

interface Shape {
  readonly least: number;
  readonly flags: number;
  /** Does it belong to a call? `undefined`: to a call or to the stream of casts. */
  readonly withStream: boolean | undefined;
  /** The most a body may hold; `undefined`: the limit of all frames. */
  readonly most?: number;
}

const SHAPES = new Map<number, Shape>([
  [FrameType.Call, { least: 4 + NAME_BYTES, flags: CALL_FLAGS, withStream: true }],
  [FrameType.Cast, { least: NAME_BYTES, flags: INVOCATION_FLAGS | FrameFlag.Ordered, withStream: false }],
  [FrameType.Item, { least: SEQUENCE_BYTES, flags: PAYLOAD_FLAGS, withStream: true }],
  [FrameType.Result, { least: 0, flags: PAYLOAD_FLAGS, withStream: true }],
  [FrameType.Error, { least: 3, flags: PAYLOAD_FLAGS, withStream: true }],
  [FrameType.Cancel, { least: 0, flags: 0, withStream: true, most: 0 }],
  [FrameType.Chunk, { least: 1, flags: FrameFlag.Continued, withStream: undefined, most: MAX_CHUNK_BYTES }],
  [FrameType.Credit, { least: 8, flags: 0, withStream: undefined, most: 8 }],
  [FrameType.End, { least: 4, flags: 0, withStream: true, most: 4 }],
  [FrameType.Headers, { least: LEAST_HEADERS_BYTES, flags: 0, withStream: true, most: MOST_HEADERS_BYTES }],
  [FrameType.GoAway, { least: 4, flags: 0, withStream: false, most: 4 }],
  [FrameType.Ping, { least: 0, flags: 0, withStream: false, most: 0 }],
  [FrameType.Pong, { least: 0, flags: 0, withStream: false, most: 0 }],
]);

/**
 * Judges the header that begins at `at`. Returns whether its frame is known; one that is not is to be passed over.
 * @param negotiatedFlags agreed on in the handshake, for every type that has a payload
 * @throws GenRpcError `protocol_error`.
 */
export function checkHeader(bytes: Buffer, at: number, negotiatedFlags: number): boolean {
  const length = readU32(bytes, at);
  const type = bytes[at + 4] ?? 0;
  const shape = SHAPES.get(type);
  const most = shape?.most ?? MAX_BODY_BYTES;
  if (length > most) throw corrupt(`a frame of type ${type} declares ${length} bytes, at most ${most} are allowed`);
  if (((bytes[at + 6] ?? 0) | (bytes[at + 7] ?? 0)) !== 0) throw corrupt('reserved bytes of a header are not zero');
  if (shape === undefined) {
    if ((type & SKIPPABLE_TYPE) === 0) throw corrupt(`unknown frame type ${type}`);
    return false;
  }
  const flags = bytes[at + 5] ?? 0;
  if (!allowsFlags(flags, shape, negotiatedFlags)) {
    throw corrupt(`flags ${flags} are not allowed on a frame of type ${type}`);
  }
  const least = (flags & FrameFlag.Continued) === 0 ? shape.least : leastContinued(type, shape);
  if (length < least) throw tooShort(type, length, least);
  if (shape.withStream !== undefined && shape.withStream !== (readU32(bytes, at + 8) !== 0)) {
    throw corrupt(`a frame of type ${type} is on the wrong stream`);
  }
  return true;
}

function allowsFlags(flags: number, shape: Shape, negotiatedFlags: number): boolean {
  const kinds = flags & PAYLOAD_FLAGS;
  const withPayload = (shape.flags & PAYLOAD_FLAGS) !== 0;
  const allowed = shape.flags | (withPayload ? negotiatedFlags | FrameFlag.Continued : 0);
  if ((flags & ~allowed) !== 0 || kinds === PAYLOAD_FLAGS) return false;
  return !withPayload || kinds !== 0 || (flags & (FrameFlag.Compressed | FrameFlag.Continued)) === 0;
}

/** Of a chunk that others follow, or of a frame whose payload does. */
function leastContinued(type: number, { least }: Shape): number {
  return type === FrameType.Chunk ? MIN_CHUNK_BYTES : least + TOTAL_BYTES;
}

/** An empty chunk says nothing and would never end a message: whoever sends one could send a million. */
function tooShort(type: number, length: number, least: number): GenRpcError {
  if (type === FrameType.Chunk && length === 0) return violation('empty_frame_flood', 'An empty chunk.');
  return corrupt(`a frame of type ${type} has ${length} bytes, needs ${least}`);
}

/** `Buffer#readUInt32BE` without its checks. */
export function readU32(bytes: Buffer, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  );
}
