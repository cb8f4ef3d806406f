/** Fire and forget, from one sender, until the last handler has run. */
import { setImmediate as turn } from 'node:timers/promises';
import type { Operations } from '../system.js';
import { Budget, type Workload } from '../workload.js';

/** Two windows are under way at a time, so that neither side waits for the other's confirmation. */
const WINDOW = 1000;
const CONFIRM_MS = 10_000;

export const events: Workload<'note' | 'notes'> = {
  unit: 'events',
  systems: ['gen-rpc', 'core', 'nest-tcp', 'raw'],
  baselines: ['nest-tcp', 'raw'],
  needs: ['note', 'notes'],
  callingProcesses: 1,
  pace: 1,
  columns: [],
  cases: () => [{}],

  async run(client, load) {
    using budget = new Budget(load);
    const before = await client.notes();
    let windowBefore = Promise.resolve();
    while (budget.take(WINDOW)) {
      for (let value = budget.taken - WINDOW; value < budget.taken; value++) client.note(value);
      await windowBefore;
      windowBefore = confirm(client, before + budget.taken);
    }
    await windowBefore;
    return { operations: budget.taken };
  },
};

/** Resolves once the handler has seen `count` events. */
async function confirm(client: Pick<Operations, 'notes'>, count: number): Promise<void> {
  const giveUpAt = performance.now() + CONFIRM_MS;
  for (;;) {
    const seen = await client.notes();
    if (seen >= count) return;
    if (performance.now() > giveUpAt) throw new Error(`${count - seen} events did not arrive in ${CONFIRM_MS} ms.`);
    await turn();
  }
}
