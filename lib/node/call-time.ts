/** The time of a call that goes by beside it: while somebody still makes its message, or reads its reply. */
import { Deadline, type Deadlines } from '../connection/deadlines.js';
import type { Clock } from '../ports/clock.js';
import { GenRpcError } from '../protocol/errors.js';
import { currentCalls } from '../server/current-call.js';
import { checkedTimeout, type CallOptions } from './call-options.js';
import type { WaitingCall, WaitingCalls } from './waiting-calls.js';

export interface CallTimePorts {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly waiting: WaitingCalls;
  readonly options: { readonly callTimeout: number };
}

/** Who is waited for, and may the function have run by then? */
export interface Awaited {
  readonly who: string;
  readonly maybeExecuted: boolean;
}

type Reject = (error: unknown) => void;

export class CallTime extends Deadline implements WaitingCall {
  private readonly waits = new Map<Reject, Awaited>();
  private readonly deadlineAt: number;
  private readonly timeoutMs: number;

  /** Begins now, and ends with what this runs for. @throws GenRpcError `invalid_argument` for the timeout. */
  constructor(
    { timeout, detached }: CallOptions,
    private readonly ports: CallTimePorts,
  ) {
    super();
    this.timeoutMs = checkedTimeout(timeout ?? ports.options.callTimeout);
    currentCalls.expectCalls();
    const most = detached === true ? undefined : currentCalls.get()?.remainingMs();
    this.deadlineAt = ports.clock.now() + Math.min(this.timeoutMs, most ?? Infinity);
  }

  /** ms that are left for the call itself, at least one. */
  get left(): number {
    return Math.max(1, Math.ceil(this.deadlineAt - this.ports.clock.now()));
  }

  /** What `work` comes to. @throws GenRpcError (as a rejection) when the time is up before, or the node closes. */
  async within<T>(work: PromiseLike<T>, awaited: Awaited): Promise<T> {
    let reject: Reject = () => {};
    const over = new Promise<never>((_, give) => (reject = give));
    this.enter(reject, awaited);
    try {
      return await Promise.race([work, over]);
    } finally {
      this.leave(reject);
    }
  }

  /** Nobody is interested any more: what was waited for stays as it is. */
  stop(): void {
    this.waits.clear();
    this.release();
  }

  /** The node closes. */
  end({ code, message }: GenRpcError): void {
    this.rejectAll(({ maybeExecuted }) => new GenRpcError(code, message, { maybeExecuted }));
  }

  override expire(): void {
    this.rejectAll(({ who, maybeExecuted }) => {
      return new GenRpcError('timeout', `${who} did not answer within ${this.timeoutMs} ms.`, { maybeExecuted });
    });
  }

  private enter(reject: Reject, awaited: Awaited): void {
    this.waits.set(reject, awaited);
    if (this.waits.size > 1) return;
    currentCalls.outside(() => this.ports.deadlines.add(this, this.deadlineAt));
    this.ports.waiting.add(this);
  }

  private leave(reject: Reject): void {
    if (this.waits.delete(reject) && this.waits.size === 0) this.release();
  }

  private release(): void {
    this.ports.deadlines.remove(this);
    this.ports.waiting.delete(this);
  }

  private rejectAll(errorOf: (awaited: Awaited) => GenRpcError): void {
    const waits = [...this.waits];
    this.stop();
    for (const [reject, awaited] of waits) reject(errorOf(awaited));
  }
}
