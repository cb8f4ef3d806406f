/** What each side saw of a cut, and after how long: noted by a test, printed as a table once all have run. */
import type { TestContext } from 'vitest';

/** One line of the table. */
export interface Sight {
  readonly who: string;
  readonly saw: string;
  /** In ms after the cut, or of the call itself; or what else there is to tell. */
  readonly figure: number | string;
}

/** Hangs at a test, for `scripts/vitest-table-reporter.mjs`. */
export interface Seen {
  /** `tcp IPv4` */
  readonly column: string;
  readonly sights: Sight[];
}

declare module 'vitest' {
  interface TaskMeta {
    seen?: Seen;
  }
}

interface Outcome {
  readonly code?: string;
  readonly maybeExecuted?: boolean;
  readonly cause?: string;
}

/** In words. */
export function wordsOf({ code, maybeExecuted, cause }: Outcome): string {
  if (code === undefined) return 'answered';
  // Of a connection that is cut it depends on what the system was just doing.
  const why = cause === undefined || code === 'connection_lost' ? '' : ` (${cause})`;
  return `${code}${why}, ${maybeExecuted === true ? 'may have run' : 'did not run'}`;
}

/** Notes what one test sees. */
export class Notebook {
  private readonly sights: Sight[] = [];

  constructor({ task }: TestContext, column: string) {
    task.meta.seen = { column, sights: this.sights };
  }

  /** A call, which took so long. */
  call(who: string, end: Outcome & { ms: number }): void {
    this.note(who, wordsOf(end), end.ms);
  }

  /** A call that the cut ended. */
  cut(who: string, end: Outcome & { at: number }, since: number): void {
    this.note(who, wordsOf(end), end.at - since);
  }

  note(who: string, saw: string, ms: number): void {
    this.tell(who, saw, Math.round(ms));
  }

  tell(who: string, saw: string, figure: number | string): void {
    this.sights.push({ who, saw, figure });
  }
}
