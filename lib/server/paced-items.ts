/** Items of a reply for those in between who only know how to subscribe: each is asked for when the call has room. */
import { follow, type Outlet } from '../connection/item-stream.js';
import type { Observer, Subscribable } from '../protocol/invocation.js';

/** The call that the items are for. */
export interface Pace {
  readonly ready: boolean;
  whenReady(then: () => void): void;
  /** One more brings items for it. It keeps its place until that one has ended. */
  producerBegins(): void;
  producerEnded(): void;
  /** A producer was told to stop, and threw. */
  noteFailure(error: unknown): void;
}

export class PacedItems implements Subscribable {
  constructor(
    private readonly source: AsyncIterable<unknown>,
    private readonly pace: Pace,
  ) {}

  subscribe(observer: Observer): { unsubscribe(): void } {
    this.pace.producerBegins();
    const outlet = new PacedOutlet(observer, this.pace);
    const stop = follow(this.source, outlet);
    return {
      unsubscribe: () => {
        if (outlet.ended) return;
        const ending = stop();
        if (ending === undefined) outlet.end();
        else void ending.then(() => outlet.end());
      },
    };
  }
}

class PacedOutlet implements Outlet {
  ended = false;

  constructor(
    private readonly observer: Observer,
    private readonly pace: Pace,
  ) {}

  get ready(): boolean {
    return this.pace.ready;
  }

  whenReady(then: () => void): void {
    this.pace.whenReady(then);
  }

  next(value: unknown): void {
    this.observer.next(value);
  }

  error(error: unknown): void {
    this.end();
    this.observer.error(error);
  }

  complete(): void {
    this.end();
    this.observer.complete();
  }

  stuck(error: unknown): void {
    this.pace.noteFailure(error);
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.pace.producerEnded();
  }
}
