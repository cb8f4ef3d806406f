/** Nodes that tell each other of themselves in etcd (ADR 28). */
import type { Clock } from '../ports/clock.js';
import type { Files } from '../ports/files.js';
import type { Http, HttpCredentials } from '../ports/http.js';
import type { Random } from '../ports/random.js';
import { GenRpcError } from '../protocol/errors.js';
import { nearestName } from '../protocol/nearest-name.js';
import { systemFiles } from '../system/system-files.js';
import { SystemHttp } from '../system/system-http.js';
import { systemClock, systemRandom } from '../system/system.js';
import { checkedRecord } from './checked-record.js';
import type { Discovery, MembershipWatcher, NodeRecord, Place } from './discovery.js';
import { EtcdGateway } from './etcd-gateway.js';
import { kvsIn } from './etcd-list.js';
import { resolveEtcdOptions, type EtcdOptions, type EtcdTlsOptions } from './etcd-options.js';
import { base64Of, entryOf, type EtcdEntry } from './etcd-records.js';
import { EtcdRegistration } from './etcd-registration.js';
import { EtcdWatch } from './etcd-watch.js';

/** What is handed in, for tests. */
export interface EtcdPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
  readonly http: Http;
}

export class EtcdDiscovery implements Discovery {
  private readonly gateway: EtcdGateway;
  private readonly watching: EtcdWatch;
  private readonly registration: EtcdRegistration;
  private readonly prefix: string;
  private entries: ReadonlyMap<string, EtcdEntry> = new Map();
  private watcher: MembershipWatcher | undefined;
  private closed: Promise<void> | undefined;

  /** @throws GenRpcConfigError that names every problem. */
  constructor(options: EtcdOptions, ports: Partial<EtcdPorts> = {}) {
    const { prefix, ttl, requestTimeout, checkInterval, resync, endpoints, ...proof } = resolveEtcdOptions(options);
    const { clock = systemClock, random = systemRandom, files = systemFiles, http = new SystemHttp() } = ports;
    const { tls, username: name, password } = proof;
    this.prefix = prefix;
    this.gateway = new EtcdGateway({
      ...{ requestTimeout, http, clock, random },
      endpoints: endpoints.map((endpoint) => new URL(endpoint).origin),
      user: name === undefined || password === undefined ? undefined : { name, password },
      credentials: () => credentialsOf(tls, files),
    });
    const parts = { gateway: this.gateway, prefix, clock, random };
    const failed = (cause: Error): void => this.watcher?.failed(cause);
    this.registration = new EtcdRegistration({ ...parts, ttl, failed });
    const told = (entries: ReadonlyMap<string, EtcdEntry>, revision: number): boolean => this.told(entries, revision);
    this.watching = new EtcdWatch({ ...parts, checkInterval, resync, failed, told });
  }

  async resolve(node: string, signal: AbortSignal): Promise<readonly Place[]> {
    const entry = await this.read(node, signal);
    if (entry !== undefined) return checkedRecord(entry.record).locations;
    const nearest = nearestName(node, this.entries.keys());
    const hint = nearest === undefined ? '' : `; nearest: ${nearest}`;
    throw new GenRpcError('external_source_error', `etcd knows no node ${node} under prefix ${this.prefix}${hint}.`);
  }

  watch(watcher: MembershipWatcher): void {
    this.watcher = watcher;
    this.watching.start();
  }

  /** The own key is watched too: if it goes while the node lives, it is written again. */
  register(self: NodeRecord): Promise<void> {
    this.watching.start();
    return this.registration.register(self);
  }

  deregister(): Promise<void> {
    return this.registration.deregister();
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    const watched = this.watching.close();
    await this.registration.deregister();
    this.gateway.close();
    await Promise.all([watched, this.registration.close()]);
  }

  private async read(node: string, signal: AbortSignal): Promise<EtcdEntry | undefined> {
    try {
      const answer = await this.gateway.call('/v3/kv/range', { key: base64Of(this.prefix + node) }, signal);
      const [kv] = kvsIn(answer);
      return kv === undefined ? undefined : entryOf(kv, this.prefix);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new GenRpcError('external_source_error', `etcd cannot tell where ${node} is: ${why}`, { cause });
    }
  }

  private told(entries: ReadonlyMap<string, EtcdEntry>, revision: number): boolean {
    this.entries = entries;
    const { name } = this.registration;
    if (name !== undefined) this.registration.seen(entries.get(name), revision);
    return this.watcher?.members([...entries.values()].map(({ record }) => record)) ?? true;
  }
}

function credentialsOf(tls: EtcdTlsOptions | undefined, files: Files): HttpCredentials | undefined {
  if (tls === undefined) return undefined;
  const { ca, cert, key } = tls;
  const read = (pem: string | Uint8Array): string | Uint8Array =>
    typeof pem === 'string' && !pem.includes('-----BEGIN ') ? files.read(pem) : pem;
  const readIf = (pem: string | Uint8Array | undefined): string | Uint8Array | undefined =>
    pem === undefined ? undefined : read(pem);
  return { ca: ca === undefined ? undefined : [ca].flat().map(read), cert: readIf(cert), key: readIf(key) };
}
