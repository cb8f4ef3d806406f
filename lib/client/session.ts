/** The client's end of one connection: frames out, replies in, and nobody left waiting when it ends. */
import type { Connection } from '../connection/connection.js';
import type { ConnectionEvents, OwnersFrame } from '../connection/owner.js';
import { Inactivity } from '../connection/inactivity.js';
import { ItemIntake } from '../connection/item-intake.js';
import { ItemWriter } from '../connection/item-writer.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import {
  CAST_STREAM,
  FrameType,
  GOAWAY_NOTHING_REFUSED,
  GOAWAY_REPLACED,
  type CallFrame,
  type CastOrder,
  type ErrorFrame,
  type PayloadFrame,
  type ReplyPart,
} from '../protocol/frame.js';
import { joinRoute, valueToSend, type Invocation } from '../protocol/invocation.js';
import type { Payload } from '../protocol/payload.js';
import { corrupt, violationOf } from '../protocol/violation.js';
import type { Clock } from '../ports/clock.js';
import { OutgoingCasts } from './outgoing-casts.js';
import { PendingCalls, type CallCarrier, type PendingCall } from './pending-calls.js';
import { remoteError } from './remote-error.js';
import { replaced } from './replaced.js';
import { sendItems } from './request-items.js';

export interface SessionPorts {
  /** The name of this node. */
  readonly self: string;
  readonly clock: Clock;
  readonly journal: Journal;
  /** ms without a call or cast, after which the connection is closed; never while one is pending. */
  readonly inactivityTimeout: number;
  /** Most casts that wait for credit; the same for those that wait for a connection. */
  readonly maxQueuedCasts: number;
}

/** What a session tells its lane. */
export interface SessionEvents {
  /** The peer takes no new calls. */
  draining(session: Session): void;
  /** Nobody has called for a while, here or, as the peer says, there: it takes no more, and will be missed by nobody. */
  retired(session: Session): void;
  /** The peer did not start this call, and will not. */
  notStarted(call: PendingCall, refusal: GenRpcError): void;
  ended(session: Session, reason: GenRpcError): void;
}

export class Session implements ConnectionEvents, CallCarrier {
  /** Has the peer answered anything yet? */
  proven = false;
  private readonly pending = new PendingCalls();
  /** Takes no more calls: its end is no loss. */
  draining = false;
  private readonly inactivity: Inactivity;
  /** Calls above it are not started, as the peer says; it may say a lower number later. */
  private startedUpTo = GOAWAY_NOTHING_REFUSED;
  private readonly casts: OutgoingCasts;

  constructor(
    private readonly connection: Connection,
    private readonly ports: SessionPorts,
    private readonly events: SessionEvents,
  ) {
    connection.keepAlive(false);
    this.casts = new OutgoingCasts(connection, ports.maxQueuedCasts, () => this.keepAlive());
    const busy = (): boolean => this.pending.size > 0 || connection.queuedBytes > 0;
    this.inactivity = new Inactivity(ports.clock, ports.inactivityTimeout, busy, () => this.retire());
    this.inactivity.watch();
  }

  get node(): string {
    return this.connection.peer.node;
  }

  get pendingCalls(): number {
    return this.pending.size;
  }

  /** Sends a call, or fails it: it settles either way. */
  call(call: PendingCall, remainingMs: number): void {
    try {
      const payload = this.encode(call.invocation);
      const timeoutMs = Math.max(1, Math.ceil(remainingMs));
      if (this.pending.size === 0) this.connection.keepAlive(true);
      call.carrier = this;
      const id = this.pending.open(call);
      const frame = callFrame(id, call.invocation, timeoutMs, payload);
      const { stream } = call.invocation;
      if (stream === undefined) return this.connection.send(frame, call);
      const writer = new ItemWriter(this.connection, id);
      writer.begin(frame, call);
      sendItems(call, stream, writer, this.ports.journal);
    } catch (error) {
      call.fail(error as GenRpcError);
    }
  }

