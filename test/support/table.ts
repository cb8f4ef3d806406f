/** The table of nodes as one of them would have it, and all that a source has told it. */
import type { MembershipWatcher, NodeRecord } from '../../lib/discovery/discovery.js';
import { Membership } from '../../lib/discovery/membership.js';
import type { Clock } from '../../lib/ports/clock.js';

export class TableOnTest implements MembershipWatcher {
  readonly membership: Membership;
  /** What each list named, in the order in which they came. */
  readonly told: string[][] = [];
  readonly failures: string[] = [];
  readonly refused: string[] = [];
  /** How often an empty list was not believed. */
  doubts = 0;

  constructor(clock: Clock) {
    this.membership = new Membership({
      clock,
      isConnected: () => false,
      problemOf: () => undefined,
      events: {
        changed() {},
        refused: (why) => void this.refused.push(why),
        failed: ({ message }) => void this.failures.push(message),
        doubted: () => void (this.doubts += 1),
      },
    });
  }

  members(records: readonly unknown[]): boolean {
    this.told.push(records.map((record) => (record as NodeRecord).name));
    return this.membership.members(records);
  }

  failed(cause: Error): void {
    this.membership.failed(cause);
  }

  get names(): string[] {
    return [...this.membership.all()].map(({ record }) => record.name).sort();
  }

  record(name: string): NodeRecord | undefined {
    return this.membership.get(name)?.record;
  }
}
