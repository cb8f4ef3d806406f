/** What it costs to choose one of a hundred nodes, all of them connected. */
import type { Operations } from '../system.js';
import { Budget, type Workload } from '../workload.js';

/** Choices in a turn of the loop. */
const AT_ONCE = 1000;

export const choose: Workload<'choose', { nodes: number }> = {
  unit: 'choices',
  systems: ['by-load', 'by-weight', 'by-key', 'by-weight-and-key'],
  baselines: ['by-load'],
  needs: ['choose'],
  callingProcesses: 1,
  pace: 0.3,
  columns: ['nodes'],
  note: 'CPU of the client: of one choice.',
  cases: () => [{ nodes: 100 }],

  async run(client, load) {
    using budget = new Budget(load);
    while (budget.take(AT_ONCE)) await chooseAtOnce(client);
    return { operations: budget.taken };
  },
};

/** Others have their turn in between. */
async function chooseAtOnce(client: Pick<Operations, 'choose'>): Promise<void> {
  client.choose(AT_ONCE);
  await new Promise(setImmediate);
}
