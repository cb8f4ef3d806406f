/** Keeps the keys below a prefix as they are in etcd: a list, what changes from there on, and doubt in both. */
import { Backoff } from '../ports/backoff.js';
import type { Clock, Timer } from '../ports/clock.js';
import { pause } from '../ports/pause.js';
import type { Random } from '../ports/random.js';
import { printable } from '../protocol/node-name.js';
import { asObject } from './etcd-error.js';
import type { EtcdGateway } from './etcd-gateway.js';
import { readList, readState } from './etcd-list.js';
import { entryOf, numberOf, rangeOf, revisionIn, type EtcdEntry } from './etcd-records.js';

export interface EtcdWatchParts {
  readonly gateway: EtcdGateway;
  readonly prefix: string;
  /** ms */
  readonly checkInterval: number;
  /** ms */
  readonly resync: number;
  readonly clock: Clock;
  readonly random: Random;
  /** These are all keys, as they were at `revision`. Returns whether that is believed; if not, all is read again. */
  readonly told: (entries: ReadonlyMap<string, EtcdEntry>, revision: number) => boolean;
  readonly failed: (cause: Error) => void;
}

const RETRY = { min: 100, max: 10_000 } as const;
/** What a watch has to tell of a change that etcd already answers with. */
const LATE_MS = 1000;

export class EtcdWatch {
  private entries = new Map<string, EtcdEntry>();
  /** All changes up to it are in `entries`. */
  private revision = 0;
  /** Otherwise everything has to be read anew. */
  private isWhole = false;
  private isTelling = false;
  private following = new AbortController();
  private doubt: Timer | undefined;
  private readonly backoff: Backoff;
  private readonly closed = new AbortController();
  private running: Promise<void> | undefined;

  constructor(private readonly parts: EtcdWatchParts) {
    this.backoff = new Backoff(RETRY, parts.random);
  }

  /** From now on, until `close`. Where it has begun, what is known is told again. */
  start(): void {
    if (this.running !== undefined) this.tellSoon();
    this.running ??= this.run();
  }

  /** Nothing is told any more. Safe to repeat. */
  async close(): Promise<void> {
    this.closed.abort();
    this.following.abort();
    this.doubt?.cancel();
    await this.running;
  }

  private async run(): Promise<void> {
    const { clock, failed } = this.parts;
    while (!this.closed.signal.aborted) {
      try {
        if (!this.isWhole) await this.list();
        await this.follow();
      } catch (error) {
        if (!this.closed.signal.aborted) failed(error as Error);
      }
      await pause(clock, this.backoff.next(), this.closed.signal);
    }
  }

  private async list(): Promise<void> {
    const { gateway, prefix } = this.parts;
    const { entries, revision } = await readList(gateway, prefix, this.closed.signal);
    this.entries = entries;
    this.revision = revision;
    this.isWhole = true;
    this.tell();
  }

  /** Returns when the stream has ended by itself, or for a new list. */
  private async follow(): Promise<void> {
    const { clock, gateway, prefix, resync } = this.parts;
    const following = (this.following = new AbortController());
    const timer = clock.after(this.jittered(resync), () => this.readAnew());
    const how = { start_revision: String(this.revision + 1), progress_notify: true, fragment: true };
    const checking = this.keepChecking(following.signal);
    try {
      const create_request = { ...rangeOf(prefix), ...how };
      for await (const message of gateway.stream('/v3/watch', { create_request }, following.signal)) this.take(message);
    } catch (error) {
      if (!following.signal.aborted) throw error;
    } finally {
      timer.cancel();
      following.abort();
      await checking;
    }
  }

  private take(message: Record<string, unknown>): void {
    const { events, canceled, created, fragment, header, compact_revision: compacted, cancel_reason: why } = message;
    if (canceled === true && numberOf(compacted) > 0) {
      this.readAnew();
      return;
    }
    if (canceled === true) {
      this.isWhole = false;
      // It may be for want of a token that is still good; etcd does not say.
      this.parts.gateway.forgetToken();
      throw new Error(`etcd has cancelled the watch: ${printable(why ?? 'it does not say why')}.`);
    }
    if (!Array.isArray(events)) {
      // Word that nothing has happened up to here.
      if (created !== true) this.revision = Math.max(this.revision, numberOf(asObject(header)['revision']));
      return;
    }
    let newest = this.revision;
    for (const event of events) newest = Math.max(newest, this.apply(asObject(event)));
    // The rest of one revision may be in the next message.
    if (fragment !== true) this.revision = newest;
    this.backoff.reset();
    this.tellSoon();
  }

  private apply({ type, kv }: Record<string, unknown>): number {
    const entry = entryOf(kv, this.parts.prefix);
    if (type === 'DELETE') this.entries.delete(entry.name);
    else this.entries.set(entry.name, entry);
    return revisionIn(kv);
  }

  /** What arrives together is told together. */
  private tellSoon(): void {
    if (this.isTelling) return;
    this.isTelling = true;
    this.parts.clock.soon(() => {
      this.isTelling = false;
      if (!this.closed.signal.aborted && this.isWhole) this.tell();
    });
  }

  private tell(): void {
    const { clock, told } = this.parts;
    if (told(this.entries, this.revision) || this.doubt !== undefined) return;
    this.doubt = clock.after(this.jittered(LATE_MS), () => {
      this.doubt = undefined;
      this.readAnew();
    });
  }

  private readAnew(): void {
    this.isWhole = false;
    this.following.abort();
  }

  /** A watch may fall silent, or lose something, without a word: now and then etcd is asked whether it has. */
  private async keepChecking(signal: AbortSignal): Promise<void> {
    const { clock, checkInterval, failed } = this.parts;
    for (;;) {
      await pause(clock, this.jittered(checkInterval), signal);
      if (signal.aborted) return;
      try {
        const lack = (await this.lacking(signal)) && (await this.stillLacking(signal));
        if (signal.aborted) return;
        if (lack === undefined) this.confirmed();
        else this.lost(lack);
      } catch (error) {
        // Where the endpoint was left for it, the watch has ended with it too.
        if (!signal.aborted) failed(error as Error);
      }
    }
  }

  private async stillLacking(signal: AbortSignal): Promise<string | undefined> {
    await pause(this.parts.clock, LATE_MS, signal);
    return signal.aborted ? undefined : this.lacking(signal);
  }

  /** What the watch has not told of, if anything. */
  private async lacking(signal: AbortSignal): Promise<string | undefined> {
    const { gateway, prefix } = this.parts;
    const { revision, newest, keys } = await readState(gateway, prefix, signal);
    if (revision < this.revision) return `etcd is at revision ${revision}, and was at ${this.revision}`;
    if (newest > this.revision) return `something was written at revision ${newest}`;
    return keys === this.entries.size ? undefined : `there are ${keys} keys, and not ${this.entries.size}`;
  }

  private confirmed(): void {
    this.backoff.reset();
    this.tell();
  }

  private lost(what: string): void {
    this.parts.failed(new Error(`etcd's watch has not told that ${what}: everything is read again.`));
    this.readAnew();
  }

  private jittered(ms: number): number {
    return ms * (0.8 + 0.4 * this.parts.random.fraction());
  }
}
