/** A node that is a process of its own, in a network of its own: what a test asks it to do, and what it says. */
import { join } from 'node:path';
import type { Target } from '../../lib/client/target.js';
import type { CallOptions } from '../../lib/node/call-options.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import type { NodeStats } from '../../lib/node/node-stats.js';
import type { GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { ofDriver, SECRET, type SocketDriver } from './cluster.js';
import type { NetNamespace } from './net-namespace.js';
import { NetProcess } from './net-process.js';

const PROGRAM = join(import.meta.dirname, '../faults/children/net-node.mjs');
const PORT = 5369;

export { machineNow } from './net-process.js';

/** How a call ended. */
export interface End {
  readonly value?: unknown;
  readonly code?: GenRpcErrorCode;
  readonly maybeExecuted?: boolean;
  readonly message?: string;
  readonly ms: number;
}

export interface Bulk {
  readonly target: string | Target;
  readonly count: number;
  readonly bytes: number;
  /** `up`: as arguments; `down`: as replies. */
  readonly direction: 'up' | 'down';
}

export class NetNode {
  private constructor(
    readonly name: string,
    private readonly process: NetProcess,
  ) {}

  /** Resolves once the node, `title` at the address of its namespace, listens there. */
  static async start(
    driver: SocketDriver,
    at: NetNamespace,
    title: string,
    options: Partial<GenRpcOptions> = {},
  ): Promise<NetNode> {
    const name = `${title}@${at.address}`;
    const listen = { host: at.address, port: PORT, ...(driver === 'tcp' ? { allowPlaintext: true } : {}) };
    const env = {
      OPTIONS: JSON.stringify({ name, secret: SECRET, listen, clientPort: PORT, ...ofDriver(driver), ...options }),
    };
    return new NetNode(name, await NetProcess.start(at.name, name, PROGRAM, env));
  }

  call(target: string | Target, fn: string, args: readonly unknown[], options: CallOptions = {}): Promise<End> {
    return this.process.ask('call', { target, fn, args, options });
  }

  /** Keeps `count` large calls under way until `stopBulk`. */
  startBulk(bulk: Bulk): Promise<void> {
    return this.process.ask('startBulk', bulk);
  }

  stopBulk(): Promise<{ done: number; failed: string[] }> {
    return this.process.ask('stopBulk');
  }

  /** A small call every so many ms, each beside those before it. */
  ping(target: string | Target, { count, every }: { count: number; every: number }): Promise<End[]> {
    return this.process.ask('ping', { target, count, every });
  }

  drain(gracePeriod: number): Promise<void> {
    return this.process.ask('drain', { gracePeriod });
  }

  stats(): Promise<NodeStats & { ran: Record<string, number>; bytesRead: number }> {
    return this.process.ask('stats');
  }

  /** Resolves once every socket that it has is gone; says when (`machineNow`) that was seen. */
  allGone(): Promise<number> {
    return this.process.ask('allGone');
  }

  /** Stops the process where it is, or lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.process.signal(signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.process.kill();
  }
}
