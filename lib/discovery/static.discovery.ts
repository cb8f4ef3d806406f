/** Nodes that are written down; everyone else is at the host of its name, on the configured port. */
import type { Discovery, MembershipWatcher, NodeRecord, Place } from './discovery.js';

/** What is written of a node: where it is, as far as its name does not say so, and what can be called there. */
export type WrittenNode = Place & Omit<NodeRecord, 'name' | 'locations' | 'incarnation'>;

export class StaticDiscovery implements Discovery {
  /** @param nodes by name (gen_rpc: `client_config_per_node`) */
  constructor(private readonly nodes: ReadonlyMap<string, WrittenNode>) {}

  async resolve(node: string): Promise<Place> {
    const { driver, host, port } = this.nodes.get(node) ?? {};
    return { driver, host, port };
  }

  watch(watcher: MembershipWatcher): void {
    watcher.members([...this.nodes].map(([name, node]) => recordOf(name, node)));
  }
}

function recordOf(name: string, { driver, host, port, ...rest }: WrittenNode): NodeRecord {
  return { name, locations: [{ driver, host, port }], ...rest };
}
