/** Tells of one node in etcd, under a lease that ends with the node, and sees to it that this stays so. */
import { Backoff } from '../ports/backoff.js';
import type { Clock } from '../ports/clock.js';
import { pause } from '../ports/pause.js';
import type { Random } from '../ports/random.js';
import type { NodeRecord } from './discovery.js';
import { asObject, EtcdError } from './etcd-error.js';
import type { EtcdGateway } from './etcd-gateway.js';
import { revisionOf } from './etcd-list.js';
import { base64Of, numberOf, valueOf, type EtcdEntry } from './etcd-records.js';

export interface EtcdRegistrationParts {
  readonly gateway: EtcdGateway;
  readonly prefix: string;
  /** Of the lease, ms. */
  readonly ttl: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly failed: (cause: Error) => void;
}

interface Lease {
  readonly id: string;
  /** ms, as granted. */
  readonly ttl: number;
}

const RETRY = { min: 100, max: 5000 } as const;
/** What etcd has to hear that a node goes; after that, the end of the lease tells. */
const LEAVING_MS = 1000;

export class EtcdRegistration {
  private wanted: NodeRecord | undefined;
  private lease: Lease | undefined;
  /** The value that is in etcd, as far as is known here. */
  private written: string | undefined;
  /** The revision from which on it tells whether what is there is ours. */
  private since: number | undefined;
  /** Another process has the name: the one that came last keeps it. */
  private isTaken = false;
  /** May a key be replaced that is there? At first: it is of an earlier process of this node. */
  private mayReplace = true;
  /** Between `register` and `deregister`. */
  private term: AbortController | undefined;
  /** Cuts the wait until the lease is kept alive again. */
  private wake = new AbortController();
  private waiting: (() => void)[] = [];
  private running: Promise<unknown> | undefined;
  private isClosed = false;

  constructor(private readonly parts: EtcdRegistrationParts) {}

  /** The node that is told of, if any. */
  get name(): string | undefined {
    return this.wanted?.name;
  }

  /** Resolves once it is written, or no longer to be. */
  register(record: NodeRecord): Promise<void> {
    if (this.isClosed) return Promise.resolve();
    this.wanted = record;
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      if (this.term === undefined) {
        this.term = new AbortController();
        this.running = Promise.all([this.running, this.run(this.term.signal)]);
      } else this.wake.abort();
    });
  }

  /** What is in etcd of this node, as it was at `revision`. */
  seen(entry: EtcdEntry | undefined, revision: number): void {
    if (this.since === undefined || revision < this.since) return;
    const wasTaken = this.isTaken;
    this.isTaken = entry !== undefined && this.isOfAnother(entry);
    if (this.isTaken || (this.written === undefined && !wasTaken)) return;
    if (entry !== undefined && entry.lease === this.lease?.id) return;
    this.written = undefined;
    this.mayReplace = true;
    this.wake.abort();
  }

  /** Takes back what was told. Resolves once that is done, or after a moment. */
  async deregister(): Promise<void> {
    const { lease } = this;
    this.end();
    if (lease === undefined || this.isClosed) return;
    const { clock, gateway, failed } = this.parts;
    const leaving = new AbortController();
    const timer = clock.after(LEAVING_MS, () => leaving.abort(new Error('etcd does not answer.')), true);
    try {
      await gateway.call('/v3/lease/revoke', { ID: lease.id }, leaving.signal);
    } catch (error) {
      if (!isLeaseUnknown(error)) failed(error as Error);
    } finally {
      timer.cancel();
    }
  }

  /** Takes nothing back: what was told ends with its lease. Safe to repeat. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.end();
    await this.running;
  }

  private end(): void {
    this.term?.abort();
    this.wake.abort();
    this.wanted = this.lease = this.written = this.since = this.term = undefined;
    this.isTaken = false;
    this.mayReplace = true;
    this.settle();
  }

  private settle(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  private async run(term: AbortSignal): Promise<void> {
    const { clock, random, failed, ttl } = this.parts;
    const backoff = new Backoff(RETRY, random);
    while (!term.aborted) {
      this.wake = new AbortController();
      let ms: number;
      try {
        await this.keep(term);
        backoff.reset();
        ms = (this.lease?.ttl ?? ttl) / 3;
      } catch (error) {
        if (term.aborted) return;
        // Nobody is told of a lease that has ended: the next attempt is for another.
        if (!isLeaseUnknown(error)) failed(error as Error);
        else this.lost();
        ms = backoff.next();
      }
      if (!term.aborted) await pause(clock, ms, this.wake.signal);
    }
  }

  /** Whatever is missing of what etcd should have. */
  private async keep(term: AbortSignal): Promise<void> {
    const record = this.wanted;
    if (record === undefined) return;
    const value = valueOf(record);
    if (this.lease !== undefined) await this.keepAlive(this.lease, term);
    if (!term.aborted && this.lease === undefined) await this.grant(term);
    if (!term.aborted && !this.isTaken && this.written !== value) await this.write(record.name, value, term);
    if (!term.aborted && this.wanted === record) this.settle();
  }

  private async grant(term: AbortSignal): Promise<void> {
    const answer = await this.call('/v3/lease/grant', { TTL: String(Math.ceil(this.parts.ttl / 1000)) }, term);
    const [id, seconds] = [answer['ID'], numberOf(answer['TTL'])];
    if (typeof id !== 'string' || seconds <= 0) throw new Error('etcd has granted no lease.');
    if (!term.aborted) this.lease = { id, ttl: seconds * 1000 };
  }

  private async keepAlive(lease: Lease, term: AbortSignal): Promise<void> {
    const answer = await this.call('/v3/lease/keepalive', { ID: lease.id }, term);
    // Of a lease that has ended there is no time left, which is left out.
    if (!term.aborted && numberOf(asObject(answer['result'])['TTL']) <= 0) this.lost();
  }

  /** What was written under the lease is gone. Who has the name by now keeps it. */
  private lost(): void {
    this.lease = this.written = undefined;
    this.mayReplace = this.since === undefined;
  }

  private async write(name: string, value: string, term: AbortSignal): Promise<void> {
    const key = base64Of(this.parts.prefix + name);
    const put = { key, value: base64Of(value), lease: this.lease?.id };
    const isFree = { key, target: 'CREATE', result: 'EQUAL', create_revision: '0' };
    const compare = this.mayReplace || this.written !== undefined ? [] : [isFree];
    const answer = await this.call('/v3/kv/txn', { compare, success: [{ request_put: put }] }, term);
    if (term.aborted) return;
    this.since = revisionOf(answer);
    this.isTaken = answer['succeeded'] !== true;
    this.written = this.isTaken ? undefined : value;
  }

  private call(path: string, body: object, term: AbortSignal): Promise<Record<string, unknown>> {
    return this.parts.gateway.call(path, body, term);
  }

  /** Of a process that lives, and is not this one: it keeps a lease, and says who it is. */
  private isOfAnother({ lease, record }: EtcdEntry): boolean {
    const { incarnation } = asObject(record);
    if (lease === '0' || lease === this.lease?.id || typeof incarnation !== 'string') return false;
    return incarnation !== this.wanted?.incarnation;
  }
}

function isLeaseUnknown(error: unknown): boolean {
  return error instanceof EtcdError && error.isLeaseUnknown;
}
