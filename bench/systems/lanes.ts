/** Several connections of one node to the same other. */
import type { GenRpcNode, Target } from 'nestjs-gen-rpc/core';
import { SERVER_NAME } from './bench-nodes.js';

/** Makes `count` more, one after another, each by a key of its own. Keys that share a connection are passed over. */
export async function openLanes(node: GenRpcNode, count: number): Promise<Target[]> {
  const targets: Target[] = [];
  for (let number = 0; targets.length < count; number++) {
    const target = { node: SERVER_NAME, key: `customer-${number}` };
    if (node.isConnected(target)) continue;
    await node.connect(target);
    targets.push(target);
  }
  return targets;
}
