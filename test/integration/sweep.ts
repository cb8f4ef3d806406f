/** Runs around all integration tests: none of them may leave a network behind, not even one that was killed. */
import { sweep } from '../support/net-namespace.js';

export function setup(): void {
  sweep();
}

export function teardown(): void {
  const left = sweep();
  if (left.length > 0)
    throw new Error(`These network namespaces were left behind, and are removed now: ${left.join(', ')}`);
}
