/** A channel from the moment its socket is accepted: its owner counts it, and can end it, while TLS is being set up. */
import type { Socket } from 'node:net';
import { setImmediate } from 'node:timers';
import { GenRpcError } from '../protocol/errors.js';
import type { Channel, ChannelEvents, VerifiedCertificate } from './driver.js';
import { addressOf, lost, type SocketChannel } from './socket-channel.js';

type State =
  { name: 'securing' } | { name: 'secured'; channel: SocketChannel } | { name: 'closed'; reason: GenRpcError };

export class AcceptedTlsChannel implements Channel {
  readonly remoteAddress: string;
  readonly localPort: number | undefined;
  private state: State = { name: 'securing' };
  private events: ChannelEvents | undefined;
  private waiting: Uint8Array[] = [];
  private reason: GenRpcError | undefined;

  constructor(private readonly raw: Socket) {
    this.remoteAddress = addressOf(raw);
    this.localPort = raw.localPort;
    raw.on('error', () => {});
    // Whoever sets TLS up speaks behind this, if he has anything to say.
    raw.once('close', () => setImmediate(() => this.fail(lost())));
  }

  /** Has its owner, or the peer, ended it before TLS was set up? */
  get isOver(): boolean {
    return this.raw.destroyed;
  }

  get channelBinding(): Uint8Array {
    return this.secured.channelBinding;
  }

  get certificate(): VerifiedCertificate | undefined {
    return this.secured.certificate;
  }

  get queuedBytes(): number {
    if (this.state.name === 'secured') return this.state.channel.queuedBytes;
    return this.waiting.reduce((bytes, chunk) => bytes + chunk.length, 0);
  }

  open(events: ChannelEvents): void {
    this.events = events;
    if (this.state.name === 'secured') this.state.channel.open(events);
    else if (this.state.name === 'closed') events.closed(this.state.reason);
  }

  send(chunks: readonly Uint8Array[]): boolean {
    if (this.state.name === 'secured') return this.state.channel.send(chunks);
    this.waiting.push(...chunks);
    return false;
  }

  /** While TLS is being set up there is nobody yet to whom anything could be flushed. */
  close(): void {
    if (this.state.name === 'secured') this.state.channel.close();
    else this.abort(lost());
  }

  abort(reason: GenRpcError): void {
    if (this.state.name === 'secured') return this.state.channel.abort(reason);
    this.reason ??= reason;
    this.raw.destroy();
  }

  keepAlive(keep: boolean): void {
    if (this.state.name === 'secured') this.state.channel.keepAlive(keep);
    else if (keep) this.raw.ref();
    else this.raw.unref();
  }

  /** TLS is set up, and the peer verified. */
  secure(channel: SocketChannel): void {
    if (this.state.name !== 'securing' || this.reason !== undefined) {
      return channel.abort(this.reason ?? lost());
    }
    this.state = { name: 'secured', channel };
    const { events, waiting } = this;
    this.waiting = [];
    if (events !== undefined) channel.open(events);
    if (waiting.length > 0 && channel.send(waiting)) events?.drain();
  }

  /** It will not be. */
  fail(reason: GenRpcError): void {
    if (this.state.name !== 'securing') return;
    this.raw.destroy();
    const heard = this.raw.bytesRead;
    this.state = { name: 'closed', reason: this.reason ?? (heard === 0 ? lost(undefined, heard) : reason) };
    this.events?.closed(this.state.reason);
  }

  private get secured(): SocketChannel {
    if (this.state.name === 'secured') return this.state.channel;
    throw new GenRpcError('connection_lost', 'There is no TLS on this channel.');
  }
}
