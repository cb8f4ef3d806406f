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
  private unsent: number | undefined;
  private closeTimer: Timer | undefined;

  constructor(
    private readonly socket: Socket,
    private readonly clock: Clock,
  ) {
    this.remoteAddress = socket.remoteAddress ?? 'unknown';
    socket.on('error', (cause) => (this.reason ??= lost(cause)));
    socket.on('close', () => this.onClose());
  }

  get queuedBytes(): number {
    return this.unsent ?? this.socket.writableLength;
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
    if (!socket.writable) return false;
    const [only] = chunks;
    if (chunks.length === 1 && only !== undefined) return socket.write(only);
    socket.cork();
    let free = true;
    for (const chunk of chunks) free = socket.write(chunk);
    socket.uncork();
    return free;
  }

  close(): void {
    if (this.closed || this.closeTimer !== undefined) return;
    this.closeTimer = this.clock.after(CLOSE_TIMEOUT_MS, () => this.socket.destroy());
    this.socket.destroySoon();
  }

  abort(reason: GenRpcError): void {
    this.reason ??= reason;
    this.unsent ??= this.socket.writableLength;
    this.socket.destroy();
  }

  keepAlive(keep: boolean): void {
    if (keep) this.socket.ref();
    else this.socket.unref();
  }

  private onClose(): void {
    this.closed = true;
    this.closeTimer?.cancel();
    this.events?.closed(this.reason ?? lost());
  }
}

function lost(cause?: Error & { code?: string }): GenRpcError {
  if (cause === undefined) return new GenRpcError('connection_lost', 'The peer closed the connection.');
  const code = cause.code ?? cause.name;
  return new GenRpcError('connection_lost', `The connection broke (${code}).`, { cause, details: { cause: code } });
}
