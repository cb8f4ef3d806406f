/** A call to whichever node will do: chosen when it is made, and made elsewhere where it was not started (ADR 25). */
import type { Ejections } from '../client/ejections.js';
import { tellFailure, type Cancel, type ItemSource, type ReplySink } from '../client/pending-calls.js';
import type { Picker } from '../client/picker.js';
import type { Choice } from '../client/target.js';
import type { Journal } from '../connection/journal.js';
import type { Clock } from '../ports/clock.js';
import { GenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';
import { joinRoute } from '../protocol/invocation.js';
import { CALLERS_FAULT } from './call-options.js';
import type { Directory } from './directory.js';
import type { Request } from './retry.js';
import type { RetryBudget } from './retry-budget.js';
import type { WaitingCalls } from './waiting-calls.js';

export interface ChosenCallPorts {
  readonly clock: Clock;
  readonly journal: Journal;
  readonly picker: Picker;
  readonly ejections: Ejections;
  readonly directory: Directory;
  readonly waiting: WaitingCalls;
  /** Of all calls of the node. */
  readonly budget: RetryBudget;
}

/** Makes a call on one node. */
export type CallNode = (request: Request, node: string, sink: ReplySink) => Cancel;

/** What the function itself did not answer: the node, or the way to it, is to blame. */
const NODE_FAILURES: ReadonlySet<GenRpcErrorCode> = new Set<GenRpcErrorCode>([
  ...(['node_down', 'connection_lost', 'send_timeout', 'refused', 'shutting_down'] as const),
  ...(['wrong_node', 'invalid_cookie', 'version_mismatch', 'node_certificate_mismatch'] as const),
  ...(['external_source_error', 'protocol_error'] as const),
]);

/** The node is not as discovery tells of it; another may be. */
const STALE_RECORD: ReadonlySet<GenRpcErrorCode> = new Set<GenRpcErrorCode>(['undefined_function', 'incompatible']);

/** Nodes that one attempt of a call is made on, at most. */
export const MOST_NODES = 3;

/** ms after which whoever waits for a node looks again, if discovery says nothing before. */
const LOOK_AGAIN_MS = 1000;

export class ChosenCall implements ReplySink {
  private readonly tried = new Set<string>();
  private node = '';
  /** When it became the turn of the node. */
  private askedAt = 0;
  private calls = 0;
  private delivered = false;
  private cancelCall: Cancel = () => false;
  private stopWaiting: () => void = () => {};

  constructor(
    private readonly choice: Choice,
    private readonly request: Request,
    private readonly sink: ReplySink,
    private readonly callNode: CallNode,
    private readonly ports: ChosenCallPorts,
  ) {}

  start(): Cancel {
    this.next(undefined);
    return () => {
      this.stopWaiting();
      return this.cancelCall();
    };
  }

  item(value: unknown, cost: number, from: ItemSource): 'kept' | void {
    if (!this.delivered) this.answered();
    this.delivered = true;
    return this.sink.item(value, cost, from);
  }

  done(value: unknown): void {
    this.answered();
    this.sink.done(value);
  }

  failed(error: GenRpcError): void {
    this.judge(error);
    if (this.mayGoOn(error)) this.next(error);
    else this.sink.failed(error);
  }

  /** The node closes while it waits. */
  end(reason: GenRpcError): void {
    this.stopWaiting();
    this.fail(reason);
  }

  /** What never got there says nothing of the node. */
  private judge({ code, maybeExecuted }: GenRpcError): void {
    const { node, askedAt, request } = this;
    const { ejections } = this.ports;
    if (code === 'timeout') ejections.timedOut(node, askedAt, request.deadlineAt);
    else if (NODE_FAILURES.has(code)) ejections.failed(node);
    else if (maybeExecuted || !(code === 'cancelled' || CALLERS_FAULT.has(code))) this.answered();
  }

  private answered(): void {
    this.ports.ejections.answered(this.node, this.delivered ? undefined : this.askedAt);
  }

  /** It was not started there, nothing of it is gone, and there is time. */
  private mayGoOn({ code, maybeExecuted }: GenRpcError): boolean {
    if (this.delivered || maybeExecuted || this.request.invocation.stream !== undefined) return false;
    return NODE_FAILURES.has(code) || STALE_RECORD.has(code);
  }

  /** @param failure of the node before */
  private next(failure: GenRpcError | undefined): void {
    const { picker, clock, journal } = this.ports;
    const { request, tried } = this;
    const remaining = request.deadlineAt - clock.now();
    let node: string | undefined;
    try {
      node = remaining > 0 && tried.size < MOST_NODES ? picker.pick(this.choice, tried) : undefined;
    } catch (error) {
      // Its key cannot be encoded.
      return this.fail(error as GenRpcError);
    }
    if (node === undefined) return this.nobodyLeft(failure ?? nobody(this.choice, this.ports.directory), remaining);
    if (failure !== undefined && tried.size > 0) {
      if (!this.isAffordable(failure)) return this.nobodyLeft(failure, remaining);
      journal.count('call_failed_over');
    }
    tried.add(node);
    this.node = node;
    this.askedAt = clock.now();
    this.calls += 1;
    const { calls } = this;
    const cancel = this.callNode({ ...request, timeoutMs: Math.ceil(remaining), waitForReady: false }, node, this);
    // A node that is known to be down says so at once: by now it may be another one's turn.
    if (calls === this.calls) this.cancelCall = cancel;
  }

  /** Nodes that have too much to do would all be asked in vain, and the busier they are, the more. */
  private isAffordable(failure: GenRpcError): boolean {
    const { budget, journal } = this.ports;
    if (!isOverload(failure) || budget.spend()) return true;
    const route = joinRoute(this.request.invocation.name);
    journal.note('retry_budget_exhausted', () => `${route} does not go on to another node: too many calls fail.`);
    return false;
  }

  /** Whoever waits for a node that is ready, or for the first word of discovery, has not lost yet. */
  private nobodyLeft(failure: GenRpcError, remaining: number): void {
    const { directory, clock, waiting } = this.ports;
    if (remaining <= 0 || !(this.request.waitForReady || directory.isAwaited)) return this.fail(failure);
    const again = (): void => {
      this.stopWaiting();
      this.tried.clear();
      this.next(failure);
    };
    const timer = clock.after(Math.min(remaining, LOOK_AGAIN_MS), again, true);
    directory.waiting.add(again);
    this.stopWaiting = () => {
      timer.cancel();
      directory.waiting.delete(again);
      waiting.delete(this);
      this.stopWaiting = () => {};
    };
    waiting.add(this);
  }

  private fail(error: GenRpcError): void {
    tellFailure(this.sink, error, this.request.invocation, this.ports.journal);
  }
}

/** A node that refuses a call for another reason, because it is leaving say, names no limit. */
function isOverload({ code, details }: GenRpcError): boolean {
  return code === 'refused' && typeof details === 'object' && details !== null && 'limit' in details;
}

/** Why there is no node to call. */
export function nobody({ kind, name, version }: Choice, directory: Directory): GenRpcError {
  if (!directory.isWatched) {
    const wanted = 'give the option nodes as an object, or a discovery that can watch';
    return new GenRpcError('invalid_argument', `Nothing here tells which nodes there are: to call ${name}, ${wanted}.`);
  }
  const versioned = version === '' ? '' : ` in version ${version}`;
  const who = kind === 'module' ? `has module ${name}${versioned}` : `is named ${name}@…`;
  return new GenRpcError('node_down', `No node that is known ${who}. ${directory.summary()}`);
}
