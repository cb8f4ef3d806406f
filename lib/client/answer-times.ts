/** What nodes take to answer, and when each last did: without that, a caller in a hurry makes a node look dead. */

/** ms: where a call had less, its node may just have had no turn. */
const LEAST_MS = 20;
/** How far one answer moves what is known. */
const STEP = 1.1;

interface Answers {
  /** When the last one came. */
  at: number;
  /** ms that half of them take, about. */
  median: number;
}

const UNKNOWN: Answers = { at: -Infinity, median: LEAST_MS };

export class AnswerTimes {
  private readonly nodes = new Map<string, Answers>();

  /**
   * Half of the answers come sooner than the median, half later: it is where as many steps lead up as down. One that took
   * very long moves it no further than any other. (Ma, Muthukrishnan and Sandler, 2013: Frugal Streaming)
   */
  add(node: string, askedAt: number | undefined, now: number): void {
    let answers = this.nodes.get(node);
    if (answers === undefined) this.nodes.set(node, (answers = { ...UNKNOWN }));
    answers.at = now;
    if (askedAt === undefined) return;
    const { median } = answers;
    answers.median = now - askedAt > median ? median * STEP : Math.max(LEAST_MS, median / STEP);
  }

  /** Had it time to answer, and has it answered nobody since it was asked? */
  isOverdue(node: string, askedAt: number, deadlineAt: number): boolean {
    const { at, median } = this.nodes.get(node) ?? UNKNOWN;
    return at <= askedAt && deadlineAt - askedAt >= median;
  }

  forget(node: string): void {
    this.nodes.delete(node);
  }
}
