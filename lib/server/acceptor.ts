/** The server's end of one connection: frames in, answers out, and nothing left running for a caller that is gone. */
import type { Connection } from '../connection/connection.js';
import type { ConnectionEvents, OwnersFrame } from '../connection/owner.js';
import { Inactivity } from '../connection/inactivity.js';
import { ItemWriter } from '../connection/item-writer.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import {
  CAST_STREAM,
  FrameType,
  type CallFrame,
  type CastFrame,
  type EndFrame,
  type ErrorFrame,
  type ItemFrame,
  type PayloadFrame,
} from '../protocol/frame.js';
import { corrupt, violationOf } from '../protocol/violation.js';
import { argumentsOf, type Headers } from '../protocol/invocation.js';
import { NO_PAYLOAD, type Payload } from '../protocol/payload.js';
import { CastIntake, type CastIntakePorts } from './cast-intake.js';
import { ConnectionCalls, type ConnectionCallsPorts } from './connection-calls.js';
import { Departure } from './departure.js';
import type { Invoker } from './invoker.js';
import { RequestStream, withStream } from './request-stream.js';
import { RunningCall, type Answers, type CallPorts, type Receipt } from './running-call.js';
import { congested, dropped, leaving } from './unanswered.js';

export interface AcceptorPorts extends CallPorts, ConnectionCallsPorts, CastIntakePorts {
  readonly invoker: Invoker;
  readonly journal: Journal;
  /** ms without a call or cast, after which the client is asked to close; never while a call runs. */
  readonly inactivityTimeout: number;
}

/** How long a client that was asked to close may take. */
const RETIRE_GRACE_MS = 5000;

export class Acceptor implements ConnectionEvents, Answers {
  private readonly calls: ConnectionCalls;
  private readonly casts: CastIntake;
  private lastId = 0;
  private readonly departure: Departure;
  private inactivity: Inactivity;

  constructor(
    private readonly connection: Connection,
    private readonly ports: AcceptorPorts,
    private readonly onEnd: (acceptor: Acceptor) => void,
  ) {
    connection.keepAlive(false);
    this.casts = new CastIntake(connection, ports);
    const events = { lastId: () => this.lastId, seen: () => this.closeIfServed() };
    this.departure = new Departure(connection, ports.clock, events);
    this.calls = new ConnectionCalls(connection.peer.node, ports);
    this.inactivity = this.whenUnused(ports.inactivityTimeout, () => this.retire());
  }

  get peer(): Connection['peer'] {
    return this.connection.peer;
  }

  get running(): number {
    return this.calls.size;
  }

  frame(frame: OwnersFrame): void {
    switch (frame.type) {
      case FrameType.Call:
        return this.onCall(frame);
      case FrameType.Cast:
        return this.onCast(frame);
      case FrameType.Item:
      case FrameType.End:
        return this.onPart(frame);
      case FrameType.Cancel:
        return this.onCancel(frame.id);
      default:
        this.connection.abort(new GenRpcError('protocol_error', 'A client sent a frame that only a server sends.'));
    }
  }

  awaits(frame: PayloadFrame): boolean {
    return frame.type !== FrameType.Item || this.requestsOf(frame.id) !== undefined;
  }

  isKnown(id: number): boolean {
    return id !== CAST_STREAM && id <= this.lastId;
  }

  late(): void {
    this.ports.journal.count('late_frames');
  }

  closed(reason: GenRpcError): void {
    if (reason.code === 'protocol_error') {
      this.ports.journal.note('protocol_error', () => `Closed the connection of ${this.peer.node}: ${reason.message}`);
    }
    this.ports.journal.countViolation(reason);
    this.inactivity.stop();
    for (const call of this.calls.values()) call.abort(reason);
    this.calls.leave();
    this.onEnd(this);
  }

  /**
   * Asks the client to call elsewhere; once it has seen that, refuses what still comes. Closes once the running calls
   * have been answered. Safe to repeat.
   */
  drain(): void {
    for (const call of this.calls.values()) call.drain();
    // The listener, which kept the process alive so far, is closing.
    this.connection.keepAlive(true);
    this.departure.begin();
  }

  /** Ends now: running calls are told and answered so, queued answers still leave. Safe to repeat. */
  close(reason: GenRpcError): Promise<void> {
    const error = new GenRpcError('shutting_down', reason.message);
    for (const call of this.calls.values()) call.stop(error);
    this.connection.close();
    return this.connection.ended;
  }

  abort(reason: GenRpcError): void {
    this.connection.abort(reason);
  }

  /** As `abort`, but a client that reads is told that it was replaced. Resolves once it is gone. */
  replace(reason: GenRpcError): Promise<void> {
    this.departure.replace(reason);
    return this.connection.ended;
  }

  item(call: RunningCall, value: unknown): void {
    const writer = (call.replies ??= new ItemWriter(this.connection, call.id));
    try {
      writer.item(value);
    } catch (error) {
      this.stopStream(call, error as GenRpcError);
    }
  }

  headers({ id }: RunningCall, headers: Headers): void {
    this.connection.send({ type: FrameType.Headers, id, headers });
  }

  isReady({ replies }: RunningCall): boolean {
    return replies === undefined || replies.ready;
  }

  whenReady(call: RunningCall, then: () => void): void {
    if (call.replies === undefined) then();
    else call.replies.whenReady(then);
  }

