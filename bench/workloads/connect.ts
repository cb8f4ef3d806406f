/** What a connection costs that is made anew: the handshake of TLS and that of the nodes. */
import type { Operations } from '../system.js';
import { Budget, type Workload } from '../workload.js';

/** By one node, which then ends: what a node costs is shared among them. */
const PER_NODE = 10;
/** Of a round: each leaves a port behind that the system does not give again for a while. */
const MOST = 200;

export const connect: Workload<'connect', { callers: number }> = {
  unit: 'connections',
  systems: ['core', 'core-tls', 'raw', 'raw-tls'],
  baselines: ['core', 'raw-tls'],
  needs: ['connect'],
  callingProcesses: 1,
  pace: 0.5,
  columns: ['callers'],
  note: `Up to ${MOST} connections in a round, ${PER_NODE} by a node, one after another. CPU: of a connection.`,
  cases: () => [{ callers: 1 }, { callers: 8 }],

  async run(client, load, { callers }) {
    using budget = new Budget({ ...load, maxOperations: Math.min(load.maxOperations, MOST) });
    await Promise.all(Array.from({ length: callers }, () => connectUntilSpent(client, budget)));
    return { operations: budget.taken };
  },
};

async function connectUntilSpent(client: Pick<Operations, 'connect'>, budget: Budget): Promise<void> {
  while (budget.take(PER_NODE)) await client.connect(PER_NODE);
}
