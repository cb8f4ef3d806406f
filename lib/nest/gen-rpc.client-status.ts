/** Whether a client is connected: to its node, or to one of those that its target stands for. */
import { choiceOf, type Target } from '../client/target.js';
import type { GenRpcNode } from '../node/gen-rpc-node.js';

/** Tells from now on; returns what ends that. */
export function watchTarget(node: GenRpcNode, target: Target, tell: (connected: boolean) => void): () => void {
  if (choiceOf(target) === undefined) {
    return node.onStatus((name, connected) => 'node' in target && name === target.node && tell(connected));
  }
  let isOver = false;
  const look = (): void => {
    if (!isOver) tell(node.isConnected(target));
  };
  const stopStatus = node.onStatus(look);
  // One by one: what one node loses, another may be about to get.
  const stopMembership = node.onMembership(() => queueMicrotask(look));
  return () => {
    isOver = true;
    stopStatus();
    stopMembership();
  };
}
