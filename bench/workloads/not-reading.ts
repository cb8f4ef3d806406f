/** What a server's memory goes through for a peer that asks for much and reads none of it. */
import { WATCHED, watchProblem } from '../memory-watch.js';
import type { Workload } from '../workload.js';

const REQUESTS = 10_000;
const REPLY_BYTES = 1024 * 1024;

export const notReading: Workload<'fetch'> = {
  unit: 'replies',
  systems: ['gen-rpc', 'core', 'nest-tcp', 'grpc-js'],
  baselines: ['nest-tcp', 'grpc-js'],
  needs: ['fetch'],
  callingProcesses: 1,
  pace: 3,
  columns: [],
  stage: 'not reading',
  missing: watchProblem,
  figures: [WATCHED],
  note:
    `A peer asks for ${REQUESTS} × 1 MiB and reads none of it: by how much the memory of the server's process grows at ` +
    'most. At 1 GiB it is stopped. Less is better.',
  cases: () => [{}],

  /** Need not come to an end: the harness watches the server meanwhile, and then ends both. */
  async run(client) {
    await Promise.allSettled(Array.from({ length: REQUESTS }, () => client.fetch(REPLY_BYTES)));
    return { operations: REQUESTS };
  },
};
