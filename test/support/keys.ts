/** Keys as a test needs them, found by the rule of the nodes themselves. */
import { twoNodes, type DriverName } from './cluster.js';

/** Keys that take `count` lanes, as a node finds out that tries one after the other. */
export async function keysOfLanes(driver: DriverName, count: number): Promise<number[]> {
  await using nodes = await twoNodes({ driver });
  const keys: number[] = [];
  for (let key = 0; keys.length < count; key += 1) {
    await nodes.a.connect({ node: nodes.b.name, key });
    if (nodes.a.stats().openConnections > keys.length) keys.push(key);
  }
  return keys;
}
