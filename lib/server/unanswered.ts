/** Why a call is not started, or its answer not sent; and how its caller is told. */
import type { Connection } from '../connection/connection.js';
import { GenRpcError } from '../protocol/errors.js';
import { FrameType, type ErrorFrame } from '../protocol/frame.js';
import { NO_PAYLOAD, type Payload } from '../protocol/payload.js';

export function errorFrame(connection: Connection, id: number, { code, message, details }: GenRpcError): ErrorFrame {
  return { type: FrameType.Error, id, code, message, payload: payloadOf(connection, details) };
}

/** Details that cannot be sent are left out: the error itself must arrive. */
function payloadOf(connection: Connection, details: unknown): Payload {
  try {
    return connection.encode(details);
  } catch {
    return NO_PAYLOAD;
  }
}

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
