/** A call of a node to itself: no socket, the same rules. */
import { encodePayload, decodePayload, type Codec } from '../protocol/payload.js';
import { GenRpcError } from '../protocol/errors.js';
import type { CallCarrier, PendingCall } from '../client/pending-calls.js';
import type { Invoker } from '../server/invoker.js';
import { RunningCall, type Answers, type Caller, type CallPorts } from '../server/running-call.js';
import type { Invocation } from '../protocol/invocation.js';

export interface LocalPorts extends CallPorts {
  readonly node: string;
  readonly codec: Codec;
  readonly invoker: Invoker;
}

/** Values are encoded and decoded as if they had travelled, so that local and remote calls cannot differ. */
export class LocalCalls {
  private readonly pending = new Set<LocalCall>();

  constructor(private readonly ports: LocalPorts) {}

  get size(): number {
    return this.pending.size;
  }

  call(call: PendingCall): void {
    const local = new LocalCall(call, this.ports, () => this.pending.delete(local));
    this.pending.add(local);
    local.run();
  }

  /** @throws GenRpcError `encode_error`. */
  cast(invocation: Invocation): void {
    const args = travelled(this.ports.codec, invocation.args);
    const caller = callerOf(this.ports.node);
    this.ports.invoker.run(new RunningCall(0, invocation, caller, Infinity, NO_ANSWERS, this.ports), () => args);
  }

  close(reason: GenRpcError): void {
    for (const local of [...this.pending]) local.abort(reason);
  }
}

const NO_ANSWERS: Answers = { item() {}, done() {}, failed() {}, ended() {} };

class LocalCall implements CallCarrier, Answers {
  private readonly running: RunningCall;

  constructor(
    private readonly call: PendingCall,
    private readonly ports: LocalPorts,
    private readonly onEnd: () => void,
  ) {
    this.running = new RunningCall(1, call.invocation, callerOf(ports.node), call.deadlineAt, this, ports);
    call.carrier = this;
  }

  run(): void {
    try {
      const args = travelled(this.ports.codec, this.call.invocation.args);
      this.ports.invoker.run(this.running, () => args);
    } catch (error) {
      this.call.fail(error as GenRpcError);
    }
  }

  abort(reason: GenRpcError): void {
    this.call.fail(reason);
  }

  release(_call: PendingCall, cancel: boolean): void {
    this.onEnd();
    if (cancel) this.running.abort(new GenRpcError('cancelled'));
  }

  mayHaveStarted(): boolean {
    return true;
  }

  item(_call: RunningCall, value: unknown): void {
    this.deliver(() => this.call.item(travelled(this.ports.codec, value)));
  }

  done(_call: RunningCall, value: unknown): void {
    this.deliver(() => this.call.succeed(travelled(this.ports.codec, value)));
  }

  failed(_call: RunningCall, error: GenRpcError): void {
    const { code, message } = error;
    const maybeExecuted = code === 'handler_failed';
    this.call.fail(new GenRpcError(code, message, { details: this.detailsOf(error), maybeExecuted }));
  }

  ended(): void {}

  /** Details that cannot be sent are left out: the error itself must arrive. */
  private detailsOf(error: GenRpcError): unknown {
    try {
      return travelled(this.ports.codec, error.details);
    } catch {
      return undefined;
    }
  }

  private deliver(deliver: () => void): void {
    try {
      deliver();
    } catch (cause) {
      const { code, message } = cause as GenRpcError;
      this.call.giveUp(new GenRpcError(code, message, { maybeExecuted: true, cause }));
    }
  }
}

function callerOf(node: string): Caller {
  return { node, address: 'local' };
}

function travelled(codec: Codec, value: unknown): unknown {
  return decodePayload(codec, encodePayload(codec, value));
}
