/** What a worker is asked, and what it says to that. */
import type { Case, Load, Outcome } from './workload.js';

/** What may be asked of a worker. The first answer comes unasked, once the process is ready: a server's is its port. */
export type Command =
  | { readonly name: 'supports'; readonly workload: string }
  | { readonly name: 'mark' }
  | { readonly name: 'run'; readonly workload: string; readonly its: Case; readonly load: Load }
  | { readonly name: 'cpu' }
  | { readonly name: 'end' };

export type Answer = { readonly value: unknown } | { readonly error: string };

/** What one round took, as its client saw it. */
export interface Run extends Outcome {
  readonly seconds: number;
}
