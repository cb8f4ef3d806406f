/** The table of all nodes: what a source tells, as far as it is believed (ADR 24). */
import type { Clock, Timer } from '../ports/clock.js';
import { checkedRecord, MOST_LOCATIONS } from './checked-record.js';
import type { MembershipWatcher, NodeRecord, Place } from './discovery.js';

/** A node that discovery knows. */
export interface Member {
  readonly record: NodeRecord;
  /** `false`: no longer told of, but there is a connection to it. */
  readonly listed: boolean;
}

export interface MembershipEvents {
  /** A list was taken: what follows from it was told. */
  read(): void;
  /** `before` is missing of a node that is new, `now` of one that is gone. */
  changed(name: string, now: Member | undefined, before: Member | undefined): void;
  /** A record was not understood, or cannot be used. All others of its list are. */
  refused(why: string): void;
  /** The source cannot tell. */
  failed(cause: Error): void;
  /** The source tells of no nodes where there were some. It is asked once more. */
  doubted(): void;
}

export interface MembershipPorts {
  readonly clock: Clock;
  readonly events: MembershipEvents;
  /** Is there a connection to it from here? */
  isConnected(node: string): boolean;
  /** Why a well-formed record is of no use here, if so. */
  problemOf(record: NodeRecord): string | undefined;
}

/** Of one node, so many changes within this time are applied at once. Further ones wait; the last state is what comes. */
const MOST_CHANGES = 3;
const CHANGES_WITHIN_MS = 10_000;

export class Membership implements MembershipWatcher {
  /** Rises with every change. */
  version = 0;
  private readonly table = new Map<string, Member>();
  /** What the source tells now. */
  private told: ReadonlyMap<string, NodeRecord> = new Map();
  /** When a node changed, the last few times. */
  private readonly changes = new Map<string, number[]>();
  private readonly held = new Map<string, Timer>();
  private doubting = false;
  private closed = false;
  private readAt: number | undefined;

  constructor(private readonly ports: MembershipPorts) {}

  get(node: string): Member | undefined {
    return this.table.get(node);
  }

  /** In the order in which they came. */
  all(): Iterable<Member> {
    return this.table.values();
  }

  get size(): number {
    return this.table.size;
  }

  /** ms since the source last told what there is; `undefined`: it never has. */
  get ageMs(): number | undefined {
    return this.readAt === undefined ? undefined : this.ports.clock.now() - this.readAt;
  }

  members(records: readonly unknown[]): boolean {
    if (this.closed) return true;
    const told = this.usable(records);
    if (told.size === 0 && records.length > 0) {
      this.failed(new Error(`None of the ${records.length} records can be used.`));
      return true;
    }
    if (told.size === 0 && this.told.size > 0 && !this.doubting) {
      this.doubting = true;
      this.ports.events.doubted();
      return false;
    }
    this.doubting = false;
    this.readAt = this.ports.clock.now();
    this.take(told);
    this.ports.events.read();
    return true;
  }

  /** What was known when this node last ran: of use until the source tells. */
  restore(records: readonly unknown[]): void {
    if (this.readAt === undefined) this.take(this.usable(records));
  }

  failed(cause: Error): void {
    if (!this.closed) this.ports.events.failed(cause);
  }

  /** The last connection to it is gone. */
  disconnected(node: string): void {
    if (this.table.get(node)?.listed === false) this.reconcile(node);
  }

  /** Nothing changes any more. */
  close(): void {
    this.closed = true;
    for (const timer of this.held.values()) timer.cancel();
    this.held.clear();
  }

  private take(told: ReadonlyMap<string, NodeRecord>): void {
    this.told = told;
    const now = this.ports.clock.now();
    for (const [node, times] of this.changes) {
      if ((times.at(-1) ?? 0) + CHANGES_WITHIN_MS <= now) this.changes.delete(node);
    }
    for (const node of new Set([...this.table.keys(), ...told.keys()])) this.reconcile(node);
  }

  private usable(records: readonly unknown[]): Map<string, NodeRecord> {
    const usable = new Map<string, NodeRecord[]>();
    for (const record of records) {
      try {
        const checked = checkedRecord(record);
        const problem = this.ports.problemOf(checked);
        if (problem !== undefined) throw new Error(`${checked.name}: ${problem}`);
        const alike = usable.get(checked.name);
        if (alike === undefined) usable.set(checked.name, [checked]);
        else alike.push(checked);
      } catch (error) {
        this.ports.events.refused(error instanceof Error ? error.message : 'it cannot be read');
      }
    }
    return new Map([...usable].map(([name, alike]) => [name, merged(alike)]));
  }

  /** Brings the table to what is told of a node, unless it has changed too often lately. */
  private reconcile(node: string): void {
    // Connections end after the table does.
    if (this.closed) return;
    this.held.get(node)?.cancel();
    this.held.delete(node);
    const before = this.table.get(node);
    const now = this.wanted(node, before);
    if (isSame(before, now)) return;
    const wait = this.waitFor(node);
    if (wait > 0) {
      this.held.set(
        node,
        this.ports.clock.after(wait, () => this.reconcile(node)),
      );
      return;
    }
    if (now === undefined) this.table.delete(node);
    else this.table.set(node, now);
    this.version += 1;
    this.ports.events.changed(node, now, before);
  }

  private wanted(node: string, before: Member | undefined): Member | undefined {
    const record = this.told.get(node);
    if (record !== undefined) return { record, listed: true };
    return before !== undefined && this.ports.isConnected(node) ? { record: before.record, listed: false } : undefined;
  }

  /** ms until the node may change; 0 counts as a change. */
  private waitFor(node: string): number {
    const now = this.ports.clock.now();
    const times = (this.changes.get(node) ?? []).filter((at) => at + CHANGES_WITHIN_MS > now);
    const [oldest = now] = times;
    if (times.length >= MOST_CHANGES) return oldest + CHANGES_WITHIN_MS - now;
    this.changes.set(node, [...times, now]);
    return 0;
  }
}

function isSame(one: Member | undefined, other: Member | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return one.listed === other.listed && JSON.stringify(one.record) === JSON.stringify(other.record);
}

/** Records of one name: whatever their order in the list, the same one leads, and the places of the others are tried too. */
function merged(alike: readonly NodeRecord[]): NodeRecord {
  const [leading, ...others] = alike.length === 1 ? alike : inOneOrder(alike);
  if (leading === undefined) throw new RangeError('There is no record to merge.');
  if (others.length === 0) return leading;
  const places = new Map(leading.locations.map((place) => [textOf(place), place]));
  for (const place of others.flatMap(({ locations }) => locations)) {
    if (!places.has(textOf(place))) places.set(textOf(place), place);
  }
  return { ...leading, locations: [...places.values()].slice(0, MOST_LOCATIONS) };
}

function inOneOrder(records: readonly NodeRecord[]): NodeRecord[] {
  const texts = new Map(records.map((record) => [record, JSON.stringify(record)]));
  const textOfRecord = (record: NodeRecord): string => texts.get(record) ?? '';
  return records.toSorted((one, other) => (textOfRecord(one) < textOfRecord(other) ? -1 : 1));
}

function textOf({ driver, host, port }: Place): string {
  return `${driver} ${host} ${port}`;
}
