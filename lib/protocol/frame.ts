/** The frames of an authenticated connection, as everything above the wire sees them. Their bytes: docs/PROTOCOL.md. */
import type { GenRpcErrorCode } from './errors.js';
import type { FunctionName, Headers } from './invocation.js';
import type { Payload } from './payload.js';

/** The wire version that this code speaks; a HELLO offers a range of them. */
export const PROTOCOL_VERSION = 1;
/** `u32 length · u8 type · u8 flags · u16 zero · u32 stream`. */
export const HEADER_BYTES = 12;
/** What may stand in a frame beside its payload: names and headers. */
const MAX_HEAD_BYTES = 32 * 1024;
export const MAX_HEADERS_BYTES = 16 * 1024;
/** The largest message by default, in payload bytes. */
export const DEFAULT_MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** A larger payload does not travel in its frame, but in chunks behind it. */
export const MAX_WHOLE_BYTES = 16 * 1024;
export const MAX_CHUNK_BYTES = 64 * 1024;
/** Of a chunk that others follow: a message in crumbs would cost more than it says. */
export const MIN_CHUNK_BYTES = 1024;
/** The most that a frame holds behind its header. */
export const MAX_BODY_BYTES = MAX_CHUNK_BYTES + MAX_HEAD_BYTES;
/** Messages of one direction of a connection that may be half here at a time. */
export const MAX_INTERLEAVED = 16;
/** Credit of each direction of a connection at the start, and of each stream. */
export const CONNECTION_CREDIT = 128 * 1024;
export const STREAM_CREDIT = 64 * 1024;
/** What an item or a cast costs beside its payload: an empty one is not free. */
export const ITEM_OVERHEAD = 64;
/** Nobody may hold more credit than this. */
export const MAX_CREDIT = 2 ** 31 - 1;
/** Stream of casts, and of frames that belong to none. */
export const CAST_STREAM = 0;

export const FrameType = {
  Call: 0x10,
  Cast: 0x11,
  Item: 0x12,
  Result: 0x13,
  Error: 0x14,
  Cancel: 0x15,
  Chunk: 0x16,
  Credit: 0x17,
  End: 0x18,
  Headers: 0x19,
  GoAway: 0x20,
  Ping: 0x21,
  Pong: 0x22,
} as const;

/** A frame of an unknown type with this bit is skipped; without it, it ends the connection. */
export const SKIPPABLE_TYPE = 0x80;

/** A frame with a payload. Where this travels behind it, in chunks, `total` says how long it is. */
interface Continuable {
  readonly total?: number | undefined;
}

/** Asks for a result. `timeoutMs` is what is left of the caller's deadline; never a wall clock. */
export interface CallFrame extends Continuable {
  readonly type: typeof FrameType.Call;
  readonly id: number;
  readonly name: FunctionName;
  readonly timeoutMs: number;
  readonly single: boolean;
  /** The answer is that the function was found and begun, not its result. */
  readonly deliver?: boolean;
  /** Its last argument is a stream, whose items follow; with `single` the only one. */
  readonly streamed?: boolean;
  readonly headers: Headers | undefined;
  readonly payload: Payload;
}

/** Where an ordered cast stands: casts of one lane begin in the order of their numbers, each when the last has ended. */
export interface CastOrder {
  /** Chosen by the sender, for as long as it keeps the lane. */
  readonly lane: number;
  /** Counts up by one from cast to cast, and goes round (RFC 1982). */
  readonly sequence: number;
}

/** Asks for no result. */
export interface CastFrame extends Continuable {
  readonly type: typeof FrameType.Cast;
  readonly name: FunctionName;
  readonly single: boolean;
  /** `undefined`: may overtake others and be overtaken. */
  readonly order?: CastOrder | undefined;
  readonly headers: Headers | undefined;
  readonly payload: Payload;
}

/** One of several values of a reply, or of an argument; an `EndFrame` or an `ErrorFrame` follows. */
export interface ItemFrame extends Continuable {
  readonly type: typeof FrameType.Item;
  readonly id: number;
  /** Counts up from 0, and goes round. */
  readonly sequence: number;
  readonly payload: Payload;
}

/** The reply, where it is one value. */
export interface ResultFrame extends Continuable {
  readonly type: typeof FrameType.Result;
  readonly id: number;
  readonly payload: Payload;
}

/** Ends a reply with an error. `message` is safe for a remote reader; its payload is what the handler meant to send. */
export interface ErrorFrame extends Continuable {
  readonly type: typeof FrameType.Error;
  readonly id: number;
  readonly code: GenRpcErrorCode;
  readonly message: string;
  /** The details. */
  readonly payload: Payload;
}

/** What is said beside a reply: in front of all of it, and once. */
export interface HeadersFrame {
  readonly type: typeof FrameType.Headers;
  readonly id: number;
  readonly headers: Headers;
}

/** The caller no longer waits for this reply. */
export interface CancelFrame {
  readonly type: typeof FrameType.Cancel;
  readonly id: number;
}

/** A part of the payload that a frame with `total` announced. */
export interface ChunkFrame {
  readonly type: typeof FrameType.Chunk;
  readonly id: number;
  readonly bytes: Buffer;
  /** Others of the same message follow. */
  readonly more: boolean;
}

/** How many bytes more the peer may send: over the connection, and on one stream. */
export interface CreditFrame {
  readonly type: typeof FrameType.Credit;
  readonly id: number;
  readonly connection: number;
  readonly stream: number;
}

/** There were this many items, and no more will come. */
export interface EndFrame {
  readonly type: typeof FrameType.End;
  readonly id: number;
  readonly count: number;
}

/** `lastId` of a server that refuses nothing, but asks the client to take its next calls elsewhere. */
export const GOAWAY_NOTHING_REFUSED = 0xffffffff;
/** `lastId` of a server that closes the connection, because another process of the client's name has connected. */
export const GOAWAY_REPLACED = 0xfffffffe;
/** The highest number that a client gives a call: those above say something else in a GOAWAY. */
export const MAX_CALL_ID = 0xfffffffd;

/** The sender will not start calls with an id above `lastId`. */
export interface GoAwayFrame {
  readonly type: typeof FrameType.GoAway;
  readonly lastId: number;
}

/** Are you there? Answered by a `PongFrame` at once. */
export interface PingFrame {
  readonly type: typeof FrameType.Ping;
}

export interface PongFrame {
  readonly type: typeof FrameType.Pong;
}

/** What comes of a reply that is not all of it. */
export type ReplyPart = HeadersFrame | ItemFrame | EndFrame;

/** Frames that have a payload, and so may be continued. */
export type PayloadFrame = CallFrame | CastFrame | ItemFrame | ResultFrame | ErrorFrame;

export type Frame =
  PayloadFrame | HeadersFrame | CancelFrame | ChunkFrame | CreditFrame | EndFrame | GoAwayFrame | PingFrame | PongFrame;

/** The bits of `flags`. A set bit that a type does not know is an error. */
export const FrameFlag = {
  PayloadCodec: 0x01,
  PayloadRaw: 0x02,
  Headers: 0x04,
  Single: 0x08,
  /** The payload follows in chunks; on a CHUNK: others follow it. */
  Continued: 0x10,
  /** Legal only where both sides negotiated compression. */
  Compressed: 0x20,
  /** On a CALL: answer once the function has begun. */
  Deliver: 0x40,
  /** On a CAST: lane and sequence number stand in front of the name. */
  Ordered: 0x40,
  /** On a CALL: items of its last argument follow. */
  Streamed: 0x80,
} as const;
