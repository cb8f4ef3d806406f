/** Results as text: a table of a workload, a line for each case and system. */
import { availableParallelism } from 'node:os';
import { pick, WORKLOADS } from './catalog.js';
import { busyCoresOf, clientMicrosOf, readersOf, serverMicrosOf, type CellResult } from './results.js';

const whole = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 });

/** `results` are of the same workload. */
export function tableOf(workload: string, results: readonly CellResult[]): string {
  const { unit, figures = [`${unit}/s`], columns, baselines } = pick(WORKLOADS, workload);
  const present = baselines.filter((baseline) => results.some(({ systems }) => systems.includes(baseline)));
  const ratioTitles = present.map((baseline) => `× ${baseline}`);
  const cores = `of ${availableParallelism()} cores`;
  const titles = [...columns, 'system', ...figures, ...ratioTitles, 'CPU µs: client', 'server', cores];
  const lines = results.flatMap((result) => result.systems.map((system) => lineOf(result, system, columns, present)));
  return aligned(withoutBlanks([titles, ...lines]));
}

function lineOf(
  result: CellResult,
  system: string,
  columns: readonly string[],
  baselines: readonly string[],
): readonly string[] {
  const median = (read: typeof busyCoresOf): number => result.spread(system, read)?.median ?? NaN;
  return [
    ...columns.map((column) => String(result.cell.its[column])),
    system,
    ...readersOf(result.cell.workload).map((read) => whole.format(median(read))),
    ...baselines.map((baseline) => ratioOf(result, system, baseline)),
    textOf(median(clientMicrosOf)),
    textOf(median(serverMicrosOf)),
    textOf(median(busyCoresOf)),
  ];
}

/** What was not measured is left blank. */
function textOf(value: number): string {
  return Number.isNaN(value) ? '' : value.toFixed(1);
}

function ratioOf(result: CellResult, system: string, baseline: string): string {
  const ratio = result.ratio(system, baseline);
  if (ratio === undefined) return system === baseline ? '1' : '';
  const [median, least, most] = [ratio.median, ratio.least, ratio.most].map((value) => value.toFixed(2));
  return least === most ? `${median}` : `${median} (${least}–${most})`;
}

/** Without columns that have only a title. */
function withoutBlanks(lines: readonly (readonly string[])[]): string[][] {
  const [, ...body] = lines;
  return lines.map((line) => line.filter((_, column) => body.some((other) => other[column] !== '')));
}

/** Columns under each other, figures to the right, names to the left. */
function aligned(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  const isName = (column: number): boolean => lines[0]?.[column] === 'system';
  const pad = (text: string, column: number): string =>
    isName(column) ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0);
  return lines.map((line) => `  ${line.map(pad).join('   ')}`.trimEnd()).join('\n');
}
