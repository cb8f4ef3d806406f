/** A real etcd of a test's own, that it may stop, kill, start again and compact. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { systemFiles } from '../../lib/system/system-files.js';
import { SystemHttp } from '../../lib/system/system-http.js';
import type { HttpCredentials } from '../../lib/ports/http.js';
import { until } from './door.js';

const HOW = "It is in Debian's and Ubuntu's package etcd-server: apt-get install etcd-server.";

export interface EtcdSettings {
  /** Seconds that a token is good for. */
  readonly tokenTtl?: number;
  /** Paths of files: with them it is reached over https, by those with a certificate of `ca`. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  /** Sent with what the test itself asks. */
  readonly credentials?: HttpCredentials;
}

export class Etcd {
  private child: ChildProcess | undefined;
  private directory = mkdtempSync(join(tmpdir(), 'gen-rpc-etcd-'));
  private readonly http = new SystemHttp();
  private said = '';
  token = '';

  private constructor(
    readonly port: number,
    private readonly peerPort: number,
    private readonly peers: readonly number[],
    private readonly settings: EtcdSettings,
  ) {}

  static async start(settings: EtcdSettings = {}): Promise<Etcd> {
    const [port = 0, peerPort = 0] = await freePorts(2);
    const etcd = new Etcd(port, peerPort, [peerPort], settings);
    await startAll([etcd]);
    return etcd;
  }

  /** Three that are one: any of them may be missing. */
  static async cluster(): Promise<readonly Etcd[]> {
    const ports = await freePorts(6);
    const peers = ports.slice(3);
    const members = peers.map((peer, at) => new Etcd(ports[at] ?? 0, peer, peers, {}));
    await startAll(members);
    return members;
  }

  get endpoint(): string {
    return `${this.settings.tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.port}`;
  }

