/** Signals of the operating system, as far as a node is told to listen to one. */
import type { Watch } from './files.js';

export interface ProcessSignals {
  /** Runs `run` whenever `signal` arrives, which then no longer ends the process. */
  on(signal: NodeJS.Signals, run: () => void): Watch;
}
