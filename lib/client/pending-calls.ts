/** The calls that wait for a reply: the only place where one settles, and it settles once. */
import { CallTable } from '../connection/call-table.js';
import { Deadline, type Deadlines } from '../connection/deadlines.js';
import type { ItemIntake } from '../connection/item-intake.js';
import type { Stop } from '../connection/item-stream.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import { MAX_CALL_ID } from '../protocol/frame.js';
import { joinRoute, type Headers, type Invocation } from '../protocol/invocation.js';
import { printable } from '../protocol/node-name.js';
import { corrupt } from '../protocol/violation.js';

/**
 * Where a reply goes. Exactly one of `done` and `failed` is called, once, and nothing after it; nothing at all after a
 * `Cancel`. What they throw is noted (`listener_failed`): no other call and no connection feels it.
 */
export interface ReplySink {
  /**
   * One of several values. `kept`: it is used later, and `from` told so then; until that is said of some, no more are
   * sent. Otherwise it is used up when this returns.
   */
  item(value: unknown, cost: number, from: ItemSource): 'kept' | void;
  /** The end, with the last value; `undefined` when there is none. */
  done(value: unknown): void;
  failed(error: GenRpcError): void;
}

/** Where the items of a reply come from. */
export interface ItemSource {
  /** An item of this cost was used. */
  used(cost: number): void;
}

/** Gives a call up, and says whether it may have run. Safe to repeat. */
export type Cancel = () => boolean;

/** Hears of what a function says beside its reply, before any of that comes; `node` is who says it. */
export type OnReplyHeaders = (headers: Headers, node: string) => void;

/** Keeps it until it is known whether that reply is the one: of a call that is made again it is not. Never throws. */
export interface HeadersKeeper {
  hold(...said: Parameters<OnReplyHeaders>): void;
}

/** What a call does once its bytes are on their way. */
export interface CallCarrier {
  /** The call no longer waits. With `cancel` the peer is told. */
  release(call: PendingCall, cancel: boolean): void;
  /** Of a reply that is a stream, so much was used. */
  used(call: PendingCall, cost: number): void;
  /** May the peer have begun the call? */
  mayHaveStarted(call: PendingCall): boolean;
}

/** One call, from the moment it is asked for: one deadline covers connect, queue, send and reply. */
export class PendingCall extends Deadline implements ItemSource {
  /** Its number on the connection, once it was sent. */
  id = 0;
  /** Where its first byte stands in the connection's stream. */
  position = 0;
  carrier: CallCarrier | undefined;
  settled = false;
  /** Does it wait for a node that is down? */
  waitForReady = false;
  /** How often it was sent to somebody who did not start it. */
  resent = 0;
  /** The reply, where it is a stream. */
  intake: ItemIntake | undefined;
  /** Ends the argument that is a stream, while it is sent. */
  stopStream: Stop | undefined;
  headed: HeadersKeeper | undefined;
  private hasHeaders = false;
  /** Of its reply, so far. */
  private items = 0;
  /** Why the last attempt to reach the node failed, while the call waits for the next one. */
  private unreachable: GenRpcError | undefined;

  constructor(
    readonly target: string,
    readonly invocation: Invocation,
    readonly timeoutMs: number,
    readonly deadlineAt: number,
    private readonly sink: ReplySink,
    private readonly deadlines: Deadlines,
    private readonly journal: Journal,
  ) {
    super();
    deadlines.add(this, deadlineAt);
  }

  /** There is a connection for it. */
  ready(session: { call(call: PendingCall, remainingMs: number): void }, now: number): void {
    session.call(this, this.deadlineAt - now);
  }

  /** The attempt that it waited for failed; it waits for the next. */
  waitOn(failure: GenRpcError): void {
    this.unreachable = failure;
  }

  /** @throws GenRpcError `protocol_error` when they come twice, or behind what they belong to. */
  headers(headers: Headers): void {
    if (this.settled) return;
    if (this.hasHeaders || this.intake !== undefined) throw corrupt('headers of a reply that has begun');
    this.hasHeaders = true;
    this.headed?.hold(headers, this.target);
  }

  item(value: unknown, cost: number): void {
    if (this.settled) return;
    this.items += 1;
    let kept: 'kept' | void = undefined;
    try {
      kept = this.sink.item(value, cost, this);
    } catch (error) {
      noteThrown(this.journal, this.invocation, error);
    }
    if (kept === undefined) this.used(cost);
  }

