/** What callers are told of a node that cannot be reached. */
import type { Journal } from '../connection/journal.js';
import { GenRpcError, isGenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';
import { isReplaced } from './replaced.js';

/** Failures of a dial that keep their own code; all others are `node_down`. */
const NAMED_FAILURES: ReadonlySet<GenRpcErrorCode> = new Set<GenRpcErrorCode>([
  'invalid_cookie',
  'wrong_node',
  'version_mismatch',
  'external_source_error',
  'node_certificate_mismatch',
]);

export function nodeDown(node: string, cause: unknown): GenRpcError {
  if (isGenRpcError(cause) && NAMED_FAILURES.has(cause.code)) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  const details = isGenRpcError(cause) && typeof cause.details === 'object' ? cause.details : {};
  const says = isGenRpcError(cause) && isReplaced(cause) ? reason : `${node} is down. ${reason}`;
  return new GenRpcError('node_down', says, {
    cause: originOf(cause),
    details: { ...details },
  });
}

/** For the log: the connection ended, and nobody here meant it to. */
export function noteLoss(journal: Journal, node: string, reason: GenRpcError): void {
  if (isReplaced(reason)) journal.note('connection_replaced', () => reason.message);
  else journal.note('connection_lost', () => `Lost the connection to ${node}: ${reason.message}`);
}

export function withNextAttempt(error: GenRpcError, nextAttemptMs: number): GenRpcError {
  const details = { ...(error.details as object | undefined), nextAttemptMs };
  return withSentence(error, `Next attempt in ${nextAttemptMs} ms.`, details);
}

/** The same failure, of which there is more to say. */
export function withSentence(
  { code, message, cause, details }: GenRpcError,
  more: string,
  known = details,
): GenRpcError {
  return new GenRpcError(code, `${message} ${more}`, { cause, details: known });
}

/** What is said again, word for word, by the error that follows need not be in a log twice. */
function originOf(cause: unknown): unknown {
  return isGenRpcError(cause) && cause.code === 'node_down' ? (cause.cause ?? cause) : cause;
}
