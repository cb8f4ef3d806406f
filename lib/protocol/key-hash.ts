/** A number for a key: the same for equal keys, on every node. */
import type { Codec } from './payload.js';

/** FNV-1a (32 bit) over the key's bytes. @throws GenRpcError `encode_error` when the key cannot be encoded. */
export function hashKey(codec: Codec, key: unknown): number {
  let hash = 0x811c9dc5;
  for (const byte of codec.encode(key)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
