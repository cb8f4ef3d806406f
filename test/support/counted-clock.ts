/** The system's clock, counted. */
import { systemClock } from '../../lib/system/system.js';
import type { Clock, Timer } from '../../lib/ports/clock.js';

/** The timers of a node never count as active resources of the process: this counts those that are still to run. */
export class CountedClock implements Clock {
  pending = 0;

  now(): number {
    return systemClock.now();
  }

  after(ms: number, run: () => void): Timer {
    let waits = true;
    const over = (): void => {
      this.pending -= waits ? 1 : 0;
      waits = false;
    };
    this.pending += 1;
    const timer = systemClock.after(ms, () => (over(), run()));
    return { cancel: () => (over(), timer.cancel()) };
  }

  soon(run: () => void): void {
    systemClock.soon(run);
  }
}
