/** Calls of this node that wait for something else than a connection, for another attempt say: nobody else ends them. */
import { Idle } from '../connection/idle.js';
import type { GenRpcError } from '../protocol/errors.js';

export interface WaitingCall {
  /** Does it wait for more of its reply as well, so that it is counted where that is? */
  readonly isPending?: boolean;
  /** The node closes. */
  end(reason: GenRpcError): void;
}

export class WaitingCalls {
  private readonly calls = new Set<WaitingCall>();
  private readonly whenIdle = new Idle();
  private closed: GenRpcError | undefined;

  get size(): number {
    return this.calls.size;
  }

  /** Those that are counted nowhere else. */
  get notPending(): number {
    let count = 0;
    for (const { isPending = false } of this.calls) if (!isPending) count += 1;
    return count;
  }

  /** After `close` it is ended at once. */
  add(call: WaitingCall): void {
    this.calls.add(call);
    if (this.closed !== undefined) call.end(this.closed);
  }

  delete(call: WaitingCall): void {
    if (this.calls.delete(call) && this.size === 0) this.whenIdle.tell();
  }

  /** Resolves once there are none. */
  async idle(): Promise<void> {
    if (this.size > 0) await this.whenIdle.next();
  }

  close(reason: GenRpcError): void {
    this.closed ??= reason;
    for (const call of [...this.calls]) call.end(reason);
  }
}
