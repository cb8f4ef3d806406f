/** A source that tells what a test makes it tell, and keeps what it is told. */
import type { Discovery, MembershipWatcher, NodeRecord, Place } from '../../lib/discovery/discovery.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';

export class ToldDiscovery implements Discovery {
  readonly registered: NodeRecord[] = [];
  deregistered = 0;
  closed = 0;
  private watcher: MembershipWatcher | undefined;
  private records: readonly unknown[] | undefined;

  async resolve(node: string): Promise<Place> {
    throw new Error(`nobody told of ${node}`);
  }

  watch(watcher: MembershipWatcher): void {
    this.watcher = watcher;
    if (this.records !== undefined) watcher.members(this.records);
  }

  async register(own: NodeRecord): Promise<void> {
    this.registered.push(own);
  }

  async deregister(): Promise<void> {
    this.deregistered += 1;
  }

  async close(): Promise<void> {
    this.closed += 1;
  }

  /** From now on these are all nodes that there are. Returns whether that is believed. */
  tell(...records: readonly unknown[]): boolean {
    this.records = records;
    return this.watcher?.members(records) ?? true;
  }

  fail(message: string): void {
    this.watcher?.failed(new Error(message));
  }
}

/** What a node that listens would tell of itself. */
export function recordOf(node: GenRpcNode, more: Partial<NodeRecord> = {}): NodeRecord {
  return { name: node.name, locations: node.endpoints(), ...more };
}
