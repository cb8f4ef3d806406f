/** Makes idempotent calls again that failed with their connection, on what is left of their one deadline. */
import { Backoff } from '../ports/backoff.js';
import type { Target } from '../client/target.js';
import {
  tellFailure,
  type Cancel,
  type ItemSource,
  type OnReplyHeaders,
  type ReplySink,
} from '../client/pending-calls.js';
import type { Journal } from '../connection/journal.js';
import { withCallKey } from '../protocol/call-key.js';
import { GenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';
import { joinRoute, type FunctionName, type Invocation } from '../protocol/invocation.js';
import { SharedPayload } from '../protocol/payload.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Random } from '../ports/random.js';
import type { RetryBudget, RetryLimits } from './retry-budget.js';
import type { WaitingCalls } from './waiting-calls.js';

export interface RetryPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly journal: Journal;
  readonly waiting: WaitingCalls;
  /** Of all calls of the node. */
  readonly budget: RetryBudget;
}

export interface RetryRules extends RetryLimits {
  /** Routes of functions that may run twice; one that ends in `*` stands for all that begin like it. */
  readonly idempotent: readonly string[];
  /** Of one call, with the first. */
  readonly attempts: number;
}

/** One call, or one attempt to make it. */
export interface Request {
  readonly target: Target;
  readonly invocation: Invocation;
  /** ms from now until `deadlineAt`. */
  readonly timeoutMs: number;
  readonly deadlineAt: number;
  readonly waitForReady: boolean;
  readonly onReplyHeaders: OnReplyHeaders | undefined;
}

type Attempt = (request: Request, sink: ReplySink) => Cancel;

/** The call did not come through, or its reply did not: none of these is what a function answered. */
const CONNECTION_FAILURES: ReadonlySet<GenRpcErrorCode> = new Set<GenRpcErrorCode>([
  'connection_lost',
  'send_timeout',
  'refused',
  'shutting_down',
  'node_down',
]);
const BACKOFF = { min: 50, max: 1000 } as const;
const KEY_BYTES = 8;

export class Retries {
  /** What the routes say of a name. */
  private readonly listed = new WeakMap<FunctionName, boolean>();

  constructor(
    private readonly rules: RetryRules,
    private readonly ports: RetryPorts,
  ) {}

  /** May the function run twice? */
  covers(name: FunctionName, idempotent: boolean | undefined): boolean {
    if (idempotent !== undefined) return idempotent;
    if (this.rules.idempotent.length === 0) return false;
    let listed = this.listed.get(name);
    if (listed === undefined) {
      const route = joinRoute(name);
      this.listed.set(name, (listed = this.rules.idempotent.some((pattern) => matches(pattern, route))));
    }
    return listed;
  }

  /** Makes a call, and makes it again where that may help. Every attempt carries the same bytes and the same call key. */
  request(request: Request, sink: ReplySink, attempt: Attempt): Cancel {
    const headers = withCallKey(request.invocation.headers, () => this.newKey());
    const shared = request.invocation.shared ?? new SharedPayload();
    const call = new RepeatedCall({ ...request, invocation: { ...request.invocation, headers, shared } }, sink, {
      ...this.ports,
      attempts: this.rules.attempts,
      attempt,
    });
    this.ports.budget.earn();
    return call.start();
  }

  private newKey(): string {
    return Buffer.from(this.ports.random.bytes(KEY_BYTES)).toString('hex');
  }
}

interface RepeatedCallPorts extends RetryPorts {
  readonly attempts: number;
  readonly attempt: Attempt;
}

/** One call, over as many attempts as it takes. */
class RepeatedCall implements ReplySink {
  private attempts = 0;
  private maybeExecuted = false;
  /** Something of the reply was handed on: another attempt would begin it anew. */
  private delivered = false;
  private cancelAttempt: Cancel = () => false;
  private timer: Timer | undefined;
  private readonly backoff: Backoff;

  constructor(
    private readonly request: Request,
    private readonly sink: ReplySink,
    private readonly ports: RepeatedCallPorts,
  ) {
    this.backoff = new Backoff(BACKOFF, ports.random);
  }

  start(): Cancel {
    this.attempt(this.request.timeoutMs);
    return () => this.cancel();
  }

  item(value: unknown, cost: number, from: ItemSource): 'kept' | void {
    this.delivered = true;
    return this.sink.item(value, cost, from);
  }

  done(value: unknown): void {
    this.sink.done(value);
  }

  failed(error: GenRpcError): void {
    this.maybeExecuted ||= error.maybeExecuted;
    const wait = this.waitAfter(error);
    if (wait === undefined) return this.sink.failed(this.inAll(error));
    this.ports.waiting.add(this);
    // Nothing else keeps the process alive for it meanwhile.
    this.timer = this.ports.clock.after(wait, () => this.again(error), true);
  }

  /** The node ends while it waits. */
  end({ code, message }: GenRpcError): void {
    this.stopWaiting();
    const { sink, request, ports, maybeExecuted } = this;
    tellFailure(sink, new GenRpcError(code, message, { maybeExecuted }), request.invocation, ports.journal);
  }

  private attempt(timeoutMs: number): void {
    this.attempts += 1;
    this.cancelAttempt = this.ports.attempt({ ...this.request, timeoutMs }, this);
  }

  private again(failure: GenRpcError): void {
    this.stopWaiting();
    const { clock, journal } = this.ports;
    const { deadlineAt, invocation } = this.request;
    const remaining = deadlineAt - clock.now();
    // Timers may be late.
    if (remaining <= 0) return tellFailure(this.sink, this.inAll(failure), invocation, journal);
    journal.count('call_retried');
    this.attempt(Math.ceil(remaining));
  }

  private cancel(): boolean {
    this.stopWaiting();
    return this.cancelAttempt() || this.maybeExecuted;
  }

  private stopWaiting(): void {
    this.timer?.cancel();
    this.timer = undefined;
    this.ports.waiting.delete(this);
  }

  /** ms until the next attempt; `undefined`: there is none. */
  private waitAfter(error: GenRpcError): number | undefined {
    const { ports, request } = this;
    if (this.delivered || this.attempts >= ports.attempts || !CONNECTION_FAILURES.has(error.code)) return undefined;
    const wait = nextAttemptOf(error) + this.backoff.next();
    if (ports.clock.now() + wait >= request.deadlineAt) return undefined;
    if (ports.budget.spend()) return wait;
    const route = joinRoute(request.invocation.name);
    ports.journal.note('retry_budget_exhausted', () => `${route} is not called again: too many calls fail.`);
    return undefined;
  }

  /** The last failure, as it is for all attempts together. */
  private inAll(error: GenRpcError): GenRpcError {
    if (error.maybeExecuted || !this.maybeExecuted) return error;
    const { code, message, details } = error;
    return new GenRpcError(code, message, { details, maybeExecuted: true, cause: error });
  }
}

function matches(pattern: string, route: string): boolean {
  return pattern.endsWith('*') ? route.startsWith(pattern.slice(0, -1)) : route === pattern;
}

/** ms before which nobody tries to reach the node: a call would only be told so once more. */
function nextAttemptOf({ details }: GenRpcError): number {
  const ms = (details as { nextAttemptMs?: unknown } | null | undefined)?.nextAttemptMs;
  return typeof ms === 'number' ? ms : 0;
}
