/** The outgoing half of a connection: what is small leaves at once, what is large waits for its turn and for credit. */
import type { Channel } from '../driver/driver.js';
import { GenRpcError } from '../protocol/errors.js';
import {
  CONNECTION_CREDIT,
  FrameType,
  MAX_WHOLE_BYTES,
  STREAM_CREDIT,
  type CallFrame,
  type CastFrame,
  type CreditFrame,
  type EndFrame,
  type ErrorFrame,
  type Frame,
  type ItemFrame,
  type PayloadFrame,
  type ResultFrame,
} from '../protocol/frame.js';
import type { ByteSink } from '../protocol/frame-encoder.js';
import { violation } from '../protocol/violation.js';
import type { Clock, Timer } from '../ports/clock.js';
import { Credit } from './credit.js';
import { MAX_RUN_PAYLOAD_BYTES } from './item-run.js';
import { Outbox, payloadBytesOf, streamCostOf, type Positioned } from './outbox.js';
import { WriteBatch } from './write-batch.js';
import { WriteScheduler, type ScheduledWrites } from './write-scheduler.js';

/** How many frames and bytes wait for each other before they are written, at most: they never wait beyond their turn. */
export interface Batching {
  readonly frames: number;
  readonly bytes: number;
  /** How many times as much may wait for a later write of the same turn; each has twice as much as the one before. */
  readonly growth: number;
}

export interface WriterSettings {
  /** Bytes that wait for the peer to read must make progress within this many ms. */
  readonly sendTimeout: number;
  readonly batching: Batching;
}

/** Frames to bytes: see `FrameEncoder`. */
export interface Encoder {
  encode(frame: Frame, sink: ByteSink): void;
  kept<F extends Frame>(frame: F): F;
}

/** What the channel may hold before what is large has to wait: a small frame comes behind it. */
const CHANNEL_BYTES = 64 * 1024;
/** What is gathered for one write, of what is large. */
const BULK_WRITE_BYTES = 128 * 1024;
/**
 * Items follow each other: their reader need not have the first of them as soon as can be. With writes as small as those
 * of calls a stream of small ones brings a fifth fewer a second.
 */
const ITEM_BATCHING: Batching = { frames: Infinity, bytes: 4096, growth: 1 };
/** Grants for each item or chunk that was sent: a peer that thanks for every byte costs more than it allows. */
const MAX_GRANTS_AHEAD = 1000;
const GRANTS_PER_FRAME = 10;

export class FrameWriter implements ScheduledWrites {
  private readonly batch = new WriteBatch();
  private readonly credit = new Credit(CONNECTION_CREDIT);
  private readonly scheduler = new WriteScheduler(this.credit, this);
  private readonly boxes = new Map<number, Outbox>();
  private flushScheduled = false;
  /** How much larger than the first write of this turn the next one may be: the peer has something to do by now. */
  private growth = 1;
  /** Bytes given to the channel since the beginning. */
  private handedOver = 0;
  private grantsAhead = 0;
  private sendTimer: Timer | undefined;
  private creditTimer: Timer | undefined;
  /** Credit that the connection was given since the beginning. */
  private granted = 0;
  private stopped = false;
  private readonly onTurnEnd = (): void => {
    this.growth = 1;
    this.flushScheduled = false;
    this.flush();
  };

  /** @param onStuck the channel has taken no byte for `sendTimeout` */
  constructor(
    private readonly channel: Channel,
    private readonly encoder: Encoder,
    private readonly clock: Clock,
    private readonly settings: WriterSettings,
    private readonly onStuck: (error: GenRpcError) => void,
  ) {}

  /** Where the next frame will begin, in bytes since the beginning: see `hasWritten`. */
  get position(): number {
    return this.handedOver + this.batch.bytes;
  }

  /** Bytes that have left since the beginning. */
  get written(): number {
    return this.handedOver - this.channel.queuedBytes;
  }

