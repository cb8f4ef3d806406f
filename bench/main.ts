/** `npm run bench`: systems side by side, in turns, in one run. */
import { mkdtemp } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pick, WORKLOADS } from './catalog.js';
import { readCommandLine, USAGE, type BenchOptions } from './command-line.js';
import { Contest } from './contest.js';
import { goalLines } from './goals.js';
import { describeLoad, describeMachine } from './machine.js';
import { profileArgs, summarizeProfiles } from './profile.js';
import { tableOf } from './report.js';
import type { Cell, CellResult } from './results.js';
import { Workers } from './worker-process.js';

type Failures = ReadonlyMap<string, unknown>;

function cellsOf({ callers }: BenchOptions, workload: string): Cell[] {
  const counts = pick(WORKLOADS, workload).concurrent ? callers : [1];
  return counts.map((count) => ({ workload, callers: count }));
}

/** One contest over all cells, whose tables appear as they are finished. */
async function compare(options: BenchOptions, workers: Workers): Promise<Failures> {
  const { workloads, rounds, seconds } = options;
  const contest = new Contest(options);
  await contest.open(workers, () => []);
  const all: CellResult[] = [];
  for (const workload of workloads) {
    const results: CellResult[] = [];
    for (const cell of cellsOf(options, workload)) results.push(await contest.measure(cell));
    console.log(`\n${workload}: median of ${rounds} × ${seconds} s; ratios: median (least–most) of the rounds`);
    console.log(tableOf(workload, results));
    all.push(...results);
  }
  await contest.close();
  const goals = goalLines(all);
  if (goals.length > 0) console.log([`\nGoals, by the median of ${rounds}`, ...goals].join('\n  '));
  return contest.failures;
}

/** A contest per cell, so that each has profiles of its own. */
async function profile(options: BenchOptions, workers: Workers): Promise<Failures> {
  const folder = await mkdtemp(join(tmpdir(), 'gen-rpc-bench-'));
  const failures = new Map<string, unknown>();
  for (const cell of options.workloads.flatMap((workload) => cellsOf(options, workload))) {
    const contest = new Contest(options);
    await contest.open(workers, (name) => profileArgs(folder, `${cell.workload}-${cell.callers}-${name}`));
    const result = await contest.measure(cell);
    await contest.close();
    console.log(tableOf(cell.workload, [result]));
    contest.failures.forEach((error, system) => failures.set(system, error));
  }
  console.log(`\nProfiles, start included: shares of the time not idle\n\n${await summarizeProfiles(folder)}`);
  return failures;
}

async function run(options: BenchOptions): Promise<void> {
  const workers = new Workers();
  process.once('exit', () => workers.killAll());
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  }
  console.log(`${describeMachine()}, ${describeLoad()}`);
  const failures = await (options.profile ? profile : compare)(options, workers);
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
