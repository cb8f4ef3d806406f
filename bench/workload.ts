/** What is done to a system in one round, and how much of it. */
import type { Operations } from './system.js';

/** The bounds of one round: whatever is reached first ends it. */
export interface Load {
  readonly callers: number;
  readonly seconds: number;
  readonly maxOperations: number;
}

/** A file in `workloads/`. */
export interface Workload<Needed extends keyof Operations = keyof Operations> {
  /** What is counted, in the plural. */
  readonly unit: string;
  /** Systems whose client lacks one of these sit it out. */
  readonly needs: readonly Needed[];
  /** Is it measured at every number of callers, or once for all? */
  readonly concurrent: boolean;
  /** Resolves with the number of operations, all of them finished. */
  run(client: Pick<Operations, Needed>, load: Load): Promise<number>;
}

/** Hands out a round's operations until its time or their number has run out. */
export class Budget {
  taken = 0;
  private timeIsUp = false;
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly load: Load) {
    this.timer = setTimeout(() => (this.timeIsUp = true), load.seconds * 1000);
  }

  /** May `count` more be done? If so, they count as done. */
  take(count = 1): boolean {
    if (this.timeIsUp || this.taken >= this.load.maxOperations) return false;
    this.taken += count;
    return true;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.timer);
  }
}
