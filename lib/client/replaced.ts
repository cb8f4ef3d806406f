/** A connection whose place another process of this node's name has taken: what callers and the log are told of it. */
import { GenRpcError } from '../protocol/errors.js';

const CAUSE = 'CONNECTION_REPLACED';

/** @param self the name that both processes have */
export function replaced(self: string, node: string): GenRpcError {
  const happened = `Another process with the name ${self} connected to ${node} and took the place of this one.`;
  const advice =
    'Give each process a name of its own (option name); processes that are one node share a life (option life).';
  return new GenRpcError('connection_lost', `${happened} ${advice}`, { details: { cause: CAUSE } });
}

export function isReplaced({ details }: GenRpcError): boolean {
  return (details as { cause?: unknown } | undefined)?.cause === CAUSE;
}
