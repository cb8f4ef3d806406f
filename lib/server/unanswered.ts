/** Why a call is not started, or its answer not sent. */
import { GenRpcError } from '../protocol/errors.js';

export function leaving(): GenRpcError {
  return new GenRpcError('refused', 'The node is shutting down and did not start the call.');
}

export function congested(): GenRpcError {
  const message = 'Too many answers wait for the caller, which reads slowly. The call was not started.';
  return new GenRpcError('refused', message);
}

/** What many functions answer at once must not gather without end: this one's answer is not sent. */
export function dropped(): GenRpcError {
  return new GenRpcError('handler_failed', 'The answer was dropped: too many wait for the caller, which reads slowly.');
}
