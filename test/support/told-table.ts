/** A table that keeps every list which it was told, and not only what came of it. */
import type { MembershipWatcher, NodeRecord } from '../../lib/discovery/discovery.js';
import { SourceTable } from './source-table.js';

export class ToldTable extends SourceTable implements MembershipWatcher {
  /** What each list named, in the order in which they came. */
  readonly told: string[][] = [];

  members(records: readonly unknown[]): boolean {
    this.told.push(records.map((record) => (record as NodeRecord).name));
    return this.membership.members(records);
  }

  failed(cause: Error): void {
    this.membership.failed(cause);
  }

  /** Why the source could not tell, each time. */
  get messages(): string[] {
    return this.failures.map(({ message }) => message);
  }

  get names(): string[] {
    return [...this.membership.all()].map(({ record }) => record.name).toSorted();
  }

  record(name: string): NodeRecord | undefined {
    return this.membership.get(name)?.record;
  }
}
