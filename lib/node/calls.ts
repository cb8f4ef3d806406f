/** What every verb is made of: one call or one cast, to one target, which may be the own node. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Dispatcher } from '../client/dispatcher.js';
import { PendingCall, tellFailure, type Cancel, type ReplySink } from '../client/pending-calls.js';
import type { CastOutcome } from '../client/queued-cast.js';
import { choiceOf, versioned, type Choice, type NodeTarget, type Target } from '../client/target.js';
import type { Deadlines } from '../connection/deadlines.js';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { isArgumentList, type FunctionName, type FunctionNames, type Invocation } from '../protocol/invocation.js';
import { currentCalls, type ParentCall } from '../server/current-call.js';
import {
  CALLERS_FAULT,
  checkedTimeout,
  headersOf,
  invalidArguments,
  noStream,
  nothingLeft,
  orderedWithoutKey,
  shown,
  streamAmong,
  type CallOptions,
  type CastOptions,
  type ModuleRef,
} from './call-options.js';
import { ChosenCall, MOST_NODES, nobody, type CallNode, type ChosenCallPorts } from './chosen-call.js';
import type { LocalCalls } from './local-call.js';
import type { Request, Retries } from './retry.js';
import { EndableRequest, WatchedSignals } from './until-aborted.js';

export interface CallsParts extends ChosenCallPorts {
  readonly node: string;
  readonly callTimeout: number;
  /** ms: what discovery has for its first word, where somebody waits for it. */
  readonly connectTimeout: number;
  readonly deadlines: Deadlines;
  readonly names: FunctionNames;
  readonly dispatcher: Dispatcher;
  readonly local: LocalCalls;
  /** `undefined`: every call is made once. */
  readonly retries: Retries | undefined;
}

const NOBODY: ReadonlySet<string> = new Set();

export class Calls {
  private closed: GenRpcError | undefined;
  private readonly signals = new WatchedSignals();
  private readonly attempt = (request: Request, sink: ReplySink): Cancel => this.send(request, sink, false);

  constructor(private readonly parts: CallsParts) {}

