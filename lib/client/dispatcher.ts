/** Gives every target its one lane, or one for calls and one for casts. Callers that arrive while it connects wait for the same dial. */
import type { Location } from '../discovery/discovery.js';
import type { GenRpcError } from '../protocol/errors.js';
import { hostOf } from '../protocol/node-name.js';
import type { Reached } from './dialer.js';
import { Lane } from './lane.js';
import type { LaneEvents, LaneName, LanePorts } from './lane-ports.js';
import type { NodeTarget } from './target.js';

export interface DispatcherPorts extends LanePorts {
  /** Upper bound of lanes a node; a key's hash modulo this number is its lane. */
  readonly maxLanesPerNode: number;
  /** Lanes of all nodes; above it the least recently used idle one is closed. */
  readonly maxLanes: number;
  /** Do casts take lanes of their own? */
  readonly castLanes: 'shared' | 'separate';
  /** A number for a key: the same for equal keys, on every node. */
  hashOf(key: unknown): number;
  /** A node has its first open connection, or has lost its last. */
  onStatus(node: string, connected: boolean): void;
}

export class Dispatcher implements LaneEvents {
  private readonly lanes = new Map<string, Lane>();
  /** Those that made room for others, while their connections close. */
  private readonly leaving = new Set<Lane>();
  private readonly connections = new Map<string, number>();
  private closedReason: GenRpcError | undefined;
  private lastNumber = 0;
  private uses = 0;

  constructor(private readonly ports: DispatcherPorts) {}

  /** Opens nothing yet. @throws GenRpcError `invalid_argument` for no node name, `encode_error` for no key. */
  resolve(target: NodeTarget, use: 'call' | 'cast' = 'call'): Lane {
    const name = this.nameOf(target, use);
    const lane = this.lanes.get(name) ?? this.add(name, target.node);
    lane.usedAt = this.uses += 1;
    return lane;
  }

  /** Is there an open connection for calls of the target? */
  isConnected(target: NodeTarget): boolean {
    return this.locationOf(target) !== undefined;
  }

  /** Where calls of the target go, over an open connection. */
  locationOf(target: NodeTarget): Reached | undefined {
    return this.lanes.get(this.nameOf(target, 'call'))?.location;
  }

  /** Nodes with an open connection. */
  nodes(): string[] {
    return [...this.connections.keys()];
  }

  get pendingCalls(): number {
    let pending = 0;
    for (const lane of this.all) pending += lane.pendingCalls;
    return pending;
  }

  /** Open connections, of all nodes and keys. */
  get openConnections(): number {
    let open = 0;
    for (const count of this.connections.values()) open += count;
    return open;
  }

  /** Calls without a key that wait for the node. */
  loadOf(node: string): number {
    return this.lanes.get(node)?.pendingCalls ?? 0;
  }

  /** It could not be reached, and is not tried again yet. */
  isDown(node: string): boolean {
    return this.lanes.get(node)?.isDown ?? false;
  }

  /** Discovery tells of other places of the node than before. */
  relocate(node: string, leadsThere: (location: Location) => boolean): void {
    for (const lane of this.lanes.values()) if (lane.node === node) lane.relocate(leadsThere);
  }

  /** Which of a node's lanes a key takes: 0 without one. */
  laneNumberOf(key: unknown): number {
    return key === undefined ? 0 : 1 + (this.ports.hashOf(key) % this.ports.maxLanesPerNode);
  }

  /** A number for a key: the same for equal keys, on every node. @throws GenRpcError `encode_error`. */
  hashOf(key: unknown): number {
    return this.ports.hashOf(key);
  }

  /** Lets pending calls finish; connections close as they fall idle. Resolves once all have. */
  async drain(): Promise<void> {
    const unreachable = new Set<Lane>();
    const drain = async (lane: Lane): Promise<void> => {
      if (!(await lane.drain())) unreachable.add(lane);
    };
    let lanes = this.all;
    while (lanes.length > 0) {
      await Promise.all(lanes.map(drain));
      // What one node did not start goes on to another, whose lane may be new, or have been drained.
      lanes = this.all.filter((lane) => lane.pendingCalls > 0 && !unreachable.has(lane));
    }
  }

  /** Ends every connection now; calls are refused with `reason` from here on. Safe to repeat. */
  async close(reason: GenRpcError): Promise<void> {
    this.closedReason ??= reason;
    await Promise.all(this.all.map((lane) => lane.close(reason)));
  }

  /** As `close`, without a last word to the peers. */
  abort(reason: GenRpcError): void {
    this.closedReason ??= reason;
    for (const lane of this.all) lane.abort(reason);
  }

  status({ node }: LaneName, connected: boolean): void {
    const before = this.connections.get(node) ?? 0;
    const now = before + (connected ? 1 : -1);
    if (now === 0) this.connections.delete(node);
    else this.connections.set(node, now);
    if (before === 0 || now === 0) this.ports.onStatus(node, connected);
  }

  unused(lane: LaneName): void {
    if (this.lanes.get(lane.name) === lane) this.lanes.delete(lane.name);
  }

  private get all(): Lane[] {
    return [...this.lanes.values(), ...this.leaving];
  }

  private nameOf({ node, key }: NodeTarget, use: 'call' | 'cast'): string {
    const lane = key === undefined ? node : `${node} ${this.laneNumberOf(key)}`;
    return use === 'cast' && this.ports.castLanes === 'separate' ? `${lane} cast` : lane;
  }

  private add(name: string, node: string): Lane {
    hostOf(node);
    while (this.lanes.size >= this.ports.maxLanes && this.evict());
    this.lastNumber = (this.lastNumber + 1) >>> 0;
    const lane = new Lane(node, name, this.lastNumber, this.ports, this);
    if (this.closedReason !== undefined) lane.abort(this.closedReason);
    this.lanes.set(name, lane);
    return lane;
  }

  /**
   * Makes room by the lane that nobody has asked for longest; rather by one without ordered casts. Returns whether there
   * was one that nobody waits for.
   */
  private evict(): boolean {
    let worst: Lane | undefined;
    for (const lane of this.lanes.values()) {
      if (lane.isIdle && (worst === undefined || isLessWanted(lane, worst))) worst = lane;
    }
    if (worst === undefined) return false;
    const evicted = worst;
    this.lanes.delete(evicted.name);
    this.leaving.add(evicted);
    void evicted.drain().then(() => this.leaving.delete(evicted));
    return true;
  }
}

function isLessWanted(lane: Lane, than: Lane): boolean {
  return lane.isOrdered === than.isOrdered ? lane.usedAt < than.usedAt : than.isOrdered;
}
