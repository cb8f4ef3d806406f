/** The server's end of one connection: frames in, answers out, and nothing left running for a caller that is gone. */
import type { Connection, ConnectionEvents } from '../connection/connection.js';
import { Inactivity } from '../connection/inactivity.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import { FrameType, GOAWAY_UNUSED, type CallFrame, type CastFrame, type Frame } from '../protocol/frame.js';
import { NO_PAYLOAD, withOwnBytes, type Payload } from '../protocol/payload.js';
import type { Casts, IncomingCast } from './casts.js';
import { ConnectionCalls, type ConnectionCallsPorts } from './connection-calls.js';
import type { Invoker } from './invoker.js';
import type { OrderedCasts } from './ordered-casts.js';
import { RunningCall, type Answers, type CallPorts, type Receipt } from './running-call.js';

export interface AcceptorPorts extends CallPorts, ConnectionCallsPorts {
  readonly invoker: Invoker;
  readonly journal: Journal;
  readonly casts: Casts;
  readonly orderedCasts: OrderedCasts;
  /** ms without a call or cast, after which the client is asked to close; never while a call runs. */
  readonly inactivityTimeout: number;
}

/** How long a client that was asked to close may take. */
const RETIRE_GRACE_MS = 5000;

export class Acceptor implements ConnectionEvents, Answers {
  private readonly calls: ConnectionCalls;
  private lastId = 0;
  private draining = false;
  private inactivity: Inactivity;

  constructor(
    private readonly connection: Connection,
    private readonly ports: AcceptorPorts,
    private readonly onEnd: (acceptor: Acceptor) => void,
  ) {
    connection.keepAlive(false);
    this.calls = new ConnectionCalls(connection.peer.node, ports);
    this.inactivity = this.whenUnused(ports.inactivityTimeout, () => this.retire());
  }

  get peer(): Connection['peer'] {
    return this.connection.peer;
  }

  get running(): number {
    return this.calls.size;
  }

  frame(frame: Frame): void {
    switch (frame.type) {
      case FrameType.Call:
        return this.onCall(frame);
      case FrameType.Cast:
        return this.onCast(frame);
      case FrameType.Cancel:
        return this.calls.get(frame.id)?.abort(new GenRpcError('cancelled'));
      default:
        this.connection.abort(new GenRpcError('protocol_error', 'A client sent a frame that only a server sends.'));
    }
  }

  closed(reason: GenRpcError): void {
    if (reason.code === 'protocol_error') {
      this.ports.journal.note('protocol_error', () => `Closed the connection of ${this.peer.node}: ${reason.message}`);
    }
    this.inactivity.stop();
    for (const call of this.calls.values()) call.abort(reason);
    this.calls.leave();
    this.onEnd(this);
  }

  /** Refuses new calls and tells the peer so; closes once the running ones have been answered. Safe to repeat. */
  drain(): void {
    if (this.draining) return;
    this.draining = true;
    this.connection.send({ type: FrameType.GoAway, lastId: this.lastId });
    // The listener, which kept the process alive so far, is closing.
    this.connection.keepAlive(true);
    if (this.running === 0) this.connection.close();
  }

  /** Ends now: running calls are told, queued answers still leave. Safe to repeat. */
  close(reason: GenRpcError): Promise<void> {
    for (const call of this.calls.values()) call.abort(reason);
    this.connection.close();
    return this.connection.ended;
  }

  abort(reason: GenRpcError): void {
    this.connection.abort(reason);
  }

  item(call: RunningCall, value: unknown): void {
    if (this.connection.congested) {
      call.abort(new GenRpcError('refused'));
      // Not `refused`, which says that nothing was started.
      return this.failed(
        call,
        new GenRpcError('handler_failed', 'The stream was stopped: too much of it waits for its reader.'),
      );
    }
    const payload = this.encode(call, value);
    if (payload !== undefined) this.connection.send({ type: FrameType.Item, id: call.id, payload });
    else call.abort(new GenRpcError('encode_error'));
  }

  done(call: RunningCall, value: unknown): void {
    const payload = this.encode(call, value);
    if (payload !== undefined) this.connection.send({ type: FrameType.Result, id: call.id, payload });
  }

  failed(call: RunningCall, error: GenRpcError): void {
    this.sendError(call.id, error);
  }

  ended(call: RunningCall): void {
    this.calls.delete(call);
    this.inactivity.used();
    if (this.draining && this.running === 0) this.connection.close();
  }

  private whenUnused(ms: number, run: () => void): Inactivity {
    const inactivity = new Inactivity(this.ports.clock, ms, () => this.running > 0, run);
    inactivity.watch();
    return inactivity;
  }

  /** Asks the client to close, and goes on serving what is on its way. One that does not hear is cut off. */
  private retire(): void {
    this.connection.send({ type: FrameType.GoAway, lastId: GOAWAY_UNUSED });
    this.inactivity = this.whenUnused(RETIRE_GRACE_MS, () => this.connection.close());
  }

  private onCall(frame: CallFrame): void {
    this.inactivity.used();
    if (frame.id > this.lastId) this.lastId = frame.id;
    if (this.calls.get(frame.id) !== undefined) {
      return this.connection.abort(new GenRpcError('protocol_error', `Call ${frame.id} was sent twice.`));
    }
    if (this.draining) {
      const message = 'The node is shutting down and did not start the call.';
      return this.sendError(frame.id, new GenRpcError('refused', message));
    }
    const now = this.ports.clock.now();
    const refusal = this.calls.refuse(now, frame.deliver === true);
    if (refusal !== undefined) {
      this.sendError(frame.id, refusal);
      return this.calls.flooded(refusal, now) ? this.drain() : undefined;
    }
    if (frame.deliver === true) return this.ports.casts.run(this.castOf(frame, this.receiptOf(frame)));
    const deadlineAt = now + frame.timeoutMs;
    const call = new RunningCall(frame.id, frame, this.peer, deadlineAt, this, this.ports);
    this.calls.add(call);
    this.ports.invoker.run(call, () => this.connection.decode(frame.payload));
  }

  private onCast(frame: CastFrame): void {
    this.inactivity.used();
    const { casts, orderedCasts, journal } = this.ports;
    if (this.draining) return journal.count('cast_failed');
    if (frame.order === undefined) casts.run(this.castOf(frame));
    else
      orderedCasts.run(
        this.peer.incarnation,
        frame.order,
        this.castOf({ ...frame, payload: withOwnBytes(frame.payload) }),
      );
  }

  private castOf(frame: CallFrame | CastFrame, receipt?: Receipt): IncomingCast {
    const what = this.ports.casts.full ? { ...frame, payload: withOwnBytes(frame.payload) } : frame;
    const { payload } = what;
    const readArgs = (): unknown => this.connection.decode(payload);
    return { what, caller: this.peer, bytes: payload.bytes.length, readArgs, receipt };
  }

  private receiptOf({ id }: CallFrame): Receipt {
    return {
      begun: () => this.connection.send({ type: FrameType.Result, id, payload: NO_PAYLOAD }),
      refused: (error) => this.sendError(id, error),
    };
  }

  /** The bytes of an answer; if it cannot be sent, the error that says why, and `undefined`. */
  private encode(call: RunningCall, value: unknown): Payload | undefined {
    try {
      return this.connection.encode(value);
    } catch (error) {
      this.sendError(call.id, error as GenRpcError);
    }
    return undefined;
  }

  private sendError(id: number, error: GenRpcError): void {
    const { code, message } = error;
    this.connection.send({ type: FrameType.Error, id, code, message, details: this.detailsOf(error) });
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
