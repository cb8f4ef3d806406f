/** One master and several nodes, each on a host of its own, that talk to each other all the while: whatever is cut, none of those calls may hang, run twice or say what is not true. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { CertificateAuthority } from '../../lib/authority/certificate-authority.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { machineNow } from '../support/net-process.js';
import { HostNode, type End, type Places, type TrafficCall } from './host-node.js';
import { Lan, type Family, type Host } from './lan.js';

export type DriverName = 'tcp' | 'tls';
/** Of every node, by its driver. */
const PORTS = { tcp: 5369, tls: 5370 } as const;

/** `NODES` in the environment: how many hosts there are beside the master's. */
export const COUNT = Number(process.env['NODES'] ?? 3);
if (!Number.isInteger(COUNT) || COUNT < 2 || COUNT > 20) {
  throw new Error(`NODES is ${process.env['NODES']}: there can be 2 to 20 nodes beside the master.`);
}

const KEEPALIVE = { idle: 500, interval: 500, count: 3 };
/** How long a peer may be silent. */
export const SILENCE_MS = KEEPALIVE.idle + KEEPALIVE.interval * KEEPALIVE.count;
/** For a slow machine, which stands still now and then. */
const SLACK_MS = 5000;
const OPTIONS = {
  keepalive: KEEPALIVE,
  reconnect: { min: 10, max: 100 },
  connectTimeout: 500,
  callTimeout: 10_000,
  // Nobody is to be refused because this machine is slow.
  concurrency: { loopDelay: 60_000 },
};

/** Deadline of the calls that are made all the while. */
const TRAFFIC_TIMEOUT_MS = 8000;
/** ms between two of them from one node to another, at least; many nodes together make no more of them than few. */
const TRAFFIC_EVERY_MS = 50;
const TRAFFIC_EVERY_MS_FOR_EACH_PAIR = 1;

const CLOSE_LIMIT_MS = 20_000;

/** What became of the calls that were made beside a cut. */
export interface Weather {
  /** Between nodes that the cut was not about: all of them were answered. */
  readonly unaffected: readonly TrafficCall[];
  readonly affected: readonly TrafficCall[];
}

export class Site {
  readonly nodes: HostNode[] = [];
  /** What the processes write of what they do. */
  private readonly folder = mkdtempSync(join(tmpdir(), `genrpc-hosts-${process.pid}-`));
  private readonly secret = randomBytes(32).toString('base64');
  private made = 0;
  private options: Partial<GenRpcOptions> = OPTIONS;

  private constructor(
    readonly driver: DriverName,
    readonly family: Family,
    readonly lan: Lan,
    /** Where nodes have their certificates from. */
    private readonly authority: CertificateAuthority | undefined,
  ) {
    process.once('exit', () => rmSync(this.folder, { recursive: true, force: true }));
  }

  static async start(driver: DriverName, family: Family): Promise<Site> {
    const authority = driver === 'tls' ? await CertificateAuthority.create() : undefined;
    const site = new Site(driver, family, await Lan.create(COUNT + 1, family), authority);
    try {
      await site.bootAll();
      return site;
    } catch (error) {
      await site[Symbol.asyncDispose]();
      throw error;
    }
  }

  get master(): HostNode {
    return this.nodeAt(0);
  }

  /** All but the master. */
  get others(): readonly HostNode[] {
    return this.nodes.slice(1);
  }

  nodeAt(number: number): HostNode {
    const node = this.nodes[number];
    if (node === undefined) throw new Error(`There is no node ${number}.`);
    return node;
  }

  /** Starts the node of a host, or another process in its place. */
  async boot(host: Host): Promise<HostNode> {
    const title = host.number === 0 ? 'master' : `n${host.number}`;
    const everywhere = this.family === 4 ? '0.0.0.0' : '::';
    const name = `${title}@${title}.lan`;
    const node = await HostNode.start(host, this.folder, {
      ...{ name, secret: this.secret, driver: this.driver, ...(await this.certificates(name)) },
      listen: { host: everywhere, port: PORTS[this.driver], ipv6Only: true, allowPlaintext: this.driver === 'tcp' },
      ...this.options,
    });
    this.nodes[host.number] = node;
    return node;
  }

  /** All nodes anew, and different in these options. */
  async reboot(options: Partial<GenRpcOptions>): Promise<void> {
    this.options = { ...this.options, ...options };
    await Promise.all(this.nodes.map((node) => node.kill()));
    await this.bootAll();
  }

  /** What discovery says of all nodes, but for what it has `wrong`. */
  async tellPlaces(wrong: Places = {}, toWhom: readonly HostNode[] = this.nodes): Promise<void> {
    const places = Object.fromEntries(this.nodes.map(({ name, host }) => [name, { host: host.address }]));
    await Promise.all(toWhom.map((node) => node.learn({ ...places, ...wrong })));
  }

  /** An id that no other call has. */
  id(what: string): string {
    return `${what} ${(this.made += 1)}`;
  }

  /** A call that does not end by itself, and runs; the promise is in an object, to be waited for later. */
  async running(from: HostNode, to: HostNode): Promise<{ id: string; end: Promise<End> }> {
    const id = this.id('wait');
    const end = from.call(to, 'wait', [id], { timeout: 60_000 });
    await to.began(id);
    return { id, end };
  }

  echo(from: HostNode, to: HostNode, options: object = {}): Promise<End> {
    return from.call(to, 'echo', [this.id('echo'), 1], options);
  }

