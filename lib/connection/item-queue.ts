/** A stream as its reader has it: iterated over, or subscribed to, once; what is not read yet keeps its sender waiting. */
import { GenRpcError } from '../protocol/errors.js';
import { Fifo } from './fifo.js';
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
  /** Who had subscribed threw at what it was told, and is told no more. */
  threw(error: unknown): void;
}

export class ItemQueue implements AsyncIterable<unknown>, Subscribable {
  private readonly items = new Fifo<Item>();
  private readonly readers = new Fifo<Reader>();
  private observer: Observer | undefined;
  private taken = false;
  private gone = false;
  private ending: { readonly error?: unknown } | undefined;

  constructor(private readonly events: QueueEvents) {}

  push(value: unknown, cost: number): void {
    if (this.gone || this.ending !== undefined) return;
    if (this.observer !== undefined) return this.tell(this.observer, value, cost);
    const reader = this.readers.shift();
    if (reader === undefined) return this.items.push({ value, cost });
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
    for (let item = this.items.shift(); item !== undefined; item = this.items.shift()) {
      this.tell(observer, item.value, item.cost);
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
    const item = this.items.shift();
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

  private tell(observer: Observer, value: unknown, cost: number): void {
    try {
      observer.next(value);
    } catch (error) {
      this.leave();
      this.events.threw(error);
    }
    this.events.used(cost);
  }

  private tellEnd(observer: Observer, ending: { readonly error?: unknown }): void {
    this.gone = true;
    this.observer = undefined;
    try {
      if ('error' in ending) observer.error(ending.error);
      else observer.complete();
    } catch (error) {
      this.events.threw(error);
    }
  }

  private finish(ending: { readonly error?: unknown }): void {
    if (this.gone || this.ending !== undefined) return;
    this.ending = ending;
    if (this.observer !== undefined) return this.tellEnd(this.observer, ending);
    if (this.readers.length === 0) return;
    this.ending = {};
    this.readers.clear().forEach(({ resolve, reject }, index) => {
      if (index === 0 && 'error' in ending) reject(ending.error);
      else resolve({ done: true, value: undefined });
    });
  }

  private leave(): void {
    if (this.gone) return;
    this.gone = true;
    this.observer = undefined;
    for (const { resolve } of this.readers.clear()) resolve({ done: true, value: undefined });
    for (const { cost } of this.items.clear()) this.events.used(cost);
    if (this.ending === undefined) this.events.left();
  }
}

function takenBefore(): GenRpcError {
  return new GenRpcError('invalid_argument', 'A stream is read once, and this one is being read already.');
}
