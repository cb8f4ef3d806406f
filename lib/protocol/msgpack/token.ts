/** What the first byte of a MessagePack value tells about its size. */

/** Indexed by token - 0xc0: how many bytes of value follow, or -1 where a length or an extension type comes first. */
export const VALUE_BYTES = Int8Array.from([
  0, -1, 0, 0, -1, -1, -1, -1, -1, -1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
]);

/** Indexed by token - 0xc0: how many bytes of length follow. */
export const LENGTH_BYTES = Int8Array.from([
  0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4,
]);

/** The length of `size` bytes at `offset`; 0 when there is none. */
export function readLength(bytes: Uint8Array, offset: number, size: number): number {
  let length = 0;
  for (let i = 0; i < size; i++) length = length * 256 + (bytes[offset + i] as number);
  return length;
}

/**
 * Where the token after the one at `offset` is: behind a scalar with its content, behind the header of a container.
 * The bytes must have been scanned, or be our own.
 */
export function nextToken(bytes: Uint8Array, offset: number): number {
  const token = bytes[offset] as number;
  if (token >= 0xa0 && token < 0xc0) return offset + 1 + (token & 0x1f);
  if (token < 0xc0 || token >= 0xe0) return offset + 1;
  const size = LENGTH_BYTES[token - 0xc0] as number;
  if (token >= 0xdc) return offset + 1 + size;
  if (token >= 0xd4 && token <= 0xd8) return offset + 2 + (1 << (token - 0xd4));
  if (size === 0) return offset + 1 + (VALUE_BYTES[token - 0xc0] as number);
  const isExtension = token >= 0xc7 && token <= 0xc9;
  return offset + 1 + size + (isExtension ? 1 : 0) + readLength(bytes, offset + 1, size);
}
