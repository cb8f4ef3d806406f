/** Nodes that all have one module, and one that knows of them by discovery. */
import { expect } from 'vitest';
import type { Target } from '../../lib/client/target.js';
import type { NodeRecord } from '../../lib/discovery/discovery.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, type ClusterSettings, type NodeSettings } from './cluster.js';
import { until } from './door.js';
import { recordOf, ToldDiscovery } from './told-discovery.js';

export const WHO: Target = { module: 'who' };
export const modules = [{ name: 'who', versions: [''] }];

/** Nodes that say who they are, and `caller`, whose discovery tells of them. */
export class Town implements AsyncDisposable {
  readonly discovery = new ToldDiscovery();
  readonly nodes = new Map<string, GenRpcNode>();
  readonly ran: string[] = [];
  readonly caller: GenRpcNode;

  private constructor(
    readonly cluster: Cluster,
    options: NodeSettings,
  ) {
    this.caller = cluster.create('caller', { listen: false, discovery: this.discovery, ...options });
  }

  static async of(names: readonly string[], settings: ClusterSettings = {}, options: NodeSettings = {}): Promise<Town> {
    const town = new Town(new Cluster(settings), options);
    for (const name of names) await town.add(name);
    return town;
  }

  async add(name: string, more: Partial<NodeRecord> = {}, options: NodeSettings = {}): Promise<GenRpcNode> {
    const node = await this.cluster.start(name, options);
    node.register('who', {
      am: () => {
        this.ran.push(node.name);
        return name;
      },
      never: () => {
        this.ran.push(node.name);
        return new Promise(() => {});
      },
      told: ([text]: [string]) => void this.ran.push(`${name} ${text}`),
      once: async function* () {
        yield name;
        await new Promise(() => {});
      },
      count: async function* () {
        for (let n = 0; ; n += 1) yield `${name} ${n}`;
      },
    });
    this.nodes.set(name, node);
    this.records.set(name, recordOf(node, { modules, ...more }));
    this.tell();
    return node;
  }

  private readonly records = new Map<string, NodeRecord>();

  /** A node that runs one call at a time, and has begun one that does not end: it refuses all others. */
  async addFull(name: string, more: Partial<NodeRecord> = {}): Promise<GenRpcNode> {
    const node = await this.add(name, more, { concurrency: { calls: 1 } });
    const filling = this.cluster.create(`fills-${name}`, { listen: false });
    filling.call(node.name, 'who', 'never', [], { timeout: 3_600_000 }).catch(() => {});
    await this.cluster.clock?.advance(100);
    await until(() => node.stats().runningCalls === 1);
    this.ran.length = 0;
    return node;
  }

  tell(): void {
    this.discovery.tell(...this.records.values());
  }

  recordOf(name: string): NodeRecord {
    return this.records.get(name) ?? expect.fail(`no ${name}`);
  }

  /** It dies, and discovery has not heard of it. */
  kill(name: string): void {
    this.node(name).abort();
  }

  node(name: string): GenRpcNode {
    return this.nodes.get(name) ?? expect.fail(`no ${name}`);
  }

  /** Who answers so many calls, one after the other. */
  async askAll(times: number, target = WHO): Promise<Set<string>> {
    const answers = new Set<string>();
    for (let time = 0; time < times; time += 1) answers.add(await this.caller.call<string>(target, 'who', 'am'));
    return answers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }
}
