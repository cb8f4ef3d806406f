/** Knows, wherever a function's code goes on, which call it runs for: what it calls then ends with that call. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { GenRpcError } from '../protocol/errors.js';

/** Ends with something else: is told once, unless it was taken away before. */
export interface Dependent {
  abandon(reason: GenRpcError): void;
}

/** A call that runs here, as the calls see it that its function makes. */
export interface ParentCall {
  /** Does it end what depends on it? Not a cast, nor a call that was answered: for those nobody waits. */
  readonly binds: boolean;
  /** Why nobody waits for it any more, if so. */
  readonly abandonedBy: GenRpcError | undefined;
  remainingMs(): number;
  bind(dependent: Dependent): void;
  unbind(dependent: Dependent): void;
}

/** Runs `body` as if it were called where the context was taken. */
export type Context = (body: () => void) => void;

/** Answers of a process that has called nobody, after which it is taken for one that only answers. */
const ANSWERS_TO_LEARN = 10_000;

/**
 * Up to Node 22 every promise costs more once a storage was entered: 2.5 µs for a call of a Nest handler. So a process
 * that calls nobody stops entering it, until its first call.
 */
export class CurrentCalls {
  private readonly storage = new AsyncLocalStorage<ParentCall | undefined>();
  private called = false;
  private answers = 0;

  /** @param answersToLearn without one call of this process, after which functions run without the storage. */
  constructor(private readonly answersToLearn = ANSWERS_TO_LEARN) {}

  /** Had functions better be run by `run`? Asked once for each. */
  isWorthwhile(): boolean {
    if (this.called || this.answers < this.answersToLearn) {
      this.answers += 1;
      return true;
    }
    if (this.answers === this.answersToLearn) {
      this.answers += 1;
      this.storage.disable();
    }
    return false;
  }

  /** Runs a function for `call`. */
  run(call: ParentCall, body: () => void): void {
    this.storage.run(call.binds ? call : undefined, body);
  }

  /** This process calls others. */
  expectCalls(): void {
    this.called = true;
  }

  /** Does this run for some call, or does it go on after one? */
  get isInside(): boolean {
    return this.storage.getStore() !== undefined;
  }

  /** The call that ends what is asked for here and now, if there is one. */
  get(): ParentCall | undefined {
    const call = this.storage.getStore();
    return call === undefined || (!call.binds && call.abandonedBy === undefined) ? undefined : call;
  }

  /** Runs what belongs to no call: connections and timers outlive the call that happens to be the first to need them. */
  outside<T>(body: () => T): T {
    return this.isInside ? this.storage.run(undefined, body) : body();
  }

  /** What is so here and now; `undefined`: nothing that anybody could miss. */
  snapshot(): Context | undefined {
    if (this.answers === 0) return undefined;
    const call = this.storage.getStore();
    return (body) => this.storage.run(call, body);
  }
}

/** One for the process, because its promises are one: a function calls by whatever node it likes. */
export const currentCalls = new CurrentCalls();
