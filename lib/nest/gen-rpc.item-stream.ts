/** A streaming request as a handler gets it: an Observable that can also be iterated over, once. */
import { inspect } from 'node:util';
import { Observable, type Observer, type Subscription } from 'rxjs';

type Next<T> = (value: T) => void;

/**
 * `@Payload() items$: Observable<T>`. What is not read yet waits at the caller, all but a window of it: `for await` reads
 * one at a time; an Observable reads as fast as items come, or, where the reply is a stream, as fast as that is read.
 * It ends with an error when the call ends before it.
 */
export class GenRpcItemStream<T = unknown> extends Observable<T> implements AsyncIterable<T> {
  declare private readonly items: AsyncIterable<T>;
  declare private readonly paced: Observable<T>;

  /**
   * @param items once: who reads them, by subscribing or iterating, is the only one
   * @param paced the same, to subscribe to
   */
  constructor(items: AsyncIterable<T>, paced: Observable<T>) {
    super();
    // Nest's ValidationPipe copies every object that it knows the type of, and leaves functions as they are.
    const stream = Object.setPrototypeOf(() => {}, new.target.prototype) as this;
    Object.defineProperties(stream, { items: { value: items }, paced: { value: paced } });
    return stream;
  }

  override subscribe(observer?: Partial<Observer<T>> | Next<T>): Subscription;
  override subscribe(next?: Next<T> | null, error?: Next<unknown> | null, complete?: (() => void) | null): Subscription;
  override subscribe(observer?: Partial<Observer<T>> | Next<T> | null, ...more: unknown[]): Subscription {
    const [error, complete] = more as [Next<unknown>?, (() => void)?];
    const told =
      typeof observer === 'function' ? { next: observer, error, complete } : (observer ?? { error, complete });
    if (typeof told.error === 'function') return this.paced.subscribe(told as Observer<T>);
    // RxJS would throw into the process what nobody handles, and a caller that leaves must not end it.
    const { next = (): void => {} } = told;
    return this.paced.subscribe({
      next: next.bind(told),
      error: () => {},
      complete: () => told.complete?.(),
    });
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return this.items[Symbol.asyncIterator]();
  }

  [inspect.custom](): string {
    return this.constructor.name;
  }
}
