/** A node that is a process of its own, in a network of its own: what a test asks it to do, and what it says. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Target } from '../../lib/client/dispatcher.js';
import type { CallOptions } from '../../lib/node/call-options.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import type { NodeStats } from '../../lib/node/node-stats.js';
import type { GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { SECRET } from './cluster.js';
import type { NetNamespace } from './net-namespace.js';

const PROGRAM = join(import.meta.dirname, '../faults/children/net-node.mjs');
const PORT = 5369;

/** ms of a clock that all processes of a machine share. */
export function machineNow(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

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

interface Answer {
  readonly id: number;
  readonly answer: unknown;
}

export class NetNode {
  private asked = 0;
  private readonly waiting = new Map<number, { resolve: (answer: never) => void; reject: (reason: Error) => void }>();

  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
  ) {
    child.on('message', (message) => {
      const { id, answer } = message as Answer;
      this.waiting.get(id)?.resolve(answer as never);
      this.waiting.delete(id);
    });
    child.on('exit', () => {
      for (const { reject } of this.waiting.values()) reject(new Error(`${name} has ended.`));
    });
  }

  /** Resolves once the node, `title` at the address of its namespace, listens there. */
  static async start(at: NetNamespace, title: string, options: Partial<GenRpcOptions> = {}): Promise<NetNode> {
    const name = `${title}@${at.address}`;
    const listen = { host: at.address, port: PORT, allowPlaintext: true };
    const child = spawn('ip', ['netns', 'exec', at.name, process.execPath, PROGRAM], {
      env: { ...process.env, NODE_OPTIONS: '', OPTIONS: JSON.stringify({ name, secret: SECRET, listen, ...options }) },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (status) => reject(new Error(`${name} ended with ${status}.`)));
    });
    return new NetNode(name, child);
  }

  call(target: string | Target, fn: string, args: readonly unknown[], options: CallOptions = {}): Promise<End> {
    return this.ask('call', { target, fn, args, options });
  }

  /** Keeps `count` large calls under way until `stopBulk`. */
  startBulk(bulk: Bulk): Promise<void> {
    return this.ask('startBulk', bulk);
  }

  stopBulk(): Promise<{ done: number; failed: string[] }> {
    return this.ask('stopBulk');
  }

  /** A small call every so many ms, each beside those before it. */
  ping(target: string | Target, { count, every }: { count: number; every: number }): Promise<End[]> {
    return this.ask('ping', { target, count, every });
  }

  drain(gracePeriod: number): Promise<void> {
    return this.ask('drain', { gracePeriod });
  }

  stats(): Promise<NodeStats & { ran: Record<string, number>; bytesRead: number }> {
    return this.ask('stats');
  }

  /** Resolves once every socket that it has is gone; says when (`machineNow`) the last one was. */
  allGone(): Promise<{ at: number; destroyed: boolean }> {
    return this.ask('allGone');
  }

  /** Stops the process where it is, or lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }

  private ask<T>(verb: string, about: unknown = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const id = (this.asked += 1);
      this.waiting.set(id, { resolve, reject });
      this.child.send({ id, verb, about });
    });
  }
}
