/** A streaming request as a handler gets it: an Observable that can also be iterated over, once. */
import { Observable } from 'rxjs';
import type { Subscribable } from '../protocol/invocation.js';

/**
 * `@Payload() items$: Observable<T>`. What is not read yet waits at the caller, all but a window of it: an Observable
 * reads as fast as items come, `for await` one at a time.
 */
export class GenRpcItemStream<T = unknown> extends Observable<T> implements AsyncIterable<T> {
  constructor(private readonly items: AsyncIterable<unknown> & Subscribable) {
    super((observer) => items.subscribe(observer as Parameters<Subscribable['subscribe']>[0]));
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return this.items[Symbol.asyncIterator]() as AsyncIterator<T>;
  }
}
