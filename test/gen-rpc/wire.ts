/** A driver that a test looks over the shoulder of: what leaves by each of its channels, and where one breaks. */
import type {
  Channel,
  ChannelEvents,
  Driver,
  Endpoint,
  Listener,
  VerifiedCertificate,
} from '../../lib/driver/driver.js';
import { GenRpcError } from '../../lib/protocol/errors.js';

/** One end of a connection. */
export class WatchedChannel implements Channel {
  /** Bytes of each write. */
  readonly writes: number[] = [];
  /** Called before each write: what it does happens while those bytes are under way. */
  onWrite: ((bytes: Buffer) => void) | undefined;

  constructor(private readonly inner: Channel) {}

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

  /** This end is gone at once; what the other one sees is for the driver to tell. */
  kill(): void {
    this.inner.abort(new GenRpcError('connection_lost', 'The test killed this end.'));
  }

  open(events: ChannelEvents): void {
    this.inner.open(events);
  }

  send(chunks: readonly Uint8Array[]): boolean {
    const bytes = Buffer.concat(chunks);
    this.writes.push(bytes.length);
    this.onWrite?.(bytes);
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

/** Stands for the driver that it is given, under the same name. */
export class WatchedDriver implements Driver {
  /** Oldest first. */
  readonly dialled: WatchedChannel[] = [];
  readonly accepted: WatchedChannel[] = [];
  readonly name: string;

  constructor(private readonly inner: Driver) {
    this.name = inner.name;
  }

  async connect(endpoint: Endpoint, signal: AbortSignal): Promise<Channel> {
    const channel = new WatchedChannel(await this.inner.connect(endpoint, signal));
    this.dialled.push(channel);
    return channel;
  }

  listen(
    endpoint: Endpoint,
    onChannel: (channel: Channel) => void,
    onError: (error: Error) => void,
  ): Promise<Listener> {
    const onWatched = (inner: Channel): void => {
      const channel = new WatchedChannel(inner);
      this.accepted.push(channel);
      onChannel(channel);
    };
    return this.inner.listen(endpoint, onWatched, onError);
  }
}
