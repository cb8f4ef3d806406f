/**
 * Decides what is written next of all that waits: a chunk or an item of each stream in turn, as far as credit goes, and
 * never more than the channel takes soon. What is small and urgent does not come here.
 */
import {
  FrameType,
  MAX_CHUNK_BYTES,
  MAX_INTERLEAVED,
  MAX_WHOLE_BYTES,
  type ChunkFrame,
  type EndFrame,
  type ItemFrame,
  type PayloadFrame,
} from '../protocol/frame.js';
import type { FrameEncoder } from '../protocol/frame-encoder.js';
import { costOf, type Credit } from './credit.js';
import { Fifo } from './fifo.js';
import { ItemRun } from './item-run.js';
import { payloadBytesOf, streamCostOf, weightOf, type Outbox, type Outgoing } from './outbox.js';

/** Where it goes. */
export interface ScheduledWrites {
  /** Has the channel room for more? May write what was gathered to find out. */
  hasRoom(): boolean;
  /** Where in the connection's stream of bytes the next frame begins. */
  readonly position: number;
  write(frame: PayloadFrame | EndFrame | ChunkFrame): void;
  /** As many frames, which are bytes already. */
  writeEncoded(bytes: Buffer, frames: number): void;
  /** All of it was written. */
  done(box: Outbox): void;
  /** Nothing more is coming for now. */
  flush(): void;
  /** The connection has no credit for what is next. Told again each time that this is found. */
  stalled(): void;
}

/** Not worth a chunk of its own, unless it is all that is left. */
const LEAST_CREDIT = 16 * 1024;

/** What became of a turn. */
type Turn = 'again' | 'done' | 'blocked';

export class WriteScheduler {
  /** What waits, in bytes. */
  queuedBytes = 0;
  /** Has the connection no credit for what is next? */
  stalled = false;
  private readonly turns = new Fifo<Outbox>();
  /** Those whose next message is long, while as many as may be are half sent. */
  private readonly waiting = new Fifo<Outbox>();
  private halfSent = 0;

  /** @param credit of the connection */
  constructor(
    private readonly credit: Credit,
    private readonly out: ScheduledWrites,
  ) {}

  /** Does nothing wait that could be written? */
  get idle(): boolean {
    return this.turns.length === 0;
  }

  add(box: Outbox, outgoing: Outgoing): void {
    const first = box.queue.length === 0;
    box.queue.push(outgoing);
    this.added(box, weightOf(outgoing.frame), first);
  }

  /** A small item: it waits as bytes. */
  addItem(box: Outbox, frame: ItemFrame, encoder: Pick<FrameEncoder, 'encode'>): void {
    let { last: run } = box.queue;
    const first = run === undefined;
    if (!(run instanceof ItemRun && run.hasRoomFor(frame))) box.queue.push((run = new ItemRun(frame, box.bytes)));
    encoder.encode(frame, run);
    this.added(box, weightOf(frame), first);
  }

  /** Something of it can be written, perhaps: there is more, or there is credit again. */
  resume(box: Outbox): void {
    if (box.queue.length === 0) return;
    if (!box.inTurn) {
      box.inTurn = true;
      this.turns.push(box);
    }
    this.pump();
  }

  /** Writes whatever can be. */
  pump(): void {
    this.stalled = false;
    if (this.turns.length === 0) return;
    while (this.turns.length > 0 && this.out.hasRoom()) {
      const box = this.turns.first;
      if (box === undefined) break;
      const turn = this.take(box);
      this.stalled = turn === 'blocked';
      if (this.stalled) break;
      this.turns.shift();
      if (turn === 'again') this.turns.push(box);
      else box.tellReady();
    }
    this.out.flush();
    if (this.stalled) this.out.stalled();
  }

  /**
   * Forgets what waits on this stream, the rest of a message that is half sent too. Returns whether there was one: then
   * another may begin, with the next `pump`. Not here: the peer must hear first that it need not wait for this one.
   */
  drop(box: Outbox): boolean {
    const half = (box.queue.first?.written ?? -1) >= 0;
    this.queuedBytes -= box.bytes;
    box.queue.clear();
    box.bytes = 0;
    box.onReady = undefined;
    if (half) this.endHalf();
    return half;
  }

