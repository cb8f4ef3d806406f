/** How large windows must be to keep a line busy: twice what fits on it (bandwidth × round trip time). */
import type { Clock } from '../ports/clock.js';

/** A shorter time says nothing of a line: what had gathered while this process was busy comes at the speed of memory. */
const LEAST_SAMPLE_MS = 20;
/**
 * An answer takes this long where both ends are busy, however short the line is. What a window may add to the time that
 * a small message takes is twice this.
 */
const LEAST_ROUND_TRIP_MS = 5;

export class Bandwidth {
  private most = 0;
  private bytes = 0;
  private since: number;
  private roundTripMs: number;

  constructor(
    private readonly clock: Clock,
    roundTripMs: number,
    private readonly max: number,
    /** In ms: a shorter one counts as this. */
    private readonly leastRoundTrip = LEAST_ROUND_TRIP_MS,
  ) {
    this.since = clock.now();
    this.roundTripMs = roundTripMs;
  }

  /** A round trip was measured. The shortest is that of the line alone, without what waits in front of it. */
  roundTrip(ms: number): void {
    this.roundTripMs = Math.min(this.roundTripMs, ms);
  }

  arrived(bytes: number): void {
    this.bytes += bytes;
  }

  /** Bytes that should be on the way at most; never less than before. */
  target(): number {
    const now = this.clock.now();
    const ms = now - this.since;
    const roundTripMs = Math.max(this.leastRoundTrip, this.roundTripMs);
    if (ms < Math.max(LEAST_SAMPLE_MS, roundTripMs)) return this.most;
    this.most = Math.min(this.max, Math.max(this.most, (2 * this.bytes * roundTripMs) / ms));
    this.bytes = 0;
    this.since = now;
    return this.most;
  }
}
