/** A call of a node to itself: no socket, the same rules. */
import { Idle } from '../connection/idle.js';
import type { Journal } from '../connection/journal.js';
import { costOf } from '../connection/credit.js';
import {
  checkSize,
  decodePayload,
  encodePayload,
  withOwnBytes,
  type Codec,
  type Payload,
} from '../protocol/payload.js';
import { GenRpcError } from '../protocol/errors.js';
import type { CallCarrier, PendingCall } from '../client/pending-calls.js';
import type { IncomingCast } from '../server/casts.js';
import type { Invoker } from '../server/invoker.js';
import type { Caller } from '../server/module-registry.js';
import { RunningCall, type Answers, type CallPorts } from '../server/running-call.js';
import type { Server } from '../server/server.js';
import { withStream } from '../server/request-stream.js';
import { localArgument, LocalFlow } from './local-stream.js';
import type { Headers, Invocation } from '../protocol/invocation.js';

export interface LocalPorts extends CallPorts {
  readonly node: string;
  readonly codec: Codec;
  readonly maxMessageBytes: number;
  readonly invoker: Invoker;
  readonly journal: Journal;
  /** Where casts run, those of other nodes too. */
  readonly server: Pick<Server, 'cast' | 'castsWait'>;
}

/** Values are encoded and decoded as if they had travelled, so that local and remote calls cannot differ. */
export class LocalCalls {
  private readonly pending = new Set<LocalCall>();
  /** Ordered casts so far, by lane. */
  private readonly sequences = new Map<number, number>();
  private readonly whenIdle = new Idle();
  private draining = false;

  constructor(private readonly ports: LocalPorts) {}

  get size(): number {
    return this.pending.size;
  }

  call(call: PendingCall): void {
    if (call.invocation.deliver === true) return this.deliver(call);
    const local = new LocalCall(call, this.ports, () => this.forget(local));
    this.pending.add(local);
    if (this.draining) local.drain();
    local.run();
  }

  /** Tells functions, also of calls that still come, that the node begins to drain. */
  drain(): void {
    this.draining = true;
    for (const local of this.pending) local.drain();
  }

  /** Resolves once none is pending. */
  async idle(): Promise<void> {
    if (this.size > 0) await this.whenIdle.next();
  }

  /** @param lane whose ordered casts run one after the other. @throws GenRpcError `encode_error`. */
  cast(invocation: Invocation, lane: number): void {
    const cast = this.castOf(invocation);
    if (invocation.ordered !== true) return this.ports.server.cast(cast);
    const sequence = ((this.sequences.get(lane) ?? 0) + 1) >>> 0;
    this.sequences.set(lane, sequence);
    this.ports.server.cast(cast, { lane, sequence });
  }

  close(reason: GenRpcError): void {
    for (const local of [...this.pending]) local.abort(reason);
  }

  private forget(local: LocalCall): void {
    this.pending.delete(local);
    if (this.size === 0) this.whenIdle.tell();
  }

  private castOf(invocation: Invocation): IncomingCast {
    const sent = encoded(this.ports, invocation.args);
    const waits = invocation.ordered === true || this.ports.server.castsWait;
    const payload = waits ? withOwnBytes(sent) : sent;
    return {
      what: { name: invocation.name, single: invocation.single, headers: invocation.headers },
      caller: callerOf(this.ports.node),
      bytes: payload.bytes.length,
      readArgs: () => decodePayload(this.ports.codec, payload),
    };
  }

  private deliver(call: PendingCall): void {
    try {
      const receipt = {
        begun: () => call.succeed(undefined),
        refused: (error: GenRpcError) => call.fail(new GenRpcError(error.code, error.message)),
      };
      this.ports.server.cast({ ...this.castOf(call.invocation), receipt });
    } catch (error) {
      call.fail(error as GenRpcError);
    }
  }
}

class LocalCall implements CallCarrier, Answers {
  private readonly running: RunningCall;
  private readonly flow: LocalFlow;

  constructor(
    private readonly call: PendingCall,
    private readonly ports: LocalPorts,
    private readonly onEnd: () => void,
  ) {
    this.flow = new LocalFlow(ports.clock);
    this.running = new RunningCall(1, call.invocation, callerOf(ports.node), call.deadlineAt, this, ports);
    call.carrier = this;
  }

  run(): void {
    try {
      const args = travelled(this.ports, this.call.invocation.args).value;
      this.ports.invoker.run(this.running, () => this.withItsStream(args));
    } catch (error) {
      this.call.fail(error as GenRpcError);
    }
  }

  drain(): void {
    this.running.drain();
  }

  /** The node ends: caller and function are told. */
  abort({ code, message }: GenRpcError): void {
    const reason = new GenRpcError(code, message, { maybeExecuted: true });
    this.call.fail(reason);
    this.running.abort(reason);
  }

  release(_call: PendingCall, cancel: boolean): void {
    this.onEnd();
    if (cancel) this.running.abort(new GenRpcError('cancelled'));
  }

  mayHaveStarted(): boolean {
    return true;
  }

  used(_call: PendingCall, cost: number): void {
    this.flow.used(cost);
  }

  item(_call: RunningCall, given: unknown): void {
    this.deliver(() => {
      const { value, cost } = travelled(this.ports, given);
      this.flow.sent(cost);
      this.call.item(value, cost);
    });
  }

  headers(_call: RunningCall, headers: Headers): void {
    this.call.headers(headers);
  }

  isReady(): boolean {
    return this.flow.ready;
  }

  whenReady(_call: RunningCall, then: () => void): void {
    this.flow.whenReady(then);
  }

  done(_call: RunningCall, value: unknown): void {
    this.deliver(() => this.call.succeed(travelled(this.ports, value).value));
  }

  end(): void {
    this.call.succeed(undefined);
  }

  failed(_call: RunningCall, error: GenRpcError): void {
    const { code, message } = error;
    const maybeExecuted = code === 'handler_failed' || code === 'timeout';
    this.call.fail(new GenRpcError(code, message, { details: this.detailsOf(error), maybeExecuted }));
  }

  ended(): void {}

  private withItsStream(args: unknown): unknown {
    const { stream, single } = this.call.invocation;
    if (stream === undefined) return args;
    const { clock, journal } = this.ports;
    const travel = (value: unknown): Travelled => travelled(this.ports, value);
    const onThrow = (error: unknown): void => this.running.crash(error);
    const queue = localArgument(this.call, stream, { clock, journal, travel, onThrow });
    this.running.endArgument = (reason) => queue.fail(reason);
    return withStream(args, single, queue);
  }

  /** Details that cannot be sent are left out: the error itself must arrive. */
  private detailsOf(error: GenRpcError): unknown {
    try {
      return travelled(this.ports, error.details).value;
    } catch {
      return undefined;
    }
  }

  private deliver(deliver: () => void): void {
    try {
      deliver();
    } catch (cause) {
      const { code, message } = cause as GenRpcError;
      this.running.trace?.ended(code);
      this.call.giveUp(new GenRpcError(code, message, { maybeExecuted: true, cause }));
    }
  }
}

function callerOf(node: string): Caller {
  return { node, address: 'local' };
}

function encoded({ codec, maxMessageBytes }: LocalPorts, value: unknown): Payload {
  const payload = encodePayload(codec, value, maxMessageBytes);
  checkSize(payload, maxMessageBytes);
  return payload;
}

type Travelled = ReturnType<typeof travelled>;

function travelled(ports: LocalPorts, given: unknown) {
  const payload = encoded(ports, given);
  return { value: decodePayload(ports.codec, payload), cost: costOf(payload.bytes.length) };
}
