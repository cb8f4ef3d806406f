/** Processes that share a port: each connection to it is given to the next of them in turn. */
import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export class Workers {
  private readonly workers: Worker[] = [];

  /** Resolves with the port once all accept connections. */
  async start(count: number, env: Record<string, string>): Promise<number> {
    cluster.setupPrimary({ exec: fileURLToPath(new URL('./counter.js', import.meta.url)) });
    cluster.schedulingPolicy = cluster.SCHED_RR;
    for (let started = 0; started < count; started += 1) this.workers.push(cluster.fork(env));
    const [port = 0] = await Promise.all(this.workers.map(listening));
    return port;
  }

  get pids(): (number | undefined)[] {
    return this.workers.map(({ process }) => process.pid);
  }

  /** As a crash. Resolves once no connection is given to it any more. */
  async kill(pid: number): Promise<void> {
    const worker = this.workers.find(({ process }) => process.pid === pid);
    if (worker === undefined) throw new Error(`There is no worker ${pid}.`);
    worker.process.kill('SIGKILL');
    await once(worker, 'disconnect');
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.filter((worker) => !worker.isDead()).map(ended));
  }
}

async function listening(worker: Worker): Promise<number> {
  const failed = once(worker, 'exit').then(() => Promise.reject(new Error('A worker ended before it was ready.')));
  const [{ port }] = (await Promise.race([once(worker, 'listening'), failed])) as [{ port: number }];
  return port;
}

async function ended(worker: Worker): Promise<void> {
  worker.process.kill('SIGTERM');
  await once(worker, 'exit');
}
