/** An error that a peer sent, as its caller gets it. */
import { GenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';
import type { ErrorFrame } from '../protocol/frame.js';
import { joinRoute, type Invocation } from '../protocol/invocation.js';

/** Errors of a function that has run, or of its result. What is wrong with a call is found before it is started. */
const FAILED_AFTERWARDS: ReadonlySet<GenRpcErrorCode> = new Set([
  'shutting_down',
  'handler_failed',
  'timeout',
  'encode_error',
  'message_too_large',
]);

/** @param details what the function meant to send */
export function remoteError(frame: ErrorFrame, invocation: Invocation, node: string, details: unknown): GenRpcError {
  const { code } = frame;
  const streamBroke = code === 'protocol_error' && invocation.stream !== undefined;
  const maybeExecuted = streamBroke || FAILED_AFTERWARDS.has(code);
  const route = joinRoute(invocation.name);
  const message = frame.message || `${route} failed on ${node}.`;
  return new GenRpcError(code, message, { maybeExecuted, details, call: `${route} on ${node}` });
}
