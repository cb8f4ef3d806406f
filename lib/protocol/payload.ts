/** Values and their bytes: one interface over every MessagePack library, one written profile (docs/payload-profile.md). */
import { GenRpcError, isGenRpcError } from './errors.js';

/** Turns values into bytes and back, within the profile. Pure; keeps no reference to what it was given. */
export interface Codec {
  /** Agreed on in the handshake: both ends of a connection use the same one. 1 to 32 characters of `[a-z0-9-]`. */
  readonly id: string;
  /**
   * @param maxBytes of a value that certainly takes more than that, nothing need be encoded
   * @throws GenRpcError `encode_error` when the value is outside the profile; `message_too_large`.
   */
  encode(value: unknown, maxBytes?: number): Uint8Array;
  /**
   * Decodes exactly one value that fills `bytes`. Nothing decoded refers to `bytes` afterwards.
   * @throws GenRpcError `protocol_error` when the bytes are outside the profile or over a budget.
   */
  decode(bytes: Uint8Array): unknown;
}

/** How the bytes of a payload are to be read. */
export type PayloadKind = 'none' | 'codec' | 'raw';

/** `none`: no value at all (`undefined`). `raw`: the bytes are the value. `codec`: the connection's codec knows. */
export interface Payload {
  readonly kind: PayloadKind;
  readonly bytes: Uint8Array;
  /** `bytes` are deflated: see `inflated`. */
  readonly compressed?: true;
  /** Nobody else uses the memory of `bytes`: they need no copy to be kept. */
  readonly owned?: true;
}

/** Of `undefined`, and of frames that carry no value. */
export const NO_PAYLOAD: Payload = { kind: 'none', bytes: new Uint8Array(0) };

/** A `Buffer` or `Uint8Array` travels as it is; everything else goes through the codec. */
export function encodePayload(codec: Codec, value: unknown, maxBytes?: number): Payload {
  if (value === undefined) return NO_PAYLOAD;
  if (value instanceof Uint8Array) return { kind: 'raw', bytes: value };
  try {
    return { kind: 'codec', bytes: codec.encode(value, maxBytes) };
  } catch (error) {
    throw typed('encode_error', error);
  }
}

/** The payload of a value that goes to many peers: encoded for the first of them. */
export class SharedPayload {
  private codec: Codec | undefined;
  private payload = NO_PAYLOAD;

  encode(codec: Codec, value: unknown, maxBytes?: number): Payload {
    if (this.codec !== codec) {
      this.payload = encodePayload(codec, value, maxBytes);
      this.codec = codec;
    }
    return this.payload;
  }
}

/** @throws GenRpcError `message_too_large` for more than `limit` bytes. */
export function checkSize({ bytes }: Payload, limit: number): void {
  if (bytes.length > limit) throw tooLarge(bytes.length, limit);
}

/** @param bytes that it has, or at least has */
export function tooLarge(bytes: number, limit: number): GenRpcError {
  const what = `The message has ${bytes} bytes, ${limit} are allowed`;
  const message = `${what}. Send less, or raise maxMessageBytes on both nodes.`;
  return new GenRpcError('message_too_large', message, { details: { bytes, limit } });
}

/** For whoever keeps it: what brought the bytes goes on to use them, or is larger than they are. */
export function withOwnBytes(payload: Payload): Payload {
  return payload.owned === true ? payload : { ...payload, bytes: Buffer.from(payload.bytes), owned: true };
}

/** The value of a payload. Raw bytes are copied, unless they are owned: a value never pins what it was read from. */
export function decodePayload(codec: Codec, payload: Payload): unknown {
  switch (payload.kind) {
    case 'none':
      return undefined;
    case 'raw':
      return payload.owned === true ? asBuffer(payload.bytes) : Buffer.from(payload.bytes);
    case 'codec':
      return decode(codec, payload.bytes);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function decode(codec: Codec, bytes: Uint8Array): unknown {
  try {
    return codec.decode(bytes);
  } catch (error) {
    throw typed('protocol_error', error);
  }
}

/** A codec that a user brought may throw anything. */
function typed(code: 'encode_error' | 'protocol_error', error: unknown): GenRpcError {
  return isGenRpcError(error) ? error : new GenRpcError(code, undefined, { cause: error });
}
