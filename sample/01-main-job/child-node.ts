/** One node in a process of its own: started, killed, started again at the same place. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { GenRpcOptions } from 'nestjs-gen-rpc';

export class ChildNode {
  private child: ChildProcess | undefined;
  port = 0;

  constructor(
    private readonly script: string,
    private readonly options: Omit<GenRpcOptions, 'listen'>,
  ) {}

  get name(): string {
    return this.options.name;
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Resolves once the node accepts calls. */
  async start(): Promise<void> {
    const options: GenRpcOptions = { ...this.options, listen: { port: this.port } };
    const path = fileURLToPath(new URL(`./${this.script}.js`, import.meta.url));
    const child = fork(path, { env: { ...process.env, GEN_RPC_OPTIONS: JSON.stringify(options) } });
    this.child = child;
    const [message] = (await Promise.race([once(child, 'message'), failed(child, this.name)])) as [{ port: number }];
    this.port = message.port;
  }

  /** As a crash: no goodbye. */
  async kill(): Promise<void> {
    await this.end('SIGKILL');
  }

  async stop(): Promise<void> {
    await this.end('SIGTERM');
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }
}

async function failed(child: ChildProcess, name: string): Promise<never> {
  const [code] = (await once(child, 'exit')) as [number];
  throw new Error(`${name} ended with code ${code} before it was ready`);
}
