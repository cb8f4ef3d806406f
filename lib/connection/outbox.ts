/** What waits to be written on one stream of a connection, in order. */
import { FrameType, type EndFrame, type PayloadFrame } from '../protocol/frame.js';
import { costOf, type Credit } from './credit.js';
import { Fifo } from './fifo.js';
import type { ItemRun } from './item-run.js';

/** Told where in the connection's stream of bytes its frame begins, once it does. */
export interface Positioned {
  position: number;
}

/** A frame that waits. */
export interface Outgoing {
  readonly frame: PayloadFrame | EndFrame;
  readonly mark: Positioned | undefined;
  /** Bytes of the payload that have been written, if it is one that goes in chunks; -1: not begun. */
  written: number;
}

export class Outbox {
  readonly queue = new Fifo<Outgoing | ItemRun>();
  /** What those that wait weigh. */
  bytes = 0;
  /** Does it have a place among those that take turns, or among those that wait to begin a long message? */
  inTurn = false;
  /** The last frame of it was queued. */
  ended = false;
  /** Runs once when there is credit and nothing waits. */
  onReady: (() => void) | undefined;

  /** @param credit what this stream may send; `undefined`: a single message, which needs none of its own */
  constructor(
    readonly id: number,
    readonly credit: Credit | undefined,
  ) {
    this.ended = credit === undefined;
  }

  get ready(): boolean {
    return this.queue.length === 0 && (this.credit === undefined || this.credit.left > 0);
  }

  tellReady(): void {
    const { onReady } = this;
    if (onReady === undefined || !this.ready) return;
    this.onReady = undefined;
    onReady();
  }
}

/** What it takes of the credit of its stream. */
export function streamCostOf(frame: PayloadFrame | EndFrame): number {
  const isCounted = frame.type === FrameType.Item || frame.type === FrameType.Cast;
  return isCounted ? costOf(frame.payload.bytes.length) : 0;
}

/** What it costs in memory while it waits: an empty one is not free. */
export function weightOf(frame: PayloadFrame | EndFrame): number {
  return costOf(payloadBytesOf(frame));
}

export function payloadBytesOf(frame: PayloadFrame | EndFrame): number {
  return 'payload' in frame ? frame.payload.bytes.length : 0;
}
