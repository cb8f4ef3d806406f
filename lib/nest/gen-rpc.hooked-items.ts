/** Tells the end of what a handler streams: once, whatever the end is. */
import { from, tap, type Observable } from 'rxjs';
import { isAsyncIterable } from '../node/call-options.js';
import type { ItemStream } from '../protocol/invocation.js';

/** @param signal aborts when nobody waits for `items` any more, perhaps before anybody has begun to read them */
export function untilEnd(items: ItemStream, signal: AbortSignal, end: () => void): ItemStream {
  if (signal.aborted) end();
  let begun = false;
  const begin = (): void => void (begun = true);
  signal.addEventListener('abort', () => begun || end(), { once: true });
  if (!isAsyncIterable(items)) return from(items as Observable<unknown>).pipe(tap({ subscribe: begin, finalize: end }));
  const iterate = (): AsyncIterator<unknown> => {
    begin();
    return new HookedIterator(items[Symbol.asyncIterator](), end);
  };
  return { [Symbol.asyncIterator]: iterate };
}

class HookedIterator implements AsyncIterator<unknown> {
  constructor(
    private readonly items: AsyncIterator<unknown>,
    private readonly end: () => void,
  ) {}

  async next(): Promise<IteratorResult<unknown>> {
    try {
      const result = await this.items.next();
      if (result.done === true) this.end();
      return result;
    } catch (error) {
      this.end();
      throw error;
    }
  }

  async return(): Promise<IteratorResult<unknown>> {
    try {
      await this.items.return?.();
    } finally {
      this.end();
    }
    return { done: true, value: undefined };
  }
}
