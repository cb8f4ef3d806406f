/** Lets the systems take turns at every cell. A system that fails is out; the others go on. */
import type { BenchOptions } from './command-line.js';
import { Pair, type NodeArgs } from './pair.js';
import { CellResult, type Cell } from './results.js';
import type { Load } from './workload.js';
import type { Workers } from './worker-process.js';

/** Above what any system here reaches: it bounds a round whose clock is stuck. */
const MAX_OPERATIONS_PER_SECOND = 5_000_000;
const MAX_WARM_UP_SECONDS = 1;

type Contestant = readonly [system: string, pair: Pair];

export class Contest {
  readonly failures = new Map<string, unknown>();
  private readonly pairs = new Map<string, Pair>();

  constructor(private readonly options: Pick<BenchOptions, 'systems' | 'rounds' | 'seconds'>) {}

  /** Starts both processes of every system; they stay for all cells. */
  async open(workers: Workers, nodeArgs: NodeArgs): Promise<void> {
    for (const system of this.options.systems) {
      await this.attempt(system, async () => {
        this.pairs.set(system, await Pair.open(workers, system, nodeArgs));
      });
    }
  }

  async measure(cell: Cell): Promise<CellResult> {
    const result = new CellResult(cell);
    const { rounds, seconds } = this.options;
    const contestants = await this.warmUp(cell);
    for (let round = 0; round < rounds; round++) {
      for (const [system, pair] of rotated(contestants, round)) {
        await this.attempt(system, async () => {
          result.add(system, await pair.round(cell.workload, loadOf(cell, seconds)));
        });
      }
    }
    for (const system of this.failures.keys()) result.drop(system);
    return result;
  }

  async close(): Promise<void> {
    for (const [system, pair] of this.pairs) await this.attempt(system, () => pair.close());
    this.pairs.clear();
  }

  /** Resolves with those that take part. */
  private async warmUp(cell: Cell): Promise<Contestant[]> {
    const ready: Contestant[] = [];
    const load = loadOf(cell, Math.min(this.options.seconds / 2, MAX_WARM_UP_SECONDS));
    for (const [system, pair] of this.pairs) {
      await this.attempt(system, async () => {
        if (!(await pair.supports(cell.workload))) return;
        await pair.round(cell.workload, load);
        ready.push([system, pair]);
      });
    }
    return ready;
  }

  /** Does `work` unless the system has failed before; if it fails now, its processes end. */
  private async attempt(system: string, work: () => Promise<void>): Promise<void> {
    if (this.failures.has(system)) return;
    try {
      await work();
    } catch (error) {
      this.failures.set(system, error);
      this.pairs.get(system)?.kill();
    }
  }
}

function loadOf({ callers }: Cell, seconds: number): Load {
  return { callers, seconds, maxOperations: seconds * MAX_OPERATIONS_PER_SECOND };
}

/** Another system begins each round. */
function rotated(contestants: readonly Contestant[], by: number): Contestant[] {
  const at = by % Math.max(contestants.length, 1);
  return [...contestants.slice(at), ...contestants.slice(0, at)];
}
