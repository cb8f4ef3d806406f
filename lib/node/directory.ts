/** What a node knows of the others, and tells them of itself. */
import type { Journal } from '../connection/journal.js';
import { AddressBook } from '../discovery/address-book.js';
import {
  located,
  type Discovery,
  type Fallback,
  type Location,
  type NodeRecord,
  type Place,
} from '../discovery/discovery.js';
import { MembershipCache } from '../discovery/membership-cache.js';
import { Membership, type Member } from '../discovery/membership.js';
import type { Clock } from '../ports/clock.js';
import type { Files } from '../ports/files.js';
import { GenRpcError } from '../protocol/errors.js';
import { hostOf, printable } from '../protocol/node-name.js';

/** A node that discovery knows. */
export interface MemberInfo {
  readonly name: string;
  /** In the order to try. */
  readonly locations: readonly Location[];
  /** What can be called there, in which versions; `undefined`: discovery does not say. */
  readonly modules: NodeRecord['modules'];
  /** `false`: discovery no longer tells of it, but there is a connection to it. */
  readonly listed: boolean;
  /** Is there a connection to it from here? */
  readonly connected: boolean;
}

/** `up`: discovery has come to know it; `changed`: it is elsewhere, can do other things, or was started anew; `down`: it is gone. */
export interface MembershipEvent {
  readonly type: 'up' | 'changed' | 'down';
  readonly member: MemberInfo;
}

export type MembershipListener = (event: MembershipEvent) => void;

export interface DirectoryParts {
  readonly self: string;
  readonly source: Discovery;
  /** What the node was started with. */
  readonly nodes: ReadonlyMap<string, Place>;
  readonly fallback: Fallback;
  readonly drivers: ReadonlySet<string>;
  readonly cacheFile: string | undefined;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly files: Files;
  /** Discovery tells of a node that is new, or of other places of one. */
  relocated(node: string, leadsThere: (location: Location) => boolean): void;
}

/** Names in a message. */
const SHOWN = 10;

export class Directory {
  readonly membership: Membership;
  readonly addresses: AddressBook;
  readonly listeners = new Set<MembershipListener>();
  /** Told, with nothing more, that something was heard of the source. */
  readonly waiting = new Set<() => void>();
  private readonly connected = new Set<string>();
  private readonly cache: MembershipCache | undefined;
  private own: NodeRecord | undefined;
  private lastFailure: Error | undefined;
  private closed: Promise<void> | undefined;

  constructor(private readonly parts: DirectoryParts) {
    const { clock, journal, source, nodes, fallback, files, cacheFile } = parts;
    this.membership = new Membership({
      clock,
      isConnected: (node) => this.connected.has(node),
      problemOf: (record) => this.problemOf(record),
      events: {
        changed: (_, now, before) => this.changed(now, before),
        read: () => this.heard(),
        refused: (why) => journal.note('discovery_record_refused', () => `Discovery told of no usable node: ${why}.`),
        failed: (cause) => this.failed(cause),
        doubted: () => journal.note('discovery_doubted', () => 'Discovery told of no nodes at all: it is asked again.'),
      },
    });
    this.addresses = new AddressBook({ membership: this.membership, source, nodes, fallback });
    if (cacheFile === undefined) return;
    const failed = (doing: string, cause: Error): void =>
      journal.note('discovery_cache_failed', () => `Cannot ${doing} ${cacheFile}: ${cause.message}`);
    this.cache = new MembershipCache({ path: cacheFile, clock, files, failed });
  }

  /** Listens to the source from now on. */
  start(): void {
    if (this.cache !== undefined) this.membership.restore(this.cache.read());
    this.watch().catch((cause: unknown) => this.membership.failed(asError(cause)));
  }

  /** Does the source tell of all nodes, or only where one of them is? */
  get isWatched(): boolean {
    return this.parts.source.watch !== undefined;
  }

  /** Has the source said nothing at all yet, neither which nodes there are nor that it cannot tell? */
  get isAwaited(): boolean {
    const hasSpoken = this.membership.ageMs !== undefined || this.lastFailure !== undefined;
    return this.isWatched && !hasSpoken && this.closed === undefined;
  }

  /** What is known, in a sentence or two, for whoever finds nobody. */
  summary(): string {
    const { ageMs, size } = this.membership;
    const names = [...this.membership.all()].slice(0, SHOWN).map(({ record }) => record.name);
    const known = size === 0 ? 'none' : `${names.join(', ')}${size > SHOWN ? ` and ${size - SHOWN} more` : ''}`;
    const failure = this.lastFailure === undefined ? '' : ` It failed since: ${this.lastFailure.message}`;
    if (ageMs === undefined) return `Discovery has not told of any yet.${failure}`;
    return `Discovery told ${Math.round(ageMs)} ms ago of: ${known}.${failure}`;
  }

  /** Everyone that discovery knows, the own node too. */
  members(): MemberInfo[] {
    return [...this.membership.all()].map((member) => this.infoOf(member));
  }

  /**
   * Tells others of this node; again, of what has changed. Resolves once they can know.
   * @throws GenRpcError (as a rejection) where the source throws, which is noted.
   */
  async register(own: NodeRecord): Promise<void> {
    if (this.closed !== undefined) return;
    this.own = own;
    try {
      await this.parts.source.register?.(own);
    } catch (cause) {
      this.noteThrown('tell of this node', cause);
      throw new GenRpcError('external_source_error', `Discovery cannot tell of this node: ${asError(cause).message}`, {
        cause,
      });
    }
  }