  used(cost: number): void {
    this.carrier?.used(this, cost);
  }

  succeed(value: unknown): void {
    if (!this.settle(false)) return;
    try {
      this.sink.done(value);
    } catch (error) {
      noteThrown(this.journal, this.invocation, error);
    }
  }

  fail(error: GenRpcError): void {
    if (this.settle(false)) tellFailure(this.sink, error, this.invocation, this.journal);
  }

  /** What comes is of no use: the caller is told, and the handler is told to stop. */
  giveUp(error: GenRpcError): void {
    if (this.settle(true)) tellFailure(this.sink, error, this.invocation, this.journal);
  }

  /** The caller gives up: nobody is told here, the handler is told there. Returns whether it may have run. Safe to repeat. */
  cancel(): boolean {
    const maybeExecuted = this.carrier?.mayHaveStarted(this) ?? false;
    this.settle(true);
    return maybeExecuted;
  }

  override expire(): void {
    const error = this.lateness();
    if (this.settle(true)) tellFailure(this.sink, error, this.invocation, this.journal);
  }

  private lateness(): GenRpcError {
    const what = `${joinRoute(this.invocation.name)} on ${this.target}`;
    const { unreachable, carrier } = this;
    if (carrier === undefined && unreachable !== undefined) {
      const { code, message, details } = unreachable;
      const waited = `${what} was not sent within ${this.timeoutMs} ms`;
      return new GenRpcError(code, `${waited}: ${message}`, { details, cause: unreachable });
    }
    const maybeExecuted = carrier?.mayHaveStarted(this) ?? false;
    const sent = `sent ${this.items} ${this.items === 1 ? 'item' : 'items'} and did not end`;
    const message = `${what} ${this.items === 0 ? 'did not reply' : sent} within ${this.timeoutMs} ms.`;
    return new GenRpcError('timeout', message, { maybeExecuted });
  }

  private settle(cancel: boolean): boolean {
    if (this.settled) return false;
    this.settled = true;
    this.deadlines.remove(this);
    void this.stopStream?.();
    this.carrier?.release(this, cancel);
    this.carrier = undefined;
    return true;
  }
}

/** Tells `sink` of a failure, and notes what it throws. */
export function tellFailure(sink: ReplySink, error: GenRpcError, invocation: Invocation, journal: Journal): void {
  try {
    sink.failed(error);
  } catch (thrown) {
    noteThrown(journal, invocation, thrown);
  }
}

export function noteThrown(journal: Journal, { name }: Invocation, cause: unknown): void {
  journal.note('listener_failed', () => `Who waited for ${printable(joinRoute(name))} threw at its reply.`, cause);
}

/** The calls of one connection, by number. */
export class PendingCalls {
  private readonly calls = new CallTable<PendingCall>();
  private highest = 0;

  /** Numbers go from 1 to `maxId` and begin behind `lastId`. */
  constructor(
    private lastId = 0,
    private readonly maxId = MAX_CALL_ID,
  ) {}

  get size(): number {
    return this.calls.size;
  }

  /** The highest number given so far. */
  get highestId(): number {
    return this.highest;
  }

  /** Those with a higher number, and those that have not begun to leave. */
  above(id: number): PendingCall[] {
    return this.calls.values().filter((call) => call.id > id || call.position === Infinity);
  }

  /** Gives a call its number: counting up, around, and over numbers that are taken. */
  open(call: PendingCall): number {
    do this.lastId = this.lastId >= this.maxId ? 1 : this.lastId + 1;
    while (this.calls.get(this.lastId) !== undefined);
    if (this.lastId > this.highest) this.highest = this.lastId;
    call.id = this.lastId;
    this.calls.add(call);
    return call.id;
  }

  resolve(id: number): PendingCall | undefined {
    return this.calls.get(id);
  }

  close(call: PendingCall): void {
    this.calls.delete(call);
  }

  /** Fails those that wait now, one after the other; what a caller does about it harms none of the others. */
  failAll(errorOf: (call: PendingCall) => GenRpcError): void {
    for (const call of this.calls.values()) call.fail(errorOf(call));
  }
}
