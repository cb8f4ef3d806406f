/** A reply of several values: what a function returned to subscribe to, or to iterate over. */
import { follow, isAsyncIterable, type Outlet, type Stop } from '../connection/item-stream.js';
import type { ItemStream } from '../protocol/invocation.js';
import type { Clock } from '../ports/clock.js';
import type { RunningCall } from './running-call.js';

/** What goes wrong with a stream. */
export interface StreamFailures {
  /** It ended with an error. */
  failed(error: unknown): void;
  /** It was told to stop, and threw. */
  stuck(error: unknown): void;
}

const NOTHING = Symbol('nothing held');

/** Sends what `source` brings, until it ends or nobody waits for it any more. */
export function streamReply(call: RunningCall, source: ItemStream, clock: Clock, on: StreamFailures): void {
  new ReplyStream(call, clock, on).follow(source);
}

/**
 * Sends items as they come. The first is held back until the turn ends, because most such replies complete in the turn
 * that brought their only value: then one frame is enough.
 */
class ReplyStream implements Outlet {
  private ended = false;
  private held: unknown = NOTHING;
  private sent = false;
  /** An item that is a stream itself, as interceptors make of what an async generator returns: its items are meant. */
  private inner: Stop | undefined;
  private outerDone = false;
  private stopSource: Stop | undefined;
  private readonly flush = (): void => {
    if (this.held === NOTHING || this.ended) return;
    const value = this.held;
    this.held = NOTHING;
    this.call.item(value);
  };

  constructor(
    private readonly call: RunningCall,
    private readonly clock: Clock,
    private readonly on: StreamFailures,
  ) {}

  get ready(): boolean {
    return this.call.ready;
  }

  whenReady(then: () => void): void {
    this.call.whenReady(then);
  }

  next(value: unknown): void {
    if (this.ended) return;
    if (isAsyncIterable(value)) return this.followInner(value);
    if (this.sent) {
      this.flush();
      return this.call.item(value);
    }
    this.sent = true;
    this.held = value;
    this.clock.soon(this.flush);
  }

  error(error: unknown): void {
    if (this.ended) return;
    this.flush();
    this.end();
    this.on.failed(error);
  }

  complete(): void {
    if (this.ended) return;
    this.outerDone = true;
    if (this.inner !== undefined) return;
    this.end();
    if (!this.sent) this.call.succeed(undefined);
    else if (this.held !== NOTHING) this.call.succeed(this.held);
    else this.call.end();
  }

  stuck(error: unknown): void {
    this.on.stuck(error);
  }

  /** Items may come, and one of them may end the call, before there is anything to stop. */
  follow(source: ItemStream): void {
    this.call.stopProducer = () => this.stop();
    this.stopSource = follow(source, this);
    if (this.ended) void this.stopSource();
    else this.call.watchDeadline();
  }

  private stop(): Promise<void> | undefined {
    this.ended = true;
    const inner = this.inner?.();
    const outer = this.stopSource?.();
    return inner === undefined || outer === undefined ? (inner ?? outer) : inner.then(() => outer);
  }

  /** The items of an item were all there were. */
  innerDone(): void {
    this.inner = undefined;
    if (this.outerDone) this.complete();
  }

  private followInner(items: AsyncIterable<unknown>): void {
    if (this.inner !== undefined) return this.error(new TypeError('Two streams at once within a reply.'));
    this.inner = follow(items, new InnerOutlet(this));
  }

  private end(): void {
    this.ended = true;
    this.call.stopProducer = undefined;
  }
}

/** Takes the items of an item. */
class InnerOutlet implements Outlet {
  constructor(private readonly outer: ReplyStream) {}

  get ready(): boolean {
    return this.outer.ready;
  }

  whenReady(then: () => void): void {
    this.outer.whenReady(then);
  }

  next(value: unknown): void {
    this.outer.next(value);
  }

  error(error: unknown): void {
    this.outer.error(error);
  }

  complete(): void {
    this.outer.innerDone();
  }

  stuck(error: unknown): void {
    this.outer.stuck(error);
  }
}
