/** Nodes that the domain name system knows: headless services of Kubernetes by A and AAAA, others by SRV (RFC 2782). */
import { Backoff } from '../ports/backoff.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { NameServer } from '../ports/name-server.js';
import type { Random } from '../ports/random.js';
import { GenRpcError } from '../protocol/errors.js';
import { systemNameServer } from '../system/system-name-server.js';
import { systemClock, systemRandom } from '../system/system.js';
import { anewAfter } from './anew.js';
import type { Discovery, MembershipWatcher, Place } from './discovery.js';
import { resolveDns, type DnsDiscoveryOptions } from './dns-options.js';
import { DnsQuestions } from './dns-questions.js';
import { DnsService, type Reading } from './dns-service.js';

export interface DnsDiscoveryPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly nameServer: NameServer;
}

/** However short records hold. */
const LEAST_MS = 1000;
/** However long they do. */
const ADDRESSES_MS = 30_000;
/** Where nothing says how long an answer holds. */
const WITHOUT_TTL_MS = 10_000;

/** A service that is asked for again and again. */
interface Polled {
  readonly service: DnsService;
  readonly backoff: Backoff;
  /** It was told, or failed, at least once. */
  isAsked: boolean;
  timer: Timer | undefined;
}

export class DnsDiscovery implements Discovery {
  private readonly polled: readonly Polled[];
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly interval: number | undefined;
  private readonly closing = new AbortController();
  private watcher: MembershipWatcher | undefined;

  /** Nothing is asked yet. @throws GenRpcConfigError naming every problem. */
  constructor(given: DnsDiscoveryOptions, ports: Partial<DnsDiscoveryPorts> = {}) {
    const { services, servers, timeout, interval } = resolveDns(given);
    this.clock = ports.clock ?? systemClock;
    const random = (this.random = ports.random ?? systemRandom);
    this.interval = interval;
    const server = ports.nameServer ?? systemNameServer(servers, timeout);
    const questions = new DnsQuestions(server, this.clock, timeout, this.closing.signal);
    this.polled = services.map((one) => ({
      service: new DnsService(one, questions, services.length === 1),
      backoff: new Backoff({ min: LEAST_MS, max: interval ?? ADDRESSES_MS }, random),
      isAsked: false,
      timer: undefined,
    }));
  }

  /** At the host in its name, where the service says the port; SRV records are asked. */
  async resolve(node: string, signal: AbortSignal): Promise<Place | readonly Place[]> {
    const prefix = node.slice(0, node.indexOf('@'));
    const named = this.polled.map(({ service }) => service).filter(({ options }) => options.name === prefix);
    let cause: unknown;
    for (const service of named.filter(({ options }) => options.srv !== undefined)) {
      const found = await service.locate(node, signal).catch((error: unknown) => void (cause = error));
      if (found !== undefined) return found.locations;
    }
    const direct = named.find(({ options }) => options.host !== undefined)?.options;
    if (direct !== undefined) return { driver: direct.driver, port: direct.port };
    const why = cause instanceof Error ? cause.message : 'The domain name system was asked for no such service.';
    throw new GenRpcError('external_source_error', `${node} cannot be found. ${why}`, { cause });
  }

  watch(watcher: MembershipWatcher): void {
    this.watcher = watcher;
    for (const one of this.polled) void this.poll(one);
  }

  close(): Promise<void> {
    this.closing.abort();
    for (const { timer } of this.polled) timer?.cancel();
    return Promise.resolve();
  }

  private async poll(one: Polled): Promise<void> {
    const reading = await one.service.read();
    if (this.closing.signal.aborted) return;
    const isFirst = !one.isAsked;
    one.isAsked = true;
    if (reading.failure !== undefined) this.watcher?.failed(reading.failure);
    this.pollIn(one, this.waitAfter(one, reading));
    if (reading.isTold || isFirst) this.tell();
  }

  private pollIn(one: Polled, ms: number): void {
    one.timer?.cancel();
    one.timer = this.clock.after(ms, () => void this.poll(one));
  }

  /** The whole list, once each service has been asked for: half of it would say that the other half is gone. */
  private tell(): void {
    const known = this.polled.flatMap(({ service }) => service.nodes ?? []);
    if (this.polled.some(({ isAsked }) => !isAsked)) return;
    if (this.polled.every(({ service }) => service.nodes === undefined)) return;
    if (this.watcher?.members(known) !== false) return;
    for (const one of this.polled) this.pollIn(one, anewAfter(this.random));
  }

  /** No two nodes in step; and however short records hold, no name server is asked without a pause. */
  private waitAfter({ service, backoff }: Polled, { isTold, isDoubted, holdsMs }: Reading): number {
    if (isDoubted) return anewAfter(this.random);
    if (!isTold) return backoff.next();
    backoff.reset();
    const isSrv = service.options.srv !== undefined;
    const most = this.interval ?? (isSrv ? WITHOUT_TTL_MS : ADDRESSES_MS);
    const wanted = Math.max(holdsMs ?? (isSrv ? most : WITHOUT_TTL_MS), LEAST_MS);
    return Math.min(wanted, most) * (0.9 + this.random.fraction() / 5);
  }
}
