/** How good this library wants to be, as ratios within one run. */
import { pick, WORKLOADS } from './catalog.js';
import type { Cell, CellResult } from './results.js';
import type { Case } from './workload.js';

export interface Goal {
  readonly workload: string;
  /** In the cases that have all of one of these. Default: in all. */
  readonly at?: readonly Case[];
  readonly system: string;
  readonly baseline: string;
  /** The ratios to reach, one after another. */
  readonly ratios: readonly number[];
  /** Less is better: of times, for example. */
  readonly atMost?: true;
}

const MANY = [{ callers: 64 }, { callers: 512 }];
const SMALLER = [{ size: '64 KiB', callers: 64 }];
const LARGER = [{ size: '500 KB', callers: 4 }];

export const GOALS: readonly Goal[] = [
  { workload: 'add', at: MANY, system: 'gen-rpc', baseline: 'nest-tcp', ratios: [2.5, 3.5] },
  { workload: 'add', at: MANY, system: 'gen-rpc', baseline: 'raw', ratios: [0.6, 0.8] },
  { workload: 'add', at: [{ callers: 1 }], system: 'gen-rpc', baseline: 'raw', ratios: [0.85] },
  { workload: 'events', system: 'gen-rpc', baseline: 'nest-tcp', ratios: [2, 3] },
  { workload: 'stream', system: 'gen-rpc', baseline: 'nest-tcp', ratios: [10, 25] },
  { workload: 'stream', system: 'gen-rpc', baseline: 'grpc-js', ratios: [5] },
  ...['nest-tcp', 'grpc-js'].flatMap((baseline): Goal[] => [
    { workload: 'buffers', at: SMALLER, system: 'gen-rpc', baseline, ratios: [6, 9] },
    { workload: 'buffers', at: LARGER, system: 'gen-rpc', baseline, ratios: [7, 10] },
  ]),
  { workload: 'buffers', at: [...SMALLER, ...LARGER], system: 'gen-rpc', baseline: 'raw-bytes', ratios: [0.6, 0.85] },
  ...['beside-bulk', 'beside-bulk-slow'].map((workload): Goal => {
    return { workload, system: 'gen-rpc', baseline: 'nest-tcp', ratios: [0.1], atMost: true };
  }),
];

/** One line for each goal that this run has figures for. */
export function goalLines(results: readonly CellResult[]): string[] {
  return GOALS.flatMap((goal) =>
    results
      .filter(({ cell }) => cell.workload === goal.workload && isAt(goal, cell))
      .flatMap((result) => lineOf(goal, result) ?? []),
  );
}

function isAt({ at }: Goal, { its }: Cell): boolean {
  return at === undefined || at.some((some) => Object.entries(some).every(([column, value]) => its[column] === value));
}

function lineOf({ system, baseline, ratios, atMost }: Goal, result: CellResult): string | undefined {
  const reached = result.ratio(system, baseline);
  if (reached === undefined) return undefined;
  const { workload, its } = result.cell;
  const where = [workload, ...pick(WORKLOADS, workload).columns.map((column) => `${column} ${its[column]}`)];
  const verdicts = ratios.map((ratio) => {
    const met = atMost ? reached.median <= ratio : reached.median >= ratio;
    return `${atMost ? '≤' : '≥'} ${ratio} ${met ? 'met' : 'NOT MET'}`;
  });
  return `${where.join(', ')}: ${system} is ${reached.median.toFixed(2)} × ${baseline}: ${verdicts.join(', ')}`;
}
