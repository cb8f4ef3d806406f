/** Gives every target exactly one lane. Callers that arrive while it connects wait for the same dial. */
import type { GenRpcError } from '../protocol/errors.js';
import { hostOf } from '../protocol/node-name.js';
import { Lane, type LanePorts } from './lane.js';

/** A node, or a node and a key; the same key always takes the same lane. */
export interface Target {
  readonly node: string;
  readonly key?: unknown;
}

export interface DispatcherPorts extends LanePorts {
  /** Upper bound of lanes a node; a key's hash modulo this number is its lane. */
  readonly maxLanesPerNode: number;
  /** A number for a key: the same for equal keys, on every node. */
  hashOf(key: unknown): number;
  onStatus(node: string, connected: boolean): void;
}

export class Dispatcher {
  private readonly lanes = new Map<string, Lane>();
  private closedReason: GenRpcError | undefined;

  constructor(private readonly ports: DispatcherPorts) {}

  /** Opens nothing yet. @throws GenRpcError `invalid_argument` when the node's name is none. */
  resolve(target: Target): Lane {
    const name = target.key === undefined ? target.node : `${target.node} ${this.laneNumber(target.key)}`;
    return this.lanes.get(name) ?? this.add(name, target.node);
  }

  /** Nodes with an open connection. */
  nodes(): string[] {
    const open = new Set<string>();
    for (const lane of this.lanes.values()) if (lane.connected) open.add(lane.node);
    return [...open];
  }

  get pendingCalls(): number {
    let pending = 0;
    for (const lane of this.lanes.values()) pending += lane.pendingCalls;
    return pending;
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

  private laneNumber(key: unknown): number {
    return this.ports.hashOf(key) % this.ports.maxLanesPerNode;
  }

  private add(name: string, node: string): Lane {
    hostOf(node);
    const lane = new Lane(node, this.ports, (connected) => this.ports.onStatus(node, connected));
    if (this.closedReason !== undefined) lane.abort(this.closedReason);
    this.lanes.set(name, lane);
    return lane;
  }
}
