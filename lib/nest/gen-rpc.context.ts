/** What a handler gets to know about its call, by `@Ctx()`. */
import { BaseRpcContext } from '@nestjs/microservices';
import type { CallContext } from '../server/module-registry.js';

export class GenRpcContext extends BaseRpcContext<[call: CallContext, pattern: string]> {
  /** The pattern that was called, normalised. */
  getPattern(): string {
    return this.getArgByIndex(1);
  }

  /** Headers and dispatch-hook metadata of the caller; `undefined` when there are none. */
  getMetadata(): Record<string, string> | undefined {
    const { headers } = this.call;
    return headers === undefined ? undefined : Object.fromEntries(headers);
  }

  /** The calling node, as its handshake proved it: nothing that a message says can change it. */
  getNode(): string {
    return this.call.caller.node;
  }

  /** Where the calling node is. */
  getAddress(): string {
    return this.call.caller.address;
  }

  /** ms left of the caller's deadline; `Infinity` for an event. */
  getRemainingTime(): number {
    return this.call.remainingMs();
  }

  /** See `CallContext.callKey`. */
  getCallKey(): string | undefined {
    return this.call.callKey;
  }

  /** Aborts when nobody waits for the result any more; for an event, when this node closes. */
  getSignal(): AbortSignal {
    return this.call.signal;
  }

  /** Aborts when this node begins to drain: see `CallContext.drainSignal`. */
  getDrainSignal(): AbortSignal {
    return this.call.drainSignal;
  }

  private get call(): CallContext {
    return this.getArgByIndex(0);
  }
}
