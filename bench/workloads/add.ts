/** A small call and its small reply, from several callers that each wait for theirs. */
import type { Operations } from '../system.js';
import { Budget, type Workload } from '../workload.js';

export const add: Workload<'add', { callers: number }> = {
  unit: 'calls',
  systems: ['gen-rpc', 'core', 'nest-tcp', 'raw'],
  baselines: ['nest-tcp', 'raw'],
  needs: ['add'],
  callingProcesses: 1,
  pace: 1,
  columns: ['callers'],
  cases: (counts) => counts.map((callers) => ({ callers })),

  async run(client, load, { callers }) {
    using budget = new Budget(load);
    await Promise.all(Array.from({ length: callers }, (_, caller) => callUntilSpent(client, caller, budget)));
    return { operations: budget.taken };
  },
};

async function callUntilSpent(client: Pick<Operations, 'add'>, caller: number, budget: Budget): Promise<void> {
  for (let turn = 0; budget.take(); turn++) {
    const sum = await client.add(caller, turn);
    if (sum !== caller + turn) throw new Error(`${caller} + ${turn} came back as ${String(sum)}.`);
  }
}
