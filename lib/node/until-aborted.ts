/** A request that something else ends: an AbortSignal, or the call that runs the function which made it. */
import { tellFailure, type Cancel, type ItemSource, type ReplySink } from '../client/pending-calls.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import { joinRoute, type Invocation } from '../protocol/invocation.js';
import type { Dependent, ParentCall } from '../server/current-call.js';
import { cancelledError } from './call-options.js';

/** What ends requests. */
export type Ender = Pick<ParentCall, 'abandonedBy' | 'bind' | 'unbind'>;

type Request = (sink: ReplySink) => Cancel;

export class EndableRequest implements ReplySink, Dependent {
  private settled = false;
  private cancelRequest: Cancel | undefined;

  constructor(
    private readonly ender: Ender,
    private readonly invocation: Invocation,
    private readonly sink: ReplySink,
    private readonly journal: Journal,
  ) {}

  /** Nothing of it stays with `ender` once it has settled, or was cancelled by what this returns. */
  start(request: Request): Cancel {
    const { abandonedBy } = this.ender;
    if (abandonedBy !== undefined) {
      this.fail(abandonedBy, false);
      return () => false;
    }
    this.cancelRequest = request(this);
    const ended = this.ender.abandonedBy;
    // A function of the own node has begun by now, and may have done it.
    if (!this.settled && ended !== undefined) this.abandon(ended);
    else if (!this.settled) this.ender.bind(this);
    return () => this.cancel();
  }

  item(value: unknown, cost: number, from: ItemSource): 'kept' | void {
    return this.sink.item(value, cost, from);
  }

  done(value: unknown): void {
    this.release();
    this.sink.done(value);
  }

  failed(error: GenRpcError): void {
    this.release();
    this.sink.failed(error);
  }

  abandon(reason: GenRpcError): void {
    if (!this.settled) this.fail(reason, this.cancel());
  }

  private fail(reason: GenRpcError, maybeExecuted: boolean): void {
    const { sink, invocation, journal } = this;
    tellFailure(sink, endOf(invocation, reason, maybeExecuted), invocation, journal);
  }

  private cancel(): boolean {
    this.release();
    return this.cancelRequest?.() ?? false;
  }

  private release(): void {
    this.settled = true;
    this.ender.unbind(this);
  }
}

function endOf(invocation: Invocation, reason: GenRpcError, maybeExecuted: boolean): GenRpcError {
  if (reason === BY_SIGNAL) return cancelledError(invocation, maybeExecuted);
  const code = reason.code === 'timeout' ? 'timeout' : 'cancelled';
  const message = `Nobody waits for the call any more that ${joinRoute(invocation.name)} was called for.`;
  return new GenRpcError(code, message, { maybeExecuted, cause: reason });
}

const BY_SIGNAL = new GenRpcError('cancelled');

/** One listener on a signal, however many requests it ends: Node warns of more than ten. */
class WatchedSignal implements Ender {
  private readonly dependents = new Set<Dependent>();
  private readonly onAbort = (): void => {
    for (const dependent of this.dependents) dependent.abandon(BY_SIGNAL);
  };

  constructor(private readonly signal: AbortSignal) {}

  get abandonedBy(): GenRpcError | undefined {
    return this.signal.aborted ? BY_SIGNAL : undefined;
  }

  bind(dependent: Dependent): void {
    if (this.dependents.size === 0) this.signal.addEventListener('abort', this.onAbort);
    this.dependents.add(dependent);
  }

  unbind(dependent: Dependent): void {
    if (this.dependents.delete(dependent) && this.dependents.size === 0) {
      this.signal.removeEventListener('abort', this.onAbort);
    }
  }
}

/** The signals that requests of one node wait for. */
export class WatchedSignals {
  private readonly signals = new WeakMap<AbortSignal, WatchedSignal>();

  of(signal: AbortSignal): Ender {
    let watched = this.signals.get(signal);
    if (watched === undefined) this.signals.set(signal, (watched = new WatchedSignal(signal)));
    return watched;
  }
}
