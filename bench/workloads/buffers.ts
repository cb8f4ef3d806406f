/** Buffers, there and back: what is it worth not to encode them? */
import type { Operations } from '../system.js';
import { Budget, type Workload } from '../workload.js';

const KIB = 1024;
const KB = 1000;

/** What it does, and why large messages want it: docs/LARGE_MESSAGES.md. */
const ROOM_TO_GROW = '--heap-growing-percent=300';
export const ROOM_NOTE = `All processes run with ${ROOM_TO_GROW}.`;

const NEST_TCP =
  'nest-tcp: as base64. It has no 500 KB for 64 callers: both of its sides wait for the other to read, and neither ' +
  'does, for ever.';

type BuffersCase = Readonly<{ size: string; callers: number; bytes: number }>;

export const buffers: Workload<'echo', BuffersCase> = {
  unit: 'calls',
  systems: ['gen-rpc', 'core', 'nest-tcp', 'nest-grpc', 'grpc-js', 'raw-bytes'],
  baselines: ['nest-tcp', 'grpc-js', 'raw-bytes'],
  needs: ['echo'],
  callingProcesses: 1,
  pace: 0.5,
  columns: ['size', 'callers'],
  nodeArgs: [ROOM_TO_GROW],
  note: `${ROOM_NOTE}\n${NEST_TCP}`,
  cases: () => [
    { size: '64 KiB', callers: 64, bytes: 64 * KIB },
    { size: '500 KB', callers: 4, bytes: 500 * KB },
    { size: '500 KB', callers: 64, bytes: 500 * KB },
  ],
  without: ({ size, callers }) => (size === '500 KB' && callers === 64 ? ['nest-tcp'] : []),

  async run(client, load, { callers, bytes }) {
    using budget = new Budget(load);
    await Promise.all(Array.from({ length: callers }, (_, caller) => echoUntilSpent(client, caller, bytes, budget)));
    return { operations: budget.taken };
  },
};

/** The same as Node comes: what is measured then is how often V8 marks the heap. */
export const buffersAsNodeComes: Workload<'echo', BuffersCase> = { ...buffers, nodeArgs: [], note: NEST_TCP };

async function echoUntilSpent(
  client: Pick<Operations, 'echo'>,
  caller: number,
  bytes: number,
  budget: Budget,
): Promise<void> {
  const sent = Buffer.alloc(bytes, caller + 1);
  while (budget.take()) {
    const back = await client.echo(sent);
    if (!isSame(back, sent)) throw new Error(`The bytes of caller ${caller} did not come back.`);
  }
}

/** As far as can be seen at a glance: to compare all bytes would be the most expensive part of a call. */
function isSame(back: Uint8Array, sent: Uint8Array): boolean {
  return back.length === sent.length && back[0] === sent[0] && back.at(-1) === sent.at(-1);
}
