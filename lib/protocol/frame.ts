/** The frames of an authenticated connection, as everything above the wire sees them. Their bytes: docs/PROTOCOL.md. */
import type { GenRpcErrorCode } from './errors.js';
import type { FunctionName, Headers } from './invocation.js';
import type { Payload } from './payload.js';

/** The wire version that this code speaks; a HELLO offers a range of them. */
export const PROTOCOL_VERSION = 1;
/** `u32 length · u8 type · u8 flags · u16 zero · u32 stream`. */
export const HEADER_BYTES = 12;
/** What may stand in a frame beside its payload: names and headers. */
export const MAX_HEAD_BYTES = 32 * 1024;
export const MAX_HEADERS_BYTES = 16 * 1024;
/** The largest message by default, in payload bytes. */
export const DEFAULT_MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

export const FrameType = {
  Call: 0x10,
  Cast: 0x11,
  Item: 0x12,
  Result: 0x13,
  Error: 0x14,
  Cancel: 0x15,
  GoAway: 0x20,
  Ping: 0x21,
  Pong: 0x22,
} as const;

/** A frame of an unknown type with this bit is skipped; without it, it ends the connection. */
export const SKIPPABLE_TYPE = 0x80;

/** Asks for a result. `timeoutMs` is what is left of the caller's deadline; never a wall clock. */
export interface CallFrame {
  readonly type: typeof FrameType.Call;
  readonly id: number;
  readonly name: FunctionName;
  readonly timeoutMs: number;
  readonly single: boolean;
  /** The answer is that the function was found and begun, not its result. */
  readonly deliver?: boolean;
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
export interface CastFrame {
  readonly type: typeof FrameType.Cast;
  readonly name: FunctionName;
  readonly single: boolean;
  /** `undefined`: may overtake others and be overtaken. */
  readonly order?: CastOrder | undefined;
  readonly headers: Headers | undefined;
  readonly payload: Payload;
}

/** One of several values of a reply; a `ResultFrame` or an `ErrorFrame` follows. */
export interface ItemFrame {
  readonly type: typeof FrameType.Item;
  readonly id: number;
  readonly payload: Payload;
}

/** Ends a reply, with its last value if the payload is not `none`. */
export interface ResultFrame {
  readonly type: typeof FrameType.Result;
  readonly id: number;
  readonly payload: Payload;
}

/** Ends a reply with an error. `message` is safe for a remote reader; `details` is what the handler meant to send. */
export interface ErrorFrame {
  readonly type: typeof FrameType.Error;
  readonly id: number;
  readonly code: GenRpcErrorCode;
  readonly message: string;
  readonly details: Payload;
}

/** The caller no longer waits for this reply. */
export interface CancelFrame {
  readonly type: typeof FrameType.Cancel;
  readonly id: number;
}

/** `lastId` of a server that refuses nothing: the connection is of no use any more, and the client is to close it. */
export const GOAWAY_UNUSED = 0xffffffff;

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

export type Frame =
  CallFrame | CastFrame | ItemFrame | ResultFrame | ErrorFrame | CancelFrame | GoAwayFrame | PingFrame | PongFrame;

/** The bits of `flags`. A set bit that a type does not know is an error. */
export const FrameFlag = {
  PayloadCodec: 0x01,
  PayloadRaw: 0x02,
  Headers: 0x04,
  Single: 0x08,
  /** Legal only where both sides negotiated compression. */
  Compressed: 0x20,
  /** On a CALL: answer once the function has begun. */
  Deliver: 0x40,
  /** On a CAST: lane and sequence number stand in front of the name. */
  Ordered: 0x40,
} as const;
