/** The applications of a test, by key, and what may happen to them. */
import type { GenRpcNode } from '../node/gen-rpc-node.js';
import { ClientOwners } from './client-owners.js';
import { TestApplication } from './test-application.js';
import type { TestAppOf, TestCluster, TestClusterOptions, TestNodes } from './test-cluster.js';
import { hostOf, TestWorld } from './test-world.js';
import type { VirtualClock } from './virtual-clock.js';

export class RunningCluster<Nodes extends TestNodes> implements TestCluster<Nodes> {
  private readonly world: TestWorld;
  private readonly applications: ReadonlyMap<string, TestApplication>;

  constructor({ nodes, clock = 'system', seed = 1 }: TestClusterOptions<Nodes>) {
    checkNodes(nodes);
    const world = new TestWorld(clock, seed);
    const owners = new ClientOwners();
    this.world = world;
    this.applications = new Map(
      Object.entries(nodes).map(([key, given]) => {
        return [key, new TestApplication(key, nameOf(key), given, world, owners)];
      }),
    );
  }

  get clock(): VirtualClock {
    const { virtualClock } = this.world;
    if (virtualClock !== undefined) return virtualClock;
    throw new Error("This cluster lives by the system's clock: create it with { clock: 'virtual' } to have one.");
  }

  /** @throws Error of the first that does not start, once nothing is left of any. */
  async startAll(): Promise<void> {
    try {
      for (const application of this.applications.values()) await application.start();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  app<Key extends keyof Nodes & string>(key: Key): TestAppOf<Nodes[Key]> {
    return this.applicationOf(key).current.app as TestAppOf<Nodes[Key]>;
  }

  node(key: string): GenRpcNode {
    return this.applicationOf(key).current.node;
  }

  get<T>(key: string, token: (abstract new (...args: never[]) => T) | string | symbol): T {
    return this.applicationOf(key).current.app.get<T>(token as symbol, { strict: false });
  }

  delay(one: string, other: string, ms: number): void {
    this.world.network.delay(this.hostOf(one), this.hostOf(other), ms);
  }

  cut(one: string, other: string): void {
    this.world.network.cut(this.hostOf(one), this.hostOf(other));
  }

  partition(...groups: (readonly string[])[]): void {
    this.world.network.partition(...groups.map((group) => group.map((key) => this.hostOf(key))));
  }

  heal(): void {
    this.world.network.heal();
  }

  stop(key: string): Promise<void> {
    return this.applicationOf(key).crash();
  }

  drain(key: string): Promise<void> {
    return this.applicationOf(key).drain();
  }

  start(key: string): Promise<void> {
    return this.applicationOf(key).start();
  }

  async close(): Promise<void> {
    this.heal();
    const applications = [...this.applications.values()];
    // First all nodes: none is to wait for another.
    await Promise.all(applications.map((one) => one.closeNodes()));
    for (const one of applications) await one.close();
    this.world.end();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private hostOf(key: string): string {
    return hostOf(this.applicationOf(key).name);
  }

  private applicationOf(key: string): TestApplication {
    const application = this.applications.get(key);
    if (application !== undefined) return application;
    throw new Error(`There is no ${key} in this cluster, but ${[...this.applications.keys()].join(', ')}.`);
  }
}

function nameOf(key: string): string {
  return key.includes('@') ? key : `${key}@test`;
}

/** @throws Error of the first that is none, or has the name of another. */
function checkNodes(nodes: TestNodes): void {
  const keys = Object.keys(nodes);
  for (const key of keys) {
    const name = nameOf(key);
    const first = keys.find((one) => nameOf(one) === name);
    if (first !== key) throw new Error(`${first} and ${key} are both ${name}: give them names of their own.`);
    if (nodes[key] !== undefined) continue;
    throw new Error(`${key} is undefined instead of a module: do files import each other in a circle?`);
  }
}
