/** A driver that lets a test read, and change, what goes over its channels: above TLS, where nothing is encrypted. */
import type {
  Channel,
  ChannelEvents,
  Driver,
  Endpoint,
  ListenAt,
  Listener,
  VerifiedCertificate,
} from '../../lib/driver/driver.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';

export interface Tap {
  /** Called with bytes that leave; what it returns leaves instead. */
  sent?(bytes: Buffer): Buffer;
  /** The same for what arrives. */
  received?(bytes: Buffer): Buffer;
}

class TappedChannel implements Channel {
  constructor(
    private readonly inner: Channel,
    private readonly tap: Tap,
  ) {}

  get channelBinding(): Uint8Array {
    return this.inner.channelBinding;
  }

  get certificate(): VerifiedCertificate | undefined {
    return this.inner.certificate;
  }

  get remoteAddress(): string {
    return this.inner.remoteAddress;
  }

  get queuedBytes(): number {
    return this.inner.queuedBytes;
  }

  open(events: ChannelEvents): void {
    this.inner.open({
      data: (bytes) => events.data(this.tap.received?.(Buffer.from(bytes)) ?? bytes),
      drain: () => events.drain(),
      closed: (reason) => events.closed(reason),
    });
  }

  send(chunks: readonly Uint8Array[]): boolean {
    return this.inner.send(this.tap.sent === undefined ? chunks : [this.tap.sent(Buffer.concat(chunks))]);
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

/** Stands for the driver that it is given, under the same name. */
export class TappedDriver implements Driver {
  readonly name: string;

  constructor(
    private readonly inner: Driver,
    private readonly tap: Tap,
  ) {
    this.name = inner.name;
  }

  async connect(endpoint: Endpoint, signal: AbortSignal): Promise<Channel> {
    return new TappedChannel(await this.inner.connect(endpoint, signal), this.tap);
  }

  listen(at: ListenAt, onChannel: (channel: Channel) => void, onError: (error: Error) => void): Promise<Listener> {
    return this.inner.listen(at, (channel) => onChannel(new TappedChannel(channel, this.tap)), onError);
  }
}
