/** A look at a node from outside: what it is doing, and what has happened to it. */
import type { Buffers } from '../connection/buffers.js';
import type { Occurrence } from '../connection/journal.js';
import type { LifecycleParts, NodePhase } from './lifecycle.js';

/** What a node is doing now, and what has happened so far. */
export interface NodeStats {
  readonly phase: NodePhase;
  /**
   * Made here, and not answered yet: they wait for a connection, a reply or the rest of it, another attempt, or for a
   * serializer or deserializer of the user that takes its time. Each is one, whatever of it waits.
   */
  readonly pendingCalls: number;
  readonly runningCalls: number;
  /** Of other nodes: those that run though nobody waits for them any more, also where the connection is gone. */
  readonly stuckCalls: number;
  readonly connectedNodes: number;
  /** From here, to all nodes and by all keys. */
  readonly openConnections: number;
  readonly acceptedConnections: number;
  readonly handshakes: number;
  /** Of all connections: bytes that wait to be sent, or for the rest of their message. See `maxBufferedBytes`. */
  readonly bufferedBytes: number;
  /** Whole days until this node's certificate, or one above it, ends; below 0 once it has. `undefined` without TLS. */
  readonly certificateDays: number | undefined;
  /** Nodes that discovery knows; 0 where it tells only where one of them is. */
  readonly members: number;
  /** ms since discovery last told which nodes there are; `undefined`: it never has. */
  readonly discoveryAgeMs: number | undefined;
  readonly counts: Readonly<Partial<Record<Occurrence, number>>>;
}

export function statsOf(
  {
    dispatcher,
    server,
    journal,
    local,
    waiting,
    buffers,
    certificates,
    directory,
  }: LifecycleParts & { readonly buffers: Buffers },
  phase: NodePhase,
): NodeStats {
  return {
    phase,
    pendingCalls: dispatcher.pendingCalls + local.size + waiting.notPending,
    runningCalls: server.running,
    stuckCalls: server.stuckCalls,
    connectedNodes: dispatcher.nodes().length,
    openConnections: dispatcher.openConnections,
    acceptedConnections: server.connections,
    handshakes: server.handshakes,
    bufferedBytes: buffers.bytes,
    certificateDays: certificates?.daysLeft,
    members: directory.membership.size,
    discoveryAgeMs: directory.membership.ageMs,
    counts: journal.snapshot(),
  };
}
