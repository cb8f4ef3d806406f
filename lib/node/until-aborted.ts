/** A request that an AbortSignal ends. */
import { tellFailure, type Cancel, type ReplySink } from '../client/pending-calls.js';
import type { Journal } from '../connection/journal.js';
import type { Invocation } from '../protocol/invocation.js';
import { cancelledError } from './call-options.js';

/** Nothing of ours stays on `signal` once the request has settled, or was cancelled by what this returns. */
export function untilAborted(
  signal: AbortSignal,
  invocation: Invocation,
  sink: ReplySink,
  journal: Journal,
  request: (sink: ReplySink) => Cancel,
): Cancel {
  if (signal.aborted) {
    tellFailure(sink, cancelledError(invocation, false), invocation, journal);
    return () => false;
  }
  let settled = false;
  const onAbort = (): void => {
    release();
    tellFailure(sink, cancelledError(invocation, cancel()), invocation, journal);
  };
  const release = (): void => {
    settled = true;
    signal.removeEventListener('abort', onAbort);
  };
  const cancel = request({
    item: (value, cost, from) => sink.item(value, cost, from),
    done: (value) => (release(), sink.done(value)),
    failed: (error) => (release(), sink.failed(error)),
  });
  // A function of the own node has begun by now, and may have done it.
  if (!settled && signal.aborted) onAbort();
  else if (!settled) signal.addEventListener('abort', onAbort);
  return () => (release(), cancel());
}
