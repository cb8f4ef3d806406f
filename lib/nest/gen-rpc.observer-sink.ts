/** Where a reply meets RxJS. */
import type { Observer } from 'rxjs';
import type { ReplySink } from '../client/pending-calls.js';
import type { ReplyShape } from '../node/stream-reply.js';
import type { GenRpcError } from '../protocol/errors.js';

/** Hands a reply to an observer. A class, because an object of closures a call is what the collector feels first. */
export class ObserverSink<T> implements ReplySink {
  constructor(
    private readonly observer: Observer<T>,
    private readonly shape: ReplyShape,
  ) {}

  item(value: unknown): void {
    let shaped: T;
    try {
      shaped = this.shape.value(value) as T;
    } catch (error) {
      return this.observer.error(error);
    }
    this.observer.next(shaped);
  }

  done(value: unknown): void {
    if (value !== undefined) this.item(value);
    this.observer.complete();
  }

  failed(error: GenRpcError): void {
    let shaped: unknown;
    try {
      shaped = this.shape.error(error);
    } catch (thrown) {
      shaped = thrown;
    }
    this.observer.error(shaped);
  }
}
