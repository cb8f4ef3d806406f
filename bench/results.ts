/** What was measured, and the two questions asked of it: how much, and how it compares round by round. */
import { pick, WORKLOADS } from './catalog.js';
import type { Sample } from './system-processes.js';
import { spreadOf, type Spread } from './statistics.js';
import type { Case } from './workload.js';

/** One line of conditions under which all systems take their turns. */
export interface Cell {
  readonly workload: string;
  readonly its: Case;
}

/** The samples of one cell, by system; those of the same index are of the same round. */
export class CellResult {
  private readonly samples = new Map<string, Sample[]>();

  constructor(readonly cell: Cell) {}

  /** Systems with samples, in the order in which they were first measured. */
  get systems(): string[] {
    return [...this.samples.keys()];
  }

  add(system: string, sample: Sample): void {
    const samples = this.samples.get(system);
    if (samples === undefined) this.samples.set(system, [sample]);
    else samples.push(sample);
  }

  /** Drops what a system had achieved before it failed. */
  drop(system: string): void {
    this.samples.delete(system);
  }

  /** Spread over the rounds of whatever `read` makes of a sample; `undefined` if the system has none. */
  spread(system: string, read: (sample: Sample) => number): Spread | undefined {
    const samples = this.samples.get(system);
    return samples && spreadOf(samples.map(read));
  }

  /** What is compared of `system`, mostly its speed, as a multiple of that of `baseline` in the same round. */
  ratio(system: string, baseline: string): Spread | undefined {
    const [ours, theirs] = [this.samples.get(system), this.samples.get(baseline)];
    if (ours === undefined || theirs === undefined || system === baseline) return undefined;
    const read = readersOf(this.cell.workload)[0] ?? speedOf;
    const ratios = ours.flatMap((sample, round) => {
      const other = theirs[round];
      return other === undefined ? [] : [read(sample) / read(other)];
    });
    return ratios.length === 0 ? undefined : spreadOf(ratios);
  }
}

/** What the table of a workload shows of a sample; the first is what is compared. */
export function readersOf(workload: string): ((sample: Sample) => number)[] {
  const { figures } = pick(WORKLOADS, workload);
  return figures?.map((figure) => (sample) => sample.figures?.[figure] ?? NaN) ?? [speedOf];
}

const speedOf = ({ operations, seconds }: Sample): number => operations / seconds;
export const clientMicrosOf = ({ operations, clientMicros }: Sample): number => clientMicros / operations;
export const serverMicrosOf = ({ operations, serverMicros }: Sample): number => serverMicros / operations;
/** How many cores all of a system's processes kept busy. */
export const busyCoresOf = ({ seconds, clientMicros, serverMicros }: Sample): number =>
  (clientMicros + serverMicros) / (seconds * 1_000_000);