  get queuedBytes(): number {
    return this.scheduler.queuedBytes + this.batch.bytes + this.channel.queuedBytes;
  }

  /** Bytes that wait for their turn or for credit. */
  get scheduledBytes(): number {
    return this.scheduler.queuedBytes;
  }

  /** Does anything wait that the peer, or its credit, is in the way of? */
  get isBehind(): boolean {
    return this.sendTimer !== undefined || this.scheduler.queuedBytes > 0;
  }

  /** Has any byte from `position` on left for the peer? Asked when the connection is lost. */
  hasWritten(position: number): boolean {
    return position < this.written;
  }

  /**
   * Queues a frame for the turn's end; a large one, for when its turn comes.
   * @param mark told where it begins
   * @throws GenRpcError when the frame cannot be written; nothing is sent then.
   */
  send(frame: Exclude<Frame, ItemFrame | EndFrame | CastFrame>, mark?: Positioned): void {
    if (isLarge(frame)) return this.sendLarge(frame, mark);
    if (mark !== undefined) mark.position = this.position;
    this.encoder.encode(frame, this.batch);
    this.flushSoon();
  }

  /** Sends on a stream with credit of its own: items or casts, and in order with them what begins or ends it. */
  sendOn(box: Outbox, frame: PayloadFrame | EndFrame, mark?: Positioned): void {
    const bytes = payloadBytesOf(frame);
    const cost = streamCostOf(frame);
    const isItem = frame.type === FrameType.Item;
    box.ended = frame.type === FrameType.End || frame.type === FrameType.Error;
    if (box.queue.length > 0 || bytes > MAX_WHOLE_BYTES) return this.schedule(box, frame, mark);
    if (cost > 0 && !(box.ready && this.scheduler.idle && this.channelHasRoom)) return this.schedule(box, frame, mark);
    if (isItem && this.credit.left < cost) return this.schedule(box, frame, mark);
    if (mark !== undefined) mark.position = this.position;
    this.write(frame);
    box.credit?.spend(cost);
    if (isItem) this.credit.spend(cost);
    if (box.ended) this.done(box);
    if (isItem) this.flushSoon(ITEM_BATCHING);
    else this.flushSoon();
  }

  /** A stream of items, or of casts, with credit of its own. END or ERROR ends it, `withdraw` before that. */
  openStream(id: number): Outbox {
    const box = new Outbox(id, new Credit(STREAM_CREDIT));
    this.boxes.set(id, box);
    return box;
  }

  /**
   * What waits on this stream is not sent, nor what waits of a message with this number. Safe to repeat.
   * Returns whether a message was half sent.
   */
  withdraw(id: number): boolean {
    const box = this.boxes.get(id);
    if (box === undefined) return false;
    this.boxes.delete(id);
    const half = this.scheduler.drop(box);
    if (half) this.clock.soon(() => this.scheduler.pump());
    return half;
  }

  /** @throws GenRpcError `protocol_error`. Credit for a stream that is gone is of no use, and no error. */
  onCredit({ id, connection, stream }: CreditFrame): void {
    if (connection === 0 && stream === 0) throw violation('credit_flood', 'A grant of nothing.');
    this.grantsAhead += 1;
    if (this.grantsAhead > MAX_GRANTS_AHEAD) throw violation('credit_flood', 'Far more grants than what they are for.');
    this.credit.grant(connection);
    this.granted += connection;
    const box = stream === 0 ? undefined : this.boxes.get(id);
    box?.credit?.grant(stream);
    if (box !== undefined) this.scheduler.resume(box);
    box?.tellReady();
    if (connection > 0) this.scheduler.pump();
  }

  onDrain(): void {
    this.sendTimer?.cancel();
    this.sendTimer = undefined;
    this.scheduler.pump();
  }

  flush(): void {
    if (this.batch.bytes === 0 || this.stopped) return;
    this.handedOver += this.batch.bytes;
    if (!this.channel.send(this.batch.take())) this.watchProgress();
  }

