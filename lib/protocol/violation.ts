/** What a peer may not do, by the name under which the end of its connection is counted. */
import { GenRpcError } from './errors.js';

export type Violation = 'fc_violation' | 'credit_flood' | 'empty_frame_flood' | 'ping_flood';

const KINDS: ReadonlySet<unknown> = new Set<Violation>([
  'fc_violation',
  'credit_flood',
  'empty_frame_flood',
  'ping_flood',
]);

/** @param message for the log of this side; the peer is told nothing. */
export function violation(kind: Violation, message: string): GenRpcError {
  return new GenRpcError('protocol_error', message, { details: { violation: kind } });
}

/** Which of them ended a connection, if one did. */
export function violationOf(reason: GenRpcError): Violation | undefined {
  if (reason.code !== 'protocol_error') return undefined;
  const kind = (reason.details as { violation?: Violation } | undefined)?.violation;
  return KINDS.has(kind) ? kind : undefined;
}

/** Bytes that no peer of this version sends. */
export function corrupt(what: string): GenRpcError {
  return new GenRpcError('protocol_error', `Protocol error: ${what}.`);
}