  done(call: RunningCall, value: unknown): void {
    try {
      if (this.connection.congested) throw dropped();
      this.connection.send({ type: FrameType.Result, id: call.id, payload: this.connection.encode(value) });
    } catch (error) {
      call.unsendable(error as GenRpcError);
    }
  }

  end({ replies }: RunningCall): void {
    replies?.end();
  }

  failed({ id, replies }: RunningCall, error: GenRpcError): void {
    if (replies === undefined) this.sendError(id, error);
    else replies.fail(this.errorFrame(id, error));
  }

  ended(call: RunningCall): void {
    this.calls.delete(call);
    this.inactivity.used();
    if (call.unread) this.connection.forget(call.id);
    this.closeIfServed();
  }

  private whenUnused(ms: number, run: () => void): Inactivity {
    const inactivity = new Inactivity(this.ports.clock, ms, () => this.running > 0, run);
    inactivity.watch();
    return inactivity;
  }

  /** Asks the client to close, and goes on serving what is on its way. One that does not hear is cut off. */
  private retire(): void {
    this.departure.suggest();
    this.inactivity = this.whenUnused(RETIRE_GRACE_MS, () => this.connection.close());
  }

  /** While it departs: has everything been answered that the client may wait for? */
  private closeIfServed(): void {
    if (!this.departure.seen || this.running > 0 || this.connection.isReceiving) return;
    this.connection.close();
  }

  private onCall(frame: CallFrame): void {
    this.inactivity.used();
    if (frame.id > this.lastId) this.lastId = frame.id;
    if (this.calls.get(frame.id) !== undefined) {
      return this.connection.abort(new GenRpcError('protocol_error', `Call ${frame.id} was sent twice.`));
    }
    if (this.departure.refusing) {
      this.sendError(frame.id, leaving());
      return this.closeIfServed();
    }
    if (this.connection.congested) return this.sendError(frame.id, congested());
    const now = this.ports.clock.now();
    const refusal = this.calls.refuse(now, frame.deliver === true);
    if (refusal !== undefined) {
      this.sendError(frame.id, refusal);
      return !this.departure.begun && this.calls.flooded(refusal, now) ? this.drain() : undefined;
    }
    if (frame.deliver === true) return this.casts.runDelivered(frame, this.receiptOf(frame));
    const deadlineAt = now + frame.timeoutMs;
    const call = new RunningCall(frame.id, frame, this.peer, deadlineAt, this, this.ports);
    if (this.departure.begun) call.drain();
    this.calls.add(call);
    this.ports.invoker.run(call, () => this.argsOf(call, frame));
  }

  private argsOf(call: RunningCall, frame: CallFrame): unknown {
    const { payload, single } = frame;
    const args = argumentsOf(this.connection.decode(payload), single, payload.kind === 'raw');
    if (frame.streamed !== true) return args;
    const requests = (call.requests = new RequestStream(this.connection, call.id, (error) => call.crash(error)));
    call.endArgument = (reason) => requests.stop(reason);
    call.watchDeadline();
    return withStream(args, call.single, requests.queue);
  }

  private onPart(frame: ItemFrame | EndFrame): void {
    const requests = this.requestsOf(frame.id);
    if (requests === undefined) return this.late();
    try {
      if (frame.type === FrameType.Item) requests.item(frame);
      else requests.end(frame);
    } catch (error) {
      if (violationOf(error as GenRpcError) !== undefined) throw error;
      this.calls.get(frame.id)?.stop(error as GenRpcError);
    }
  }

  /** `undefined`: nobody reads it any more. */
  private requestsOf(id: number): RequestStream | undefined {
    const call = this.calls.get(id);
    if (call === undefined && this.isKnown(id)) return undefined;
    if (call?.requests === undefined) throw corrupt(`an item of stream ${id}, which is none`);
    return call.requests.isOpen ? call.requests : undefined;
  }

  private onCancel(id: number): void {
    this.connection.forget(id);
    this.calls.get(id)?.abort(new GenRpcError('cancelled'));
    this.closeIfServed();
  }

  private onCast(frame: CastFrame): void {
    this.inactivity.used();
    this.casts.take(frame);
    if (this.departure.refusing) this.ports.journal.count('cast_failed');
    else this.casts.run(frame);
  }

  private receiptOf({ id }: CallFrame): Receipt {
    return {
      begun: () => this.connection.send({ type: FrameType.Result, id, payload: NO_PAYLOAD }),
      refused: (error) => this.sendError(id, error),
    };
  }

  private sendError(id: number, error: GenRpcError): void {
    this.connection.send(this.errorFrame(id, error));
  }

  private errorFrame(id: number, error: GenRpcError): ErrorFrame {
    const { code, message } = error;
    return { type: FrameType.Error, id, code, message, payload: this.detailsOf(error) };
  }

  /** An item that cannot be sent is the end of its stream. */
  private stopStream(call: RunningCall, error: GenRpcError): void {
    if (error.code !== 'refused') return call.stop(error);
    // What waits is not sent any more; and `refused` would say that nothing was started.
    call.abort(error);
    this.sendError(call.id, new GenRpcError('handler_failed', error.message));
  }

  /** Details that cannot be sent are left out: the error itself must arrive. */
  private detailsOf(error: GenRpcError): Payload {
    try {
      return this.connection.encode(error.details);
    } catch {
      return NO_PAYLOAD;
    }
  }
}
