/** Many small items from one handler to one caller. */
import { Budget, type Workload } from '../workload.js';

const ITEMS = 100_000;
/** Rounds of less than 2 s are of shorter streams: some systems take seconds for a whole one. */
const ITEMS_PER_SECOND = ITEMS / 2;

export const stream: Workload<'count'> = {
  unit: 'items',
  systems: ['gen-rpc', 'gen-rpc-iterable', 'core', 'nest-tcp', 'nest-grpc', 'grpc-js', 'raw'],
  baselines: ['nest-tcp', 'grpc-js', 'raw'],
  needs: ['count'],
  callingProcesses: 1,
  pace: 1,
  columns: [],
  note: `One handler streams up to ${ITEMS} items at a time to one caller; one stream after another.`,
  cases: () => [{}],

  async run(client, load) {
    using budget = new Budget(load);
    const items = Math.min(ITEMS, Math.ceil(load.seconds * ITEMS_PER_SECOND));
    const expected = (items * (items + 1)) / 2;
    while (budget.take(items)) {
      const sum = await client.count(items);
      if (sum !== expected) throw new Error(`The numbers to ${items} came as a sum of ${sum}.`);
    }
    return { operations: budget.taken };
  },
};
