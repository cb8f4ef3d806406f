/** An authenticated conversation: frames both ways over a channel. Only `authenticate` makes one. */
import type { Channel } from '../driver/driver.js';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { deflated, inflated, type Compression } from '../protocol/compression.js';
import { FrameType, type Frame } from '../protocol/frame.js';
import type { ByteSink } from '../protocol/frame-encoder.js';
import {
  checkSize,
  decodePayload,
  encodePayload,
  type Codec,
  type Payload,
  type SharedPayload,
} from '../protocol/payload.js';
import type { Clock, Timer } from '../ports/clock.js';
import { Heartbeat, silence, type HeartbeatSettings } from './heartbeat.js';
import { PingGuard } from './ping-guard.js';
import { WriteBatch } from './write-batch.js';

/** The node at the other end, as the handshake proved it. */
export interface Peer {
  readonly node: string;
  /** Hex: tells this process of it from every other. */
  readonly incarnation: string;
  /** The part of it that processes serving one node together have in common. */
  readonly life: string;
  readonly address: string;
  /** Largest message that the peer accepts, in payload bytes. */
  readonly maxMessageBytes: number;
}

/** How many frames and bytes wait for each other before they are written, at most: they never wait beyond their turn. */
export interface Batching {
  readonly frames: number;
  readonly bytes: number;
}

/** How frames look in bytes: what two nodes agreed on in their handshake. */
export interface Wire {
  readonly peer: Peer;
  readonly codec: Codec;
  /** `undefined`: not agreed on. */
  readonly compression: Compression | undefined;
  /** How long a question and its answer took during the handshake. */
  readonly rttMs: number;
  readonly encoder: { encode(frame: Frame, sink: ByteSink): void };
  readonly decoder: {
    /** @throws GenRpcError when the bytes are outside the protocol. */
    push(bytes: Buffer, onFrame: (frame: Frame) => void): void;
    stop(): void;
    /** Frames handed out or passed over so far. */
    readonly frames: number;
    /** Is the next one half received? */
    readonly midFrame: boolean;
  };
}

export interface ConnectionSettings {
  /** A frame must be whole within this many ms of its first byte. */
  readonly frameReadTimeout: number;
  /** Bytes that wait must make progress within this many ms. */
  readonly sendTimeout: number;
  /** Above this many waiting bytes the connection is `congested`. */
  readonly maxQueuedBytes: number;
  /** Largest message that this side accepts and sends, in payload bytes. */
  readonly maxMessageBytes: number;
  readonly batching: Batching;
  /** As agreed on with the peer. `undefined`: a peer that is silent is not asked whether it is there. */
  readonly keepalive: HeartbeatSettings | undefined;
}

export interface ConnectionEvents {
  frame(frame: Frame): void;
  /** No frame comes or goes any more. Called exactly once. */
  closed(reason: GenRpcError): void;
}

type State = 'open' | 'closing' | 'closed';

export class Connection {
  /** Resolves when no frame comes or goes any more. */
  readonly ended: Promise<void>;
  private state: State = 'open';
  private resolveEnded: () => void = () => {};
  private endedBy: GenRpcError | undefined;
  private events: ConnectionEvents | undefined;
  private readonly batch = new WriteBatch();
  private flushScheduled = false;
  /** Bytes given to the channel since the beginning. */
  private handedOver = 0;
  private readTimer: Timer | undefined;
  /** The number of the frame that is half received, and since when. */
  private halfFrame = -1;
  private halfFrameSince = 0;
  private sendTimer: Timer | undefined;
  private readonly heartbeat: Heartbeat | undefined;
  private readonly pings: PingGuard;
  /** Where the last PING stands in the stream, and what had left when it was sent. */
  private question = { position: 0, written: 0 };
  private readonly onFrame = (frame: Frame): void => {
    if (frame.type === FrameType.Ping) this.pings.onPing();
    else if (frame.type === FrameType.Pong) this.pings.onPong();
    else this.events?.frame(frame);
  };
  private readonly onTurnEnd = (): void => {
    this.flushScheduled = false;
    this.flush();
  };

  constructor(
    private readonly channel: Channel,
    private readonly wire: Wire,
    private readonly clock: Clock,
    private readonly settings: ConnectionSettings,
  ) {
    this.ended = new Promise((resolve) => (this.resolveEnded = resolve));
    this.pings = new PingGuard(clock, this);
    if (settings.keepalive !== undefined) {
      this.heartbeat = new Heartbeat(clock, settings.keepalive, {
        ask: () => this.onQuestion(),
        dead: (silentMs) => this.onSilence(silentMs),
      });
    }
  }

  get peer(): Peer {
    return this.wire.peer;
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }

