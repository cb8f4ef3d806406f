/** How far a server's memory grows in one round, seen from outside: it may be too busy to say so itself. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { Contestant, Sample } from './system-processes.js';
import type { Case, Load } from './workload.js';
import type { WorkerProcess, Workers } from './worker-process.js';

/** The name of what is measured. */
export const WATCHED = 'server MiB';

/** Where a server is stopped: the machine has others to feed. */
const MOST_MIB = 1024;
const LOOK_EVERY_MS = 20;
/** Shorter rounds are over before the requests have left. */
const LEAST_SECONDS = 1;

/** Why no process can be watched here; `undefined`: it can. */
export function watchProblem(): string | undefined {
  return existsSync('/proc/self/status') ? undefined : 'needs Linux, which says in /proc how large a process is';
}

/** Each round has processes of its own, which are ended however they are: memory is rarely given back. */
export class MemoryWatch implements Contestant {
  private readonly started = new Set<WorkerProcess>();

  constructor(
    private readonly workers: Workers,
    private readonly system: string,
  ) {}

  supports(): Promise<boolean> {
    return Promise.resolve(true);
  }

  async round(workload: string, its: Case, load: Omit<Load, 'part'>): Promise<Sample> {
    const server = this.start('server');
    const relay = await Relay.open((await server.ready) as number);
    try {
      const client = this.start('client', String(relay.port));
      await client.ready;
      await server.ask({ name: 'mark' });
      const before = await sizeOf(server);
      relay.holdReplies();
      const seconds = Math.max(load.seconds, LEAST_SECONDS);
      const part = { index: 0, of: 1 };
      const asking = client.ask({ name: 'run', workload, its, load: { ...load, part } }, seconds);
      const failure = asking.then(() => new Promise<never>(() => {}));
      const most = await Promise.race([mostOf(server, before + MOST_MIB, seconds), failure]);
      const unknown = { operations: NaN, clientMicros: NaN, serverMicros: NaN };
      return { ...unknown, seconds, figures: { [WATCHED]: Math.min(most - before, MOST_MIB) } };
    } finally {
      this.kill();
      relay.close();
    }
  }

  close(): Promise<void> {
    this.kill();
    return Promise.resolve();
  }

  kill(): void {
    for (const worker of this.started) worker.kill();
    this.started.clear();
  }

  private start(role: string, ...details: string[]): WorkerProcess {
    const worker = this.workers.start([role, this.system, ...details], []);
    this.started.add(worker);
    return worker;
  }
}

/** The largest size of `worker` within `seconds`, in MiB. It looks no further once that is more than `enough`. */
async function mostOf(worker: WorkerProcess, enough: number, seconds: number): Promise<number> {
  const endsAt = performance.now() + seconds * 1000;
  let most = 0;
  while (most < enough && performance.now() < endsAt) {
    most = Math.max(most, await sizeOf(worker));
    await wait(LOOK_EVERY_MS);
  }
  return most;
}

/** What `worker` holds of the machine's memory, in MiB. */
async function sizeOf({ pid }: WorkerProcess): Promise<number> {
  const [, kib] = /^VmRSS:\s*(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (kib === undefined) throw new Error(`Process ${pid} is gone.`);
  return Number(kib) / 1024;
}

/** Stands between a client and its server, so that the client can be one that does not read, whatever its system. */
class Relay {
  private readonly sockets: Socket[] = [];
  private readonly fromServer: Socket[] = [];
  private readonly listener = createServer((client) => {
    const server = connect(this.to, '127.0.0.1');
    this.sockets.push(client, server);
    this.fromServer.push(server);
    for (const socket of [client, server]) socket.on('error', () => socket.destroy());
    client.pipe(server).pipe(client);
  });

  private constructor(private readonly to: number) {}

  static async open(to: number): Promise<Relay> {
    const relay = new Relay(to);
    relay.listener.listen(0, '127.0.0.1');
    await once(relay.listener, 'listening');
    return relay;
  }

  get port(): number {
    return (this.listener.address() as AddressInfo).port;
  }

  /** From now on nothing that the server says is read. */
  holdReplies(): void {
    for (const socket of this.fromServer) socket.unpipe().pause();
  }

  close(): void {
    this.listener.close();
    for (const socket of this.sockets) socket.destroy();
  }
}
