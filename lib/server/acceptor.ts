/** The server's end of one connection: frames in, answers out, and nothing left running for a caller that is gone. */
import { CallTable } from '../connection/call-table.js';
import type { Connection, ConnectionEvents } from '../connection/connection.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import { FrameType, type CallFrame, type CastFrame, type Frame } from '../protocol/frame.js';
import type { Payload } from '../protocol/payload.js';
import type { Casts } from './casts.js';
import type { Invoker } from './invoker.js';
import { RunningCall, type Answers, type CallPorts } from './running-call.js';

export interface AcceptorPorts extends CallPorts {
  readonly invoker: Invoker;
  readonly journal: Journal;
  readonly casts: Casts;
}

const NO_PAYLOAD: Payload = { kind: 'none', bytes: new Uint8Array(0) };

export class Acceptor implements ConnectionEvents, Answers {
  private readonly calls = new CallTable<RunningCall>();
  private lastId = 0;
  private draining = false;

  constructor(
    private readonly connection: Connection,
    private readonly ports: AcceptorPorts,
    private readonly onEnd: (acceptor: Acceptor) => void,
  ) {
    connection.keepAlive(false);
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
    for (const call of this.calls.values()) call.abort(reason);
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
    this.sendError(call, error);
  }

  ended(call: RunningCall): void {
    this.calls.delete(call);
    if (this.draining && this.running === 0) this.connection.close();
  }

  private onCall(frame: CallFrame): void {
    if (frame.id > this.lastId) this.lastId = frame.id;
    if (this.calls.get(frame.id) !== undefined) {
      return this.connection.abort(new GenRpcError('protocol_error', `Call ${frame.id} was sent twice.`));
    }
    const deadlineAt = this.ports.clock.now() + frame.timeoutMs;
    const call = new RunningCall(frame.id, frame, this.peer, deadlineAt, this, this.ports);
    if (this.draining) {
      return this.sendError(call, new GenRpcError('refused', 'The node is shutting down and did not start the call.'));
    }
    this.calls.add(call);
    this.ports.invoker.run(call, () => this.connection.decode(frame.payload));
  }

  private onCast(frame: CastFrame): void {
    if (this.draining) return this.ports.journal.count('cast_failed');
    this.ports.casts.run(frame, this.peer, () => this.connection.decode(frame.payload));
  }

  /** The bytes of an answer; if it cannot be sent, the error that says why, and `undefined`. */
  private encode(call: RunningCall, value: unknown): Payload | undefined {
    try {
      return this.connection.encode(value);
    } catch (error) {
      this.sendError(call, error as GenRpcError);
    }
    return undefined;
  }

  private sendError(call: RunningCall, error: GenRpcError): void {
    const { code, message } = error;
    this.connection.send({ type: FrameType.Error, id: call.id, code, message, details: this.detailsOf(error) });
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
