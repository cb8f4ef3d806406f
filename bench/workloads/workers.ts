/** Calls by 1, 2 and 4 keys to one node, which one process serves or several: what do the others add? */
import { availableParallelism } from 'node:os';
import { roundsIn, spin } from '../spin.js';
import type { Operations } from '../system.js';
import { Budget, type Workload } from '../workload.js';

/** In all, whatever the number of keys. */
const CALLERS = 64;
const KEYS = [1, 2, 4];
/** What the function that works takes, µs of CPU. */
const WORK_MICROS = 60;
const CALLING_PROCESSES = 2;

type Client = Pick<Operations, 'open' | 'addOver' | 'spinOver'>;

/** `rounds`: what `spinOver` is to do; 0: call `addOver` instead. */
type WorkersCase = Readonly<{ handler: string; keys: number; rounds: number }>;

export const workers: Workload<keyof Client, WorkersCase> = {
  unit: 'calls',
  systems: ['one-process', 'two-workers'],
  baselines: ['one-process'],
  needs: ['open', 'addOver', 'spinOver'],
  callingProcesses: CALLING_PROCESSES,
  pace: 0.2,
  columns: ['handler', 'keys'],
  note:
    `A key is a connection, a connection is one worker's. ${CALLERS} callers in ${CALLING_PROCESSES} processes (1 key: ` +
    `in one) share ${availableParallelism()} cores with the servers: see how many of them are busy.`,

  cases: () => {
    const busy = { handler: `${WORK_MICROS} µs`, rounds: roundsIn(WORK_MICROS) };
    return [{ handler: 'add', rounds: 0 }, busy].flatMap((handler) => KEYS.map((keys) => ({ ...handler, keys })));
  },

  /** The calling processes take the keys in turn; one that gets none has nothing to do. */
  async run(client, load, { keys, rounds }) {
    const { index, of } = load.part;
    const mine = Math.ceil((keys - index) / of);
    if (mine <= 0) return { operations: 0 };
    await client.open(mine);
    const call = rounds === 0 ? adding(client) : spinning(client, rounds);
    using budget = new Budget(load);
    const callers = Array.from({ length: (CALLERS * mine) / keys }, async (_, caller) => {
      while (budget.take()) await call(caller % mine);
    });
    await Promise.all(callers);
    return { operations: budget.taken };
  },
};

function adding(client: Client): (connection: number) => Promise<void> {
  let turn = 0;
  return async (connection) => {
    const number = turn++;
    const sum = await client.addOver(connection, connection, number);
    if (sum !== connection + number) throw new Error(`${connection} + ${number} came back as ${String(sum)}.`);
  };
}

function spinning(client: Client, rounds: number): (connection: number) => Promise<void> {
  const expected = spin(rounds);
  return async (connection) => {
    const value = await client.spinOver(connection, rounds);
    if (value !== expected) throw new Error(`${rounds} rounds came back as ${String(value)}.`);
  };
}
