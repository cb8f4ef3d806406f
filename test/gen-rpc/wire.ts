/** A driver that a test looks over the shoulder of: what leaves by each of its channels, and where one breaks. */
import type { Channel, Driver, Endpoint, Listener } from '../../lib/driver/driver.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { ForwardingChannel } from '../support/forwarding-channel.js';

/** One end of a connection. */
export class WatchedChannel extends ForwardingChannel {
  /** Bytes of each write. */
  readonly writes: number[] = [];
  /** Called before each write: what it does happens while those bytes are under way. */
  onWrite: ((bytes: Buffer) => void) | undefined;

  /** This end is gone at once; what the other one sees is for the driver to tell. */
  kill(): void {
    this.abort(new GenRpcError('connection_lost', 'The test killed this end.'));
  }

  override send(chunks: readonly Uint8Array[]): boolean {
    const bytes = Buffer.concat(chunks);
    this.writes.push(bytes.length);
    this.onWrite?.(bytes);
    return super.send(chunks);
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
