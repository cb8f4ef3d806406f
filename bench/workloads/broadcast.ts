/** One message to many nodes: what does each of them cost, and what does it save to encode the message once? */
import type { Operations } from '../system.js';
import { Budget, type Workload } from '../workload.js';

const NODES = [1, 4, 16];
/** Broadcasts at once; two such windows are under way, so that neither side waits for the other. */
const WINDOW = 32;

const MESSAGES = {
  small: { item: 'tea', price: 5 },
  '16 KiB': { items: Array.from({ length: 228 }, (_, id) => itemOf(id)) },
};

type BroadcastCase = Readonly<{ message: keyof typeof MESSAGES; nodes: number }>;

export const broadcast: Workload<'tell', BroadcastCase> = {
  unit: 'nodes told',
  systems: ['calls', 'multicall', 'sbcast', 'abcast'],
  baselines: ['calls'],
  needs: ['tell'],
  callingProcesses: 1,
  pace: 0.1,
  columns: ['message', 'nodes'],
  note: 'A node told is one of a broadcast: CPU is per node. calls: a call to each, all at once.',
  cases: () => (['small', '16 KiB'] as const).flatMap((message) => NODES.map((nodes) => ({ message, nodes }))),

  async run(client, load, its) {
    using budget = new Budget(load);
    await Promise.all([tellUntilSpent(client, its, budget), tellUntilSpent(client, its, budget)]);
    return { operations: budget.taken };
  },
};

async function tellUntilSpent(
  client: Pick<Operations, 'tell'>,
  { message, nodes }: BroadcastCase,
  budget: Budget,
): Promise<void> {
  while (budget.take(nodes * WINDOW)) await client.tell(nodes, MESSAGES[message], WINDOW);
}

/** About 100 bytes. */
function itemOf(id: number): object {
  return { id, name: `Item number ${id}`, price: id * 1.25, inStock: id % 3 > 0, tags: ['tea', 'green', 'loose'] };
}
