/** A process in a network of its own: what a test asks it to do, and what it answers. */
import { spawn, type ChildProcess } from 'node:child_process';

/** ms of a clock that all processes of a machine share. */
export function machineNow(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

interface Answer {
  readonly id: number;
  readonly answer: unknown;
}

export class NetProcess {
  private asked = 0;
  private readonly waiting = new Map<number, { resolve: (answer: never) => void; reject: (reason: Error) => void }>();

  private constructor(
    private readonly name: string,
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

  /**
   * Runs a program of Node in a namespace; resolves once it says that it is ready. It is to end when its channel does.
   * @param name for errors
   */
  static async start(
    namespace: string,
    name: string,
    program: string,
    env: Readonly<Record<string, string>>,
  ): Promise<NetProcess> {
    const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, program], {
      env: { ...process.env, NODE_OPTIONS: '', ...env },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (status) => reject(new Error(`${name} ended with ${status}.`)));
    });
    return new NetProcess(name, child);
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Rejects when the process ends; a test that has failed meanwhile need not listen. */
  ask<T>(verb: string, about: unknown = {}): Promise<T> {
    const answer = new Promise<T>((resolve, reject) => {
      const id = (this.asked += 1);
      this.waiting.set(id, { resolve, reject });
      this.child.send({ id, verb, about }, (error) => {
        if (error !== null) reject(new Error(`${this.name} cannot be asked: ${error.message}`));
      });
    });
    answer.catch(() => {});
    return answer;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Resolves with its status, or the signal's name, once it has ended. */
  async ended(): Promise<number | string | null> {
    if (this.running) await new Promise((resolve) => this.child.once('exit', resolve));
    return this.child.exitCode ?? this.child.signalCode;
  }

  /** Lets it end by itself, which it does where nothing keeps it. */
  disconnect(): void {
    if (this.child.connected) this.child.disconnect();
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended();
  }
}