  clear(): void {
    this.turns.clear();
    this.waiting.clear();
    this.queuedBytes = 0;
    this.stalled = false;
  }

  /** Behind others it can go no sooner than they can. */
  private added(box: Outbox, bytes: number, first: boolean): void {
    box.bytes += bytes;
    this.queuedBytes += bytes;
    if (first) this.resume(box);
  }

  private take(box: Outbox): Turn {
    const outgoing = box.queue.first;
    if (outgoing === undefined) return this.leave(box);
    if (outgoing instanceof ItemRun) return this.takeRun(box, outgoing);
    if (outgoing.written >= 0) return this.takeChunk(box, outgoing);
    const { frame } = outgoing;
    const cost = streamCostOf(frame);
    if (cost > 0 && box.credit !== undefined && box.credit.left <= 0) return this.leave(box);
    if (payloadBytesOf(frame) > MAX_WHOLE_BYTES) return this.begin(box, outgoing, cost);
    if (!this.spends(frame, cost)) return 'blocked';
    box.credit?.spend(cost);
    this.write(outgoing);
    return this.next(box, outgoing);
  }

  private takeRun(box: Outbox, run: ItemRun): Turn {
    const { bytes, frames } = run.take((cost) => this.spendsOn(box, cost));
    if (frames > 0) this.out.writeEncoded(bytes, frames);
    if (run.isEmpty) return this.left(box);
    return (box.credit?.left ?? 1) > 0 ? 'blocked' : this.leave(box);
  }

  /** An item's price, of the credit of both. */
  private spendsOn(box: Outbox, cost: number): boolean {
    const { credit } = box;
    if (this.credit.left < cost || (credit !== undefined && credit.left <= 0)) return false;
    this.credit.spend(cost);
    credit?.spend(cost);
    box.bytes -= cost;
    this.queuedBytes -= cost;
    return true;
  }

  private begin(box: Outbox, outgoing: Outgoing, cost: number): Turn {
    if (this.halfSent >= MAX_INTERLEAVED) {
      this.waiting.push(box);
      return 'done';
    }
    if (!this.spends(outgoing.frame, costOf(0))) return 'blocked';
    box.credit?.spend(cost);
    this.halfSent += 1;
    outgoing.written = 0;
    this.write(outgoing);
    return 'again';
  }

  /** Of the connection's credit, which only items take, apart from chunks. `false`: there is not enough. */
  private spends({ type }: Outgoing['frame'], bytes: number): boolean {
    if (type !== FrameType.Item) return true;
    if (this.credit.left < bytes) return false;
    this.credit.spend(bytes);
    return true;
  }

  private takeChunk(box: Outbox, outgoing: Outgoing): Turn {
    const { frame } = outgoing;
    if (!('payload' in frame)) return this.next(box, outgoing);
    const { bytes } = frame.payload;
    const left = bytes.length - outgoing.written;
    const { left: credit } = this.credit;
    if (credit < Math.min(left, LEAST_CREDIT)) return 'blocked';
    const length = Math.min(left, credit, MAX_CHUNK_BYTES);
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset + outgoing.written, length);
    this.credit.spend(length);
    outgoing.written += length;
    const more = length < left;
    this.out.write({ type: FrameType.Chunk, id: box.id, bytes: chunk, more });
    if (more) return 'again';
    this.endHalf();
    return this.next(box, outgoing);
  }

  private write({ frame, mark }: Outgoing): void {
    if (mark !== undefined) mark.position = this.out.position;
    this.out.write(frame);
  }

  private next(box: Outbox, { frame }: Outgoing): Turn {
    const weight = weightOf(frame);
    box.bytes -= weight;
    this.queuedBytes -= weight;
    return this.left(box);
  }

  /** The first of its queue has left. */
  private left(box: Outbox): Turn {
    box.queue.shift();
    if (box.queue.length > 0) return 'again';
    if (box.ended) this.out.done(box);
    return this.leave(box);
  }

  private leave(box: Outbox): Turn {
    box.inTurn = false;
    return 'done';
  }

  private endHalf(): void {
    this.halfSent -= 1;
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      if (next.queue.length > 0) {
        this.turns.push(next);
        return;
      }
      // Dropped while it waited.
      next.inTurn = false;
    }
  }
}
