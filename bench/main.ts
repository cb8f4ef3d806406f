/** `npm run bench`: systems side by side, in turns, in one run. */
import { mkdtemp } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pick, WORKLOADS } from './catalog.js';
import { CERTIFICATES, makeCertificates } from './certificates.js';
import { readCommandLine, USAGE, type BenchOptions } from './command-line.js';
import { Contest, type ContestOptions } from './contest.js';
import { goalLines } from './goals.js';
import { describeLoad, describeMachine } from './machine.js';
import { profileArgs, summarizeProfiles } from './profile.js';
import { tableOf } from './report.js';
import type { Cell, CellResult } from './results.js';
import { Workers } from './worker-process.js';

/** As a share of what the command line calls a round: short rounds, too, are of code that is warm. */
const LEAST_WARM_UP = 0.2;
const MAX_WARM_UP_SECONDS = 1;

type Failures = ReadonlyMap<string, unknown>;

function cellsOf({ callers, smoke }: BenchOptions, workload: string): Cell[] {
  const cells = pick(WORKLOADS, workload)
    .cases(callers)
    .map((its) => ({ workload, its }));
  return smoke ? cells.filter((_, index) => index === 0 || index === cells.length - 1) : cells;
}

/** Says so if it is not. */
function isPossible(workload: string): boolean {
  const problem = pick(WORKLOADS, workload).missing?.();
  if (problem !== undefined) console.log(`\n${workload}: SKIPPED: it ${problem}.`);
  return problem === undefined;
}

/** What the options leave of a workload; `undefined`: none of its systems. */
function contestOf(options: BenchOptions, workload: string): ContestOptions | undefined {
  const { pace, callingProcesses, stage = 'loopback', nodeArgs = [], systems: its } = pick(WORKLOADS, workload);
  const systems = its.filter((system) => options.systems.includes(system));
  const seconds = Number((options.seconds * pace).toPrecision(3));
  const warmUp = Math.min(options.seconds * Math.max(pace / 2, LEAST_WARM_UP), MAX_WARM_UP_SECONDS);
  // Processes that are new in each round are as cold in the next.
  const warmUpSeconds = stage === 'not reading' ? 0 : warmUp;
  if (systems.length === 0) return undefined;
  return { systems, callingProcesses, stage, nodeArgs, rounds: options.rounds, seconds, warmUpSeconds };
}

/** Workloads that compare the same systems share a contest; tables appear as they are finished. */
async function compare(options: BenchOptions, workers: Workers): Promise<Failures> {
  const contests = new Map<string, Contest>();
  const all: CellResult[] = [];
  for (const workload of options.workloads) {
    const contestOptions = contestOf(options, workload);
    if (contestOptions === undefined) continue;
    const { rounds, seconds } = contestOptions;
    const contest = contests.get(JSON.stringify(contestOptions)) ?? new Contest(contestOptions);
    contests.set(JSON.stringify(contestOptions), contest);
    await contest.open(workers, () => []);
    const results: CellResult[] = [];
    for (const cell of cellsOf(options, workload)) results.push(await contest.measure(cell));
    const { note } = pick(WORKLOADS, workload);
    console.log(`\n${workload}: median of ${rounds} × ${seconds} s; ratios: median (least–most) of the rounds`);
    if (note !== undefined) console.log(note);
    console.log(tableOf(workload, results));
    all.push(...results);
  }
  for (const contest of contests.values()) await contest.close();
  const goals = goalLines(all);
  if (goals.length > 0) console.log([`\nGoals, by the median of ${options.rounds}`, ...goals].join('\n  '));
  return new Map([...contests.values()].flatMap(({ failures }) => [...failures]));
}

/** A contest per cell, so that each has profiles of its own. */
async function profile(options: BenchOptions, workers: Workers): Promise<Failures> {
  const folder = await mkdtemp(join(tmpdir(), 'gen-rpc-bench-'));
  const failures = new Map<string, unknown>();
  for (const cell of options.workloads.flatMap((workload) => cellsOf(options, workload))) {
    const contestOptions = contestOf(options, cell.workload);
    if (contestOptions === undefined) continue;
    const contest = new Contest(contestOptions);
    const which = [cell.workload, ...pick(WORKLOADS, cell.workload).columns.map((column) => cell.its[column])];
    const label = which.join('-').replaceAll(' ', '');
    await contest.open(workers, (name) => profileArgs(folder, `${label}-${name}`));
    const result = await contest.measure(cell);
    await contest.close();
    console.log(tableOf(cell.workload, [result]));
    contest.failures.forEach((error, system) => failures.set(system, error));
  }
  console.log(`\nProfiles, start included: shares of the time not idle\n\n${await summarizeProfiles(folder)}`);
  return failures;
}

async function run(options: BenchOptions): Promise<void> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  }
  const certificates = await makeCertificates();
  const workers = new Workers({ BENCH_HEAP_MIB: String(options.heapMiB), [CERTIFICATES]: certificates });
  process.once('exit', () => workers.killAll());
  console.log(`${describeMachine()}, ${describeLoad()}`);
  const workloads = options.workloads.filter(isPossible);
  const failures = await (options.profile ? profile : compare)({ ...options, workloads }, workers);
  console.log(`\n${describeLoad()} at the end`);
  for (const [system, error] of failures) {
    console.error(`\n${system} FAILED: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}

try {
  const options = readCommandLine(process.argv.slice(2));
  if (options === undefined) console.log(USAGE);
  else await run(options);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 2;
}
