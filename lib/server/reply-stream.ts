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

const NOTHING = Symbol('nothing held');

/**
 * Sends items as they come. The latest is held back until the turn ends, because most such replies complete in the
 * turn that brought their only value: then one frame is enough.
 */
export function streamReply(
  call: RunningCall,
  source: Subscribable,
  clock: Clock,
  onError: (error: unknown) => void,
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
    subscription?.unsubscribe();
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
      onError(error);
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
