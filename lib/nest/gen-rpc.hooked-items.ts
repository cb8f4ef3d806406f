/** Tells the end of what a handler streams: once, whatever the end is. */
import { AsyncResource } from 'node:async_hooks';
import { finalize, from, Observable } from 'rxjs';
import { isAsyncIterable } from '../node/call-options.js';
import type { ItemStream } from '../protocol/invocation.js';

/**
 * Items are made where this is called: what a hook entered of AsyncLocalStorage is there for them too.
 *
 * @param signal aborts when nobody waits for `items` any more, perhaps before anybody has begun to read them
 */
export function untilEnd(items: ItemStream, signal: AbortSignal, end: () => void): ItemStream {
  if (signal.aborted) end();
  let begun = false;
  signal.addEventListener('abort', () => begun || end(), { once: true });
  const here = new AsyncResource('GENRPC_REPLY');
  const begin = <T>(read: () => T): T => {
    begun = true;
    return here.runInAsyncScope(read);
  };
  if (isAsyncIterable(items)) {
    const iterate = (): AsyncIterator<unknown> => new HookedIterator(items[Symbol.asyncIterator](), here, end);
    return { [Symbol.asyncIterator]: () => begin(iterate) };
  }
  const ending = from(items as Observable<unknown>).pipe(finalize(end));
  return new Observable((observer) => begin(() => ending.subscribe(observer)));
}

class HookedIterator implements AsyncIterator<unknown> {
  constructor(
    private readonly items: AsyncIterator<unknown>,
    private readonly here: AsyncResource,
    private readonly end: () => void,
  ) {}

  async next(): Promise<IteratorResult<unknown>> {
    try {
      const result = await this.here.runInAsyncScope(() => this.items.next());
      if (result.done === true) this.end();
      return result;
    } catch (error) {
      this.end();
      throw error;
    }
  }

  async return(): Promise<IteratorResult<unknown>> {
    try {
      await this.here.runInAsyncScope(() => this.items.return?.());
    } finally {
      this.end();
    }
    return { done: true, value: undefined };
  }
}
