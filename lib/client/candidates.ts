/** The nodes that a choice is made among, by what discovery tells of them; kept until that changes. */
import type { NodeRecord } from '../discovery/discovery.js';
import type { Membership } from '../discovery/membership.js';
import { isWanted } from '../protocol/versions.js';
import type { Choice } from './target.js';

export interface Candidate {
  readonly node: string;
  /** The same for this node in every process: what keys are weighed with. */
  readonly seed: number;
  readonly weight: number;
  /** `false`: discovery tells of it no more, and it is only connected still. */
  readonly listed: boolean;
}

/** Nodes of one priority. */
export interface Tier {
  readonly nodes: readonly Candidate[];
  /** Of all of them; 0: none is preferred. */
  readonly weight: number;
  /** Do some have another weight than others? */
  readonly weighted: boolean;
}

/** Callers choose modules and versions; past this many, the memory of them begins anew. */
const MOST_CHOICES = 1000;

export class Candidates {
  private readonly known = new Map<string, readonly Tier[]>();
  private version = -1;

  constructor(
    private readonly membership: Membership,
    private readonly seedOf: (node: string) => number,
  ) {}

  /** In the order of their priorities, the preferred one first. Empty where nobody will do. */
  of({ kind, name, version }: Choice): readonly Tier[] {
    if (this.version !== this.membership.version || this.known.size >= MOST_CHOICES) {
      this.known.clear();
      this.version = this.membership.version;
    }
    const key = `${kind} ${name}\0${version}`;
    let tiers = this.known.get(key);
    if (tiers === undefined) {
      const fits = kind === 'module' ? (record: NodeRecord) => has(record, name, version) : isNamed(name);
      this.known.set(key, (tiers = this.tiersOf(fits)));
    }
    return tiers;
  }

  private tiersOf(fits: (record: NodeRecord) => boolean): Tier[] {
    const byPriority = new Map<number, Candidate[]>();
    for (const { record, listed } of this.membership.all()) {
      if (!fits(record)) continue;
      const { name: node, priority = 0, weight = 1 } = record;
      const nodes = byPriority.get(priority) ?? [];
      byPriority.set(priority, nodes);
      nodes.push({ node, weight, listed, seed: this.seedOf(node) });
    }
    const inOrder = [...byPriority].sort(([one], [other]) => one - other);
    return inOrder.map(([, nodes]) => tierOf(nodes.sort(byWeightAndName)));
  }
}

export function tierOf(nodes: readonly Candidate[]): Tier {
  const weight = nodes.reduce((sum, node) => sum + node.weight, 0);
  return { nodes, weight, weighted: nodes.some((node) => node.weight !== nodes[0]?.weight) };
}

/** Those of weight 0 come first, as draws by RFC 2782 want it; the rest is the same in every process. */
function byWeightAndName(one: Candidate, other: Candidate): number {
  const first = Number(other.weight === 0) - Number(one.weight === 0);
  return first || (one.node < other.node ? -1 : 1);
}

/** What discovery does not say may be anything. */
function has({ modules }: NodeRecord, name: string, version: string): boolean {
  if (modules === undefined) return true;
  const module = modules.find((one) => one.name === name);
  return module !== undefined && (version === '' || module.versions.some((one) => isWanted(one, version)));
}

function isNamed(name: string) {
  return (record: NodeRecord): boolean => record.name.startsWith(`${name}@`);
}
