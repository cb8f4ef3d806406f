/** What a function may say beside its reply. */
import { GenRpcError } from '../protocol/errors.js';
import { encodeHeaders } from '../protocol/headers.js';
import type { Headers } from '../protocol/invocation.js';
import { printable } from '../protocol/node-name.js';

/** @throws GenRpcError `invalid_argument` when they would not travel; `headers` are as they were then. */
export function withHeader(headers: Headers | undefined, name: string, value: string): Headers {
  const more = new Map(headers).set(name, value);
  encodeHeaders(more);
  return more;
}

export function tooLate(name: string): GenRpcError {
  const message = `Header ${printable(name)} came too late: set it before the function replies, or sends its first item.`;
  return new GenRpcError('invalid_argument', message);
}
