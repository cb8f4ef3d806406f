/** What a handler gets to know about its call, by `@Ctx()`. */
import { BaseRpcContext } from '@nestjs/microservices';
import { Observable } from 'rxjs';
import type { PeerCertificate } from '../driver/driver.js';
import type { Observer } from '../protocol/invocation.js';
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

  /** Says something beside the reply: see `CallContext.setReplyHeader`. */
  setReplyHeader(name: string, value: string): void {
    this.call.setReplyHeader(name, value);
  }

  /** The calling node, as its handshake proved it: nothing that a message says can change it. */
  getNode(): string {
    return this.call.caller.node;
  }

  /** Where the calling node is. */
  getAddress(): string {
    return this.call.caller.address;
  }

  /** What the calling node showed of itself over TLS; `undefined` on other wires. */
  getCertificate(): PeerCertificate | undefined {
    return this.call.caller.certificate;
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

  /**
   * For a handler that makes the items of its reply itself: resolves once there is room for another. Also once nobody
   * waits for items any more, which `getSignal()` tells.
   */
  ready(): Promise<void> {
    return new Promise((resolve) => this.call.whenReady(resolve));
  }

  /** What `items` brings, as an Observable: the next one is asked for when the call has room for it. */
  paced<T>(items: AsyncIterable<T>): Observable<T> {
    const paced = this.call.paced(items);
    return new Observable<T>((observer) => paced.subscribe(observer as Observer));
  }

  /** See `CallContext.hold`. @internal for serializers */
  hold(): () => void {
    return this.call.hold();
  }

  private get call(): CallContext {
    return this.getArgByIndex(0);
  }
}
