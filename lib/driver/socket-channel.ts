/** A channel over a Node socket. The only place that knows the events of one. */
import type { Socket } from 'node:net';
import { GenRpcError } from '../protocol/errors.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Channel, ChannelEvents } from './driver.js';

/** How long a closed channel may take to flush. */
const CLOSE_TIMEOUT_MS = 5000;

export class SocketChannel implements Channel {
  readonly remoteAddress: string;
  private events: ChannelEvents | undefined;
  private reason: GenRpcError | undefined;
  private closed = false;
  private ended = false;
  /** Bytes given to the socket, and those among them that the system was asked to take: it may have taken any of these. */
  private given = 0;
  private asked = 0;
  /** Bytes that came when nothing could be sent any more. */
  private dropped = 0;
  private closeTimer: Timer | undefined;
  private readonly onWritten = (error?: Error | null): void => {
    // A socket that has written asks at once for everything that has gathered meanwhile.
    if (!error) this.asked = this.given;
  };

  constructor(
    private readonly socket: Socket,
    private readonly clock: Clock,
  ) {
    this.remoteAddress = socket.remoteAddress ?? 'unknown';
    socket.on('error', (cause) => (this.reason ??= lost(cause)));
    socket.on('close', () => this.onClose());
  }

  get queuedBytes(): number {
    return this.dropped + (this.ended ? this.given - this.asked : this.socket.writableLength);
  }

  open(events: ChannelEvents): void {
    const first = this.events === undefined;
    this.events = events;
    if (this.closed) return events.closed(this.reason ?? lost());
    if (!first) return;
    this.socket.on('data', (bytes: Buffer) => this.events?.data(bytes));
    this.socket.on('drain', () => this.events?.drain());
  }

  send(chunks: readonly Uint8Array[]): boolean {
    const { socket } = this;
    const bytes = lengthOf(chunks);
    if (!socket.writable) {
      this.dropped += bytes;
      return false;
    }
    const atOnce = socket.writableLength === 0;
    const free = this.write(chunks);
    this.given += bytes;
    if (atOnce) this.asked = this.given;
    return free;
  }

  close(): void {
    if (this.closed || this.closeTimer !== undefined) return;
    this.closeTimer = this.clock.after(CLOSE_TIMEOUT_MS, () => this.socket.destroy());
    this.socket.destroySoon();
  }

  abort(reason: GenRpcError): void {
    this.reason ??= reason;
    this.ended = true;
    this.socket.destroy();
  }

  keepAlive(keep: boolean): void {
    if (keep) this.socket.ref();
    else this.socket.unref();
  }

  private write(chunks: readonly Uint8Array[]): boolean {
    const { socket } = this;
    const [only] = chunks;
    if (chunks.length === 1 && only !== undefined) return socket.write(only, this.onWritten);
    socket.cork();
    let free = true;
    for (const chunk of chunks) free = socket.write(chunk, this.onWritten);
    socket.uncork();
    return free;
  }

  private onClose(): void {
    this.closed = true;
    this.ended = true;
    this.closeTimer?.cancel();
    this.events?.closed(this.reason ?? lost());
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  let length = 0;
  for (const chunk of chunks) length += chunk.length;
  return length;
}

function lost(cause?: Error & { code?: string }): GenRpcError {
  if (cause === undefined) return new GenRpcError('connection_lost', 'The peer closed the connection.');
  const code = cause.code ?? cause.name;
  return new GenRpcError('connection_lost', `The connection broke (${code}).`, { cause, details: { cause: code } });
}
