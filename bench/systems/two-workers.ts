/** The same node, served by two processes of `node:cluster`, which hands them its connections in turn. */
import cluster from 'node:cluster';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { BenchServer } from '../system.js';
import { WorkerProcess } from '../worker-process.js';

export { connect } from './one-process.js';

const WORKER = fileURLToPath(new URL('../worker.js', import.meta.url));
const COUNT = 2;

export async function serve(): Promise<BenchServer> {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  // Profiles of several processes must not have one name.
  const execArgv = process.execArgv.filter((argument) => !argument.startsWith('--cpu-prof-name'));
  cluster.setupPrimary({ exec: WORKER, args: ['server', 'one-process', randomUUID()], execArgv });
  const workers = Array.from({ length: COUNT }, (_, index) => {
    return new WorkerProcess(cluster.fork().process, `worker ${index} of two-workers`);
  });
  const [port] = await Promise.all(workers.map((worker) => worker.ready));
  const close = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.end()));
  };
  return { port: port as number, helpers: workers, close };
}
