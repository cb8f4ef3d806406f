/** One call while its function runs: what the function sees of it, and the one place where it is answered. */
import type { Deadlines } from '../connection/deadlines.js';
import type { Stop } from '../connection/item-stream.js';
import type { ItemWriter } from '../connection/item-writer.js';
import type { Journal } from '../connection/journal.js';
import { CALL_KEY_HEADER, withoutCallKey } from '../protocol/call-key.js';
import { GenRpcError } from '../protocol/errors.js';
import { joinRoute, type FunctionName, type Headers, type Subscribable } from '../protocol/invocation.js';
import { printable } from '../protocol/node-name.js';
import type { Clock } from '../ports/clock.js';
import type { IncomingTrace } from '../ports/tracing.js';
import { Abandonable } from './abandonable.js';
import { currentCalls, type ParentCall } from './current-call.js';
import type { CallContext, Caller } from './module-registry.js';
import { PacedItems, type Pace } from './paced-items.js';
import { tooLate, withHeader } from './reply-headers.js';
import type { RequestStream } from './request-stream.js';

/** Where answers go: over a connection, or straight to a caller of the same node. */
export interface Answers {
  item(call: RunningCall, value: unknown): void;
  /** What is said beside the reply: before any of it, and at most once. */
  headers(call: RunningCall, headers: Headers): void;
  /** Is there room for another item? */
  isReady(call: RunningCall): boolean;
  /** Runs `then` once there is room. */
  whenReady(call: RunningCall, then: () => void): void;
  done(call: RunningCall, value: unknown): void;
  /** The items that were sent are all there were. */
  end(call: RunningCall): void;
  failed(call: RunningCall, error: GenRpcError): void;
  /** The function has ended, whoever still cares. */
  ended(call: RunningCall): void;
}

/** Who wants to hear that a cast has begun (gen_rpc: `sbcast`). Told once, the one or the other. */
export interface Receipt {
  begun(): void;
  refused(error: GenRpcError): void;
}

/** What was asked for: a frame, or an invocation of the own node. */
export interface IncomingCall {
  readonly name: FunctionName;
  readonly single: boolean;
  readonly headers: Headers | undefined;
}

/** The ports that every running call shares. */
export interface CallPorts {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly journal: Journal;
}

export class RunningCall extends Abandonable implements CallContext, ParentCall, Pace {
  /** Stops whatever produces values for this call. */
  stopProducer: Stop | undefined;
  /** The argument that is a stream, while it comes. */
  requests: RequestStream | undefined;
  /** Ends that argument, wherever it comes from: whoever still reads it is told why. */
  endArgument: ((reason: GenRpcError) => void) | undefined;
  /** The reply, where it is a stream. */
  replies: ItemWriter | undefined;
  receipt: Receipt | undefined;
  /** Who follows it, if anybody. */
  trace: IncomingTrace | undefined;
  private answered = false;
  private replyHeaders: Headers | undefined;
  /** Has some of the reply been sent? */
  private replying = false;
  /** Is nobody there to read what was sent so far? */
  unread = false;
  /** Those who wait for room. */
  private waiting: (() => void)[] | undefined;
  /** Items that are still made ready to be sent. */
  private held = 0;
  /** How many bring items for it in between, and has all else of it ended? */
  private producers = 0;
  private over = false;

  constructor(
    /** Its number among the calls that its connection runs, or among the casts that the node runs. */
    readonly id: number,
    private readonly incoming: IncomingCall,
    readonly caller: Caller,
    private readonly deadlineAt: number,
    private readonly answers: Answers,
    private readonly ports: CallPorts,
  ) {
    super();
  }

  get name(): FunctionName {
    return this.incoming.name;
  }

  get single(): boolean {
    return this.incoming.single;
  }

  /** Does anybody wait for the end of it? */
  get kind(): 'call' | 'cast' {
    return this.deadlineAt === Infinity ? 'cast' : 'call';
  }

  get headers(): Headers | undefined {
    return withoutCallKey(this.incoming.headers);
  }

  get callKey(): string | undefined {
    return this.incoming.headers?.get(CALL_KEY_HEADER);
  }

  get binds(): boolean {
    return !this.answered && this.deadlineAt !== Infinity;
  }

  remainingMs(): number {
    return Math.max(0, this.deadlineAt - this.ports.clock.now());
  }

  watchDeadline(): void {
    if (this.slot === undefined && !this.answered && this.deadlineAt !== Infinity) {
      // Its timer is that of all calls: what runs by it, for others, must not belong to this one.
      currentCalls.outside(() => this.ports.deadlines.add(this, this.deadlineAt));
    }
  }

