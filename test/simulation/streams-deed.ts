/** One thing that a simulated node asked of another: what was planned, what was seen at either end, and what came of it. */
import type { SeededRandom } from '../../lib/testing/seeded-random.js';
import {
  MOST_BYTES,
  type Item,
  type Producer,
  type ProducerPlan,
  type Reader,
  type ReaderPlan,
} from './streams-items.js';

export type Verb = 'call' | 'stream' | 'upload' | 'echo' | 'cross' | 'cast' | 'ordered';
const CALLS: readonly Verb[] = ['call', 'call', 'stream', 'stream', 'upload', 'echo', 'cross'];

export interface Plan {
  readonly argument: Item;
  readonly answer: Item;
  readonly reply: ProducerPlan;
  readonly request: ProducerPlan;
  /** How the caller reads the reply, and the function the argument. */
  readonly caller: ReaderPlan;
  readonly server: ReaderPlan;
  readonly serverReads: 'iterates' | 'subscribes';
  /** How the caller hears of its reply. */
  readonly by: 'promise' | 'sink';
  /** ms that the function takes; `never`: until it is told to stop. */
  readonly work: number | 'never';
  readonly throws: boolean;
  /** Does the function look whether somebody waits? */
  readonly heeds: boolean;
  /** ms after which the caller gives up. */
  readonly cancelAt: number | undefined;
  readonly timeout: number;
}

/** The function, begun for it. */
export interface Run {
  readonly life: number;
  readonly beganAt: number;
  abortedAt: number | undefined;
  abortedBy: string | undefined;
  ended: 'value' | 'threw' | undefined;
  endedAt: number;
  producer: Producer | undefined;
  reader: Reader | undefined;
}

export interface Deed {
  readonly id: number;
  readonly verb: Verb;
  readonly plan: Plan;
  /** Number of the process that asks; name of the node that is asked. */
  readonly from: number;
  readonly to: string;
  readonly beganAt: number;
  readonly probe: boolean;
  readonly runs: Run[];
  request: Producer | undefined;
  reader: Reader | undefined;
  settled: number;
  settledAt: number;
  /** `ok`, `left`, or the code of an error. */
  result: string;
  maybeExecuted: boolean;
  message: string;
  accepted: boolean;
  wrongAnswer: boolean;
  /** What came when nothing was to come any more. */
  afterwards: number;
}

/** Long enough for anything, where nothing goes wrong. */
export const PATIENT_MS = 20_000;

const SHAPES = ['raw', 'object', 'object', 'null'] as const;

export class Planner {
  constructor(private readonly random: SeededRandom) {}

  verb(): Verb {
    return this.of(CALLS);
  }

  plan(): Plan {
    const patient = this.chance(0.4);
    const heeds = patient || this.chance(0.7);
    const never = !patient && heeds && this.chance(0.15);
    return {
      argument: this.item(),
      answer: this.item(),
      reply: this.producer(patient),
      request: this.producer(patient),
      caller: this.readerPlan(),
      server: this.readerPlan(),
      serverReads: this.chance(0.3) ? 'subscribes' : 'iterates',
      by: this.chance(0.5) ? 'sink' : 'promise',
      work: never ? 'never' : this.chance(0.4) ? 0 : this.random.below(80),
      throws: this.chance(0.05),
      heeds,
      cancelAt: this.chance(0.25) ? this.random.below(150) : undefined,
      timeout: patient ? PATIENT_MS : 10 + this.random.below(this.chance(0.3) ? 60 : 800),
    };
  }

  /** Nothing goes wrong with it, if nothing is wrong. */
  probe(plan: Plan = this.plan()): Plan {
    const items = Array.from({ length: 5 }, (): Item => ({ size: 30_000, shape: 'raw', pause: 0 }));
    const producer: ProducerPlan = { items, as: 'pull', failAt: undefined, endless: false };
    const reader: ReaderPlan = { delays: [], leaveAfter: undefined, leaveAt: undefined };
    const all = { reply: producer, request: producer, caller: reader, server: reader, cancelAt: undefined };
    return { ...plan, ...all, work: 0, throws: false, heeds: true, timeout: PATIENT_MS };
  }

  /** One that has no end, and is left: its function must be told. */
  leaving(): Plan {
    const plan = this.probe();
    const reply: ProducerPlan = { ...plan.reply, items: [{ size: 100, shape: 'raw', pause: 5 }], endless: true };
    return { ...plan, reply, caller: { ...plan.caller, leaveAfter: 3 }, by: 'promise' };
  }

  private producer(patient: boolean): ProducerPlan {
    const items = Array.from({ length: this.random.below(this.chance(0.2) ? 40 : 8) }, () => this.item());
    const endless = !patient && items.some(({ pause }) => pause > 0) && this.chance(0.2);
    const failAt = this.chance(0.07) ? this.random.below(items.length + 1) : undefined;
    return { items, as: this.chance(0.35) ? 'push' : 'pull', failAt, endless };
  }

  private item(): Item {
    const pause = this.chance(0.6) ? 0 : 1 + this.random.below(30);
    return { size: this.size(), shape: this.of(SHAPES), pause };
  }

  /** Most are small, some just around what travels whole, few are large. */
  private size(): number {
    const dice = this.random.fraction();
    if (dice < 0.1) return 0;
    if (dice < 0.6) return this.random.below(300);
    if (dice < 0.75) return 16_300 + this.random.below(200);
    if (dice < 0.95) return this.random.below(70_000);
    return this.random.below(MOST_BYTES);
  }

  private readerPlan(): ReaderPlan {
    return {
      delays: this.chance(0.6) ? [] : Array.from({ length: 3 }, () => this.random.below(40)),
      leaveAfter: this.chance(0.12) ? this.random.below(6) : undefined,
      leaveAt: this.chance(0.12) ? this.random.below(120) : undefined,
    };
  }

  private chance(of: number): boolean {
    return this.random.fraction() < of;
  }

  private of<T>(list: readonly T[]): T {
    const one = list[this.random.below(list.length)];
    if (one === undefined) throw new Error('the list is empty');
    return one;
  }
}
