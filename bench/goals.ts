/** How fast this library wants to be, as ratios within one run. */
import type { Cell, CellResult } from './results.js';

export interface Goal {
  readonly workload: string;
  /** At these numbers of callers, where there are several. */
  readonly callers?: readonly number[];
  readonly system: string;
  readonly baseline: string;
  /** The ratios to reach, one after another. */
  readonly ratios: readonly number[];
}

export const GOALS: readonly Goal[] = [
  { workload: 'add', callers: [64, 512], system: 'gen-rpc', baseline: 'nest-tcp', ratios: [2.5, 3.5] },
  { workload: 'add', callers: [64, 512], system: 'gen-rpc', baseline: 'raw', ratios: [0.6, 0.8] },
  { workload: 'add', callers: [1], system: 'gen-rpc', baseline: 'raw', ratios: [0.85] },
  { workload: 'events', system: 'gen-rpc', baseline: 'nest-tcp', ratios: [2, 3] },
];

/** One line for each goal that this run has figures for. */
export function goalLines(results: readonly CellResult[]): string[] {
  return GOALS.flatMap((goal) =>
    results
      .filter(({ cell }) => cell.workload === goal.workload && isAt(goal, cell))
      .flatMap((result) => lineOf(goal, result) ?? []),
  );
}

function isAt({ callers }: Goal, { its }: Cell): boolean {
  return callers === undefined || callers.some((count) => count === its.callers);
}

function lineOf({ system, baseline, ratios }: Goal, result: CellResult): string | undefined {
  const reached = result.ratio(system, baseline);
  if (reached === undefined) return undefined;
  const { workload, its } = result.cell;
  const where = its.callers === undefined ? workload : `${workload}, ${its.callers} at a time`;
  const verdicts = ratios.map((ratio) => `≥ ${ratio} ${reached.median >= ratio ? 'met' : 'NOT MET'}`);
  return `${where}: ${system} is ${reached.median.toFixed(2)} × ${baseline}: ${verdicts.join(', ')}`;
}
