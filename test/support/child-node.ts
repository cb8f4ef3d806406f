/** A node in a process of its own, that a test can stop, wake, ask, and look at from outside. */
import { fork, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { ofDriver, SECRET, type Cluster } from './cluster.js';
import { redirect, until } from './door.js';

const SCRIPT = join(import.meta.dirname, '../faults/children/living.mjs');

interface Answer {
  readonly id: number;
  readonly value: unknown;
}

export class ChildNode {
  private readonly asked = new Map<number, (value: unknown) => void>();
  private nextId = 1;

  private constructor(
    private readonly child: ChildProcess,
    readonly name: string,
    readonly port: number,
  ) {
    child.on('message', ({ id, value }: Answer) => {
      this.asked.get(id)?.(value);
      this.asked.delete(id);
    });
  }

  /**
   * Resolves once it listens, by the driver of `cluster`, which knows where. Its options must survive JSON.
   * @param execArgv for Node
   */
  static async start(
    cluster: Cluster,
    name: string,
    options: object = {},
    execArgv: readonly string[] = [],
  ): Promise<ChildNode> {
    const all = { name, secret: SECRET, listen: { port: 0 }, ...ofDriver(cluster.driver), ...options };
    const env = { ...process.env, NODE_OPTIONS: '', OPTIONS: JSON.stringify(all) };
    const child = fork(SCRIPT, [], { env, execArgv: [...execArgv] });
    const port = await new Promise<number>((resolve, reject) => {
      child.once('message', (message) => resolve(message as number));
      child.once('exit', (status) => reject(new Error(`The child ended with ${status}.`)));
    });
    redirect(cluster, name, port);
    return new ChildNode(child, name, port);
  }

  /** What one of the functions in `living.mjs` returns. A process that is stopped answers when it runs again. */
  ask<T>(what: string, ...args: readonly unknown[]): Promise<T> {
    const id = this.nextId;
    this.nextId += 1;
    this.child.send({ id, what, args });
    return new Promise((resolve) => this.asked.set(id, resolve as (value: unknown) => void));
  }

  stats(): Promise<ReturnType<GenRpcNode['stats']>> {
    return this.ask('stats');
  }

  /** It stands still, as in a debugger: the system goes on taking bytes and connections for it. */
  async stop(): Promise<void> {
    this.child.kill('SIGSTOP');
    await until(() => stateOf(this.child.pid) === 'T');
  }

  wake(): void {
    this.child.kill('SIGCONT');
  }

  get sockets(): number {
    return socketsOf(this.child.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }
}

/** The sockets that a process has open, as the system counts them. */
export function socketsOf(pid: number | 'self' = 'self'): number {
  const fds = readdirSync(`/proc/${pid}/fd`);
  return fds.filter((fd) => linkOf(`/proc/${pid}/fd/${fd}`).startsWith('socket:')).length;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // It was closed since.
    return '';
  }
}

/** `T` is stopped. */
function stateOf(pid: number | undefined): string | undefined {
  return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0];
}
