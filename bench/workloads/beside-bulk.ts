/** How long a small call waits while its connection is full of large replies. */
import { setTimeout as wait } from 'node:timers/promises';
import { quantileOf } from '../statistics.js';
import { linkProblem } from '../link.js';
import type { Operations } from '../system.js';
import { Budget, type Case, type Workload } from '../workload.js';

const MIB = 1024 * 1024;
const BULK_CALLERS = 4;
/** Small calls leave by the clock, however long the earlier ones take. */
const SMALL_CALL_EVERY_MS = 10;

type Client = Pick<Operations, 'add' | 'fetch'>;

const onLoopback: Workload<keyof Client> = {
  unit: 'large replies',
  systems: ['gen-rpc', 'core', 'core-unscheduled', 'nest-tcp', 'grpc-js'],
  baselines: ['nest-tcp', 'grpc-js'],
  needs: ['add', 'fetch'],
  callingProcesses: 1,
  pace: 1,
  columns: [],
  figures: ['p99 ms', 'p50 ms', 'bulk MiB/s'],
  note:
    `A small call every ${SMALL_CALL_EVERY_MS} ms, while ${BULK_CALLERS} callers of the same connection ask for 1 MiB, ` +
    'again and again. × and goals: p99, where less is better. CPU: per large reply.',
  cases: (): readonly Case[] => [{}],

  async run(client, load) {
    using budget = new Budget(load);
    const startedAt = performance.now();
    // Rounds of less than a second are of smaller replies: those that are on their way at the end have to arrive.
    const bytes = Math.min(MIB, Math.ceil(load.seconds * MIB));
    const bulk = Array.from({ length: BULK_CALLERS }, () => fetchUntilSpent(client, bytes, budget));
    const waits: Promise<number>[] = [];
    while (budget.take(0)) {
      waits.push(waitOf(client, waits.length));
      await wait(SMALL_CALL_EVERY_MS);
    }
    const [times] = await Promise.all([Promise.all(waits), Promise.all(bulk)]);
    const seconds = (performance.now() - startedAt) / 1000;
    return {
      operations: budget.taken,
      figures: {
        'p99 ms': quantileOf(times, 0.99),
        'p50 ms': quantileOf(times, 0.5),
        'bulk MiB/s': (budget.taken * bytes) / MIB / seconds,
      },
    };
  },
};

export const besideBulk: Workload = onLoopback;

/** Where the wire is the bottleneck, not the processes. */
export const besideBulkSlow: Workload = {
  ...onLoopback,
  stage: 'slow link',
  missing: linkProblem,
  pace: 2.5,
  note: `${onLoopback.note} Over a link of 10 Mbit/s, in network namespaces of its own.`,
};

async function fetchUntilSpent(client: Client, bytes: number, budget: Budget): Promise<void> {
  while (budget.take()) {
    const { length } = await client.fetch(bytes);
    if (length !== bytes) throw new Error(`${length} bytes came, not ${bytes}.`);
  }
}

/** In ms. */
async function waitOf(client: Client, number: number): Promise<number> {
  const startedAt = performance.now();
  await client.add(number, 1);
  return performance.now() - startedAt;
}
