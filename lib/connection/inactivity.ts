/** Tells when a connection has been of no use for a while. Time counts only while nothing is pending. */
import type { Clock, Timer } from '../ports/clock.js';

export class Inactivity {
  private timer: Timer | undefined;
  private usedAt = 0;

  /** @param ms of no use; `busy`: is something pending? `onIdle` is called once for each time that it is watched. */
  constructor(
    private readonly clock: Clock,
    private readonly ms: number,
    private readonly busy: () => boolean,
    private readonly onIdle: () => void,
  ) {}

  /** Begins to watch, or begins anew. */
  watch(): void {
    if (this.ms === Infinity) return;
    this.used();
    this.stop();
    this.arm(this.ms);
  }

  /** It was of use just now. */
  used(): void {
    if (this.ms !== Infinity) this.usedAt = this.clock.now();
  }

  stop(): void {
    this.timer?.cancel();
  }

  private arm(ms: number): void {
    this.timer = this.clock.after(ms, () => {
      const left = this.busy() ? this.ms : this.ms - (this.clock.now() - this.usedAt);
      if (left > 0) this.arm(left);
      else this.onIdle();
    });
  }
}
