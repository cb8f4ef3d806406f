/** Time as everything here sees it: monotonic, and handed in, so that a test can own it. */
export interface Clock {
  /** Milliseconds since some fixed moment. Never goes back; says nothing about the wall clock. */
  now(): number;
  /** Runs `run` once, `ms` from now at the earliest. Keeps the process alive only where `keepAlive` says so. */
  after(ms: number, run: () => void, keepAlive?: boolean): Timer;
  /** Runs `run` when the current turn has settled its promises, before any I/O. */
  soon(run: () => void): void;
}

export interface Timer {
  /** The run will not happen. Safe to repeat, and after the run. */
  cancel(): void;
}

/** The longest wait that Node's timers keep; a longer one fires at once (Node's TIMEOUT_MAX). */
export const MAX_TIMER_MS = 2 ** 31 - 1;
