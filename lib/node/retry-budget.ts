/** What calls may be made again at most: a share of the first attempts, and some a second, so that a few suffice. */
import type { Clock } from '../ports/clock.js';

export interface RetryLimits {
  /** Retries for each first attempt. */
  readonly ratio: number;
  /** Retries a second beside those. */
  readonly perSecond: number;
}

/** What first attempts have earned is kept for a connection that is lost with many calls on it; no more than that. */
const MAX_EARNED = 100;

export class RetryBudget {
  private earned = 0;
  private free: number;
  private freeAt: number;

  constructor(
    private readonly clock: Clock,
    private readonly limits: RetryLimits,
  ) {
    this.free = limits.perSecond;
    this.freeAt = clock.now();
  }

  /** A first attempt was made. */
  earn(): void {
    this.earned = Math.min(MAX_EARNED, this.earned + this.limits.ratio);
  }

  /** Takes one retry, if there is one. */
  spend(): boolean {
    this.refill();
    if (this.free >= 1) this.free -= 1;
    else if (this.earned >= 1) this.earned -= 1;
    else return false;
    return true;
  }

  private refill(): void {
    const { perSecond } = this.limits;
    const now = this.clock.now();
    this.free = Math.min(perSecond, this.free + ((now - this.freeAt) * perSecond) / 1000);
    this.freeAt = now;
  }
}