  /** The function was found and its arguments read: it is called now. */
  begin(): void {
    const { receipt } = this;
    this.receipt = undefined;
    receipt?.begun();
  }

  setReplyHeader(name: string, value: string): void {
    if (this.replying) throw tooLate(name);
    this.replyHeaders = withHeader(this.replyHeaders, name, value);
  }

  item(value: unknown): void {
    if (this.answered) return;
    this.beginReply();
    this.answers.item(this, value);
  }

  get ready(): boolean {
    return this.answered || (this.held === 0 && this.answers.isReady(this));
  }

  whenReady(then: () => void): void {
    if (this.waiting !== undefined) return void this.waiting.push(then);
    if (this.ready) return then();
    this.waiting = [then];
    this.awaitRoom();
  }

  hold(): () => void {
    this.held += 1;
    return () => {
      this.held -= 1;
      if (this.waiting !== undefined) this.awaitRoom();
    };
  }

  paced(items: AsyncIterable<unknown>): Subscribable {
    return new PacedItems(items, this);
  }

  producerBegins(): void {
    this.producers += 1;
  }

  producerEnded(): void {
    this.producers -= 1;
    if (this.over) this.ended();
  }

  /** For the log: it failed, or what it was told to stop did. */
  noteFailure(error: unknown): void {
    const message = (): string => `${printable(joinRoute(this.name))} failed for ${this.caller.node}`;
    this.ports.journal.note('handler_failed', message, error);
  }

  /** What its function left behind to be told of things threw: it goes no further. */
  crash(error: unknown): void {
    this.noteFailure(error);
    this.stop(new GenRpcError('handler_failed', `${joinRoute(this.name)} failed.`, { cause: error }));
  }

  succeed(value: unknown): void {
    if (this.reply()) this.answers.done(this, value);
    this.trace?.ended(undefined);
    this.ended();
  }

  /** The items were all there is. */
  end(): void {
    if (this.reply()) this.answers.end(this);
    this.trace?.ended(undefined);
    this.ended();
  }

  fail(error: GenRpcError): void {
    if (this.reply()) this.answers.failed(this, error);
    this.trace?.ended(error.code);
    this.ended();
  }

  /** Its answer cannot be sent: its caller is told so. */
  unsendable(error: GenRpcError): void {
    this.trace?.ended(error.code);
    this.answers.failed(this, error);
  }

  /** Nobody waits any more. The function is told, and keeps its place until it ends. */
  abort(reason: GenRpcError): void {
    if (!this.settle(reason)) return;
    this.unread = true;
    this.tell(reason);
  }

  /** It goes no further: caller and function are told. */
  stop(error: GenRpcError): void {
    if (!this.reply(error)) return;
    this.answers.failed(this, error);
    this.tell(error);
  }

  override expire(): void {
    this.abort(new GenRpcError('timeout'));
  }

  private reply(reason?: GenRpcError): boolean {
    if (!this.settle(reason)) return false;
    this.beginReply();
    return true;
  }

  private beginReply(): void {
    if (this.replying) return;
    this.replying = true;
    if (this.replyHeaders !== undefined) this.answers.headers(this, this.replyHeaders);
  }

  private tell(reason: GenRpcError): void {
    this.trace?.ended(reason.code);
    this.abandon(reason);
    const stopping = this.stopProducer?.();
    if (stopping !== undefined) void stopping.then(() => this.ended());
    else if (this.stopProducer !== undefined) this.ended();
  }

  private ended(): void {
    this.over = true;
    if (this.producers === 0) this.answers.ended(this);
  }

  /** Whoever is in the way says so again, when it is out of it. */
  private awaitRoom(): void {
    if (this.held > 0) return;
    if (this.answers.isReady(this)) this.tellWaiting();
    else this.answers.whenReady(this, () => this.held > 0 || this.tellWaiting());
  }

  private tellWaiting(): void {
    const { waiting = [] } = this;
    this.waiting = undefined;
    for (const then of waiting) {
      try {
        then();
      } catch (error) {
        this.noteFailure(error);
      }
    }
  }

  private settle(reason?: GenRpcError): boolean {
    if (this.answered) return false;
    this.answered = true;
    this.endArgument?.(reason ?? new GenRpcError('cancelled', 'The call has been answered.'));
    this.ports.deadlines.remove(this);
    if (this.waiting !== undefined) this.tellWaiting();
    return true;
  }
}
