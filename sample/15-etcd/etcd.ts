/** An etcd of the sample's own. Yours runs somewhere already; all that a node has to know of it is its address. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export class Etcd {
  private process: ChildProcess | undefined;

  private constructor(
    readonly endpoint: string,
    private readonly peer: string,
    private readonly directory: string,
  ) {}

  /** `undefined`: there is none on this machine. */
  static async start(): Promise<Etcd | undefined> {
    if (spawnSync('etcd', ['--version']).error !== undefined) return undefined;
    const [port, peerPort] = [await freePort(), await freePort()];
    const directory = await mkdtemp(join(tmpdir(), 'genrpc-etcd-'));
    const etcd = new Etcd(`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`, directory);
    await etcd.run();
    return etcd;
  }

  /** Runs it with what it knew before. Resolves once it answers. */
  async run(): Promise<void> {
    const { endpoint, peer, directory } = this;
    const options = [
      ...['--data-dir', directory, '--log-level', 'error', '--initial-cluster', `default=${peer}`],
      ...['--listen-client-urls', endpoint, '--advertise-client-urls', endpoint],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
    ];
    this.process = spawn('etcd', options, { stdio: 'ignore' });
    while (!(await this.answers())) await sleep(20);
  }

  async kill(): Promise<void> {
    if (this.process === undefined) return;
    const ended = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    this.process = undefined;
    await ended;
  }

  /** Its keys that begin so, as anybody can read them. */
  async keys(prefix: string): Promise<string[]> {
    const range = { key: base64(prefix), range_end: base64(`${prefix}\u007f`), keys_only: true };
    const answer = await fetch(`${this.endpoint}/v3/kv/range`, { method: 'POST', body: JSON.stringify(range) });
    const { kvs = [] } = (await answer.json()) as { kvs?: { key: string }[] };
    return kvs.map(({ key }) => Buffer.from(key, 'base64').toString());
  }

  async remove(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true });
  }

  private answers(): Promise<boolean> {
    return fetch(`${this.endpoint}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
