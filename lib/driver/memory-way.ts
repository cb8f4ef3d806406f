/** One way of a channel in memory: bytes leave at the speed of the line, in pieces that need not be those that were sent. */
import type { Clock, Timer } from '../ports/clock.js';

/** What a line is like. Without any of it, whatever is sent arrives at the turn's end, in the pieces it was sent in. */
export interface LineOptions {
  /** ms that every delivery takes; asked for each one. Default, and `undefined`: none, it comes with the turn's end. */
  readonly latency?: () => number | undefined;
  /** Bytes that leave in one ms; those behind them wait (`queuedBytes`). Default: any number. */
  readonly bandwidth?: number;
  /** The most bytes of the next piece; asked for each one. What was sent is cut, and what waits is joined. Default: as sent. */
  readonly segment?: () => number;
}

/** Parts of a ms that are counted: sums of them are exact, so that on a virtual clock nothing is early by a rounding error. */
const GRAIN = 64;

export class MemoryWay {
  /** Bytes that have not left. */
  queuedBytes = 0;
  private queue: Buffer[] = [];
  private isHeld = false;
  private leaving: Timer | undefined;
  private readyAt = -Infinity;
  /** Deliveries on their way. */
  private readonly arriving = new Set<Timer>();
  /** Runs, once, when nothing waits any more. */
  private onEmpty: (() => void) | undefined;

  /** @param arrive hears of the pieces, at the other end */
  constructor(
    private readonly clock: Clock,
    private readonly line: LineOptions,
    private readonly arrive: (bytes: Buffer) => void,
  ) {}

  /** Does anything wait, or would it? */
  get isBusy(): boolean {
    return this.isHeld || this.queuedBytes > 0;
  }

  send(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.queue.push(bytes);
    this.queuedBytes += bytes.length;
    this.pump();
  }

  /** Runs `onEmpty` once nothing waits any more: now, if so. The last one counts. */
  whenEmpty(onEmpty: () => void): void {
    this.onEmpty = onEmpty;
    this.pump();
  }

  /** Something else than bytes, behind those that have left. */
  signal(deliver: () => void): void {
    if (this.isHeld) this.whenEmpty(() => this.later(deliver));
    else this.later(deliver);
  }

  /** What has not left by now never will. `queuedBytes` stays. */
  drop(): void {
    this.leaving?.cancel();
    this.queue = [];
    this.onEmpty = undefined;
  }

  /** Nobody is there any more for whom anything could arrive. */
  end(): void {
    this.drop();
    for (const timer of this.arriving) timer.cancel();
    this.arriving.clear();
  }

  hold(): void {
    this.isHeld = true;
    this.leaving?.cancel();
    this.leaving = undefined;
  }

  release(): void {
    this.isHeld = false;
    this.pump();
  }

  private pump(): void {
    if (this.isHeld || this.leaving !== undefined) return;
    const { bandwidth } = this.line;
    while (this.queue.length > 0) {
      const length = this.nextLength();
      if (bandwidth !== undefined) {
        this.leaving = this.clock.after(Math.ceil((length / bandwidth) * GRAIN) / GRAIN, () => {
          this.leaving = undefined;
          this.leave(length);
          this.pump();
        });
        return;
      }
      this.leave(length);
    }
    const { onEmpty } = this;
    this.onEmpty = undefined;
    onEmpty?.();
  }

  private nextLength(): number {
    const { segment } = this.line;
    return segment === undefined ? (this.queue[0]?.length ?? 0) : Math.min(this.queuedBytes, Math.max(1, segment()));
  }

  private leave(length: number): void {
    const piece = this.take(length);
    this.queuedBytes -= length;
    this.later(() => this.arrive(piece));
  }

  private take(length: number): Buffer {
    const parts: Buffer[] = [];
    for (let left = length; left > 0;) {
      const first = this.queue[0];
      if (first === undefined) break;
      parts.push(first.subarray(0, left));
      if (first.length <= left) this.queue.shift();
      else this.queue[0] = first.subarray(left);
      left -= Math.min(left, first.length);
    }
    // They are the receiver's to keep, and no part of each other.
    return Buffer.concat(parts);
  }

  /** After the line's delay, and after everything before it. */
  private later(deliver: () => void): void {
    const latency = this.line.latency?.();
    const now = this.clock.now();
    if (latency === undefined && this.readyAt < now) return this.clock.soon(deliver);
    this.readyAt = Math.max(this.readyAt, now + (latency ?? 0));
    const timer = this.clock.after(
      this.readyAt - now,
      () => {
        this.arriving.delete(timer);
        deliver();
      },
      true,
    );
    this.arriving.add(timer);
  }
}
