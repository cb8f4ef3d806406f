/** Headers as they travel: `u16` bytes that follow, then for each `u8 length · name · u16 length · value`. */
import { GenRpcError } from './errors.js';
import { MAX_HEADERS_BYTES } from './frame.js';
import type { Headers } from './invocation.js';
import { textAt, truncated } from './wire-text.js';

/** @throws GenRpcError `invalid_argument` when they are too large or no text. */
export function encodeHeaders(headers: Headers): Buffer {
  const parts: Buffer[] = [Buffer.alloc(2)];
  let length = 0;
  for (const [name, value] of headers) {
    if (!isText(name) || !isText(value)) {
      throw new GenRpcError(
        'invalid_argument',
        'The headers do not fit a frame: expected names and values of valid text.',
      );
    }
    const nameBytes = Buffer.from(name);
    const valueBytes = Buffer.from(value);
    length += 3 + nameBytes.length + valueBytes.length;
    if (nameBytes.length === 0 || nameBytes.length > 255 || length > MAX_HEADERS_BYTES) {
      const rule = `names of 1 to 255 bytes, ${MAX_HEADERS_BYTES} bytes in all`;
      throw new GenRpcError('invalid_argument', `The headers do not fit a frame: expected ${rule}.`);
    }
    const valueLength = Buffer.alloc(2);
    valueLength.writeUInt16BE(valueBytes.length);
    parts.push(Buffer.of(nameBytes.length), nameBytes, valueLength, valueBytes);
  }
  parts[0]?.writeUInt16BE(length);
  return Buffer.concat(parts);
}

/** @throws GenRpcError `protocol_error` when they leave the frame, repeat a name, or are no UTF-8. */
export function decodeHeaders(bytes: Buffer, start: number, limit: number): { headers: Headers; end: number } {
  if (start + 2 > limit) throw truncated('header');
  const length = bytes.readUInt16BE(start);
  const end = start + 2 + length;
  if (end > limit || length > MAX_HEADERS_BYTES) throw truncated('header');
  const headers = new Map<string, string>();
  let at = start + 2;
  while (at < end) {
    const nameEnd = at + 1 + (bytes[at] ?? 0);
    if (nameEnd + 2 > end) throw truncated('header');
    const valueEnd = nameEnd + 2 + bytes.readUInt16BE(nameEnd);
    if (valueEnd > end) throw truncated('header');
    const name = textAt(bytes, at + 1, nameEnd);
    if (name === '' || headers.has(name))
      throw new GenRpcError('protocol_error', 'A header has no name, or one twice.');
    headers.set(name, textAt(bytes, nameEnd + 2, valueEnd));
    at = valueEnd;
  }
  return { headers, end };
}

/** Callers may have brought anything; and half a character would arrive as another text, two such names as one. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && value.isWellFormed();
}