  /** Does the source tell others of this node? */
  get isTold(): boolean {
    return this.own !== undefined && this.parts.source.register !== undefined;
  }

  /** Calls go elsewhere from now on. Never rejects: whoever leaves has no use for it. */
  async deregister(): Promise<void> {
    if (this.own === undefined) return;
    this.own = undefined;
    try {
      await this.parts.source.deregister?.();
    } catch (cause) {
      this.noteThrown('take back what it told of this node', cause);
    }
  }

  /** Resolves once the source has told of the nodes. @throws GenRpcError (as a rejection) when it does not in time. */
  async read(ms: number): Promise<void> {
    await this.within(ms, () => this.membership.ageMs === undefined && this.closed === undefined);
    if (this.membership.ageMs !== undefined) return;
    const why = this.lastFailure === undefined ? 'It has said nothing.' : this.lastFailure.message;
    const message = `Discovery has told of no nodes within ${ms} ms, and membership.required is set. ${why}`;
    throw new GenRpcError('external_source_error', message, { cause: this.lastFailure });
  }

  /** Resolves once the source has said anything at all, or has had so many ms for it. */
  firstWord(ms: number): Promise<void> {
    return this.within(ms, () => this.isAwaited);
  }

  /** A node has its first connection from here, or has lost its last. */
  status(node: string, connected: boolean): void {
    if (connected) this.connected.add(node);
    else this.connected.delete(node);
    if (!connected) this.membership.disconnected(node);
  }

  /** Nothing is told or heard from here on. Safe to repeat. */
  close(): Promise<void> {
    this.closed ??= Promise.resolve().then(() => this.end());
    return this.closed;
  }

  private async end(): Promise<void> {
    this.membership.close();
    this.cache?.close();
    this.wake();
    await this.deregister();
    try {
      await this.parts.source.close?.();
    } catch (cause) {
      this.noteThrown('be closed', cause);
    }
  }

  /** Whatever a source does that somebody else has written: what it throws is a rejection here. */
  private async watch(): Promise<void> {
    const watching: unknown = this.parts.source.watch?.(this.membership);
    await (watching as Promise<unknown> | undefined);
  }

  private within(ms: number, isMissing: () => boolean): Promise<void> {
    if (!isMissing()) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        this.waiting.delete(look);
        resolve();
      };
      const look = (): void => {
        if (!isMissing()) end();
      };
      const timer = this.parts.clock.after(ms, end, true);
      this.waiting.add(look);
    });
  }

  private noteThrown(doing: string, cause: unknown): void {
    const message = (): string => `Discovery cannot ${doing}: ${asError(cause).message}`;
    this.parts.journal.note('discovery_failed', message);
  }

  private heard(): void {
    this.lastFailure = undefined;
    this.wake();
  }

  private failed(cause: Error): void {
    this.lastFailure = cause;
    this.wake();
    const age = this.membership.ageMs;
    const since = age === undefined ? 'nothing is known from it yet' : `what it told ${Math.round(age)} ms ago is used`;
    this.parts.journal.note(
      'discovery_failed',
      () => `Discovery cannot tell which nodes there are; ${since}. ${cause.message}`,
    );
  }

  /** A record may have been written by anybody who can write there. */
  private problemOf(record: NodeRecord): string | undefined {
    const { self, drivers } = this.parts;
    if (record.name === self) return undefined;
    const places = this.placesOf(record);
    if (!places.some(({ driver }) => drivers.has(driver))) {
      const wanted = places.map(({ driver }) => printable(driver)).join(', ');
      return `it is to be reached over ${wanted}, and there are: ${[...drivers].join(', ')}`;
    }
    const own = this.own === undefined ? [] : this.placesOf(this.own);
    const isOwn = places.every((place) => own.some((other) => isSamePlace(place, other)));
    return isOwn ? 'its address is that of this node' : undefined;
  }

  private changed(now: Member | undefined, before: Member | undefined): void {
    const member = now ?? before;
    if (member === undefined) return;
    if (now !== undefined && !this.isWhereItWas(now, before)) {
      const places = this.placesOf(now.record);
      this.parts.relocated(now.record.name, (location) => places.some((place) => isSamePlace(place, location)));
    }
    this.cache?.write(() => [...this.membership.all()].map(({ record }) => record));
    const type = before === undefined ? 'up' : now === undefined ? 'down' : 'changed';
    const event: MembershipEvent = { type, member: this.infoOf(member) };
    for (const listener of this.listeners) this.tell(listener, event);
  }

  private isWhereItWas({ record }: Member, before: Member | undefined): boolean {
    if (before === undefined || before.record.incarnation !== record.incarnation) return false;
    return JSON.stringify(before.record.locations) === JSON.stringify(record.locations);
  }

  private wake(): void {
    for (const waiting of [...this.waiting]) waiting();
  }

  private tell(listener: MembershipListener, event: MembershipEvent): void {
    try {
      listener(event);
    } catch (error) {
      const message = (): string => `A listener to the membership of ${event.member.name} threw.`;
      this.parts.journal.note('listener_failed', message, error);
    }
  }

  private infoOf({ record, listed }: Member): MemberInfo {
    const { name, modules } = record;
    return { name, locations: this.placesOf(record), modules, listed, connected: this.connected.has(name) };
  }

  private placesOf({ name, locations }: NodeRecord): Location[] {
    return locations.map((told) => located(hostOf(name), this.parts.fallback, told));
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(printable(thrown));
}

function isSamePlace(one: Location, other: Location): boolean {
  return one.driver === other.driver && one.host === other.host && one.port === other.port;
}
