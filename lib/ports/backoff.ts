/** How long to wait between attempts: doubling, capped, with full jitter, so that many clients do not march in step. */
import type { Random } from './random.js';

export interface BackoffLimits {
  /** Upper bound of the first wait, ms. Default 100. */
  readonly min: number;
  /** Upper bound of every wait, ms. Default 30,000. */
  readonly max: number;
}

export class Backoff {
  private failures = 0;

  constructor(
    private readonly limits: BackoffLimits,
    private readonly random: Random,
  ) {}

  /** Counts a failure and returns the ms until the next attempt. */
  next(): number {
    const bound = Math.min(this.limits.max, this.limits.min * 2 ** this.failures);
    this.failures += 1;
    return this.random.fraction() * bound;
  }

  /** For failures that no attempt will mend: the longest wait, without jitter. */
  longest(): number {
    this.failures += 1;
    return this.limits.max;
  }

  reset(): void {
    this.failures = 0;
  }
}
