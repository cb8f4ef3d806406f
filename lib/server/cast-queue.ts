/** Casts for which there is no room yet: they wait their turn, as many as a node can afford. */
import { Fifo } from '../connection/fifo.js';

export interface CastQueueLimits {
  /** Casts that may run at once. */
  readonly running: number;
  /** Casts that may wait. */
  readonly maxQueuedCasts: number;
  /** Bytes of theirs. */
  readonly maxQueuedBytes: number;
}

/** A cast as far as this is its business. */
interface Sized {
  /** Of its arguments. */
  readonly bytes: number;
}

export class CastQueue<Cast extends Sized> {
  private readonly waiting = new Fifo<Cast>();
  private bytes = 0;

  constructor(private readonly limits: CastQueueLimits) {}

  get size(): number {
    return this.waiting.length;
  }

  /** Must the next cast wait, while so many run? Nobody overtakes. */
  isFull(running: number): boolean {
    return this.size > 0 || running >= this.limits.running;
  }

  /** `false`: too many wait already. */
  add(cast: Cast): boolean {
    const { maxQueuedCasts, maxQueuedBytes } = this.limits;
    if (this.size >= maxQueuedCasts || this.bytes + cast.bytes > maxQueuedBytes) return false;
    this.waiting.push(cast);
    this.bytes += cast.bytes;
    return true;
  }

  /** The one that may begin, while so many run. */
  take(running: number): Cast | undefined {
    if (running >= this.limits.running) return undefined;
    const first = this.waiting.shift();
    this.bytes -= first?.bytes ?? 0;
    return first;
  }

  /** Returns those that will not run. */
  clear(): Cast[] {
    this.bytes = 0;
    return this.waiting.clear();
  }
}
