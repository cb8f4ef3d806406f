/** Time that passes when a test says so. */
import timers from 'node:timers';
import type { Clock, Timer } from '../ports/clock.js';
import { systemClock } from '../system/system.js';

// Also while a test has fake timers in its globals.
const { setImmediate } = timers;

interface Waiting {
  readonly at: number;
  readonly order: number;
  run(): void;
}

export class VirtualClock implements Clock {
  private time = 0;
  private order = 0;
  private readonly waiting = new Set<Waiting>();

  /** Timers that have not run. */
  get pending(): number {
    return this.waiting.size;
  }

  now(): number {
    return this.time;
  }

  after(ms: number, run: () => void): Timer {
    const entry: Waiting = { at: this.time + Math.max(ms, 0), order: (this.order += 1), run };
    this.waiting.add(entry);
    return { cancel: () => void this.waiting.delete(entry) };
  }

  soon(run: () => void): void {
    systemClock.soon(run);
  }

  /** Lets `ms` pass within one turn, as a long loop does: what falls due meanwhile is late. */
  stall(ms: number): void {
    this.time += ms;
  }

  /** Lets `ms` pass: runs what falls due, in order, and after each the promises that it settled. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    await settled();
    for (let next = this.earliest(end); next !== undefined; next = this.earliest(end)) {
      this.waiting.delete(next);
      this.time = Math.max(this.time, next.at);
      next.run();
      await settled();
    }
    this.time = Math.max(this.time, end);
  }

  private earliest(end: number): Waiting | undefined {
    let earliest: Waiting | undefined;
    for (const entry of this.waiting) {
      if (entry.at > end) continue;
      if (
        earliest === undefined ||
        entry.at < earliest.at ||
        (entry.at === earliest.at && entry.order < earliest.order)
      ) {
        earliest = entry;
      }
    }
    return earliest;
  }
}

/** A turn of the real loop: every promise that can settle has. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
