/** One service as it was last told of, and what is made of each further answer. */
import type { NamedAddress } from '../ports/name-server.js';
import type { NodeRecord } from './discovery.js';
import type { DnsServiceOptions } from './dns-options.js';
import type { DnsQuestions } from './dns-questions.js';
import { addressRecords, isDecidedlyNone, targetRecords } from './dns-records.js';

/** What became of asking for a service. */
export interface Reading {
  /** Of its `nodes`: they are what was told just now. */
  readonly isTold: boolean;
  /** There were nodes, and none are told of now: it is to be asked anew. */
  readonly isDoubted: boolean;
  /** Why not all of it could be told. */
  readonly failure: Error | undefined;
  /** ms that the answer holds, where that is said. */
  readonly holdsMs: number | undefined;
}

interface Answer {
  readonly nodes: readonly NodeRecord[];
  readonly isDecided: boolean;
  readonly failure: Error | undefined;
  readonly holdsMs: number | undefined;
}

type Family = 'a' | 'aaaa';

export class DnsService {
  /** All that is known; `undefined`: nothing was ever told. */
  nodes: readonly NodeRecord[] | undefined;
  private readonly addresses = new Map<Family, readonly string[]>();
  private isDoubting = false;

  /** @param isAlone then whoever hears of its nodes has doubts enough */
  constructor(
    readonly options: DnsServiceOptions,
    private readonly questions: DnsQuestions,
    private readonly isAlone: boolean,
  ) {}

  /** Asks once. Never rejects. */
  async read(): Promise<Reading> {
    try {
      return this.take(await (this.options.srv === undefined ? this.readHost() : this.readTargets()));
    } catch (failure) {
      return { isTold: false, isDoubted: false, failure: failure as Error, holdsMs: undefined };
    }
  }

  /** An SRV record says which port a node has; elsewhere that is known. @throws Error (as a rejection) if it cannot be told. */
  async locate(node: string, signal: AbortSignal): Promise<NodeRecord | undefined> {
    const { srv = '' } = this.options;
    return targetRecords(this.options, await this.questions.srv(srv, signal)).find(({ name }) => name === node);
  }

  private take({ nodes, isDecided, failure, holdsMs }: Answer): Reading {
    const isEmptied = nodes.length === 0 && this.nodes !== undefined && this.nodes.length > 0;
    this.isDoubting = isEmptied && !isDecided && !this.isAlone && !this.isDoubting;
    if (!this.isDoubting) this.nodes = nodes;
    return { isTold: !this.isDoubting, isDoubted: this.isDoubting, failure, holdsMs };
  }

  private async readTargets(): Promise<Answer> {
    const targets = await this.questions.srv(this.options.srv ?? '');
    const nodes = targetRecords(this.options, targets);
    return { nodes, isDecided: isDecidedlyNone(targets), failure: undefined, holdsMs: undefined };
  }

  /** Of a family that cannot be told, what it was last. @throws Error (as a rejection) if that leaves nothing. */
  private async readHost(): Promise<Answer> {
    const { host = '', family } = this.options;
    const families: Family[] = family === undefined ? ['a', 'aaaa'] : [family === 4 ? 'a' : 'aaaa'];
    const answers = await Promise.allSettled(families.map((one) => this.questions[one](host)));
    const told: NamedAddress[] = [];
    let failure: Error | undefined;
    for (const [at, one] of families.entries()) {
      const answer = answers[at];
      if (answer?.status === 'rejected') failure = answer.reason as Error;
      if (answer?.status !== 'fulfilled') continue;
      told.push(...answer.value);
      this.addresses.set(
        one,
        answer.value.map(({ address }) => address),
      );
    }
    const nodes = addressRecords(this.options, [...this.addresses.values()].flat());
    if (failure !== undefined && (told.length === 0 || nodes.length === 0)) throw failure;
    const holdsMs = told.length === 0 ? undefined : 1000 * Math.min(...told.map(({ ttl }) => ttl));
    return { nodes, isDecided: false, failure, holdsMs };
  }
}
