/** The harness's end of its workers: asks, waits a bounded time, and ends them. */
import { fork, type ChildProcess } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Place } from './link.js';
import type { Answer, Command } from './worker-messages.js';

const WORKER = fileURLToPath(new URL('worker.js', import.meta.url));
const START_SECONDS = 30;
const ANSWER_SECONDS = 20;
const EXIT_SECONDS = 5;

interface Asker {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Every worker that lives, so that none is left behind. */
export class Workers {
  private readonly alive = new Set<WorkerProcess>();

  /** @param env what all of them are told */
  constructor(private readonly env: Readonly<Record<string, string>>) {}

  /** `args` are those of `worker.ts`, `nodeArgs` further ones of Node. */
  start(args: readonly string[], nodeArgs: readonly string[], place?: Place): WorkerProcess {
    const { program, prefix, host } = place ?? { program: process.execPath, prefix: [], host: undefined };
    const child = fork(WORKER, args, {
      execPath: program,
      execArgv: [...prefix, '--expose-gc', ...nodeArgs],
      env: { ...process.env, ...this.env, ...(host !== undefined && { BENCH_HOST: host }) },
      stdio: ['ignore', 2, 2, 'ipc'],
    });
    const worker = new WorkerProcess(child, `${args[0]} of ${args[1]}`);
    this.alive.add(worker);
    void worker.exited.then(() => this.alive.delete(worker));
    return worker;
  }

  killAll(): void {
    for (const worker of this.alive) worker.kill();
  }
}

export class WorkerProcess {
  /** The first answer: it is ready. */
  readonly ready: Promise<unknown>;
  /** It is gone. */
  readonly exited: Promise<void>;
  private asker: Asker | undefined;

  /** @param child runs `worker.ts` */
  constructor(
    private readonly child: ChildProcess,
    private readonly name: string,
  ) {
    this.exited = new Promise((resolve) => this.child.once('exit', () => resolve()));
    this.child.on('message', (answer: Answer) => this.onAnswer(answer));
    this.child.on('error', (error) => this.settle()?.reject(error));
    this.child.on('exit', (code, signal) => this.settle()?.reject(this.problem(`ended (${signal ?? code})`)));
    this.ready = this.answer(START_SECONDS, 'starting');
  }

  /** `undefined`: it did not start. */
  get pid(): number | undefined {
    return this.child.pid;
  }

  /** @throws Error (as a rejection) when it fails, ends or takes more than `seconds` beyond the usual. */
  ask(command: Command, seconds = 0): Promise<unknown> {
    const answer = this.answer(ANSWER_SECONDS + seconds, command.name);
    this.child.send(command, (error) => error && this.settle()?.reject(error));
    return answer;
  }

  /** Closes what it holds and waits for it to be gone. @throws Error when it had to be killed. */
  async end(): Promise<void> {
    await this.ask({ name: 'end' });
    const gone = await Promise.race([this.exited.then(() => true), wait(EXIT_SECONDS * 1000, false, { ref: false })]);
    if (!gone) throw this.problem('did not end');
  }

  /** Ends it whatever it is doing. Safe to repeat. */
  kill(): void {
    this.child.kill('SIGKILL');
  }

  private answer(seconds: number, what: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.settle()?.reject(this.problem(`took too long: ${what}`)), seconds * 1000);
      this.asker = {
        resolve: (value) => (clearTimeout(timer), resolve(value)),
        reject: (error) => (clearTimeout(timer), reject(error)),
      };
    });
  }

  private onAnswer(answer: Answer): void {
    const asker = this.settle();
    if (!('error' in answer)) return asker?.resolve(answer.value);
    const problem = this.problem(answer.error);
    if (asker === undefined) console.error(problem.message);
    else asker.reject(problem);
  }

  private settle(): Asker | undefined {
    const { asker } = this;
    this.asker = undefined;
    return asker;
  }

  private problem(what: string): Error {
    return new Error(`${this.name}: ${what}`);
  }
}
