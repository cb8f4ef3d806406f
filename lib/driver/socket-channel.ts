/** A channel over a Node socket. The only place that knows the events of one. */
import type { Socket } from 'node:net';
import { GenRpcError } from '../protocol/errors.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Channel, ChannelEvents, VerifiedCertificate } from './driver.js';
import type { SocketReads } from './socket-reads.js';

/** How long a closed channel may take to flush: since it was closed, or since the system last took all that it was given. */
const CLOSE_TIMEOUT_MS = 5000;
/**
 * A socket that holds this much is given no more. Nobody can say how much of what it holds the system has taken when it
 * breaks; what waits here has certainly not left.
 */
const HOLD_BYTES = 64 * 1024;

/** What a socket is known by at both its ends. */
export interface Security {
  readonly channelBinding: Uint8Array;
  readonly certificate: VerifiedCertificate | undefined;
}

/** Plain TCP has nothing of its own to bind a handshake to. */
const PLAIN: Security = { channelBinding: new Uint8Array(32), certificate: undefined };

export class SocketChannel implements Channel {
  readonly channelBinding: Uint8Array;
  readonly certificate: VerifiedCertificate | undefined;
  readonly remoteAddress: string;
  readonly localPort: number | undefined;
  private events: ChannelEvents | undefined;
  private reason: GenRpcError | undefined;
  private closed = false;
  private ended = false;
  private waiting: Uint8Array[] = [];
  /** Those before this one were handed on. */
  private nextWaiting = 0;
  private waitingBytes = 0;
  private closeTimer: Timer | undefined;
  private readonly holdBytes: number;

  /** @param reads what the socket was made to read into; `undefined`: it emits what it reads */
  constructor(
    private readonly socket: Socket,
    private readonly clock: Clock,
    private readonly reads?: SocketReads,
    { channelBinding, certificate }: Security = PLAIN,
  ) {
    this.channelBinding = channelBinding;
    this.certificate = certificate;
    // Below its own mark a socket would not tell when it has room again.
    this.holdBytes = Math.max(HOLD_BYTES, socket.writableHighWaterMark);
    this.remoteAddress = addressOf(socket);
    this.localPort = socket.localPort;
    // What comes before there is an owner is kept by the socket, as far as it has room.
    if (reads !== undefined) reads.onBytes = (bytes) => socket.push(Buffer.from(bytes));
    socket.on('error', (cause) => this.onError(cause));
    socket.on('close', () => this.onClose());
  }

  get queuedBytes(): number {
    return this.waitingBytes + (this.ended ? 0 : this.socket.writableLength);
  }

  open(events: ChannelEvents): void {
    const first = this.events === undefined;
    this.events = events;
    if (this.closed) return events.closed(this.reason ?? lost());
    if (!first) return;
    const onBytes = (bytes: Buffer): true => {
      if (this.closeTimer === undefined) this.events?.data(bytes);
      return true;
    };
    this.socket.on('data', onBytes);
    if (this.reads !== undefined) this.reads.onBytes = onBytes;
    this.socket.on('drain', () => this.onDrain());
    // Whoever ends its half hears no answer: waiting until it takes what is left could be for ever.
    this.socket.on('end', () => this.socket.destroy());
    this.socket.resume();
  }

  send(chunks: readonly Uint8Array[]): boolean {
    const { socket } = this;
    const full = this.waiting.length > 0 || socket.writableLength >= this.holdBytes;
    if (full || !socket.writable) return this.hold(chunks);
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
    this.waitForFlush();
    if (this.waiting.length === 0) this.finish();
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

  private hold(chunks: readonly Uint8Array[]): false {
    for (const chunk of chunks) {
      this.waiting.push(chunk);
      this.waitingBytes += chunk.length;
    }
    return false;
  }

  /**
   * Waits for the peer to end too, and reads until then: a socket that is closed while something still comes is reset by
   * the system, and what the peer has not read by then is lost to it.
   */
  private finish(): void {
    this.socket.end();
    this.socket.resume();
  }

  private waitForFlush(): void {
    this.closeTimer?.cancel();
    this.closeTimer = this.clock.after(CLOSE_TIMEOUT_MS, () => this.socket.destroy());
  }

  private onDrain(): void {
    this.handOn();
    if (this.closeTimer !== undefined) this.waitForFlush();
    if (this.waiting.length > 0 || this.socket.writableNeedDrain) return;
    if (this.closeTimer === undefined) this.events?.drain();
    else this.finish();
  }

  /** Gives the socket as much of what waits as it may hold, in one write. */
  private handOn(): void {
    const { socket, waiting } = this;
    socket.cork();
    while (this.nextWaiting < waiting.length && socket.writableLength < this.holdBytes) {
      const chunk = waiting[this.nextWaiting] ?? new Uint8Array(0);
      this.nextWaiting += 1;
      this.waitingBytes -= chunk.length;
      socket.write(chunk);
    }
    socket.uncork();
    if (this.nextWaiting < waiting.length) return;
    this.waiting = [];
    this.nextWaiting = 0;
  }

  /** A record of TLS that is broken is an error, and by itself not the end. */
  private onError(cause: Error): void {
    this.reason ??= lost(cause, this.bytesHeard);
    this.socket.destroy();
  }

  /** Over TLS the peer has said much by now, which the socket does not count. */
  private get bytesHeard(): number | undefined {
    return this.certificate === undefined ? this.socket.bytesRead : undefined;
  }

  private onClose(): void {
    this.closed = true;
    this.ended = true;
    this.closeTimer?.cancel();
    this.events?.closed(this.reason ?? lost(undefined, this.bytesHeard));
  }
}

/** An IPv4 peer of a listener for both is one address, however the system spells it (RFC 4291, 2.5.5.2). */
export function addressOf(socket: Socket): string {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/i, '') ?? 'unknown';
}

/** @param heard bytes that the peer has sent */
export function lost(cause?: Error & { code?: string }, heard?: number): GenRpcError {
  const code = cause?.code ?? cause?.name;
  const details = { ...(code === undefined ? {} : { cause: code }), ...(heard === 0 ? { heard } : {}) };
  const message = code === undefined ? 'The peer closed the connection.' : `The connection broke (${code}).`;
  return new GenRpcError('connection_lost', message, {
    cause,
    details: Object.keys(details).length === 0 ? undefined : details,
  });
}

/** Did the peer leave without a word, as whoever only looks whether a port is open? */
export function saidNothing({ code, details }: GenRpcError): boolean {
  return code === 'connection_lost' && (details as { heard?: number } | undefined)?.heard === 0;
}
