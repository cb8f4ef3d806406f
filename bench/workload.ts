/** What is done to a system in one round, and how much of it. */
import type { Operations } from './system.js';

/** The bounds of one round: whatever is reached first ends it. */
export interface Load {
  readonly seconds: number;
  readonly maxOperations: number;
  /** Of several processes that call, each does its part. */
  readonly part: { readonly index: number; readonly of: number };
}

/** What sets one measurement of a workload apart from its others. */
export type Case = Readonly<Record<string, string | number>>;

/** What came of a round. */
export interface Outcome {
  /** How many were done, all of them finished. */
  readonly operations: number;
  /** Those that the workload names. */
  readonly figures?: Readonly<Record<string, number>>;
}

/**
 * Where the processes of a system run: over loopback; in network namespaces with a slow link between them; or anew for
 * each round, the server's memory being watched while nobody reads what it says.
 */
export type Stage = 'loopback' | 'slow link' | 'not reading';

/** A file in `workloads/`. */
export interface Workload<Needed extends keyof Operations = keyof Operations, Its extends Case = Case> {
  /** What is counted, in the plural. */
  readonly unit: string;
  /** The systems that it compares. */
  readonly systems: readonly string[];
  /** Those of them that the others are compared with. */
  readonly baselines: readonly string[];
  /** Systems whose client lacks one of these sit it out. */
  readonly needs: readonly Needed[];
  /** How many processes call. */
  readonly callingProcesses: number;
  /** The length of its rounds, as a share of what is asked for: with many cases they are short. */
  readonly pace: number;
  /** What of a case heads a line of the table. */
  readonly columns: readonly (keyof Its & string)[];
  /** Default: `loopback`. */
  readonly stage?: Stage;
  /** Arguments of Node for the processes of all systems. Default: none. */
  readonly nodeArgs?: readonly string[];
  /** What its table shows instead of operations a second, by name; the first is what is compared. */
  readonly figures?: readonly string[];
  /** What to know in front of its figures. */
  readonly note?: string;
  /** @param callers how many are to wait for replies at a time, where that can be chosen */
  cases(callers: readonly number[]): readonly Its[];
  /** The systems that cannot do this case, and are not asked to. */
  without?(its: Its): readonly string[];
  /** Why it cannot be measured here; `undefined`: it can. */
  missing?(): string | undefined;
  run(client: Pick<Operations, Needed>, load: Load, its: Its): Promise<Outcome>;
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
