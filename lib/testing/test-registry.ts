/** Tells the nodes of a test cluster of each other, as a registry that is always there would. */
import type { Discovery, MembershipWatcher, NodeRecord, Place } from '../discovery/discovery.js';

export class TestRegistry {
  private readonly records = new Map<string, NodeRecord>();
  private readonly watchers = new Set<MembershipWatcher>();

  /** @param placeOf where a node is, or would be if it were there */
  constructor(private readonly placeOf: (node: string) => Place) {}

  /** For one node. */
  discovery(): Discovery {
    let own: NodeRecord | undefined;
    let watcher: MembershipWatcher | undefined;
    const deregister = async (): Promise<void> => {
      if (own === undefined || this.records.get(own.name) !== own) return;
      this.records.delete(own.name);
      this.tellAll();
    };
    return {
      resolve: async (node) => this.placeOf(node),
      watch: (given) => {
        watcher = given;
        this.watchers.add(given);
        this.tell(given);
      },
      register: async (self) => {
        own = self;
        this.records.set(self.name, self);
        this.tellAll();
      },
      deregister,
      close: async () => {
        if (watcher !== undefined) this.watchers.delete(watcher);
        await deregister();
      },
    };
  }

  /** Its node has crashed: what it has told stays until it is started again, as nobody takes it back. */
  abandon(node: string): void {
    const record = this.records.get(node);
    if (record !== undefined) this.records.set(node, { ...record });
  }

  private tellAll(): void {
    for (const watcher of this.watchers) this.tell(watcher);
  }

  /** Whoever doubts that there are none any more is told once more. */
  private tell(watcher: MembershipWatcher): void {
    const records = [...this.records.values()];
    if (!watcher.members(records)) watcher.members(records);
  }
}