  /** Nothing is written from here on. */
  stop(): void {
    this.stopped = true;
    this.sendTimer?.cancel();
    this.creditTimer?.cancel();
    this.scheduler.clear();
    this.boxes.clear();
  }

  /** What the credit of the connection is for comes back as it arrives: a peer that returns none does not read. */
  stalled(): void {
    if (this.creditTimer !== undefined || this.stopped) return;
    const { granted } = this;
    const { sendTimeout } = this.settings;
    // For what has not left the peer owes nothing; that it leaves is watched elsewhere.
    const owed = this.channel.queuedBytes === 0;
    this.creditTimer = this.clock.after(sendTimeout, () => {
      this.creditTimer = undefined;
      // Whatever waited may have been withdrawn.
      this.scheduler.pump();
      if (!this.scheduler.stalled || this.granted !== granted || !owed) return;
      this.onStuck(new GenRpcError('send_timeout', `The peer gave no credit back for ${sendTimeout} ms.`));
    });
  }

  hasRoom(): boolean {
    if (this.batch.bytes >= BULK_WRITE_BYTES) this.flush();
    return this.channelHasRoom;
  }

  /** All of a message, or of a stream, has been written. */
  done(box: Outbox): void {
    if (this.boxes.get(box.id) === box) this.boxes.delete(box.id);
  }

  /** Something that a grant may be for. */
  write(frame: Frame): void {
    this.expectGrants(1);
    this.encoder.encode(frame, this.batch);
  }

  writeEncoded(bytes: Buffer, frames: number): void {
    this.expectGrants(frames);
    this.batch.append(bytes);
    this.batch.frames += frames;
  }

  private expectGrants(frames: number): void {
    this.grantsAhead = Math.max(0, this.grantsAhead - GRANTS_PER_FRAME * frames);
  }

  private get channelHasRoom(): boolean {
    return this.channel.queuedBytes < CHANNEL_BYTES;
  }

  private sendLarge(frame: CallFrame | ResultFrame | ErrorFrame, mark: Positioned | undefined): void {
    const box = new Outbox(frame.id, undefined);
    this.schedule(box, frame, mark);
    if (box.queue.length > 0) this.boxes.set(frame.id, box);
  }

  private schedule(box: Outbox, frame: PayloadFrame | EndFrame, mark: Positioned | undefined): void {
    if (frame.type === FrameType.Item && frame.payload.bytes.length <= MAX_RUN_PAYLOAD_BYTES) {
      return this.scheduler.addItem(box, frame, this.encoder);
    }
    const kept = this.encoder.kept(frame);
    // It has not begun: nothing of it can have left.
    if (mark !== undefined) mark.position = Infinity;
    this.scheduler.add(box, { frame: kept, mark, written: -1 });
  }

  private flushSoon({ bytes, frames, growth }: Batching = this.settings.batching): void {
    if (this.batch.bytes >= bytes * this.growth || this.batch.frames >= frames * this.growth) {
      this.flush();
      this.growth = Math.min(2 * this.growth, growth);
    }
    if (this.flushScheduled) return;
    this.flushScheduled = true;
    this.clock.soon(this.onTurnEnd);
  }

  private watchProgress(): void {
    if (this.sendTimer !== undefined) return;
    const { written } = this;
    const { sendTimeout } = this.settings;
    this.sendTimer = this.clock.after(sendTimeout, () => {
      this.sendTimer = undefined;
      if (this.written > written) return this.watchProgress();
      this.onStuck(new GenRpcError('send_timeout', `The peer took no byte for ${sendTimeout} ms.`));
    });
  }
}

function isLarge(frame: Frame): frame is CallFrame | ResultFrame | ErrorFrame {
  const { type } = frame;
  const carries = type === FrameType.Call || type === FrameType.Result || type === FrameType.Error;
  return carries && frame.payload.bytes.length > MAX_WHOLE_BYTES;
}
