/** A stream as its reader has it: iterated over, or subscribed to, once; what is not read yet keeps its sender waiting. */
import { GenRpcError } from '../protocol/errors.js';
import type { Observer, Subscribable } from '../protocol/invocation.js';

interface Item {
  readonly value: unknown;
  readonly cost: number;
}

interface Reader {
  readonly resolve: (result: IteratorResult<unknown>) => void;
  readonly reject: (error: unknown) => void;
}

/** What a queue tells whoever fills it. */
export interface QueueEvents {
  /** So much of it was read. */
  used(cost: number): void;
  /** Nobody will read any more. Not called once it has ended. */
  left(): void;
}

export class ItemQueue implements AsyncIterable<unknown>, Subscribable {
  private items: Item[] = [];
  private next = 0;
  private readers: Reader[] = [];
  private observer: Observer | undefined;
  private taken = false;
  private gone = false;
  private ending: { readonly error?: unknown } | undefined;

  constructor(private readonly events: QueueEvents) {}

  push(value: unknown, cost: number): void {
    if (this.gone || this.ending !== undefined) return;
    if (this.observer !== undefined) return this.tell(this.observer, value, cost);
    const reader = this.readers.shift();
    if (reader === undefined) return void this.items.push({ value, cost });
    this.events.used(cost);
    reader.resolve({ done: false, value });
  }

  /** No more items come; those that are here are read first. Safe to repeat: the first call counts. */
  end(): void {
    this.finish({});
  }

  /** As `end`, with an error behind the items. */
  fail(error: unknown): void {
    this.finish({ error });
  }

  subscribe(observer: Observer): { unsubscribe(): void } {
    if (this.isTaken()) {
      observer.error(takenBefore());
      return { unsubscribe() {} };
    }
    while (!this.gone && this.next < this.items.length) {
      const item = this.shift();
      if (item !== undefined) this.tell(observer, item.value, item.cost);
    }
    if (!this.gone) this.observer = observer;
    if (this.ending !== undefined && !this.gone) this.tellEnd(observer, this.ending);
    return { unsubscribe: () => this.leave() };
  }

  [Symbol.asyncIterator](): AsyncIterator<unknown> {
    if (this.isTaken()) return { next: () => Promise.reject(takenBefore()) };
    return {
      next: () => this.read(),
      return: async () => {
        this.leave();
        return { done: true, value: undefined };
      },
    };
  }

  private isTaken(): boolean {
    const { taken } = this;
    this.taken = true;
    return taken;
  }

  private read(): Promise<IteratorResult<unknown>> {
    const item = this.shift();
    if (item !== undefined) {
      this.events.used(item.cost);
      return Promise.resolve({ done: false, value: item.value });
    }
    const { ending } = this;
    if (ending === undefined && !this.gone) {
      return new Promise((resolve, reject) => this.readers.push({ resolve, reject }));
    }
    // The error is told once.
    this.ending = {};
    if (ending === undefined || !('error' in ending)) return Promise.resolve({ done: true, value: undefined });
    return Promise.reject(ending.error as Error);
  }

  private shift(): Item | undefined {
    const item = this.items[this.next];
    if (item === undefined) return undefined;
    this.next += 1;
    if (this.next * 2 >= this.items.length) {
      this.items = this.items.slice(this.next);
      this.next = 0;
    }
    return item;
  }

  private tell(observer: Observer, value: unknown, cost: number): void {
    observer.next(value);
    this.events.used(cost);
  }

  private tellEnd(observer: Observer, ending: { readonly error?: unknown }): void {
    this.gone = true;
    this.observer = undefined;
    if ('error' in ending) observer.error(ending.error);
    else observer.complete();
  }

  private finish(ending: { readonly error?: unknown }): void {
    if (this.gone || this.ending !== undefined) return;
    this.ending = ending;
    if (this.observer !== undefined) return this.tellEnd(this.observer, ending);
    const { readers } = this;
    if (readers.length === 0) return;
    this.readers = [];
    this.ending = {};
    readers.forEach(({ resolve, reject }, index) => {
      if (index === 0 && 'error' in ending) reject(ending.error);
      else resolve({ done: true, value: undefined });
    });
  }

  private leave(): void {
    if (this.gone) return;
    this.gone = true;
    this.observer = undefined;
    const { items, next, ending, readers } = this;
    this.items = [];
    this.next = 0;
    this.readers = [];
    for (const { resolve } of readers) resolve({ done: true, value: undefined });
    for (const { cost } of items.slice(next)) this.events.used(cost);
    if (ending === undefined) this.events.left();
  }
}

function takenBefore(): GenRpcError {
  return new GenRpcError('invalid_argument', 'A stream is read once, and this one is being read already.');
}
