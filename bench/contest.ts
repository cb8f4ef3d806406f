/** Lets the systems of a workload take turns at every case. A system that fails is out; the others go on. */
import { CellResult, type Cell } from './results.js';
import { SystemProcesses, type NodeArgs } from './system-processes.js';
import type { Load } from './workload.js';
import type { Workers } from './worker-process.js';

/** Above what any system here reaches: it bounds a round whose clock is stuck. */
const MAX_OPERATIONS_PER_SECOND = 5_000_000;

type Contestant = readonly [system: string, processes: SystemProcesses];

export interface ContestOptions {
  readonly systems: readonly string[];
  /** Of each system. */
  readonly callingProcesses: number;
  readonly rounds: number;
  readonly seconds: number;
  /** In front of the rounds of each case. */
  readonly warmUpSeconds: number;
}

export class Contest {
  readonly failures = new Map<string, unknown>();
  private readonly contestants = new Map<string, SystemProcesses>();

  constructor(private readonly options: ContestOptions) {}

  /** Starts the processes of every system; they stay for all cases. Safe to repeat. */
  async open(workers: Workers, nodeArgs: NodeArgs): Promise<void> {
    const { systems, callingProcesses } = this.options;
    for (const system of systems) {
      if (this.contestants.has(system)) continue;
      await this.attempt(system, async () => {
        this.contestants.set(system, await SystemProcesses.open(workers, system, callingProcesses, nodeArgs));
      });
    }
  }

  async measure(cell: Cell): Promise<CellResult> {
    const result = new CellResult(cell);
    const { rounds, seconds } = this.options;
    const contestants = await this.warmUp(cell);
    for (let round = 0; round < rounds; round++) {
      for (const [system, processes] of rotated(contestants, round)) {
        await this.attempt(system, async () => {
          result.add(system, await processes.round(cell.workload, cell.its, loadOf(seconds)));
        });
      }
    }
    for (const system of this.failures.keys()) result.drop(system);
    return result;
  }

  async close(): Promise<void> {
    for (const [system, processes] of this.contestants) await this.attempt(system, () => processes.close());
    this.contestants.clear();
  }

  /** Resolves with those that take part. */
  private async warmUp({ workload, its }: Cell): Promise<Contestant[]> {
    const ready: Contestant[] = [];
    const load = loadOf(this.options.warmUpSeconds);
    for (const [system, processes] of this.contestants) {
      await this.attempt(system, async () => {
        if (!(await processes.supports(workload))) return;
        await processes.round(workload, its, load);
        ready.push([system, processes]);
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
      this.contestants.get(system)?.kill();
    }
  }
}

function loadOf(seconds: number): Omit<Load, 'part'> {
  return { seconds, maxOperations: seconds * MAX_OPERATIONS_PER_SECOND };
}

/** Another system begins each round. */
function rotated(contestants: readonly Contestant[], by: number): Contestant[] {
  const at = by % Math.max(contestants.length, 1);
  return [...contestants.slice(at), ...contestants.slice(0, at)];
}
