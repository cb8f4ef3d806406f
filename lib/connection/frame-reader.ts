/** The incoming half of a connection: bytes to whole messages, and credit back to whoever sends them. */
import type { GenRpcError } from '../protocol/errors.js';
import {
  CAST_STREAM,
  CONNECTION_CREDIT,
  FrameType,
  ITEM_OVERHEAD,
  STREAM_CREDIT,
  type ChunkFrame,
  type CreditFrame,
  type Frame,
  type PayloadFrame,
} from '../protocol/frame.js';
import { corrupt, violation } from '../protocol/violation.js';
import type { Clock, Timer } from '../ports/clock.js';
import { Assembler } from './assembler.js';
import { Bandwidth } from './bandwidth.js';
import { costOf, Window } from './credit.js';

/** No more small casts than may run at once (`concurrency.casts`): those above that and the queue would be dropped. */
const MAX_CAST_WINDOW = 10_000 * ITEM_OVERHEAD;

/** How bytes become frames. */
export interface Decoder {
  /** @throws GenRpcError when the bytes are outside the protocol. */
  push(bytes: Buffer, onFrame: (frame: Frame) => void): void;
  stop(): void;
  /** Frames handed out or passed over so far. */
  readonly frames: number;
  /** Is the next one half received? */
  readonly midFrame: boolean;
}

export interface ReaderSettings {
  /** A frame must be whole within this many ms of its first byte; a message must go on within it. */
  readonly frameReadTimeout: number;
  /** The most that a peer may have on the way, over a connection and on each stream. */
  readonly maxWindow: number;
}

export interface ReaderEvents {
  /** Any frame but a chunk; of messages in chunks, once they are whole. */
  frame(frame: Frame): void;
  grant(frame: CreditFrame): void;
  /**
   * Does anybody wait for the message that begins so? If not, it is passed over.
   * @throws GenRpcError `protocol_error`.
   */
  awaits(frame: PayloadFrame): boolean;
  /** A chunk of a message that is not being received. Was there ever one of this number? */
  isKnown(id: number): boolean;
  late(): void;
  fail(error: GenRpcError): void;
}

export class FrameReader {
  private readonly assembler = new Assembler();
  private readonly window = new Window(CONNECTION_CREDIT);
  private readonly bandwidth: Bandwidth;
  /** Of casts alone: how fast other things come says nothing of how fast functions end. */
  private readonly castBandwidth: Bandwidth;
  private readTimer: Timer | undefined;
  /** While a frame or message is half received: how many frames there were, and since when there is no other. */
  private framesThen = -1;
  private standsSince = 0;
  private readonly onFrame = (frame: Frame): void => {
    if (frame.type === FrameType.Chunk) return this.onChunk(frame);
    if (frame.type === FrameType.Item) this.take(costOf(frame.payload.bytes.length));
    if (frame.type === FrameType.Cast) this.castBandwidth.arrived(costOf(frame.payload.bytes.length));
    if (this.assembler.size > 0) this.assembler.expectNone(frame);
    if (!('payload' in frame) || frame.total === undefined) return this.events.frame(frame);
    if (this.events.awaits(frame)) this.assembler.begin(frame, frame.total);
  };

  constructor(
    private readonly decoder: Decoder,
    private readonly clock: Clock,
    private readonly settings: ReaderSettings,
    roundTripMs: number,
    private readonly events: ReaderEvents,
  ) {
    this.bandwidth = new Bandwidth(clock, roundTripMs, settings.maxWindow);
    this.castBandwidth = new Bandwidth(clock, roundTripMs, Math.min(settings.maxWindow, MAX_CAST_WINDOW), 0);
  }

  /** Bytes that wait for the rest of their message. */
  get bufferedBytes(): number {
    return this.assembler.bytes;
  }

  /** Is a message half here? */
  get isReceiving(): boolean {
    return this.assembler.size > 0;
  }

  /** @throws GenRpcError `protocol_error`: the connection cannot go on. */
  push(bytes: Buffer): void {
    this.decoder.push(bytes, this.onFrame);
    this.watch();
  }

  roundTrip(ms: number): void {
    this.bandwidth.roundTrip(ms);
    this.castBandwidth.roundTrip(ms);
  }

  /** A window for a stream of items, or of casts, that the peer sends. */
  newWindow(): Window {
    return new Window(STREAM_CREDIT);
  }

  /** What arrived on a stream was used: the peer may send as much again. */
  free(id: number, window: Window, bytes: number): void {
    if (window.free(bytes)) this.grant(id, window);
  }

  /** Nobody waits for the rest of this message. */
  drop(id: number): void {
    this.assembler.drop(id);
  }

  stop(): void {
    this.decoder.stop();
    this.assembler.clear();
    this.readTimer?.cancel();
  }

  private onChunk(frame: ChunkFrame): void {
    this.take(frame.bytes.length);
    if (!this.assembler.has(frame.id)) return this.onStray(frame);
    const whole = this.assembler.add(frame);
    if (whole !== undefined) this.events.frame(whole);
  }

  private onStray({ id, more }: ChunkFrame): void {
    if (!this.events.isKnown(id)) throw corrupt(`a chunk of stream ${id}, on which nothing has begun`);
    if (!more) this.events.late();
  }

  /** Takes the price of what has arrived, and gives it back: what bounds memory is the credit of streams. */
  private take(bytes: number): void {
    if (!this.window.take(bytes)) throw violation('fc_violation', 'More was sent than there was credit for.');
    this.bandwidth.arrived(bytes);
    if (this.window.free(bytes)) this.grant(0);
  }

  /** Of the connection, and of a stream of it whose turn it is: what one grant says need no other say. */
  private grant(id: number, stream?: Window): void {
    const { bandwidth, castBandwidth, window } = this;
    window.grow(bandwidth.target());
    stream?.grow((id === CAST_STREAM ? castBandwidth : bandwidth).target());
    this.events.grant({ type: FrameType.Credit, id, connection: window.claim(), stream: stream?.claim() ?? 0 });
  }

  /** A half frame has its time counted from its first byte, however often a byte of it trickles in. */
  private watch(): void {
    const { frames } = this.decoder;
    if (!this.isHalf) {
      this.framesThen = -1;
      return;
    }
    if (frames !== this.framesThen) this.standsSince = this.clock.now();
    this.framesThen = frames;
    if (this.readTimer === undefined) this.arm(this.settings.frameReadTimeout);
  }

  private get isHalf(): boolean {
    return this.decoder.midFrame || this.isReceiving;
  }

  private arm(ms: number): void {
    this.readTimer = this.clock.after(ms, () => {
      this.readTimer = undefined;
      if (!this.isHalf) return;
      const left = this.settings.frameReadTimeout - (this.clock.now() - this.standsSince);
      if (left > 0) return this.arm(left);
      this.events.fail(corrupt(`a frame was not whole after ${this.settings.frameReadTimeout} ms`));
    });
  }
}
