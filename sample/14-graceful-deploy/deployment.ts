/** Does what an orchestrator does: starts a version, and replaces it by another. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { secret } from '../secret.js';

/** What a process says once it accepts calls. */
export interface Started {
  port: number;
}

export class Deployment {
  private child: ChildProcess | undefined;
  port = 0;

  async start(version: string): Promise<void> {
    const env = { ...process.env, GEN_RPC_SECRET: secret, VERSION: version, PORT: String(this.port) };
    const child = fork(fileURLToPath(new URL('./stock.js', import.meta.url)), { env });
    this.child = child;
    const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`${version} ended with ${code}`)));
    const [{ port }] = (await Promise.race([once(child, 'message'), ended])) as [Started];
    ended.catch(() => {});
    this.port = port;
  }

  /** Tells it to end, and waits until it has. Resolves with the signal that ended it; SIGKILL is what must not be needed. */
  async stop(): Promise<NodeJS.Signals | null> {
    const { child } = this;
    this.child = undefined;
    if (child === undefined) return null;
    const exit = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    child.kill('SIGTERM');
    const [, signal] = await exit;
    return signal;
  }
}
