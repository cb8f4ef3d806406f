/** An authenticated conversation: frames both ways over a channel. Only `authenticate` makes one. */
import type { Channel } from '../driver/driver.js';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { deflated, inflated } from '../protocol/compression.js';
import { FrameType, type EndFrame, type Frame, type GoAwayFrame, type PayloadFrame } from '../protocol/frame.js';
import { checkSize, decodePayload, encodePayload, type Payload, type SharedPayload } from '../protocol/payload.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Buffered } from './buffers.js';
import type { Window } from './credit.js';
import { FrameReader } from './frame-reader.js';
import { FrameWriter } from './frame-writer.js';
import { Liveness } from './liveness.js';
import type { Outbox, Positioned } from './outbox.js';
import type { ConnectionEvents } from './owner.js';
import type { ConnectionSettings, Peer, Wire } from './wire.js';

type State = 'open' | 'closing' | 'closed';

/** More than this is not left to a peer that is dismissed. */
const MAX_DISMISSED_BYTES = 256 * 1024;
/** How long a connection that is being closed waits for its peer to take more of what is left. */
const CLOSE_TIMEOUT_MS = 5000;

export class Connection implements Buffered {
  /** Resolves when nothing comes or goes any more. */
  readonly ended: Promise<void>;
  private state: State = 'open';
  private resolveEnded: () => void = () => {};
  private endedBy: GenRpcError | undefined;
  private events: ConnectionEvents | undefined;
  private readonly writer: FrameWriter;
  private readonly reader: FrameReader;
  private readonly liveness: Liveness;
  private closeTimer: Timer | undefined;

  constructor(
    private readonly channel: Channel,
    private readonly wire: Wire,
    private readonly clock: Clock,
    private readonly settings: ConnectionSettings,
  ) {
    this.ended = new Promise((resolve) => (this.resolveEnded = resolve));
    this.writer = new FrameWriter(channel, wire.encoder, clock, settings, (error) => this.abort(error));
    this.liveness = new Liveness(clock, settings.keepalive, wire.peer.node, this.writer, (error) => this.abort(error));
    this.reader = new FrameReader(wire.decoder, clock, settings, wire.rttMs, {
      frame: (frame) => this.onFrame(frame),
      grant: (frame) => this.write(frame),
      awaits: (frame) => this.isOpen && (this.events?.awaits(frame) ?? false),
      isKnown: (id) => !this.isOpen || (this.events?.isKnown(id) ?? false),
      late: () => this.events?.late(),
      fail: (error) => this.abort(error),
    });
  }

  get peer(): Peer {
    return this.wire.peer;
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }

  /** Where the next frame will begin, in bytes since the beginning: see `hasWritten`. */
  get position(): number {
    return this.writer.position;
  }

  /** Bytes that wait to be sent. */
  get queuedBytes(): number {
    return this.writer.queuedBytes;
  }

  get bufferedBytes(): number {
    return this.writer.queuedBytes + this.reader.bufferedBytes;
  }

  /** Is a message half here? */
  get isReceiving(): boolean {
    return this.reader.isReceiving;
  }

  /** Is so much waiting that nothing more should be added? */
  get congested(): boolean {
    return this.queuedBytes > this.settings.maxQueuedBytes;
  }

  /** Does so much of one stream wait that its source, which cannot be told to wait, must be stopped? */
  isOverfull(stream: Outbox): boolean {
    return stream.bytes > 2 * this.settings.maxMessageBytes || this.congested;
  }

  /** Names the owner; `early` bytes, which came with the handshake's last frame, are the first it hears of. */
  open(events: ConnectionEvents, early: Buffer = Buffer.alloc(0)): void {
    if (this.endedBy !== undefined) return events.closed(this.endedBy);
    this.events = events;
    this.liveness.start();
    this.channel.open({
      data: (bytes) => this.onData(bytes),
      drain: () => this.onDrain(),
      closed: (reason) => this.onClosed(reason),
    });
    if (early.length > 0) this.onData(early);
  }

  /**
   * The bytes of a value, as both ends have agreed to write them.
   * @throws GenRpcError `encode_error`; `message_too_large` for either of them.
   */
  encode(value: unknown, shared?: SharedPayload): Payload {
    const { codec } = this.wire;
    const limit = Math.min(this.settings.maxMessageBytes, this.peer.maxMessageBytes);
    const payload = shared === undefined ? encodePayload(codec, value, limit) : shared.encode(codec, value, limit);
    checkSize(payload, limit);
    const { compression } = this.wire;
    return compression === undefined ? payload : deflated(payload, compression);
  }

  /** The way back. @throws GenRpcError `protocol_error`, `message_too_large`. */
  decode(payload: Payload): unknown {
    const limit = this.settings.maxMessageBytes;
    checkSize(payload, limit);
    return decodePayload(this.wire.codec, inflated(payload, limit));
  }

  /**
   * Queues a frame for the turn's end; a large one, for when its turn comes.
   * @param mark told where it begins
   * @throws GenRpcError when the frame cannot be written; nothing is sent then.
   */
  send(frame: Parameters<FrameWriter['send']>[0], mark?: Positioned): void {
    if (this.state !== 'open') return;
    this.writer.send(frame, mark);
    this.noteBuffers();
  }

