/** When a source that has told of no nodes at all, and was not believed, reads once more. */
import type { Random } from '../ports/random.js';

const ANEW_MS = 1000;

/** ms: about a second, so that not all nodes ask in step. */
export function anewAfter(random: Random): number {
  return ANEW_MS * (0.75 + random.fraction() / 2);
}
