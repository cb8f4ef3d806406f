/** Payloads made smaller on the wire, where both sides agreed to (RFC 1951), and never larger in memory than allowed. */
import { deflateRawSync, inflateRawSync, type InflateRaw } from 'node:zlib';
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
  const { buffer: bytes, engine } = inflate(payload.bytes, limit);
  if (engine.bytesWritten === payload.bytes.length) return { kind: payload.kind, bytes };
  throw new GenRpcError('protocol_error', 'A compressed payload has bytes behind its end.');
}

interface Inflated {
  readonly buffer: Buffer;
  /** Its `bytesWritten` is what was read of the input: zlib passes over what stands behind the end of a stream. */
  readonly engine: InflateRaw;
}

function inflate(bytes: Uint8Array, limit: number): Inflated {
  try {
    return inflateRawSync(bytes, { maxOutputLength: limit, info: true }) as unknown as Inflated;
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== 'ERR_BUFFER_TOO_LARGE') {
      throw new GenRpcError('protocol_error', 'A compressed payload cannot be inflated.', { cause });
    }
    const message = `The message has more than the ${limit} bytes that are allowed, once inflated.`;
    throw new GenRpcError('message_too_large', message, { details: { limit } });
  }
}