  /** A stream of items, or of casts, that this side sends. */
  openStream(id: number): Outbox {
    return this.writer.openStream(id);
  }

  /** As `send`, on a stream: items, and in order with them what begins or ends it. */
  sendOn(stream: Outbox, frame: PayloadFrame | EndFrame, mark?: Positioned): void {
    if (this.state !== 'open') return;
    this.writer.sendOn(stream, frame, mark);
    this.noteBuffers();
  }

  /**
   * Nothing more is sent for this number, nor waited for. Safe to repeat.
   * Returns whether a message was half sent: the peer, if it waits for the rest, must be told.
   */
  forget(id: number): boolean {
    this.reader.drop(id);
    return this.writer.withdraw(id);
  }

  /** Nothing more is sent for this number. Safe to repeat. */
  withdraw(id: number): void {
    this.writer.withdraw(id);
  }

  /** What is half here of a message on this stream is not waited for. Safe to repeat. */
  ignore(id: number): void {
    this.reader.drop(id);
  }

  /** For a stream that the peer sends. */
  newWindow(): Window {
    return this.reader.newWindow();
  }

  /** What arrived on a stream was used: the peer may send as much again. */
  free(id: number, window: Window, bytes: number): void {
    this.reader.free(id, window, bytes);
  }

  /** Runs `then` once the peer has seen everything that was sent before; never, if it does not answer. */
  ping(then: () => void): void {
    this.liveness.ping(then);
  }

  /** Has any byte from `position` on left for the peer? Asked when the connection is lost. */
  hasWritten(position: number): boolean {
    return this.writer.hasWritten(position);
  }

  /** Sends what was queued, as far as the peer takes it, then ends. Safe to repeat. */
  close(): void {
    if (this.state !== 'open') return;
    this.state = 'closing';
    this.writer.flush();
    if (this.writer.scheduledBytes === 0) return this.channel.close();
    this.waitForPeer();
  }

  /** While it closes: as long as the peer takes something of what is left. */
  private waitForPeer(): void {
    const { written } = this.writer;
    this.closeTimer = this.clock.after(CLOSE_TIMEOUT_MS, () => {
      if (this.writer.written > written) this.waitForPeer();
      else this.channel.close();
    });
  }

  /** As `abort`, but for a last frame that the peer may still take: the owner is told now, `ended` resolves behind that. */
  dismiss(last: GoAwayFrame, reason: GenRpcError): void {
    if (this.state !== 'open' || this.channel.queuedBytes > MAX_DISMISSED_BYTES) return this.abort(reason);
    this.state = 'closing';
    this.writer.send(last);
    this.writer.flush();
    this.stop(reason);
    this.channel.close();
  }

  /** Ends now; the owner is told `reason`. Safe to repeat. */
  abort(reason: GenRpcError): void {
    if (this.state === 'closed') return;
    this.channel.abort(reason);
    this.onClosed(reason);
  }

  /** `false`: this connection alone does not keep the process alive. */
  keepAlive(keep: boolean): void {
    this.channel.keepAlive(keep);
  }

  private write(frame: Parameters<FrameWriter['send']>[0]): void {
    if (this.endedBy === undefined) this.writer.send(frame);
  }

  private noteBuffers(): void {
    if (this.writer.isBehind) this.settings.buffers.note(this);
  }

  private onData(bytes: Buffer): void {
    if (this.endedBy !== undefined) return;
    this.liveness.heard();
    try {
      this.reader.push(bytes);
    } catch (error) {
      return this.abort(isGenRpcError(error) ? error : new GenRpcError('protocol_error', undefined, { cause: error }));
    }
    if (this.reader.bufferedBytes > 0) this.settings.buffers.note(this);
  }

  private onFrame(frame: Frame): void {
    switch (frame.type) {
      case FrameType.Ping:
        return this.liveness.onPing();
      case FrameType.Pong:
        return this.onPong();
      case FrameType.Credit:
        return this.onCredit(frame);
      case FrameType.Chunk:
        return;
      default:
        if (this.state === 'open') this.events?.frame(frame);
    }
  }

  private onCredit(frame: Parameters<FrameWriter['onCredit']>[0]): void {
    this.writer.onCredit(frame);
    this.closeWhenWritten();
  }

  /** While it closes: does nothing more wait for its turn? */
  private closeWhenWritten(): void {
    if (this.state !== 'closing' || this.writer.scheduledBytes > 0) return;
    this.closeTimer?.cancel();
    this.channel.close();
  }

  private onPong(): void {
    const ms = this.liveness.onPong();
    if (ms !== undefined) this.reader.roundTrip(ms);
  }

  private onDrain(): void {
    this.writer.onDrain();
    this.closeWhenWritten();
  }

  private onClosed(reason: GenRpcError): void {
    this.state = 'closed';
    this.settings.buffers.forget(this);
    this.resolveEnded();
    this.stop(reason);
  }

  /** Nothing more is read or written here. */
  private stop(reason: GenRpcError): void {
    if (this.endedBy !== undefined) return;
    this.endedBy = reason;
    this.closeTimer?.cancel();
    this.reader.stop();
    this.writer.stop();
    this.liveness.stop();
    this.events?.closed(reason);
  }
}
