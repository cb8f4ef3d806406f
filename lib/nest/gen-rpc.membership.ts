/** Who comes, changes and goes, as an Observable. */
import { Observable } from 'rxjs';
import type { MembershipEvent } from '../node/directory.js';
import type { GenRpcNode } from '../node/gen-rpc-node.js';

/**
 * Hot: what happens from the subscription on, until that ends. Whom discovery knows already is told by
 * `GenRpcNode#members`.
 */
export function membershipOf(node: GenRpcNode): Observable<MembershipEvent> {
  return new Observable((observer) => node.onMembership((event) => observer.next(event)));
}
