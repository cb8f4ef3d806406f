/** Lets the systems of a workload take turns at every case. A system that fails is out; the others go on. */
import { availableParallelism } from 'node:os';
import { pick, WORKLOADS } from './catalog.js';
import { SlowLink } from './link.js';
import { MemoryWatch } from './memory-watch.js';
import { CellResult, type Cell } from './results.js';
import { SystemProcesses, type Contestant, type NodeArgs } from './system-processes.js';
import type { Load, Stage } from './workload.js';
import type { Workers } from './worker-process.js';

/** Above what any system here reaches: it bounds a round whose clock is stuck. */
const MAX_OPERATIONS_PER_SECOND = 5_000_000;

type Entry = readonly [system: string, contestant: Contestant];

export interface ContestOptions {
  readonly systems: readonly string[];
  /** Of each system. */
  readonly callingProcesses: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly stage: Stage;
  /** For every process. */
  readonly nodeArgs: readonly string[];
  /** In front of the rounds of each case. 0: there is none. */
  readonly warmUpSeconds: number;
}

export class Contest {
  readonly failures = new Map<string, unknown>();
  private readonly contestants = new Map<string, Contestant>();
  private link: SlowLink | undefined;

  constructor(private readonly options: ContestOptions) {}

  /** Starts the processes of every system, one for each core at once; they stay for all cases. Safe to repeat. */
  async open(workers: Workers, nodeArgs: NodeArgs): Promise<void> {
    const { systems, stage } = this.options;
    if (stage === 'slow link') this.link ??= SlowLink.open();
    const waiting = systems.filter((system) => !this.contestants.has(system));
    const opened = new Map<string, Contestant>();
    const openThem = async (): Promise<void> => {
      for (let system = waiting.shift(); system !== undefined; system = waiting.shift()) {
        const name = system;
        await this.attempt(name, async () => void opened.set(name, await this.contestantOf(workers, name, nodeArgs)));
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, openThem));
    // They take turns in the order of their workload, not in that in which they were ready.
    for (const system of systems) {
      const contestant = opened.get(system);
      if (contestant !== undefined) this.contestants.set(system, contestant);
    }
  }

  async measure(cell: Cell): Promise<CellResult> {
    const result = new CellResult(cell);
    const { rounds, seconds } = this.options;
    const contestants = await this.warmUp(cell);
    for (let round = 0; round < rounds; round++) {
      for (const [system, contestant] of rotated(contestants, round)) {
        await this.attempt(system, async () => {
          result.add(system, await contestant.round(cell.workload, cell.its, loadOf(seconds)));
        });
      }
    }
    for (const system of this.failures.keys()) result.drop(system);
    return result;
  }

  async close(): Promise<void> {
    for (const [system, contestant] of this.contestants) await this.attempt(system, () => contestant.close());
    this.contestants.clear();
    this.link?.close();
  }

  private async contestantOf(workers: Workers, system: string, nodeArgs: NodeArgs): Promise<Contestant> {
    const { stage, callingProcesses, nodeArgs: ofAll } = this.options;
    if (stage === 'not reading') return new MemoryWatch(workers, system);
    const argsOf: NodeArgs = (name) => [...ofAll, ...nodeArgs(name)];
    return await SystemProcesses.open(workers, system, callingProcesses, argsOf, this.link);
  }

  /** Resolves with those that take part. */
  private async warmUp({ workload, its }: Cell): Promise<Entry[]> {
    const ready: Entry[] = [];
    const { warmUpSeconds } = this.options;
    const without = pick(WORKLOADS, workload).without?.(its) ?? [];
    for (const [system, contestant] of this.contestants) {
      if (without.includes(system)) continue;
      await this.attempt(system, async () => {
        if (!(await contestant.supports(workload))) return;
        if (warmUpSeconds > 0) await contestant.round(workload, its, loadOf(warmUpSeconds));
        ready.push([system, contestant]);
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
function rotated(contestants: readonly Entry[], by: number): Entry[] {
  const at = by % Math.max(contestants.length, 1);
  return [...contestants.slice(at), ...contestants.slice(0, at)];
}
