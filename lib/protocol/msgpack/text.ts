/** UTF-8, strictly: no overlong form, no surrogate, nothing above U+10FFFF. */
import { isUtf8 } from 'node:buffer';

/** Where the native check, about 70 ns at any length, overtakes `isAscii`. */
export const NATIVE_FROM_BYTES = 256;

/** Where it overtakes the loop over sequences. */
const NATIVE_FROM_BYTES_OF_SEQUENCES = 48;

/** Reads four bytes at a time, the last four overlapping: payloads are made of short strings. */
export function isAscii(view: DataView, start: number, end: number): boolean {
  if (end - start < 4) {
    for (let i = start; i < end; i++) if (view.getInt8(i) < 0) return false;
    return true;
  }
  if (((view.getInt32(start) | view.getInt32(end - 4)) & 0x80808080) !== 0) return false;
  for (let i = start + 4; i < end - 4; i += 4) if ((view.getInt32(i) & 0x80808080) !== 0) return false;
  return true;
}

/** The offset of the first byte in `[start, end)` that belongs to no well-formed sequence, or -1 when there is none. */
export function findInvalidUtf8(bytes: Uint8Array, start: number, end: number): number {
  if (end - start >= NATIVE_FROM_BYTES_OF_SEQUENCES && isUtf8(bytes.subarray(start, end))) return -1;
  let offset = start;
  while (offset < end) {
    const size = sequenceAt(bytes, offset, end);
    if (size === 0) return offset;
    offset += size;
  }
  return -1;
}

/** How many bytes the sequence at `offset` has; 0 when it is not well-formed. */
function sequenceAt(bytes: Uint8Array, offset: number, end: number): number {
  const lead = bytes[offset] as number;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (offset + size > end || !isSecondByte(lead, bytes[offset + 1] as number)) return 0;
  for (let i = 2; i < size; i++) if (((bytes[offset + i] as number) & 0xc0) !== 0x80) return 0;
  return size;
}

/** The second byte is where overlong forms, surrogates and code points above U+10FFFF show. */
function isSecondByte(lead: number, second: number): boolean {
  if ((second & 0xc0) !== 0x80) return false;
  switch (lead) {
    case 0xe0:
      return second >= 0xa0;
    case 0xed:
      return second < 0xa0;
    case 0xf0:
      return second >= 0x90;
    case 0xf4:
      return second < 0x90;
    default:
      return true;
  }
}
