/** What every verb is made of: one call or one cast, to one target, which may be the own node. */
import type { Dispatcher, Target } from '../client/dispatcher.js';
import { PendingCall, tellFailure, type Cancel, type ReplySink } from '../client/pending-calls.js';
import type { CastOutcome } from '../client/queued-cast.js';
import type { Deadlines } from '../connection/deadlines.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import { isArgumentList, type FunctionName, type FunctionNames, type Invocation } from '../protocol/invocation.js';
import { printable } from '../protocol/node-name.js';
import type { Clock } from '../ports/clock.js';
import { currentCalls, type ParentCall } from '../server/current-call.js';
import {
  headersOf,
  invalidArguments,
  invalidTimeout,
  isTimeout,
  noStream,
  nothingLeft,
  streamAmong,
  type CallOptions,
  type CastOptions,
  type ModuleRef,
} from './call-options.js';
import type { LocalCalls } from './local-call.js';
import type { Request, Retries } from './retry.js';
import { EndableRequest, WatchedSignals } from './until-aborted.js';

export interface CallsParts {
  readonly node: string;
  readonly callTimeout: number;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly deadlines: Deadlines;
  readonly names: FunctionNames;
  readonly dispatcher: Dispatcher;
  readonly local: LocalCalls;
  /** `undefined`: every call is made once. */
  readonly retries: Retries | undefined;
}

export class Calls {
  private closed: GenRpcError | undefined;
  private readonly signals = new WatchedSignals();
  private readonly attempt = (request: Request, sink: ReplySink): Cancel => this.send(request, sink);

  constructor(private readonly parts: CallsParts) {}

  /** `sink` hears of the reply, the result cancels. @throws GenRpcError `invalid_argument` for the timeout. */
  request(target: Target, invocation: Invocation, options: CallOptions, sink: ReplySink): Cancel {
    const timeout = options.timeout ?? this.parts.callTimeout;
    if (!isTimeout(timeout)) throw invalidTimeout(timeout);
    currentCalls.expectCalls();
    if (options.signal !== undefined) {
      const { signal, ...rest } = options;
      const request = new EndableRequest(this.signals.of(signal), invocation, sink, this.parts.journal);
      return request.start((watched) => this.request(target, invocation, rest, watched));
    }
    const deadlineAt = this.parts.clock.now() + timeout;
    const request = { target, invocation, timeoutMs: timeout, deadlineAt, waitForReady: options.waitForReady ?? false };
    if (!currentCalls.isInside) return this.make(request, options.idempotent, sink);
    const parent = options.detached === true ? undefined : currentCalls.get();
    return currentCalls.outside(() => {
      if (parent === undefined) return this.make(request, options.idempotent, sink);
      return this.makeFor(parent, request, options.idempotent, sink);
    });
  }

  /** @throws GenRpcError when the cast is not accepted. */
  post(target: Target, invocation: Invocation, outcome?: CastOutcome): void {
    if (currentCalls.isInside) return currentCalls.outside(() => this.post(target, invocation, outcome));
    try {
      if (this.closed !== undefined) throw this.closed;
      if (invocation.stream !== undefined) throw noStream('A cast');
      const { dispatcher, local } = this.parts;
      if (target.node !== this.parts.node) return dispatcher.resolve(target, 'cast').cast(invocation, outcome);
      local.cast(invocation, dispatcher.laneNumberOf(target.key));
      outcome?.written();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.parts.journal.note(
        'cast_not_accepted',
        () => `A cast to ${printable(target.node)} was not accepted: ${message}`,
      );
      throw error;
    }
  }

  /** Can it be the key of a target? */
  isKey(key: unknown): boolean {
    try {
      this.parts.dispatcher.laneNumberOf(key);
      return true;
    } catch {
      return false;
    }
  }

  /** Resolves once there is a connection to another node. @throws GenRpcError (as a rejection) when it fails. */
  async connect(target: Target, timeout?: number): Promise<void> {
    if (this.closed !== undefined) throw this.closed;
    if (timeout !== undefined && !isTimeout(timeout)) throw invalidTimeout(timeout);
    currentCalls.expectCalls();
    const { clock, dispatcher } = this.parts;
    const given = new AbortController();
    const connected = currentCalls.outside(() => dispatcher.resolve(target).connect(given.signal));
    if (timeout === undefined) return connected;
    await new Promise<void>((resolve, reject) => {
      const timer = clock.after(timeout, () => {
        given.abort();
        const message = `There was no connection to ${target.node} within ${timeout} ms.`;
        reject(new GenRpcError('timeout', message, { maybeExecuted: false }));
      });
      connected.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  /** @throws GenRpcError `invalid_argument` for names and arguments that cannot travel. */
  invocation(module: ModuleRef, fn: string, args: unknown, options: CastOptions): Invocation {
    if (!isArgumentList(args)) throw invalidArguments(args);
    const { headers, ordered = false } = options;
    const name = this.functionName(module, fn);
    const stream = streamAmong(args);
    const sent = stream === undefined ? args : args.slice(0, -1);
    return { name, args: sent, single: false, stream, headers: headersOf(headers), ordered };
  }

  /** The one object for a name. @throws GenRpcError `invalid_argument`. */
  functionName(module: ModuleRef, fn: string): FunctionName {
    const { names } = this.parts;
    return typeof module === 'string' ? names.resolve(module, fn) : names.resolve(module.module, fn, module.version);
  }

  /** Nothing is called from here on. */
  close(reason: GenRpcError): void {
    this.closed ??= reason;
    this.parts.retries?.close(reason);
  }

  /** Calls that wait to be made again. */
  get waiting(): number {
    return this.parts.retries?.size ?? 0;
  }

  /** Resolves once no call waits to be made again. */
  async idle(): Promise<void> {
    await this.parts.retries?.idle();
  }

  /** A call that a function makes ends with the call that the function runs for. */
  private makeFor(parent: ParentCall, given: Request, idempotent: boolean | undefined, sink: ReplySink): Cancel {
    const { clock, journal } = this.parts;
    const { invocation } = given;
    const remaining = parent.remainingMs();
    if (remaining === 0) {
      tellFailure(sink, nothingLeft(invocation), invocation, journal);
      return () => false;
    }
    const request =
      remaining < given.timeoutMs
        ? { ...given, timeoutMs: Math.ceil(remaining), deadlineAt: clock.now() + remaining }
        : given;
    return new EndableRequest(parent, invocation, sink, journal).start((bound) =>
      this.make(request, idempotent, bound),
    );
  }

  private make(request: Request, idempotent: boolean | undefined, sink: ReplySink): Cancel {
    const { retries } = this.parts;
    const { name, stream } = request.invocation;
    // What a stream has brought is gone: it cannot be sent again.
    const once = retries === undefined || stream !== undefined || !retries.covers(name, idempotent);
    return once ? this.send(request, sink) : retries.request(request, sink, this.attempt);
  }

  /** One attempt. */
  private send({ target, invocation, timeoutMs, deadlineAt, waitForReady }: Request, sink: ReplySink): Cancel {
    const { deadlines, journal } = this.parts;
    const call = new PendingCall(target.node, invocation, timeoutMs, deadlineAt, sink, deadlines, journal);
    this.start(target, call, waitForReady);
    return () => call.cancel();
  }

  private start(target: Target, call: PendingCall, waitForReady: boolean): void {
    if (this.closed !== undefined) return call.fail(this.closed);
    if (target.node === this.parts.node) return this.parts.local.call(call);
    try {
      this.parts.dispatcher.resolve(target).call(call, waitForReady);
    } catch (error) {
      call.fail(error as GenRpcError);
    }
  }
}
