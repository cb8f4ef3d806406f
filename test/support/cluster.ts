/** Nodes that know where each other are, and a check that nothing of them is left. */
import { expect } from 'vitest';
import { createNode, type NodePorts } from '../../lib/node/create-node.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import type { Discovery, Location } from '../../lib/discovery/discovery.js';
import type { Driver } from '../../lib/driver/driver.js';
import { MemoryNetwork } from '../../lib/driver/memory.driver.js';
import type { LineOptions } from '../../lib/driver/memory-way.js';
import { systemClock } from '../../lib/system/system.js';
import { TcpDriver } from '../../lib/driver/tcp.driver.js';
import type { Clock } from '../../lib/ports/clock.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { LOOPBACK_TLS, tlsDriver } from './tls.js';

export const SECRET = 'a-fine-long-cookie-for-tests-0123';

export type DriverName = 'tcp' | 'tls' | 'memory';
export const DRIVERS: readonly DriverName[] = ['tcp', 'tls', 'memory'];

/** Those whose bytes pass through the system: what breaks there has to be met by each of them alike. */
export type SocketDriver = Exclude<DriverName, 'memory'>;
export const SOCKET_DRIVERS: readonly SocketDriver[] = ['tcp', 'tls'];

/** What a node has to be told for this driver to be what it uses. */
export function ofDriver(driver: DriverName): NodeSettings {
  return driver === 'tls' ? { driver, tls: LOOPBACK_TLS } : { driver };
}

export type NodeSettings = Partial<Omit<GenRpcOptions, 'name'>>;

/** A busy machine stands still now and then: tests that are not about that must not see calls refused for it. */
const UNHURRIED = { loopDelay: Infinity };

export interface VirtualSettings {
  readonly seed: number;
  readonly latency?: (random: SeededRandom) => number;
  /** As in `LineOptions`. */
  readonly bandwidth?: number | undefined;
  readonly segment?: (random: SeededRandom) => number;
}

export interface ClusterSettings {
  readonly driver?: DriverName;
  /** Memory only: time passes when the test says so, randomness comes from the seed. */
  readonly virtual?: VirtualSettings;
  /** For every node. */
  readonly options?: NodeSettings;
  readonly ports?: Partial<NodePorts>;
}

/** Where everyone is: filled as nodes start, changed by tests that put a proxy or an impostor in between. */
export class TestDiscovery implements Discovery {
  readonly locations = new Map<string, Location>();

  async resolve(node: string): Promise<Location> {
    return this.locations.get(node) ?? { driver: this.driver, host: '127.0.0.1', port: 1 };
  }

  constructor(private readonly driver: DriverName) {}
}

export class TestLog {
  readonly lines: string[] = [];
  readonly causes: unknown[] = [];
  info = (message: string): void => void this.lines.push(message);
  warn = (message: string): void => void this.lines.push(message);
  error = (message: string, cause?: unknown): void => {
    this.lines.push(message);
    this.causes.push(cause);
  };
}

export class Cluster {
  readonly discovery: TestDiscovery;
  readonly driver: DriverName;
  readonly clock: VirtualClock | undefined;
  readonly random: SeededRandom | undefined;
  readonly network: MemoryNetwork;
  readonly log = new TestLog();
  private readonly nodes = new Set<GenRpcNode>();

  constructor(private readonly settings: ClusterSettings = {}) {
    this.driver = settings.driver ?? (settings.virtual === undefined ? 'tcp' : 'memory');
    this.discovery = new TestDiscovery(this.driver);
    const { virtual } = settings;
    this.clock = virtual === undefined ? undefined : new VirtualClock();
    const random = virtual === undefined ? undefined : new SeededRandom(virtual.seed);
    this.random = random;
    this.network = new MemoryNetwork(
      this.clock ?? systemClock,
      virtual === undefined || random === undefined ? {} : lineOf(virtual, random),
    );
  }

  /** Starts `name@127.0.0.1`, listening on a free port unless told otherwise. */
  async start(name: string, options: NodeSettings = {}, ports: Partial<NodePorts> = {}): Promise<GenRpcNode> {
    const node = this.create(name, options, ports);
    const address = await node.listen();
    if (address !== undefined) this.discovery.locations.set(node.name, { driver: this.driver, ...address });
    return node;
  }

  /** The same without listening. */
  create(name: string, options: NodeSettings = {}, ports: Partial<NodePorts> = {}): GenRpcNode {
    const full = name.includes('@') ? name : `${name}@127.0.0.1`;
    const node = createNode(
      {
        ...{ name: full, secret: SECRET, listen: { port: 0 } },
        ...ofDriver(this.driver),
        discovery: this.discovery,
        ...this.settings.options,
        ...options,
        concurrency: { ...UNHURRIED, ...this.settings.options?.concurrency, ...options.concurrency },
      },
      {
        log: this.log,
        drivers: [this.network.driver('127.0.0.1')],
        ...(this.clock === undefined ? {} : { clock: this.clock }),
        ...(this.random === undefined ? {} : { random: this.random }),
        ...this.settings.ports,
        ...ports,
      },
    );
    this.nodes.add(node);
    return node;
  }

  /** Closes every node, and asserts that nothing of them is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closing = Promise.all([...this.nodes].map((node) => node.close()));
    await this.clock?.advance(10_000);
    await closing;
    await this.clock?.advance(10_000);
    for (const node of this.nodes) {
      const { pendingCalls, runningCalls, connectedNodes, acceptedConnections, bufferedBytes } = node.stats();
      expect({ node: node.name, pendingCalls, connectedNodes, acceptedConnections, bufferedBytes }).toEqual({
        node: node.name,
        pendingCalls: 0,
        connectedNodes: 0,
        acceptedConnections: 0,
        bufferedBytes: 0,
      });
      expect(runningCalls).toBe(0);
    }
    expect(this.network.links.size).toBe(0);
    if (this.clock !== undefined) expect(this.clock.pending).toBe(0);
  }
}

function lineOf({ latency, bandwidth, segment }: VirtualSettings, random: SeededRandom): LineOptions {
  return {
    ...(latency === undefined ? {} : { latency: () => latency(random) }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(segment === undefined ? {} : { segment: () => segment(random) }),
  };
}

/** The driver of a cluster, for a test that watches what goes over it. */
export function driverOf({ driver, network, clock }: Cluster, given: Clock = clock ?? systemClock): Driver {
  if (driver === 'memory') return network.driver('127.0.0.1');
  return driver === 'tls' ? tlsDriver(LOOPBACK_TLS, { clock: given }) : new TcpDriver(given);
}

/** `a` calls, `b` answers `math.add`, `math.fail`, `math.never`, and records what ran. */
export async function twoNodes(settings: ClusterSettings = {}): Promise<TwoNodes> {
  const cluster = new Cluster(settings);
  const b = await cluster.start('b');
  const ran: string[] = [];
  b.register('math', {
    add: (args) => {
      ran.push('add');
      const [x, y] = args as [number, number];
      return x + y;
    },
    echo: (args) => (args as unknown[])[0],
    fail: () => {
      ran.push('fail');
      throw new Error('secret detail: SELECT * FROM users');
    },
    never: () => {
      ran.push('never');
      return new Promise(() => {});
    },
  });
  const a = cluster.create('a', { listen: false });
  return Object.assign(cluster, { a, b, ran });
}

export type TwoNodes = Cluster & { readonly a: GenRpcNode; readonly b: GenRpcNode; readonly ran: string[] };
