/** The table that a node would have of a source, and all that it was told. */
import { expect } from 'vitest';
import { located, type Location } from '../../lib/discovery/discovery.js';
import { Membership } from '../../lib/discovery/membership.js';
import { hostOf } from '../../lib/protocol/node-name.js';
import type { Clock } from '../../lib/ports/clock.js';
import { CountedClock } from './counted-clock.js';
import { until } from './door.js';

/** Where nodes are of which nothing is said. */
export const FALLBACK = { driver: 'tcp', port: 5369 } as const;

/** Where nodes are, by name. */
export type Places = Readonly<Record<string, readonly Location[]>>;

export class SourceTable {
  readonly refused: string[] = [];
  readonly failures: Error[] = [];
  readonly membership: Membership;
  /** Of each node, how often it changed. */
  readonly changes = new Map<string, number>();
  doubts = 0;

  constructor(clock: Clock = new CountedClock()) {
    this.membership = new Membership({
      clock,
      isConnected: () => false,
      problemOf: () => undefined,
      events: {
        read() {},
        changed: (name) => void this.changes.set(name, (this.changes.get(name) ?? 0) + 1),
        refused: (why) => void this.refused.push(why),
        failed: (cause) => void this.failures.push(cause),
        doubted: () => void (this.doubts += 1),
      },
    });
  }

  get places(): Places {
    return Object.fromEntries(
      [...this.membership.all()].map(({ record: { name, locations } }) => [
        name,
        locations.map((told) => located(hostOf(name), FALLBACK, told)),
      ]),
    );
  }

  /** Waits until it holds exactly these. */
  async holds(places: Places): Promise<void> {
    const wanted = JSON.stringify(sorted(places));
    await until(() => JSON.stringify(sorted(this.places)) === wanted).catch(() => undefined);
    expect(this.places).toEqual(places);
  }
}

function sorted(places: Places): unknown {
  return Object.entries(places).toSorted(([one], [other]) => (one < other ? -1 : 1));
}
