/** Payloads made smaller on the wire, where both sides agreed to (RFC 1951), and never larger in memory than allowed. */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { GenRpcError } from './errors.js';
import type { Payload } from './payload.js';

export interface Compression {
  /** 1 (fast) to 9 (small). */
  readonly level: number;
  /** Payloads of more bytes than this are compressed (gen_rpc: `compression_threshold`). */
  readonly threshold: number;
}

/** The payload, deflated if it is above the threshold and becomes smaller by it. */
export function deflated(payload: Payload, { level, threshold }: Compression): Payload {
  if (payload.bytes.length <= threshold) return payload;
  const bytes = deflateRawSync(payload.bytes, { level });
  return bytes.length < payload.bytes.length ? { kind: payload.kind, bytes, compressed: true } : payload;
}

/**
 * The way back. Stops as soon as there are more than `limit` bytes, so that a few bytes cannot become many.
 * @throws GenRpcError `message_too_large`, `protocol_error`.
 */
export function inflated(payload: Payload, limit: number): Payload {
  if (payload.compressed !== true) return payload;
  try {
    return { kind: payload.kind, bytes: inflateRawSync(payload.bytes, { maxOutputLength: limit }) };
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== 'ERR_BUFFER_TOO_LARGE') {
      throw new GenRpcError('protocol_error', 'A compressed payload cannot be inflated.', { cause });
    }
    const message = `The message has more than the ${limit} bytes that are allowed, once inflated.`;
    throw new GenRpcError('message_too_large', message, { details: { limit } });
  }
}
