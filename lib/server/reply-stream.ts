/** A reply of several values: what a function returned to subscribe to (an RxJS Observable, or anything like it). */
import type { Clock } from '../ports/clock.js';
import type { RunningCall } from './running-call.js';

export interface Subscribable {
  subscribe(observer: { next(value: unknown): void; error(error: unknown): void; complete(): void }): {
    unsubscribe(): void;
  };
}

/** What goes wrong with a stream. */
export interface StreamFailures {
  /** It ended with an error. */
  failed(error: unknown): void;
  /** It was told to stop, and threw. */
  stuck(error: unknown): void;
}

const NOTHING = Symbol('nothing held');

/** Sends what `source` brings, until it ends or nobody waits for it any more. */
export function streamReply(call: RunningCall, source: Subscribable, clock: Clock, on: StreamFailures): void {
  new ReplyStream(call, clock, on).follow(source);
}

/**
 * Sends items as they come. The latest is held back until the turn ends, because most such replies complete in the
 * turn that brought their only value: then one frame is enough.
 */
class ReplyStream {
  private held: unknown = NOTHING;
  private ended = false;
  private subscription: ReturnType<Subscribable['subscribe']> | undefined;
  private readonly flush = (): void => {
    if (this.held === NOTHING) return;
    const value = this.held;
    this.held = NOTHING;
    this.call.item(value);
  };

  constructor(
    private readonly call: RunningCall,
    private readonly clock: Clock,
    private readonly on: StreamFailures,
  ) {}

  /** Values may come, and one of them may end the call, before `subscribe` returns. */
  follow(source: Subscribable): void {
    this.call.stopProducer = () => this.stop();
    this.subscription = source.subscribe(this);
    if (this.ended) this.unsubscribe();
    else this.call.watchDeadline();
  }

  next(value: unknown): void {
    if (this.ended) return;
    if (this.held === NOTHING) this.clock.soon(this.flush);
    else this.flush();
    this.held = value;
  }

  error(error: unknown): void {
    if (this.ended) return;
    this.end();
    this.flush();
    this.on.failed(error);
  }

  complete(): void {
    if (this.ended) return;
    this.end();
    this.call.succeed(this.held === NOTHING ? undefined : this.held);
    this.held = NOTHING;
  }

  private end(): void {
    this.ended = true;
    this.call.stopProducer = undefined;
  }

  private stop(): void {
    this.ended = true;
    this.held = NOTHING;
    this.unsubscribe();
  }

  private unsubscribe(): void {
    try {
      this.subscription?.unsubscribe();
    } catch (error) {
      this.on.stuck(error);
    }
  }
}
