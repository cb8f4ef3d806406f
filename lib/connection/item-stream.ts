/** Where the items of a stream come from: whatever can be iterated over asynchronously, or subscribed to. */
import type { ItemStream, Observer, Subscribable } from '../protocol/invocation.js';

/** Takes items on, and ignores what a source says after its end. */
export interface Outlet extends Observer {
  /** Is there room for more? A source that can wait does. */
  readonly ready: boolean;
  /** Runs `then` once there is room again. */
  whenReady(then: () => void): void;
  /** It was told to stop, and threw. */
  stuck(error: unknown): void;
}

/** Ends a source; resolves once it has ended. Safe to repeat. */
export type Stop = () => Promise<void> | undefined;

function isSubscribable(value: unknown): value is Subscribable {
  return isOpen(value) && typeof (value as Subscribable).subscribe === 'function';
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return isOpen(value) && typeof (value as AsyncIterable<unknown>)[Symbol.asyncIterator] === 'function';
}

/** May it have methods of its own? The streams that Nest handlers get are functions. */
function isOpen(value: unknown): boolean {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

/** A streaming argument, or a streaming reply. What can wait is preferred to what cannot. */
export function isItemStream(value: unknown): value is ItemStream {
  return isOpen(value) && (isAsyncIterable(value) || isSubscribable(value));
}

/** Sends everything of `source` to `outlet`, until it ends or is stopped. Items may come before this returns. */
export function follow(source: ItemStream, outlet: Outlet): Stop {
  if (!isAsyncIterable(source)) return subscribe(source, outlet);
  const pull = new Pull(source, outlet);
  void pull.run();
  return () => pull.stop();
}

function subscribe(source: Subscribable, outlet: Outlet): Stop {
  let stopped = false;
  let subscription: ReturnType<Subscribable['subscribe']> | undefined;
  const stop = (): undefined => {
    stopped = true;
    try {
      subscription?.unsubscribe();
    } catch (error) {
      outlet.stuck(error);
    }
    subscription = undefined;
  };
  try {
    subscription = source.subscribe(outlet);
  } catch (error) {
    outlet.error(error);
  }
  // One of its items may have been the end of it.
  if (stopped) stop();
  return stop;
}

/** Asks for an item when there is room for it, and for the next one after that. */
class Pull {
  private iterator: AsyncIterator<unknown> | undefined;
  private stopped = false;
  private done = false;

  constructor(
    private readonly source: AsyncIterable<unknown>,
    private readonly outlet: Outlet,
  ) {}

  async run(): Promise<void> {
    const { outlet } = this;
    try {
      const iterator = (this.iterator = this.source[Symbol.asyncIterator]());
      while (!this.stopped) {
        if (!outlet.ready) await new Promise<void>((resolve) => outlet.whenReady(resolve));
        if (this.stopped) return;
        const { done, value } = await iterator.next();
        if (this.stopped) return;
        if (done === true) return this.end(() => outlet.complete());
        outlet.next(value);
      }
    } catch (error) {
      if (this.stopped) outlet.stuck(error);
      else this.end(() => outlet.error(error));
    }
  }

  stop(): Promise<void> | undefined {
    if (this.stopped || this.done) return undefined;
    this.stopped = true;
    return this.close();
  }

  private end(tell: () => void): void {
    this.done = true;
    tell();
  }

  private async close(): Promise<void> {
    try {
      await this.iterator?.return?.();
    } catch (error) {
      this.outlet.stuck(error);
    }
  }
}
