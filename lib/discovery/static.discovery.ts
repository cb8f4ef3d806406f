/** Nodes that are written down; everyone else is at the host of its name, on the configured port. */
import type { NodeLocationOptions, WrittenModule } from '../options/node-location-options.js';
import type { Discovery, MembershipWatcher, ModuleRecord, NodeRecord, Place } from './discovery.js';

export class StaticDiscovery implements Discovery {
  /** @param nodes by name (gen_rpc: `client_config_per_node`) */
  constructor(private readonly nodes: ReadonlyMap<string, NodeLocationOptions>) {}

  async resolve(node: string): Promise<Place> {
    return placeOf(this.nodes.get(node) ?? {});
  }

  watch(watcher: MembershipWatcher): void {
    watcher.members([...this.nodes].map(([name, node]) => writtenRecord(name, node)));
  }
}

export function placeOf({ driver, host, port }: NodeLocationOptions): Place {
  return { driver, host, port };
}

export function writtenRecord(name: string, node: NodeLocationOptions): NodeRecord {
  const { modules, priority, weight } = node;
  return { name, locations: [placeOf(node)], modules: modules && moduleRecords(modules), priority, weight };
}

/** Each module once, with all of its versions. */
export function moduleRecords(written: readonly WrittenModule[]): ModuleRecord[] {
  const versions = new Map<string, string[]>();
  for (const one of written) {
    const [name, version] = typeof one === 'string' ? [one, ''] : [one.module, one.version];
    versions.set(name, [...(versions.get(name) ?? []), version]);
  }
  return [...versions].map(([name, all]) => ({ name, versions: all }));
}
