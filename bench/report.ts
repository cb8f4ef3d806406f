/** Results as text: a table of a workload, a line for each case and system. */
import { availableParallelism } from 'node:os';
import { pick, WORKLOADS } from './catalog.js';
import { busyCoresOf, clientMicrosOf, serverMicrosOf, speedOf, type CellResult } from './results.js';

const whole = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 });

/** `results` are of the same workload. */
export function tableOf(workload: string, results: readonly CellResult[]): string {
  const { unit, columns, baselines } = pick(WORKLOADS, workload);
  const present = baselines.filter((baseline) => results.some(({ systems }) => systems.includes(baseline)));
  const ratioTitles = present.map((baseline) => `× ${baseline}`);
  const cores = `of ${availableParallelism()} cores`;
  const titles = [...columns, 'system', `${unit}/s`, ...ratioTitles, 'CPU µs: client', 'server', cores];
  const lines = results.flatMap((result) => result.systems.map((system) => lineOf(result, system, columns, present)));
  return aligned([titles, ...lines]);
}

function lineOf(
  result: CellResult,
  system: string,
  columns: readonly string[],
  baselines: readonly string[],
): readonly string[] {
  const median = (read: typeof speedOf): number => result.spread(system, read)?.median ?? NaN;
  return [
    ...columns.map((column) => String(result.cell.its[column])),
    system,
    whole.format(median(speedOf)),
    ...baselines.map((baseline) => ratioOf(result, system, baseline)),
    median(clientMicrosOf).toFixed(1),
    median(serverMicrosOf).toFixed(1),
    median(busyCoresOf).toFixed(1),
  ];
}

function ratioOf(result: CellResult, system: string, baseline: string): string {
  const ratio = result.ratio(system, baseline);
  if (ratio === undefined) return system === baseline ? '1' : '';
  const [median, least, most] = [ratio.median, ratio.least, ratio.most].map((value) => value.toFixed(2));
  return least === most ? `${median}` : `${median} (${least}–${most})`;
}

/** Columns under each other, figures to the right, names to the left. */
function aligned(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  const isName = (column: number): boolean => lines[0]?.[column] === 'system';
  const pad = (text: string, column: number): string =>
    isName(column) ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0);
  return lines.map((line) => `  ${line.map(pad).join('   ')}`.trimEnd()).join('\n');
}
