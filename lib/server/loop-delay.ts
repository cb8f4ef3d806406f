/** Notices that the event loop is late, again and again: ticks that have not come in time, or should have come by now. */
import type { Clock, Timer } from '../ports/clock.js';

const TICK_MS = 20;
/** While it is late: what waited is read and refused in one turn, and each turn more is one of doing nothing. */
const LATE_TICK_MS = 5;
/** One pause is no load: it is late when it has been late before, not longer ago than this. */
const MEMORY_MS = 1000;
/** Ticks without an arrival, after which none is needed: one second. */
const QUIET_TICKS = 50;

export class LoopDelay {
  private late = false;
  private lastLateAt = -Infinity;
  /** Was the tick that is under way found to be late before it came? */
  private missed = false;
  private tick: Timer | undefined;
  /** When the tick that is under way should come. */
  private due = 0;
  private quietTicks = 0;

  constructor(
    private readonly clock: Clock,
    /** ms; with `Infinity` nothing ever is late, and nothing ticks. */
    private readonly limit: number,
  ) {}

  /**
   * Asked by everything that arrives, at `now`. A turn that reads thousands of calls lets no tick through: there the
   * tick that is missing says as much as one that comes late.
   */
  isLate(now: number): boolean {
    if (this.limit === Infinity) return false;
    this.quietTicks = 0;
    if (this.tick === undefined) this.arm(now);
    else if (!this.missed && now - this.due > this.limit) this.onLate(now);
    return this.late;
  }

  /** Safe to repeat. Whatever arrives afterwards starts it again. */
  stop(): void {
    this.tick?.cancel();
    this.tick = undefined;
    this.late = false;
    this.lastLateAt = -Infinity;
  }

  private onLate(now: number): void {
    this.missed = true;
    this.late ||= now - this.lastLateAt <= MEMORY_MS;
    this.lastLateAt = now;
  }

  private arm(now: number): void {
    const ms = this.late ? LATE_TICK_MS : TICK_MS;
    this.due = now + ms;
    this.missed = false;
    this.tick = this.clock.after(ms, () => this.onTick());
  }

  private onTick(): void {
    const now = this.clock.now();
    const delay = now - this.due;
    if (delay > this.limit && !this.missed) this.onLate(now);
    else if (delay < this.limit / 2) this.late = false;
    this.quietTicks += 1;
    if (this.late || this.quietTicks < QUIET_TICKS) this.arm(now);
    else this.tick = undefined;
  }
}
