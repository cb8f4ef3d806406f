/** An argument that is a stream is made where the call is, whoever asks for its items, and in the context of that. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { isAsyncIterable } from '../connection/item-stream.js';
import type { ItemStream } from '../protocol/invocation.js';
import { currentCalls } from '../server/current-call.js';

type Run = <T>(body: () => T) => T;

/** The first caller of a node opens the connection that later ones wait for: theirs is not its context. */
export function streamInContext(stream: ItemStream): ItemStream {
  const here = AsyncLocalStorage.snapshot();
  // As with any call: what the stream calls is not bound to what the function runs for that made it.
  const run: Run = (body) => here(() => currentCalls.outside(body));
  if (!isAsyncIterable(stream)) return { subscribe: (observer) => run(() => stream.subscribe(observer)) };
  return { [Symbol.asyncIterator]: () => run(() => new IteratorInContext(stream[Symbol.asyncIterator](), run)) };
}

class IteratorInContext implements AsyncIterator<unknown> {
  constructor(
    private readonly items: AsyncIterator<unknown>,
    private readonly run: Run,
  ) {}

  next(): Promise<IteratorResult<unknown>> {
    return this.run(() => this.items.next());
  }

  async return(): Promise<IteratorResult<unknown>> {
    await this.run(() => this.items.return?.());
    return { done: true, value: undefined };
  }
}
