/** An async call as RxJS knows such things: hot, with its result handed out once. */
import { Observable } from 'rxjs';
import type { AsyncCall } from '../node/async-call.js';

/**
 * `new GenRpcAsyncCall(rpc.asyncCall(target, 'math', 'add', [1, 2]))`, and what `GenRpcClient#asyncSend` returns. The
 * call runs before anybody subscribes. The first subscriber gets the result, as whoever calls `yield` first would; later
 * ones get `invalid_argument`. Unsubscribing before the result is there cancels the call.
 */
export class GenRpcAsyncCall<T = unknown> extends Observable<T> {
  constructor(private readonly call: AsyncCall<T>) {
    super((observer) => {
      const mine = !call.taken;
      let waiting = true;
      call.yield().then(
        (value) => {
          waiting = false;
          observer.next(value);
          observer.complete();
        },
        (error: unknown) => {
          waiting = false;
          observer.error(error);
        },
      );
      return () => {
        if (mine && waiting) call.cancel();
      };
    });
  }

  /** See `AsyncCall#yield`. */
  yield(): Promise<T> {
    return this.call.yield();
  }

  /** See `AsyncCall#nbYield`. */
  nbYield(timeout = 0): Promise<{ value: T } | 'timeout'> {
    return this.call.nbYield(timeout);
  }

  /** See `AsyncCall#cancel`. */
  cancel(): void {
    this.call.cancel();
  }
}
