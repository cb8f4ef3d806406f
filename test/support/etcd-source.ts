/** A source that reads a real etcd, with the table that a node would have of it. */
import { expect } from 'vitest';
import { EtcdDiscovery } from '../../lib/discovery/etcd.discovery.js';
import type { EtcdOptions } from '../../lib/discovery/etcd-options.js';
import type { Location, NodeRecord } from '../../lib/discovery/discovery.js';
import { CountedClock } from './counted-clock.js';
import { SourceTable } from './source-table.js';
import { TappedHttp } from './tapped-http.js';

export const PREFIX = '/gen-rpc/nodes/';

/** Nothing waits for long in tests, and nothing is read anew unless a test is about that. */
const SOON = { ttl: 2000, requestTimeout: 700, checkInterval: 300, resync: 600_000 } as const;

export function placeAt(port: number): Location {
  return { driver: 'tcp', host: '127.0.0.2', port };
}

export function recordOf(name: string, port: number, incarnation?: string): NodeRecord {
  return { name, locations: [placeAt(port)], incarnation };
}

export class EtcdSource extends SourceTable {
  readonly clock: CountedClock;
  readonly http = new TappedHttp();
  readonly source: EtcdDiscovery;

  /** Watches from now on. */
  constructor(options: EtcdOptions) {
    const clock = new CountedClock();
    super(clock);
    this.clock = clock;
    this.source = new EtcdDiscovery({ ...SOON, ...options }, { clock, http: this.http });
    this.source.watch(this.membership);
  }

  /** Whether something was said of a failure. */
  hasFailed(how: RegExp): boolean {
    return this.failures.some(({ message }) => how.test(message));
  }

  /** Closes it, and asserts that nothing is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.source.close();
    this.membership.close();
    expect(this.clock.pending).toBe(0);
  }
}
