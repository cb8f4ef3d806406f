/** Which of several nodes gets a call: one that has little to do, or the one that a key belongs to (ADR 25). */
import type { Random } from '../ports/random.js';
import { tierOf, type Candidate, type Candidates, type Tier } from './candidates.js';
import type { Ejections } from './ejections.js';
import type { Choice } from './target.js';

export interface PickerPorts {
  readonly candidates: Candidates;
  readonly ejections: Ejections;
  readonly random: Random;
  /** Calls that wait for the node. */
  readonly loadOf: (node: string) => number;
  /** It could not be reached, and is not tried again yet. */
  readonly isDown: (node: string) => boolean;
  /** A number for a key: the same for equal keys, in every process. */
  readonly hashOf: (key: unknown) => number;
}

export class Picker {
  constructor(private readonly ports: PickerPorts) {}

  /** A node that is not among `tried`; `undefined` where there is none. */
  pick(choice: Choice, tried: ReadonlySet<string>): string | undefined {
    const tiers = this.ports.candidates.of(choice);
    if (choice.key !== undefined) return this.byKey(tiers, choice.key, tried);
    return this.byLoad(tiers, tried);
  }

  /** Everyone who will do. */
  all(choice: Choice): string[] {
    return this.ports.candidates.of(choice).flatMap(({ nodes }) => nodes.map(({ node }) => node));
  }

  /** One that is well, of the first tier that has such; else one that was ejected; else one that is down, and says why. */
  private byLoad(tiers: readonly Tier[], tried: ReadonlySet<string>): string | undefined {
    const { ejections, isDown } = this.ports;
    const isNew = (node: string): boolean => !tried.has(node);
    const isUp = (node: string): boolean => isNew(node) && !isDown(node);
    const isWell = (node: string): boolean => isUp(node) && !ejections.has(node);
    return this.firstOf(tiers, isWell) ?? this.firstOf(tiers, isUp) ?? this.firstOf(tiers, isNew);
  }

  private firstOf(tiers: readonly Tier[], isFit: (node: string) => boolean): string | undefined {
    for (const tier of tiers) {
      const picked = this.lessBusy(tier, isFit);
      if (picked !== undefined) return picked;
    }
    return undefined;
  }

  /**
   * Of two that are drawn, the one with fewer pending calls: nearly as even as to ask all of them, and no herd runs to
   * the one that was idle a moment ago.
   */
  private lessBusy(tier: Tier, isFit: (node: string) => boolean): string | undefined {
    const drawn = this.two(tier).filter(({ node }) => isFit(node));
    const [one, other] = drawn.length > 0 ? drawn : this.two(among(tier, isFit));
    if (one === undefined || other === undefined) return one?.node;
    return this.ports.loadOf(other.node) < this.ports.loadOf(one.node) ? other.node : one.node;
  }

  private two(tier: Tier): Candidate[] {
    const one = this.draw(tier);
    if (one === undefined || tier.nodes.length === 1) return one === undefined ? [] : [one];
    const other = this.draw(tier);
    return other === undefined || other === one ? [one] : [one, other];
  }

  /** In proportion to the weights. (RFC 2782: a draw from 0 to their sum, those of weight 0 first in the row) */
  private draw({ nodes, weight, weighted }: Tier): Candidate | undefined {
    const { random } = this.ports;
    if (!weighted) return nodes[Math.floor(random.fraction() * nodes.length)];
    let left = Math.floor(random.fraction() * (weight + 1));
    for (const candidate of nodes) {
      left -= candidate.weight;
      if (left <= 0) return candidate;
    }
    return undefined;
  }

  /**
   * Rendezvous hashing: each node has a score for the key, and the highest wins, in every process alike. When a node
   * goes, only its own keys move. Neither load nor ejection counts; whoever was tried hands on to the next.
   */
  private byKey(tiers: readonly Tier[], key: unknown, tried: ReadonlySet<string>): string | undefined {
    const hash = this.ports.hashOf(key);
    for (const { nodes, weighted } of tiers) {
      let best: string | undefined;
      let highest = -Infinity;
      for (const { node, seed, weight } of nodes) {
        const score = weighted ? weightedScore(seed, hash, weight) : mixed(seed, hash);
        if (score <= highest || tried.has(node)) continue;
        highest = score;
        best = node;
      }
      if (best !== undefined) return best;
    }
    return undefined;
  }
}

function among({ nodes }: Tier, isFit: (node: string) => boolean): Tier {
  return tierOf(nodes.filter(({ node }) => isFit(node)));
}

/** An even spread over 32 bits. (The finalizer of MurmurHash3) */
function mixed(seed: number, hash: number): number {
  let bits = seed ^ hash;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** Keys in proportion to the weights. (Schindelhauer and Schomaker's logarithmic method) */
function weightedScore(seed: number, hash: number, weight: number): number {
  return -weight / Math.log((mixed(seed, hash) + 0.5) / 2 ** 32);
}