  /** With what it had, on the ports that it had. Resolves once it answers. */
  async restart(): Promise<void> {
    const peer = `http://127.0.0.1:${this.peerPort}`;
    const all = this.peers.map((port) => `at-${port}=http://127.0.0.1:${port}`).join(',');
    const { tls, tokenTtl = 300 } = this.settings;
    const child = spawn(
      'etcd',
      [
        ...['--data-dir', this.directory, '--log-level', 'error', '--auth-token-ttl', String(tokenTtl)],
        ...['--name', `at-${this.peerPort}`, '--initial-cluster', all],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--listen-client-urls', this.endpoint, '--advertise-client-urls', this.endpoint],
        // A disk that is slow for others too must not slow down tests.
        ...['--unsafe-no-fsync'].filter(() => KNOWS_NO_FSYNC),
        ...(tls === undefined ? [] : ['--trusted-ca-file', tls.ca, '--cert-file', tls.cert, '--key-file', tls.key]),
        ...(tls === undefined ? [] : ['--client-cert-auth']),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    RUNNING.add(child);
    child.once('exit', () => void RUNNING.delete(child));
    child.stderr.on('data', (text) => (this.said = `${this.said}${String(text)}`.slice(-4000)));
    this.child = child;
    await until(() => child.exitCode !== null || this.listens());
    for (const end = performance.now() + 15_000; child.exitCode === null && performance.now() < end;) {
      if (await this.answers()) return;
    }
    throw new Error(`etcd does not answer: ${this.said}`);
  }

  /** Its data is gone, as after a restore of nothing. Only while it does not run. */
  forget(): void {
    rmSync(this.directory, { recursive: true, force: true });
    this.directory = mkdtempSync(join(tmpdir(), 'gen-rpc-etcd-'));
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    this.child = undefined;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await ended;
  }

  /** It stands still: the system goes on taking bytes and connections for it. */
  async stop(): Promise<void> {
    this.child?.kill('SIGSTOP');
    await until(() => readFileSync(`/proc/${this.child?.pid}/stat`, 'utf8').split(') ')[1]?.[0] === 'T');
  }

  wake(): void {
    this.child?.kill('SIGCONT');
  }

  async put(key: string, value: string, lease = '0'): Promise<void> {
    await this.ask('/v3/kv/put', { key: base64(key), value: base64(value), lease });
  }

  async delete(key: string): Promise<void> {
    await this.ask('/v3/kv/deleterange', { key: base64(key) });
  }

  /** The value, as JSON tells it. */
  async get(key: string): Promise<unknown> {
    const kv = await this.entry(key);
    return kv === undefined ? undefined : (JSON.parse(Buffer.from(kv.value, 'base64').toString()) as unknown);
  }

  async leaseOf(key: string): Promise<string | undefined> {
    return (await this.entry(key))?.lease;
  }

  async revoke(lease: string): Promise<void> {
    await this.ask('/v3/lease/revoke', { ID: lease });
  }

  async revision(): Promise<number> {
    const { header } = await this.ask('/v3/kv/range', { key: base64('/') });
    return Number((header as { revision: string }).revision);
  }

  /** Nobody can watch from a revision before this one. */
  async compact(revision: number): Promise<void> {
    await this.ask('/v3/kv/compaction', { revision: String(revision), physical: true });
  }

  /** Asks it something over HTTP. @throws with what it says when it does not do it. */
  async ask(path: string, body: object): Promise<Record<string, unknown>> {
    const signal = AbortSignal.timeout(5000);
    const headers: Record<string, string> = this.token === '' ? {} : { authorization: this.token };
    const { credentials } = this.settings;
    const request = { method: 'POST', headers, body: JSON.stringify(body), signal, credentials } as const;
    const response = await this.http.request(`${this.endpoint}${path}`, request);
    const chunks: Uint8Array[] = [];
    for await (const chunk of response.body) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    if (response.status !== 200) throw new Error(`${path}: ${text}`);
    return JSON.parse(text) as Record<string, unknown>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    this.http.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  private async entry(key: string): Promise<{ value: string; lease: string } | undefined> {
    const { kvs } = await this.ask('/v3/kv/range', { key: base64(key) });
    return (kvs as { value: string; lease: string }[] | undefined)?.[0];
  }

  private listens(): boolean {
    const hex = this.port.toString(16).toUpperCase().padStart(4, '0');
    return systemFiles.read('/proc/net/tcp').toString().includes(`0100007F:${hex} 00000000:0000 0A`);
  }

  private async answers(): Promise<boolean> {
    return this.ask('/v3/kv/range', { key: base64('/') }).then(
      () => true,
      (error: Error) => /user name is empty|permission denied|invalid auth token/.test(error.message),
    );
  }
}

/** All of them, or none. */
async function startAll(members: readonly Etcd[]): Promise<void> {
  try {
    await Promise.all(members.map((member) => member.restart()));
  } catch (error) {
    await Promise.all(members.map((member) => member[Symbol.asyncDispose]()));
    throw error;
  }
}

/** A test that is broken off disposes of nothing. */
const RUNNING = new Set<ChildProcess>();
process.once('exit', () => RUNNING.forEach((child) => child.kill('SIGKILL')));

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** Free now; nobody else takes them in the moment until they are used, or hardly ever. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

const { error: missing, stdout: help } = spawnSync('etcd', ['--help'], { encoding: 'utf8' });
const KNOWS_NO_FSYNC = String(help).includes('--unsafe-no-fsync');

/** There is none, and there need not be one: says so. With `GEN_RPC_ETCD=required` there has to be one. */
export function isWithoutEtcd(what = 'What needs an etcd'): boolean {
  if (missing === undefined) return false;
  process.stderr.write(`\n*** NOT RUN: ${what}. An etcd has to be started for it, and there is none. ${HOW}\n`);
  return process.env['GEN_RPC_ETCD'] !== 'required';
}

/** As `describe`, for tests that start an `Etcd`. Where there is none, they are skipped or fail, as `isWithoutEtcd` says. */
export function describeWithEtcd(title: string, tests: () => void): void {
  if (missing === undefined) {
    describe(title, tests);
    return;
  }
  if (isWithoutEtcd(title)) {
    describe.skip(`${title} (NOT RUN HERE: there is no etcd)`, tests);
    return;
  }
  describe(title, () => {
    it('can start an etcd', () => {
      throw new Error(`These tests have to run here, but there is no etcd. ${HOW}`);
    });
  });
}
