/** Gives every target exactly one lane. Callers that arrive while it connects wait for the same dial. */
import type { GenRpcError } from '../protocol/errors.js';
import { hostOf } from '../protocol/node-name.js';
import { Lane, type LaneEvents, type LanePorts } from './lane.js';

/** A node, or a node and a key; the same key always takes the same lane. */
export interface Target {
  readonly node: string;
  readonly key?: unknown;
}

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
  private readonly connections = new Map<string, number>();
  private closedReason: GenRpcError | undefined;
  private lastNumber = 0;
  private uses = 0;

  constructor(private readonly ports: DispatcherPorts) {}

  /** Opens nothing yet. @throws GenRpcError `invalid_argument` for no node name, `encode_error` for no key. */
  resolve(target: Target, use: 'call' | 'cast' = 'call'): Lane {
    const name = this.nameOf(target, use);
    const lane = this.lanes.get(name) ?? this.add(name, target.node);
    lane.usedAt = this.uses += 1;
    return lane;
  }

  /** Has the target's lane an open connection? */
  isConnected(target: Target, use: 'call' | 'cast' = 'call'): boolean {
    return this.lanes.get(this.nameOf(target, use))?.connected ?? false;
  }

  /** Nodes with an open connection. */
  nodes(): string[] {
    return [...this.connections.keys()];
  }

  get pendingCalls(): number {
    let pending = 0;
    for (const lane of this.lanes.values()) pending += lane.pendingCalls;
    return pending;
  }

  /** Open connections, of all nodes and keys. */
  get openConnections(): number {
    let open = 0;
    for (const count of this.connections.values()) open += count;
    return open;
  }

  /** Which of a node's lanes a key takes: 0 without one. */
  laneNumberOf(key: unknown): number {
    return key === undefined ? 0 : 1 + (this.ports.hashOf(key) % this.ports.maxLanesPerNode);
  }

  /** Lets pending calls finish; connections close as they fall idle. Resolves once all have. */
  async drain(): Promise<void> {
    await Promise.all([...this.lanes.values()].map((lane) => lane.drain()));
  }

  /** Ends every connection now; calls are refused with `reason` from here on. Safe to repeat. */
  async close(reason: GenRpcError): Promise<void> {
    this.closedReason ??= reason;
    await Promise.all([...this.lanes.values()].map((lane) => lane.close(reason)));
  }

  /** As `close`, without a last word to the peers. */
  abort(reason: GenRpcError): void {
    this.closedReason ??= reason;
    for (const lane of this.lanes.values()) lane.abort(reason);
  }

  status({ node }: Lane, connected: boolean): void {
    const before = this.connections.get(node) ?? 0;
    const now = before + (connected ? 1 : -1);
    if (now === 0) this.connections.delete(node);
    else this.connections.set(node, now);
    if (before === 0 || now === 0) this.ports.onStatus(node, connected);
  }

  unused(lane: Lane): void {
    if (this.lanes.get(lane.name) === lane) this.lanes.delete(lane.name);
  }

  private nameOf({ node, key }: Target, use: 'call' | 'cast'): string {
    const lane = key === undefined ? node : `${node} ${this.laneNumberOf(key)}`;
    return use === 'cast' && this.ports.castLanes === 'separate' ? `${lane} cast` : lane;
  }

  private add(name: string, node: string): Lane {
    hostOf(node);
    if (this.lanes.size >= this.ports.maxLanes) this.evict();
    this.lastNumber = (this.lastNumber + 1) >>> 0;
    const lane = new Lane(node, name, this.lastNumber, this.ports, this);
    if (this.closedReason !== undefined) lane.abort(this.closedReason);
    this.lanes.set(name, lane);
    return lane;
  }

  /** Makes room by the lane that nobody has asked for longest. Those with something pending stay. */
  private evict(): void {
    let oldest: Lane | undefined;
    for (const lane of this.lanes.values()) {
      if (lane.isIdle && (oldest === undefined || lane.usedAt < oldest.usedAt)) oldest = lane;
    }
    if (oldest === undefined) return;
    oldest.retire();
    this.unused(oldest);
  }
}
