/** What the command line asks for, checked. */
import { parseArgs } from 'node:util';
import { pick, SYSTEMS, WORKLOADS } from './catalog.js';

export interface BenchOptions {
  readonly systems: readonly string[];
  readonly workloads: readonly string[];
  readonly callers: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
  /** What lives in the heap of each process beside what it measures, in MiB. */
  readonly heapMiB: number;
  /** Only the first and the last case of a workload. */
  readonly smoke: boolean;
  /** Record where the time of the one system goes. */
  readonly profile: boolean;
}

export const USAGE = `npm run bench -- [options]

  --systems a,b       of ${[...SYSTEMS.keys()].join(', ')}
                      (default: all that a workload compares)
  --workloads a,b     of ${[...WORKLOADS.keys()].join(', ')} (default: all)
  --callers 1,64,512  of add: how many callers wait for replies at a time
  --rounds 5          rounds of each system; they take turns, and the median counts
  --seconds 2         length of a round; those of some workloads are a part of it, or longer
  --heap 0            MiB of objects that live in each process, as those of an application do
  --smoke             one very short round of every system, at each workload's ends: does it run at all?
  --profile system    that system alone, one pair of CPU profiles per line of the tables
  --help              this text

Only ratios within one run can be compared. The exit code is not 0 if a system failed.
`;

const MAX_ROUNDS = 100;
const MAX_SECONDS = 60;
const MAX_CALLERS = 100_000;
const MAX_HEAP_MIB = 512;

/** `undefined`: help is wanted. @throws Error that says what is wrong. */
export function readCommandLine(args: readonly string[]): BenchOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      systems: { type: 'string', default: [...SYSTEMS.keys()].join() },
      workloads: { type: 'string', default: [...WORKLOADS.keys()].join() },
      callers: { type: 'string', default: '1,64,512' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      heap: { type: 'string', default: '0' },
      smoke: { type: 'boolean', default: false },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const { smoke, profile } = values;
  return {
    systems: profile === undefined ? namesOf(values.systems, SYSTEMS) : namesOf(profile, SYSTEMS).slice(0, 1),
    workloads: namesOf(values.workloads, WORKLOADS),
    callers: listOf(values.callers).map((text) => wholeNumber('callers', text, MAX_CALLERS)),
    rounds: wholeNumber('rounds', values.rounds ?? (smoke || profile !== undefined ? '1' : '5'), MAX_ROUNDS),
    seconds: secondsOf(values.seconds ?? (smoke ? '0.1' : '2')),
    heapMiB: wholeNumber('heap', values.heap, MAX_HEAP_MIB, 0),
    smoke,
    profile: profile !== undefined,
  };
}

function listOf(text: string): string[] {
  return [...new Set(text.split(',').map((part) => part.trim()))];
}

function namesOf(text: string, catalog: ReadonlyMap<string, unknown>): string[] {
  const names = listOf(text);
  for (const name of names) pick(catalog, name);
  return names;
}

function wholeNumber(option: string, text: string, most: number, least = 1): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Error(`--${option} must be whole numbers from ${least} to ${most}, got ${text}.`);
}

function secondsOf(text: string): number {
  const value = Number(text);
  if (value >= 0.05 && value <= MAX_SECONDS) return value;
  throw new Error(`--seconds must be from 0.05 to ${MAX_SECONDS}, got ${text}.`);
}
