/** Calls of this node that wait for another attempt: on no connection, and so ended by nobody else. */
import { Idle } from '../connection/idle.js';
import type { GenRpcError } from '../protocol/errors.js';

export interface WaitingCall {
  /** The node closes. */
  end(reason: GenRpcError): void;
}

export class WaitingCalls {
  private readonly calls = new Set<WaitingCall>();
  private readonly whenIdle = new Idle();

  get size(): number {
    return this.calls.size;
  }

  add(call: WaitingCall): void {
    this.calls.add(call);
  }

  delete(call: WaitingCall): void {
    if (this.calls.delete(call) && this.size === 0) this.whenIdle.tell();
  }

  /** Resolves once there are none. */
  async idle(): Promise<void> {
    if (this.size > 0) await this.whenIdle.next();
  }

  close(reason: GenRpcError): void {
    for (const call of [...this.calls]) call.end(reason);
  }
}
