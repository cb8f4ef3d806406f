/** What a peer does that no peer may do, by the name under which it is counted. */
import { GenRpcError } from './errors.js';

export type Violation = 'fc_violation' | 'credit_flood' | 'empty_frame_flood' | 'ping_flood';

export function violation(kind: Violation, what: string): GenRpcError {
  return new GenRpcError('protocol_error', `Protocol error: ${what}.`, { details: { violation: kind } });
}

/** The name under which `error` is counted beside `protocol_error`, if it is one of these. */
export function violationOf({ details }: GenRpcError): Violation | undefined {
  return (details as { violation?: Violation } | undefined)?.violation;
}