  /** @throws GenRpcError when the cast is not accepted; nothing is sent then. */
  cast(invocation: Invocation, order: CastOrder | undefined): void {
    this.casts.checkRoom();
    const payload = this.encode(invocation);
    const { name, single, headers } = invocation;
    this.casts.send({ type: FrameType.Cast, name, single, order, headers, payload });
    this.inactivity.used();
  }

  release(call: PendingCall, cancel: boolean): void {
    this.pending.close(call);
    // What waits of it is not sent; if it has not begun, nobody needs to be told.
    if (cancel || call.intake !== undefined || call.stopStream !== undefined) this.connection.forget(call.id);
    else this.connection.ignore(call.id);
    if (cancel && call.position !== Infinity) this.connection.send({ type: FrameType.Cancel, id: call.id });
    if (this.pending.size === 0) this.onIdle();
  }

  used({ id, intake }: PendingCall, cost: number): void {
    if (intake !== undefined) this.connection.free(id, intake.window, cost);
  }

  /** While the connection lives, what was begun will be sent; afterwards only what was written counts. */
  mayHaveStarted({ position }: PendingCall): boolean {
    return position !== Infinity && (this.connection.isOpen || this.connection.hasWritten(position));
  }

  /** A part of a reply to a number that was never given was not asked for. */
  awaits(frame: PayloadFrame | ReplyPart): boolean {
    const id = 'id' in frame ? frame.id : CAST_STREAM;
    const isPart = frame.type === FrameType.Item || frame.type === FrameType.End || frame.type === FrameType.Headers;
    if (isPart && !this.isKnown(id)) throw corrupt(`a part of the reply to call ${id}, which was never made`);
    return this.pending.resolve(id) !== undefined;
  }

  isKnown(id: number): boolean {
    return id !== CAST_STREAM && id <= this.pending.highestId;
  }

  late(): void {
    this.ports.journal.count('late_frames');
  }

  frame(frame: OwnersFrame): void {
    switch (frame.type) {
      case FrameType.Result:
        return this.settle(frame.id, (call) => call.succeed(this.connection.decode(frame.payload)));
      case FrameType.Error:
        return this.settle(frame.id, (call) => call.fail(this.errorOf(frame, call)));
      case FrameType.Headers:
      case FrameType.Item:
      case FrameType.End:
        return this.onPart(frame);
      case FrameType.Cancel:
        return this.stopArgument(frame.id);
      case FrameType.GoAway:
        return this.onGoAway(frame.lastId);
      default:
        this.connection.abort(new GenRpcError('protocol_error', `${this.node} sent a frame that only a client sends.`));
    }
  }

  /** The lane hears of it first: a caller that tries again as soon as it is told must not come back to this session. */
  closed(reason: GenRpcError): void {
    const cause = reason.message;
    this.ports.journal.countViolation(reason);
    this.inactivity.stop();
    this.events.ended(this, reason);
    this.countDroppedCasts();
    this.pending.failAll((call) => {
      const maybeExecuted = this.mayHaveStarted(call);
      const message = `The connection to ${this.node} ended before ${joinRoute(call.invocation.name)} replied: ${cause}`;
      const code = reason.code === 'send_timeout' ? 'send_timeout' : 'connection_lost';
      return new GenRpcError(code, message, { maybeExecuted, details: reason.details, cause: reason });
    });
  }

  /** Takes no more calls; the connection closes once the pending ones have settled. Safe to repeat. */
  drain(): Promise<void> {
    this.draining = true;
    if (this.pending.size === 0) this.connection.close();
    return this.connection.ended;
  }

  /** Ends now: pending calls are failed with `reason`, queued frames still leave. Safe to repeat. */
  close(reason: GenRpcError): Promise<void> {
    const errorOf = (call: PendingCall): GenRpcError =>
      new GenRpcError(reason.code, reason.message, { maybeExecuted: this.mayHaveStarted(call) });
    this.pending.failAll(errorOf);
    this.connection.close();
    return this.connection.ended;
  }

  /** Ends now, and drops what was queued. */
  abort(reason: GenRpcError): void {
    this.connection.abort(reason);
  }

  private onIdle(): void {
    this.inactivity.used();
    this.keepAlive();
    if (this.draining) this.connection.close();
  }

