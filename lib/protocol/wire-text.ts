/** Texts between the fields of a frame. */
import { GenRpcError } from './errors.js';

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @throws GenRpcError `protocol_error` for what is no UTF-8. */
export function textAt(bytes: Buffer, start: number, end: number): string {
  for (let at = start; at < end; at += 1) {
    if ((bytes[at] ?? 0) < 0x80) continue;
    try {
      return strictUtf8.decode(bytes.subarray(start, end));
    } catch (cause) {
      throw new GenRpcError('protocol_error', 'A name or header is not valid UTF-8.', { cause });
    }
  }
  return bytes.toString('latin1', start, end);
}

export function truncated(part: string): GenRpcError {
  return new GenRpcError('protocol_error', `A ${part} is longer than its frame.`);
}
