/** A system at work: its server process, and those that call it. */
import type { SlowLink } from './link.js';
import type { Case, Load } from './workload.js';
import type { WorkerProcess, Workers } from './worker-process.js';
import type { Run } from './worker-messages.js';

/** One round of one system. */
export interface Sample extends Run {
  /** CPU that each side used in it, µs. */
  readonly clientMicros: number;
  readonly serverMicros: number;
}

/** A system that takes its turns. */
export interface Contestant {
  supports(workload: string): Promise<boolean>;
  round(workload: string, its: Case, load: Omit<Load, 'part'>): Promise<Sample>;
  /** @throws Error when one of its processes had to be killed. */
  close(): Promise<void>;
  kill(): void;
}

/** Further arguments of Node for the process called `name`. */
export type NodeArgs = (name: string) => readonly string[];

export class SystemProcesses implements Contestant {
  private constructor(
    private readonly server: WorkerProcess,
    private readonly clients: readonly WorkerProcess[],
  ) {}

  /** Resolves once all of its clients are connected. On failure nothing of it is left. */
  static async open(
    workers: Workers,
    system: string,
    count: number,
    nodeArgs: NodeArgs,
    link?: SlowLink,
  ): Promise<SystemProcesses> {
    const server = workers.start(['server', system], nodeArgs(`${system}-server`), link?.server);
    const started = [server];
    try {
      const port = await server.ready;
      const clients = Array.from({ length: count }, (_, index) => {
        const name = `${system}-client${count > 1 ? `-${index}` : ''}`;
        return workers.start(['client', system, String(port)], nodeArgs(name), link?.client);
      });
      started.push(...clients);
      await Promise.all(clients.map((client) => client.ready));
      return new SystemProcesses(server, clients);
    } catch (error) {
      for (const worker of started) worker.kill();
      throw error;
    }
  }

  async supports(workload: string): Promise<boolean> {
    const answers = await Promise.all(this.clients.map((client) => client.ask({ name: 'supports', workload })));
    return answers.every((answer) => answer as boolean);
  }

  /** All collect their garbage first, so that none pays for the round before. */
  async round(workload: string, its: Case, load: Omit<Load, 'part'>): Promise<Sample> {
    const { clients, server } = this;
    await Promise.all([server, ...clients].map((worker) => worker.ask({ name: 'mark' })));
    const runs = await Promise.all(
      clients.map((client, index) => {
        const part = { index, of: clients.length };
        return client.ask({ name: 'run', workload, its, load: { ...load, part } }, load.seconds) as Promise<Run>;
      }),
    );
    const [serverMicros = 0, ...clientMicros] = await Promise.all(
      [server, ...clients].map((worker) => worker.ask({ name: 'cpu' }) as Promise<number>),
    );
    const operations = sum(runs.map((run) => run.operations));
    const seconds = Math.max(...runs.map((run) => run.seconds));
    return { ...runs[0], operations, seconds, clientMicros: sum(clientMicros), serverMicros };
  }

  async close(): Promise<void> {
    try {
      await Promise.all(this.clients.map((client) => client.end()));
      await this.server.end();
    } finally {
      this.kill();
    }
  }

  kill(): void {
    for (const worker of [...this.clients, this.server]) worker.kill();
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
