/** Lets the event loop go on between items that would all come in one turn: timers and other calls have theirs then. */
import type { Clock } from '../ports/clock.js';

/** Items in a row. A turn between them costs about a millisecond. */
const ITEMS_AT_ONCE = 1000;

export class Breather {
  private items = 0;
  private breathing = false;

  constructor(private readonly clock: Clock) {}

  /** Another item has gone by. */
  passed(): void {
    this.items += 1;
  }

  /** Is it time for others? */
  get due(): boolean {
    return this.items >= ITEMS_AT_ONCE;
  }

  /** Runs `then` once others have had their turn. One at a time: while that is to come, this does nothing. */
  breathe(then: () => void): void {
    if (this.breathing) return;
    this.breathing = true;
    // The source has nothing else that keeps the process alive.
    const run = (): void => {
      this.breathing = false;
      this.items = 0;
      then();
    };
    this.clock.after(0, run, true);
  }
}
