/** How small calls fared that were made all the while: those that a cut was about, and all others. */
import { expect } from 'vitest';
import type { HostNode } from './host-node.js';
import type { Host } from './lan.js';
import type { Notebook } from './seen.js';
import type { Weather } from './site.js';

/** Pairs of which one is a node on this host. */
export function about(host: Host): (a: HostNode, b: HostNode) => boolean {
  return (a, b) => [a.host, b.host].includes(host);
}

/** How nodes fared that the cut was not about, and those that it was about. */
export function tellWeather(seen: Notebook, { unaffected, affected }: Weather): void {
  expect(unaffected.length).toBeGreaterThan(0);
  seen.note('all others, slowest of their calls', 'answered, every one', slowestOf(unaffected));
  const failed = affected.filter(({ code }) => code !== undefined);
  const longest = Math.max(0, ...failed.map(({ ms }) => ms));
  if (failed.length > 0)
    seen.note('small calls from and to the node, longest failure', 'none hung, none ran twice', longest);
}

export function slowestOf(ends: readonly { ms: number }[]): number {
  return Math.max(...ends.map(({ ms }) => ms));
}
