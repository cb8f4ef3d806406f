/** A driver that lets a test read, and change, what goes over its channels: above TLS, where nothing is encrypted. */
import type { Channel, ChannelEvents, Driver, Endpoint, ListenAt, Listener } from '../../lib/driver/driver.js';
import { ForwardingChannel } from './forwarding-channel.js';

export interface Tap {
  /** Called with bytes that leave; what it returns leaves instead. */
  sent?(bytes: Buffer): Buffer;
  /** The same for what arrives. */
  received?(bytes: Buffer): Buffer;
}

class TappedChannel extends ForwardingChannel {
  constructor(
    inner: Channel,
    private readonly tap: Tap,
  ) {
    super(inner);
  }

  override open(events: ChannelEvents): void {
    super.open({
      data: (bytes) => events.data(this.tap.received?.(Buffer.from(bytes)) ?? bytes),
      drain: () => events.drain(),
      closed: (reason) => events.closed(reason),
    });
  }

  override send(chunks: readonly Uint8Array[]): boolean {
    return super.send(this.tap.sent === undefined ? chunks : [this.tap.sent(Buffer.concat(chunks))]);
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
