/** A channel in front of another, for those who look at what passes: all of it passes. */
import type { Channel, ChannelEvents, VerifiedCertificate } from '../../lib/driver/driver.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';

export class ForwardingChannel implements Channel {
  constructor(protected readonly inner: Channel) {}

  get channelBinding(): Uint8Array {
    return this.inner.channelBinding;
  }

  get certificate(): VerifiedCertificate | undefined {
    return this.inner.certificate;
  }

  get remoteAddress(): string {
    return this.inner.remoteAddress;
  }

  get localPort(): number | undefined {
    return this.inner.localPort;
  }

  get queuedBytes(): number {
    return this.inner.queuedBytes;
  }

  open(events: ChannelEvents): void {
    this.inner.open(events);
  }

  send(chunks: readonly Uint8Array[]): boolean {
    return this.inner.send(chunks);
  }

  close(): void {
    this.inner.close();
  }

  abort(reason: GenRpcError): void {
    this.inner.abort(reason);
  }

  keepAlive(keep: boolean): void {
    this.inner.keepAlive(keep);
  }
}