  /** Where the next frame will begin, in bytes since the beginning: see `hasWritten`. */
  get position(): number {
    return this.handedOver + this.batch.bytes;
  }

  get queuedBytes(): number {
    return this.batch.bytes + this.channel.queuedBytes;
  }

  /** Is so much waiting that nothing more should be added? */
  get congested(): boolean {
    return this.queuedBytes > this.settings.maxQueuedBytes;
  }

  /** Names the owner; `early` bytes, which came with the handshake's last frame, are the first it hears of. */
  open(events: ConnectionEvents, early: Buffer = Buffer.alloc(0)): void {
    if (this.endedBy !== undefined) return events.closed(this.endedBy);
    this.events = events;
    this.heartbeat?.start();
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
    const payload = shared === undefined ? encodePayload(codec, value) : shared.encode(codec, value);
    const limit = Math.min(this.settings.maxMessageBytes, this.peer.maxMessageBytes);
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

  /** Queues a frame for the turn's end. @throws GenRpcError when the frame cannot be written; nothing is sent then. */
  send(frame: Frame): void {
    if (this.state !== 'open') return;
    this.wire.encoder.encode(frame, this.batch);
    const { batching } = this.settings;
    if (this.batch.bytes >= batching.bytes || this.batch.frames >= batching.frames) return this.flush();
    if (this.flushScheduled) return;
    this.flushScheduled = true;
    this.clock.soon(this.onTurnEnd);
  }

  /** Has any byte from `position` on left for the peer? Asked when the connection is lost. */
  hasWritten(position: number): boolean {
    return position < this.written;
  }

  /** Flushes what was queued, then ends. Safe to repeat. */
  close(): void {
    if (this.state !== 'open') return;
    this.flush();
    this.state = 'closing';
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

  /** Bytes that have left since the beginning. */
  private get written(): number {
    return this.handedOver - this.channel.queuedBytes;
  }

  private flush(): void {
    if (this.batch.bytes === 0 || this.state !== 'open') return;
    this.handedOver += this.batch.bytes;
    if (!this.channel.send(this.batch.take())) this.watchProgress();
  }

  private onData(bytes: Buffer): void {
    if (this.state !== 'open') return;
    this.heartbeat?.heard();
    try {
      this.wire.decoder.push(bytes, this.onFrame);
    } catch (error) {
      return this.abort(isGenRpcError(error) ? error : new GenRpcError('protocol_error', undefined, { cause: error }));
    }
    this.watchRead();
  }

  /** A half frame has its time counted from its first byte, however often a byte of it trickles in. */
  private watchRead(): void {
    const { decoder } = this.wire;
    if (!decoder.midFrame || decoder.frames === this.halfFrame) return;
    this.halfFrame = decoder.frames;
    this.halfFrameSince = this.clock.now();
    if (this.readTimer === undefined) this.armReadTimer(this.settings.frameReadTimeout);
  }

  private armReadTimer(ms: number): void {
    this.readTimer = this.clock.after(ms, () => {
      this.readTimer = undefined;
      const { decoder } = this.wire;
      if (!decoder.midFrame) return;
      const left = this.settings.frameReadTimeout - (this.clock.now() - this.halfFrameSince);
      if (left > 0) return this.armReadTimer(left);
      this.abort(
        new GenRpcError('protocol_error', `A frame was not whole after ${this.settings.frameReadTimeout} ms.`),
      );
    });
  }

  private onQuestion(): void {
    this.question = { position: this.position, written: this.written };
    this.pings.ask();
  }

  /** A peer that takes what stands in front of the question is not dead: it has not come to it. */
  private onSilence(ms: number): void {
    const { position, written } = this.question;
    const onItsWay = !this.hasWritten(position) && this.written > written;
    if (onItsWay) this.heartbeat?.heard();
    else this.abort(silence(this.peer.node, ms));
  }

  private onDrain(): void {
    this.sendTimer?.cancel();
    this.sendTimer = undefined;
  }

  private watchProgress(): void {
    if (this.sendTimer !== undefined) return;
    const { written } = this;
    this.sendTimer = this.clock.after(this.settings.sendTimeout, () => {
      this.sendTimer = undefined;
      if (this.written > written) return this.watchProgress();
      this.abort(new GenRpcError('send_timeout', `The peer took no byte for ${this.settings.sendTimeout} ms.`));
    });
  }

  private onClosed(reason: GenRpcError): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.endedBy = reason;
    this.wire.decoder.stop();
    this.heartbeat?.stop();
    this.readTimer?.cancel();
    this.sendTimer?.cancel();
    this.resolveEnded();
    this.events?.closed(reason);
  }
}
