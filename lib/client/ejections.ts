/** Which nodes have failed so often lately that others are called instead. (Envoy: outlier detection) */
import type { Journal } from '../connection/journal.js';
import type { Clock } from '../ports/clock.js';
import type { Random } from '../ports/random.js';
import { AnswerTimes } from './answer-times.js';

export interface EjectionRules {
  /** Failures in a row. */
  readonly failures: number;
  /** ms: the bounds of how long. */
  readonly min: number;
  readonly max: number;
}

export interface EjectionPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly journal: Journal;
  /** A node that discovery has dropped meanwhile is nobody to keep in mind. */
  readonly isMember: (node: string) => boolean;
}

interface Record {
  failures: number;
  until: number;
  /** How often in a row. */
  ejected: number;
}

export class Ejections {
  private readonly failing = new Map<string, Record>();
  private readonly answers = new AnswerTimes();

  /** @param rules `undefined`: nobody is ever ejected */
  constructor(
    private readonly rules: EjectionRules | undefined,
    private readonly ports: EjectionPorts,
  ) {}

  has(node: string): boolean {
    if (this.failing.size === 0) return false;
    const { until = 0 } = this.failing.get(node) ?? {};
    return until > this.ports.clock.now();
  }

  /** @param askedAt when the node got the call; `undefined`: it has begun to answer before, and only goes on. */
  answered(node: string, askedAt: number | undefined): void {
    const { rules, ports } = this;
    if (rules === undefined || !ports.isMember(node)) return;
    this.answers.add(node, askedAt, ports.clock.now());
    if (this.failing.size > 0) this.failing.delete(node);
  }

  /** A failure only where the node had time to answer, and has answered nobody meanwhile. */
  timedOut(node: string, askedAt: number, deadlineAt: number): void {
    if (this.answers.isOverdue(node, askedAt, deadlineAt)) this.failed(node);
  }

  /** Once its time is over, one more failure is enough. */
  failed(node: string): void {
    const { rules, ports } = this;
    if (rules === undefined || !ports.isMember(node) || this.has(node)) return;
    const record = this.failing.get(node) ?? { failures: 0, ejected: 0, until: 0 };
    this.failing.set(node, record);
    record.failures += 1;
    if (record.failures < rules.failures) return;
    const bound = Math.min(rules.max, rules.min * 2 ** record.ejected);
    const ms = Math.round((bound * (1 + ports.random.fraction())) / 2);
    record.ejected += 1;
    record.until = ports.clock.now() + ms;
    const message = (): string => `${node} failed ${record.failures} times in a row: others are called for ${ms} ms.`;
    ports.journal.note('node_ejected', message);
  }

  /** Discovery knows it no more. */
  forget(node: string): void {
    this.failing.delete(node);
    this.answers.forget(node);
  }
}