  /** `sink` hears of the reply, the result cancels. @throws GenRpcError `invalid_argument` for the timeout. */
  request(target: Target, invocation: Invocation, options: CallOptions, sink: ReplySink): Cancel {
    const timeoutMs = checkedTimeout(options.timeout ?? this.parts.callTimeout);
    currentCalls.expectCalls();
    if (options.signal !== undefined) {
      const { signal, ...rest } = options;
      const request = new EndableRequest(this.signals.of(signal), invocation, sink, this.parts.journal);
      return request.start((watched) => this.request(target, invocation, rest, watched));
    }
    const deadlineAt = this.parts.clock.now() + timeoutMs;
    const { waitForReady = false } = options;
    const onReplyHeaders = options.onReplyHeaders && AsyncLocalStorage.bind(options.onReplyHeaders);
    const request = { target, invocation, timeoutMs, deadlineAt, waitForReady, onReplyHeaders };
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
      const choice = choiceOf(target);
      if (choice === undefined) return this.postTo(target as NodeTarget, invocation, outcome);
      this.postToSome(choice, invocation, outcome);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.parts.journal.note('cast_not_accepted', () => `A cast to ${shown(target)} was not accepted: ${message}`);
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

  /**
   * Resolves once there is a connection to another node; to one of those that the target stands for.
   * @throws GenRpcError (as a rejection) when it fails.
   */
  async connect(target: Target, timeout?: number): Promise<void> {
    if (this.closed !== undefined) throw this.closed;
    if (timeout !== undefined) checkedTimeout(timeout);
    currentCalls.expectCalls();
    if (timeout === undefined) return this.connectToSome(target);
    const { clock } = this.parts;
    const gaveUp = new AbortController();
    await new Promise<void>((resolve, reject) => {
      const timer = clock.after(timeout, () => {
        gaveUp.abort();
        reject(new GenRpcError('timeout', `There was no connection to ${shown(target)} within ${timeout} ms.`));
      });
      this.connectToSome(target, gaveUp.signal)
        .then(resolve, reject)
        .finally(() => timer.cancel());
    });
  }

  /** Is there an open connection to the target, or to one of those that it stands for? To the own node there always is. */
  isConnected(target: Target): boolean {
    if (choiceOf(target) === undefined) return this.isConnectedTo(target as NodeTarget);
    return this.nodesOf(target).some((one) => this.isConnectedTo(one));
  }

  /** The node that a call would go to now, if there is one. */
  choose(target: Target): string | undefined {
    const choice = choiceOf(target);
    return choice === undefined ? (target as NodeTarget).node : this.parts.picker.pick(choice, NOBODY);
  }

  /** Every node that the target stands for. */
  nodesOf(target: Target): NodeTarget[] {
    const choice = choiceOf(target);
    if (choice === undefined) return [target as NodeTarget];
    return this.parts.picker.all(choice).map((node) => ({ node, key: choice.key }));
  }

  /** Why the target stands for no node; `undefined` for one that is a node. */
  nobodyOf(target: Target): GenRpcError | undefined {
    const choice = choiceOf(target);
    return choice === undefined ? undefined : nobody(choice, this.parts.directory);
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
    this.parts.waiting.close(reason);
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
    return once ? this.send(request, sink, true) : retries.request(request, sink, this.attempt);
  }

  /** One attempt; of a call to whichever node will do, on some of these. @param isOnly it is not made again */
  private send(request: Request, sink: ReplySink, isOnly: boolean): Cancel {
    const choice = choiceOf(request.target);
    if (choice === undefined) return this.sendTo(request.target as NodeTarget, request, sink);
    if (this.closed !== undefined) {
      tellFailure(sink, this.closed, request.invocation, this.parts.journal);
      return () => false;
    }
    if (isOnly) this.parts.budget.earn();
    const wanted = versioned(choice, request.invocation.name);
    const callNode: CallNode = (attempt, node, to) => this.sendTo({ node, key: choice.key }, attempt, to);
    return new ChosenCall(wanted, request, sink, callNode, this.parts).start();
  }

  private sendTo(target: NodeTarget, request: Request, sink: ReplySink): Cancel {
    const { deadlines, journal } = this.parts;
    const { invocation, timeoutMs, deadlineAt, waitForReady } = request;
    invocation.follower?.sentTo(target.node);
    const call = new PendingCall(target.node, invocation, timeoutMs, deadlineAt, sink, deadlines, journal);
    call.onHeaders = request.onReplyHeaders;
    this.start(target, call, waitForReady);
    return () => call.cancel();
  }

  private start(target: NodeTarget, call: PendingCall, waitForReady: boolean): void {
    if (this.closed !== undefined) return call.fail(this.closed);
    if (target.node === this.parts.node) return this.parts.local.call(call);
    try {
      this.parts.dispatcher.resolve(target).call(call, waitForReady);
    } catch (error) {
      call.fail(error as GenRpcError);
    }
  }

  private postTo(target: NodeTarget, invocation: Invocation, outcome?: CastOutcome): void {
    const { dispatcher, local, node } = this.parts;
    invocation.follower?.sentTo(target.node);
    if (target.node !== node) return dispatcher.resolve(target, 'cast').cast(invocation, outcome);
    local.cast(invocation, dispatcher.laneNumberOf(target.key));
    outcome?.written();
  }

  /** To the first of a few that takes it. */
  private postToSome(choice: Choice, invocation: Invocation, outcome?: CastOutcome): void {
    if (invocation.ordered === true && choice.key === undefined) throw orderedWithoutKey(choice.name);
    const wanted = versioned(choice, invocation.name);
    let failure: GenRpcError | undefined;
    // Another node would run it while those before it still wait here.
    const most = invocation.ordered === true ? 1 : MOST_NODES;
    for (const node of this.picks(wanted, new Set(), most)) {
      try {
        return this.postTo({ node, key: choice.key }, invocation, outcome);
      } catch (error) {
        failure = error as GenRpcError;
        if (!isGenRpcError(error) || CALLERS_FAULT.has(error.code)) break;
      }
    }
    throw failure ?? nobody(wanted, this.parts.directory);
  }

  /** A few nodes, each chosen when the one before would not do. */
  private *picks(choice: Choice, tried: Set<string>, most = MOST_NODES): Iterable<string> {
    while (tried.size < most) {
      const node = this.parts.picker.pick(choice, tried);
      if (node === undefined) return;
      tried.add(node);
      yield node;
    }
  }

  private isConnectedTo(target: NodeTarget): boolean {
    return target.node === this.parts.node || this.parts.dispatcher.isConnected(target);
  }

  private async connectToSome(target: Target, gaveUp?: AbortSignal): Promise<void> {
    const choice = choiceOf(target);
    if (choice === undefined) return this.connectTo(target as NodeTarget, gaveUp);
    if (this.nodesOf(target).length === 0) await this.parts.directory.firstWord(this.parts.connectTimeout);
    if (this.closed !== undefined) throw this.closed;
    const tried = new Set<string>();
    let failure: GenRpcError | undefined;
    for (const node of this.picks(choice, tried)) {
      try {
        return await this.connectTo({ node, key: choice.key }, gaveUp);
      } catch (error) {
        failure = error as GenRpcError;
        if (gaveUp?.aborted === true) break;
      }
    }
    throw failure ?? nobody(choice, this.parts.directory);
  }

  private async connectTo(target: NodeTarget, gaveUp?: AbortSignal): Promise<void> {
    if (target.node === this.parts.node) return;
    await currentCalls.outside(() => this.parts.dispatcher.resolve(target).connect(gaveUp));
  }
}