  /** Everyone has a connection to everyone. */
  async acquaint(): Promise<void> {
    for (const { value, message } of await Promise.all(this.pairs().map(([from, to]) => this.patient(from, to)))) {
      expect(value, message).toBe(1);
    }
  }

  /** From now on everyone calls everyone, until the function that this resolves with is called. */
  async watch(): Promise<(isAffected: (a: HostNode, b: HostNode) => boolean) => Promise<Weather>> {
    const { nodes } = this;
    const every = Math.max(TRAFFIC_EVERY_MS, this.pairs().length * TRAFFIC_EVERY_MS_FOR_EACH_PAIR);
    const tag = this.id('traffic');
    const callers = [...nodes];
    await Promise.all(
      callers.map((node) => {
        const peers = callers.filter((one) => one !== node).map(({ name }) => name);
        return node.startTraffic({ tag, peers, every, timeout: TRAFFIC_TIMEOUT_MS });
      }),
    );
    return async (isAffected) => {
      // Of processes that have been killed nobody can ask.
      const alive = callers.filter((node) => node.running);
      const made = await Promise.all(alive.map(async (from) => ({ from, calls: await from.stopTraffic() })));
      const weather: { unaffected: TrafficCall[]; affected: TrafficCall[] } = { unaffected: [], affected: [] };
      for (const { from, calls } of made) {
        for (const call of calls) {
          const to = this.nodes.find(({ name }) => name === call.to) ?? from;
          weather[isAffected(from, to) ? 'affected' : 'unaffected'].push(call);
        }
      }
      this.judge(weather);
      return weather;
    };
  }

  /** Everything that was cut is whole again; whoever was killed is back. */
  async restore(): Promise<void> {
    await this.lan.repair();
    const dead = this.nodes.filter((node) => !node.running);
    await Promise.all(dead.map(({ host }) => this.boot(host)));
    await this.tellPlaces();
    await this.acquaint();
    for (const { pendingCalls, runningCalls } of await Promise.all(this.nodes.map((node) => node.stats()))) {
      expect({ pendingCalls, runningCalls }).toEqual({ pendingCalls: 0, runningCalls: 0 });
    }
  }

  /** Closes all nodes: nothing is left of them, and no process needs to be killed. */
  async close(): Promise<void> {
    const closing = Promise.all(this.nodes.map((node) => node.close()));
    const left = await Promise.race([closing, tooLong(CLOSE_LIMIT_MS)]);
    const nothing = { pendingCalls: 0, runningCalls: 0, connectedNodes: 0, acceptedConnections: 0, bufferedBytes: 0 };
    expect(left).toMatchObject(left.map(() => ({ ...nothing, handshakes: 0, sockets: 0, status: 0 })));
    this.ranOnceAtMost();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    await this.lan[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }

  /** A call that waits for a node which is down or about to be found dead. */
  patient(from: HostNode, to: HostNode): Promise<End> {
    return this.echo(from, to, { waitForReady: true });
  }

  private async bootAll(): Promise<void> {
    const started = await Promise.allSettled(this.lan.hosts.map((host) => this.boot(host)));
    for (const result of started) if (result.status === 'rejected') throw result.reason;
    await this.tellPlaces();
    await this.acquaint();
  }

  private async certificates(name: string): Promise<Pick<GenRpcOptions, 'tls'>> {
    if (this.authority === undefined) return {};
    const { cert, key } = await this.authority.issue(name);
    return { tls: { ca: this.authority.cert, cert, key } };
  }

  private pairs(): (readonly [HostNode, HostNode])[] {
    return this.nodes.flatMap((from) => this.nodes.filter((to) => to !== from).map((to) => [from, to] as const));
  }

  /** How often each call has run, by its id. */
  private ran(): Map<string, number> {
    const ran = new Map<string, number>();
    for (const file of readdirSync(this.folder)) {
      for (const id of readFileSync(join(this.folder, file), 'utf8').split('\n')) {
        if (id !== '') ran.set(id, (ran.get(id) ?? 0) + 1);
      }
    }
    return ran;
  }

  private ranOnceAtMost(): Map<string, number> {
    const ran = this.ran();
    expect([...ran].filter(([, times]) => times > 1)).toEqual([]);
    return ran;
  }

  private judge({ unaffected, affected }: Weather): void {
    const ran = this.ranOnceAtMost();
    const calls = [...unaffected, ...affected];
    expect(unaffected.filter(({ code }) => code !== undefined)).toEqual([]);
    expect(calls.filter(({ ms }) => ms > TRAFFIC_TIMEOUT_MS + SLACK_MS)).toEqual([]);
    // Whoever was answered was heard, and what is said not to have run has not.
    expect(calls.filter(({ code, id }) => code === undefined && !ran.has(id))).toEqual([]);
    expect(calls.filter(({ code, maybeExecuted, id }) => code !== undefined && !maybeExecuted && ran.has(id))).toEqual(
      [],
    );
  }
}

async function tooLong(ms: number): Promise<never> {
  await delay(ms, undefined, { ref: false });
  throw new Error(`Nodes have not ended within ${ms} ms.`);
}

/** Checks that something was found out in time. Returns after how many ms. */
export function inTime(since: number, at: number, limit = SILENCE_MS): number {
  expect(at - since).toBeLessThan(limit + SLACK_MS);
  return at - since;
}

export { machineNow };
