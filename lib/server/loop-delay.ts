/** Notices that the event loop is late: a tick that has not come in time, or should have come by now. */
import type { Clock, Timer } from '../ports/clock.js';

const TICK_MS = 20;
/** While it is late: what waited is read and refused in one turn, and each turn more is one of doing nothing. */
const LATE_TICK_MS = 5;
/** Ticks without an arrival, after which none is needed: one second. */
const QUIET_TICKS = 50;

export class LoopDelay {
  private late = false;
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
    else if (now - this.due > this.limit) this.late = true;
    return this.late;
  }

  /** Safe to repeat. Whatever arrives afterwards starts it again. */
  stop(): void {
    this.tick?.cancel();
    this.tick = undefined;
    this.late = false;
  }

  private arm(now: number): void {
    const ms = this.late ? LATE_TICK_MS : TICK_MS;
    this.due = now + ms;
    this.tick = this.clock.after(ms, () => this.onTick());
  }

  private onTick(): void {
    const now = this.clock.now();
    const delay = now - this.due;
    if (delay > this.limit) this.late = true;
    else if (delay < this.limit / 2) this.late = false;
    this.quietTicks += 1;
    if (this.late || this.quietTicks < QUIET_TICKS) this.arm(now);
    else this.tick = undefined;
  }
}
