/** Makes a cluster of Nest applications in memory. Nest is loaded here, and not before. */
import type { TestCluster, TestClusterOptions, TestNodes } from './test-cluster.js';

/**
 * Starts every application, with a node each: no port is opened and nothing is asked for but the modules.
 * `await using cluster = await createTestCluster({ nodes: { a: AppModule, b: OtherModule } })`
 * @throws Error whatever the start of an application throws; nothing of the others is left then.
 */
export async function createTestCluster<Nodes extends TestNodes>(
  options: TestClusterOptions<Nodes>,
): Promise<TestCluster<Nodes>> {
  const { RunningCluster } = await import('./running-cluster.js');
  const cluster = new RunningCluster<Nodes>(options);
  await cluster.startAll();
  return cluster;
}
