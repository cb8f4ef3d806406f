/** What an idempotent call is known by, however often it is made: a header that the library writes and reads. */
import type { Headers } from './invocation.js';

export const CALL_KEY_HEADER = 'gen-rpc-call-key';

/** A key of the caller's own making stays. */
export function withCallKey(headers: Headers | undefined, newKey: () => string): Headers {
  if (headers?.has(CALL_KEY_HEADER) === true) return headers;
  return new Map([...(headers ?? []), [CALL_KEY_HEADER, newKey()]]);
}

/** For the function: one that hands its headers on must not hand on whose repeat it is. */
export function withoutCallKey(headers: Headers | undefined): Headers | undefined {
  if (headers?.has(CALL_KEY_HEADER) !== true) return headers;
  const others = new Map(headers);
  others.delete(CALL_KEY_HEADER);
  return others.size === 0 ? undefined : others;
}