  /** What was accepted is worth waiting for: an answer, and that casts leave. */
  private keepAlive(): void {
    this.connection.keepAlive(this.pending.size > 0 || this.casts.waiting);
  }

  /** Takes no more calls, tells its lane so, and closes once the pending ones have settled. */
  retire(): void {
    this.events.retired(this);
    void this.drain();
  }

  private countDroppedCasts(): void {
    const dropped = this.casts.lost;
    if (dropped === 0) return;
    const message = (): string => `${dropped} casts to ${this.node} had not left when the connection ended.`;
    this.ports.journal.note('cast_dropped', message, undefined, dropped);
  }

  private onGoAway(lastId: number): void {
    if (lastId === GOAWAY_REPLACED) return this.connection.abort(replaced(this.ports.self, this.node));
    if (lastId > this.startedUpTo) {
      const message = `${this.node} takes back that it did not start calls above ${this.startedUpTo}.`;
      return this.connection.abort(new GenRpcError('protocol_error', message));
    }
    this.startedUpTo = lastId;
    if (lastId === GOAWAY_NOTHING_REFUSED) return this.retire();
    this.events.draining(this);
    const refusal = new GenRpcError('refused', `${this.node} is shutting down and did not start the call.`);
    for (const call of this.pending.above(lastId)) this.giveBack(call, refusal);
    void this.drain();
  }

  /** It was not started: somebody else may have it, unless a part of what it sends is gone. */
  private giveBack(call: PendingCall, refusal: GenRpcError): void {
    if (call.invocation.stream !== undefined) return call.giveUp(refusal);
    this.pending.close(call);
    if (this.connection.forget(call.id)) this.connection.send({ type: FrameType.Cancel, id: call.id });
    call.carrier = undefined;
    this.events.notStarted(call, refusal);
  }

  private onPart(frame: ReplyPart): void {
    if (!this.awaits(frame)) return this.late();
    this.settle(frame.id, (call) => {
      if (frame.type === FrameType.Headers) return call.headers(frame.headers);
      const intake = (call.intake ??= new ItemIntake(this.connection.newWindow()));
      if (frame.type === FrameType.Item) {
        const cost = intake.take(frame);
        return call.item(this.connection.decode(frame.payload), cost);
      }
      intake.end(frame);
      call.succeed(undefined);
    });
  }

  /** The function reads no more of the stream that the call sends. */
  private stopArgument(id: number): void {
    void this.pending.resolve(id)?.stopStream?.();
    this.connection.withdraw(id);
  }

  private settle(id: number, settle: (call: PendingCall) => void): void {
    const call = this.pending.resolve(id);
    if (call === undefined) return this.ports.journal.count('late_frames');
    this.proven = true;
    try {
      settle(call);
    } catch (error) {
      // Only decoding throws here: the reply is outside the profile, the call has run; of a stream, more may be coming.
      if (violationOf(error as GenRpcError) !== undefined) throw error;
      const { code, message } = error as GenRpcError;
      call.giveUp(new GenRpcError(code, `The reply cannot be read. ${message}`, { maybeExecuted: true, cause: error }));
    }
  }

  private errorOf(frame: ErrorFrame, call: PendingCall): GenRpcError {
    return remoteError(frame, call.invocation, this.node, this.connection.decode(frame.payload));
  }

  private encode(invocation: Invocation): Payload {
    if (!this.connection.isOpen) throw new GenRpcError('refused', `The connection to ${this.node} is being closed.`);
    if (this.connection.congested) {
      throw new GenRpcError('refused', `Too many bytes wait for ${this.node}, which reads slowly. Nothing was sent.`);
    }
    return this.connection.encode(valueToSend(invocation), invocation.shared);
  }
}

function callFrame(id: number, invocation: Invocation, timeoutMs: number, payload: Payload): CallFrame {
  const { name, single, headers, deliver = false, stream } = invocation;
  const streamed = stream !== undefined;
  return { type: FrameType.Call, id, name, timeoutMs, single, deliver, streamed, headers, payload };
}
