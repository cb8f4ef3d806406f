/** The two MessagePack extensions of the profile: `undefined` (type 0) and the timestamp (type -1). */
import { refused } from './refused.js';

export const UNDEFINED_TYPE = 0;
const TIMESTAMP_TYPE = -1;

/** The furthest that a `Date` can be from 1970, in milliseconds. */
const MAX_DATE_MS = 8.64e15;
const MAX_NANOS = 999_999_999;
const NANOS_PER_MS = 1_000_000;

/**
 * Judges the content `[start, start + length)` of an extension of the profile.
 * @param types whose content is not judged: what the codec's owner registered.
 * @throws GenRpcError `protocol_error` for every other type, and for content that is not exactly a `Date` or `undefined`.
 */
export function checkExtension(
  bytes: Buffer,
  start: number,
  length: number,
  type: number,
  types: ReadonlySet<number>,
): void {
  if (type === TIMESTAMP_TYPE) return checkTimestamp(bytes, start, length);
  if (type === UNDEFINED_TYPE) {
    if (length === 1 && bytes[start] === 0) return;
    throw refused(start, 'extension 0 is `undefined` and holds one zero byte');
  }
  if (types.has(type)) return;
  const allowed = [TIMESTAMP_TYPE, UNDEFINED_TYPE, ...types].join(', ');
  throw refused(start, `extension ${type} is not allowed; allowed are ${allowed}`);
}

function checkTimestamp(bytes: Buffer, start: number, length: number): void {
  if (length === 4) return;
  if (length !== 8 && length !== 12) throw refused(start, `a timestamp has 4, 8 or 12 bytes, not ${length}`);
  const upper = bytes.readUInt32BE(start);
  const nanos = length === 8 ? upper >>> 2 : upper;
  if (nanos > MAX_NANOS) throw refused(start, `a timestamp has at most ${MAX_NANOS} nanoseconds, not ${nanos}`);
  if (nanos % NANOS_PER_MS !== 0) throw refused(start, 'a timestamp is a whole number of milliseconds');
  if (length === 8) return;
  const seconds = bytes.readInt32BE(start + 4) * 0x1_0000_0000 + bytes.readUInt32BE(start + 8);
  if (Math.abs(seconds * 1000 + nanos / NANOS_PER_MS) > MAX_DATE_MS)
    throw refused(start, 'a timestamp is beyond any Date');
}

/** A valid `Date` as the shortest timestamp, behind the byte of the type. */
export function encodeTimestamp(date: Date): Buffer {
  const time = date.getTime();
  const seconds = Math.floor(time / 1000);
  const nanos = (time - seconds * 1000) * NANOS_PER_MS;
  if (seconds < 0 || seconds >= 2 ** 34) {
    const bytes = Buffer.alloc(13, TIMESTAMP_TYPE);
    bytes.writeUInt32BE(nanos, 1);
    bytes.writeBigInt64BE(BigInt(seconds), 5);
    return bytes;
  }
  if (nanos === 0 && seconds < 2 ** 32) {
    const bytes = Buffer.alloc(5, TIMESTAMP_TYPE);
    bytes.writeUInt32BE(seconds, 1);
    return bytes;
  }
  const bytes = Buffer.alloc(9, TIMESTAMP_TYPE);
  bytes.writeUInt32BE(nanos * 4 + Math.floor(seconds / 2 ** 32), 1);
  bytes.writeUInt32BE(seconds % 2 ** 32, 5);
  return bytes;
}
