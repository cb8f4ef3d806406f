/** A call that runs already, and whose result is fetched later, once. (gen_rpc: `async_call`, `yield`, `nb_yield`) */
import type { Cancel, ReplySink } from '../client/pending-calls.js';
import { Deadline, type Deadlines } from '../connection/deadlines.js';
import { GenRpcError } from '../protocol/errors.js';
import { MAX_TIMER_MS, type Clock } from '../ports/clock.js';
import { ReplyTo } from './single-reply.js';

/** How it ended. */
type Ending<T> = { readonly value: T } | { readonly error: GenRpcError };

type Taker<T> = (ending: Ending<T>) => void;

type State<T> =
  | { name: 'running' }
  /** Somebody waits for the result, however long it takes. */
  | { name: 'claimed'; taker: Taker<T> }
  /** The result waits for somebody to fetch it, until `limit` drops it. */
  | { name: 'kept'; ending: Ending<T>; limit: Deadline | undefined }
  | { name: 'yielded' }
  | { name: 'dropped'; afterMs: number };

/** Waits for the result for a while. */
interface Waiter<T> {
  readonly taken: Taker<T>;
  readonly inVain: () => void;
}

export class AsyncCall<T = unknown> {
  private state: State<T> = { name: 'running' };
  private readonly waiters = new Set<Waiter<T>>();
  private readonly stop: Cancel;

  /**
   * @internal
   * @param inactivityTimeout ms that a result is kept for somebody to fetch it; `Infinity`: for as long as the handle is
   * @param start makes the call: the sink hears of the reply, the result cancels
   */
  constructor(
    private readonly clock: Clock,
    /** Those of the node: what it keeps a result for ends with it. */
    private readonly deadlines: Deadlines,
    private readonly inactivityTimeout: number,
    start: (sink: ReplySink) => Cancel,
  ) {
    const reply = new ReplyTo(
      (value) => this.end({ value: value as T }),
      (error) => this.end({ error }),
    );
    this.stop = start(reply);
  }

  /** Is there nothing left to fetch, because somebody has fetched or claimed it, or because it was dropped? */
  get taken(): boolean {
    return this.state.name !== 'running' && this.state.name !== 'kept';
  }

  /**
   * Waits for the result.
   * @throws GenRpcError (as a rejection): what the call failed with; `invalid_argument` for a result that was fetched
   * before, `timeout` for one that nobody fetched within the node's `asyncCallInactivityTimeout`.
   */
  yield(): Promise<T> {
    return new Promise((resolve, reject) => {
      const refusal = this.claim((ending) => ('error' in ending ? reject(ending.error) : resolve(ending.value)));
      if (refusal !== undefined) reject(refusal);
    });
  }

  /**
   * The result if it is there within `timeout` ms, or `'timeout'`: then it may be asked for again. Once it was fetched
   * or dropped, always `'timeout'`.
   * @throws GenRpcError (as a rejection): what the call failed with; `invalid_argument` for a timeout that is none.
   */
  nbYield(timeout = 0): Promise<{ value: T } | 'timeout'> {
    return new Promise((resolve, reject) => {
      if (!(timeout >= 0 && (timeout <= MAX_TIMER_MS || timeout === Infinity))) return reject(invalidWait(timeout));
      const taken = (ending: Ending<T>): void => ('error' in ending ? reject(ending.error) : resolve(ending));
      const inVain = (): void => resolve('timeout');
      const { state } = this;
      if (state.name === 'kept') this.take(state, taken);
      else if (state.name === 'running' && timeout > 0) this.waitFor(timeout, { taken, inVain });
      else inVain();
    });
  }

  /** Gives the call up: whoever waits is told `cancelled`, and the remote function is told to stop. Safe to repeat. */
  cancel(): void {
    if (this.state.name !== 'running' && this.state.name !== 'claimed') return;
    const maybeExecuted = this.stop();
    this.end({ error: new GenRpcError('cancelled', 'The call was cancelled by its caller.', { maybeExecuted }) });
  }

  /** The result is `taker`'s, now or when it is there; or returns why there will be none. */
  private claim(taker: Taker<T>): GenRpcError | undefined {
    const { state } = this;
    if (state.name === 'dropped') return dropped(state.afterMs);
    if (state.name === 'claimed' || state.name === 'yielded') return yieldedBefore();
    if (state.name === 'kept') {
      this.take(state, taker);
    } else {
      this.state = { name: 'claimed', taker };
      this.disappoint();
    }
    return undefined;
  }

  private take({ ending, limit }: Extract<State<T>, { name: 'kept' }>, taker: Taker<T>): void {
    if (limit !== undefined) this.deadlines.remove(limit);
    this.state = { name: 'yielded' };
    taker(ending);
  }

  private waitFor(ms: number, { taken, inVain }: Waiter<T>): void {
    const late = (): void => {
      this.waiters.delete(waiter);
      inVain();
    };
    const timer = ms === Infinity ? undefined : this.clock.after(ms, late);
    const stopped = (): void => timer?.cancel();
    const waiter = { taken: (ending: Ending<T>) => (stopped(), taken(ending)), inVain: () => (stopped(), inVain()) };
    this.waiters.add(waiter);
  }

  /** The result goes to whoever claimed it, or else to the first who waits; without either it is kept. */
  private end(ending: Ending<T>): void {
    const { state } = this;
    if (state.name !== 'running' && state.name !== 'claimed') return;
    const [first] = this.waiters;
    const taker = state.name === 'claimed' ? state.taker : first?.taken;
    if (taker === undefined) return this.keep(ending);
    if (first !== undefined) this.waiters.delete(first);
    this.state = { name: 'yielded' };
    taker(ending);
    this.disappoint();
  }

  private disappoint(): void {
    for (const waiter of this.waiters) waiter.inVain();
    this.waiters.clear();
  }

  private keep(ending: Ending<T>): void {
    const { clock, deadlines, inactivityTimeout } = this;
    const drop = (): void => void (this.state = { name: 'dropped', afterMs: inactivityTimeout });
    const limit = inactivityTimeout === Infinity ? undefined : new Limit(drop);
    if (limit !== undefined) deadlines.add(limit, clock.now() + inactivityTimeout);
    this.state = { name: 'kept', ending, limit };
  }
}

class Limit extends Deadline {
  constructor(override readonly expire: () => void) {
    super();
  }
}

function yieldedBefore(): GenRpcError {
  return new GenRpcError('invalid_argument', 'The result of an async call is fetched once, and this one has been.');
}

function dropped(ms: number): GenRpcError {
  const message = `Nobody fetched the result within ${ms} ms (asyncCallInactivityTimeout): it was dropped.`;
  return new GenRpcError('timeout', message, { maybeExecuted: true });
}

function invalidWait(timeout: unknown): GenRpcError {
  const message = `nbYield waits 0 to ${MAX_TIMER_MS} ms, or Infinity; got ${String(timeout)}.`;
  return new GenRpcError('invalid_argument', message);
}
