/** A system at work: its server process and its client process. */
import type { Load } from './workload.js';
import type { WorkerProcess, Workers } from './worker-process.js';
import type { Run } from './worker.js';

/** One round of one system. */
export interface Sample extends Run {
  /** CPU that each process used in it, µs. */
  readonly clientMicros: number;
  readonly serverMicros: number;
}

/** Further arguments of Node for the process called `name`. */
export type NodeArgs = (name: string) => readonly string[];

export class Pair {
  private constructor(
    private readonly server: WorkerProcess,
    private readonly client: WorkerProcess,
  ) {}

  /** Resolves once the client is connected. On failure nothing of it is left. */
  static async open(workers: Workers, system: string, nodeArgs: NodeArgs): Promise<Pair> {
    const server = workers.start(['server', system], nodeArgs(`${system}-server`));
    const started = [server];
    try {
      const port = await server.ready;
      const client = workers.start(['client', system, String(port)], nodeArgs(`${system}-client`));
      started.push(client);
      await client.ready;
      return new Pair(server, client);
    } catch (error) {
      for (const worker of started) worker.kill();
      throw error;
    }
  }

  async supports(workload: string): Promise<boolean> {
    return (await this.client.ask({ name: 'supports', workload })) as boolean;
  }

  /** Both collect their garbage first, so that none pays for the round before. */
  async round(workload: string, load: Load): Promise<Sample> {
    const both = [this.client, this.server];
    await Promise.all(both.map((worker) => worker.ask({ name: 'mark' })));
    const run = (await this.client.ask({ name: 'run', workload, load }, load.seconds)) as Run;
    const [clientMicros, serverMicros] = await Promise.all(both.map((worker) => worker.ask({ name: 'cpu' })));
    return { ...run, clientMicros: clientMicros as number, serverMicros: serverMicros as number };
  }

  /** @throws Error when one of them had to be killed. */
  async close(): Promise<void> {
    try {
      await this.client.end();
      await this.server.end();
    } finally {
      this.kill();
    }
  }

  kill(): void {
    this.client.kill();
    this.server.kill();
  }
}
