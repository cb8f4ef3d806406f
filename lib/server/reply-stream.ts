/** A reply of several values: what a function returned to subscribe to (an RxJS Observable, or anything like it). */
import type { Clock } from '../ports/clock.js';
import type { RunningCall } from './running-call.js';

export interface Subscribable {
  subscribe(observer: {
    next(value: unknown): void;
    error(error: unknown): void;
    complete(): void;
  }): { unsubscribe(): void };
}

/** What goes wrong with a stream. */
export interface StreamFailures {
  /** It ended with an error. */
  failed(error: unknown): void;
  /** It was told to stop, and threw. */
  stuck(error: unknown): void;
}

const NOTHING = Symbol('nothing held');

/**
 * Sends items as they come. The latest is held back until the turn ends, because most such replies complete in the
 * turn that brought their only value: then one frame is enough.
 */
export function streamReply(
  call: RunningCall,
  source: Subscribable,
  clock: Clock,
  on: StreamFailures,
): void {
  let held: unknown = NOTHING;
  let ended = false;
  let subscription: ReturnType<Subscribable['subscribe']> | undefined;
  const flush = (): void => {
    if (held === NOTHING) return;
    const value = held;
    held = NOTHING;
    call.item(value);
  };
  const end = (): void => {
    ended = true;
    call.stopProducer = undefined;
  };
  // Values may come, and one of them may end the call, before `subscribe` returns.
  call.stopProducer = () => {
    ended = true;
    held = NOTHING;
    try {
      subscription?.unsubscribe();
    } catch (error) {
      on.stuck(error);
    }
  };
  subscription = source.subscribe({
    next(value) {
      if (ended) return;
      if (held === NOTHING) clock.soon(flush);
      else flush();
      held = value;
    },
    error(error) {
      if (ended) return;
      end();
      flush();
      on.failed(error);
    },
    complete() {
      if (ended) return;
      end();
      call.succeed(held === NOTHING ? undefined : held);
      held = NOTHING;
    },
  });
  if (ended) subscription.unsubscribe();
  else call.watchDeadline();
}
