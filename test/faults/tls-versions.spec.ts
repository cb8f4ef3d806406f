/** Sessions that somebody kept, and TLS as it was: L-06, L-07. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls, { TLSSocket, type ConnectionOptions, type SecureVersion, type TlsOptions } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { RejectReason } from '../../lib/protocol/handshake-frames.js';
import { Cluster, twoNodes } from '../support/cluster.js';
import { CANARY_CALL, Door, redirect, refusalOf, until } from '../support/door.js';
import { Proxy, type Direction, type ProxyLink } from '../support/proxy.js';
import { bytesOf, helloFor, type RawPeer } from '../support/raw-peer.js';
import { TlsImpostor, tlsPeer, tlsVisit } from '../support/tls-peer.js';
import { LOOPBACK_TLS, tlsOf } from '../support/tls.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
const OLD_TOO = { tls: { ...LOOPBACK_TLS, minVersion: 'TLSv1.2' } } as const;

afterEach(() => vi.restoreAllMocks());

/** All that a server gives somebody to come back with, until it is asked to end. */
function sessionsOf({ socket }: RawPeer): Buffer[] {
  const sessions: Buffer[] = [];
  socket.on('session', (session: Buffer) => sessions.push(session));
  return sessions;
}

const isReused = ({ socket }: RawPeer): boolean => (socket as TLSSocket).isSessionReused();

/** A session as a server gives it that keeps them, by the same certificate as the node. */
async function ticketOfAnother(options: ConnectionOptions): Promise<Buffer> {
  await using server = await TlsImpostor.listen({}, (peer) => void peer.socket.write('hello'));
  const peer = await tlsPeer(server.port, options);
  const sessions = sessionsOf(peer);
  await peer.until(() => peer.received.length > 0);
  const own = (peer.socket as TLSSocket).getSession();
  peer.destroy();
  const session = sessions[0] ?? own;
  if (session === undefined) throw new Error('There is no session.');
  return session;
}

describe('L-06 sessions', () => {
  it.each(VERSIONS)('L-06 of %s are not taken up again, by whoever had them or by others', async (maxVersion) => {
    await using door = await Door.open('tls', OLD_TOO);
    const first = await door.dialTls({ maxVersion, ...(await tlsOf(A)) });
    const sessions = sessionsOf(first);
    await first.login(A, door.name);
    const kept = [...sessions, (first.socket as TLSSocket).getSession(), await ticketOfAnother({ maxVersion })];
    for (const session of kept) {
      const again = await door.dialTls({ maxVersion, session, ...(await tlsOf(A)) });
      await again.login(A, door.name);
      expect(isReused(again)).toBe(false);
      const other = await door.dialTls({ maxVersion, session, ...(await tlsOf('c@127.0.0.1')) });
      expect(isReused(other)).toBe(false);
      other.send(helloFor(A, door.name));
      expect((await refusalOf(other)).reason).toBe(RejectReason.Denied);
      const { certificate_refused: refused = 0 } = door.counts;
      const bare = await tlsVisit(door.port, { maxVersion, session, cert: '', key: '' });
      expect(bare.heard).toHaveLength(0);
      expect(bare.error).toMatch(/ALERT_(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE)$/);
      await until(() => door.counts.certificate_refused === refused + 1);
    }
    expect(door.counts.certificate_mismatch).toBe(kept.length);
  });

  it.each(VERSIONS)('L-06 of a server of %s are not kept by whoever dials it', async (maxVersion) => {
    const reused: boolean[] = [];
    await using server = await TlsImpostor.listen({ maxVersion }, (peer) => {
      reused.push(isReused(peer));
      void peer.welcome(B).then(
        () => peer.socket.end(),
        () => {},
      );
    });
    await using cluster = new Cluster({ driver: 'tls', options: OLD_TOO });
    redirect(cluster, B, server.port);
    for (const name of ['one', 'two']) {
      const node = cluster.create(name, { listen: false });
      for (const key of [1, 2]) await node.call({ node: B, key }, 'math', 'add', [], { timeout: 3000 }).catch(() => {});
    }
    expect(reused.length).toBeGreaterThanOrEqual(2);
    expect(reused).not.toContain(true);
  });

  it('L-06 that were taken up all the same end the connection, at both ends', async () => {
    await using door = await Door.open('tls');
    const a = door.cluster.create('a', { listen: false });
    const claimed = vi.spyOn(TLSSocket.prototype, 'isSessionReused').mockReturnValue(true);
    await expect(a.call(door.name, 'canary', 'sing')).rejects.toMatchObject({
      code: 'node_down',
      maybeExecuted: false,
      details: { cause: 'ERR_TLS_SESSION_REUSED' },
    });
    expect((await tlsVisit(door.port)).heard).toHaveLength(0);
    await until(() => door.counts.tls_failed === 1 && door.node.stats().handshakes === 0);
    claimed.mockRestore();
    expect(door.cluster.log.lines.join()).toContain('a session was resumed');
    expect(door.sang).toEqual([]);
  });

  const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

  it.skipIf(!hasOpenssl)('L-06 with data that comes before the handshake: nobody reads it', async () => {
    using openssl = new OpenSsl();
    const early = await openssl.sessionForEarlyData();
    await using door = await Door.open('tls', { handshakeTimeout: 3000 });
    const data = openssl.file('data', Buffer.concat([helloFor(A, door.name), bytesOf(CANARY_CALL)]));
    const client = openssl.run(
      's_client',
      '-connect',
      `127.0.0.1:${door.port}`,
      '-sess_in',
      early,
      '-early_data',
      data,
    );
    await client.ended;
    expect(client.said).toContain('Early data was rejected');
    expect(client.said).toContain('New, TLSv1.3');
    expect(door.counts).toEqual({ accepted: 2, handshake_timeout: 1 });
    expect(door.sang).toEqual([]);
  });
});

/** Its commands know what Node has no words for. All of them show the certificate that everybody has. */
class OpenSsl implements Disposable {
  private readonly directory = mkdtempSync(join(tmpdir(), 'gen-rpc-openssl-'));
  private readonly children: ChildProcess[] = [];
  private readonly shown = ['-cert', this.file('cert', LOOPBACK_TLS.cert), '-key', this.file('key', LOOPBACK_TLS.key)];

  file(name: string, content: string | Buffer): string {
    const path = join(this.directory, name);
    writeFileSync(path, content);
    return path;
  }

  run(command: 's_client' | 's_server', ...options: readonly string[]): { said: string; ended: Promise<unknown> } {
    const child = spawn('openssl', [command, ...this.shown, '-tls1_3', ...options], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.children.push(child);
    const running = { said: '', ended: new Promise((resolve) => child.once('exit', resolve)) };
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (running.said += String(bytes)));
    child.stdin.on('error', () => {});
    return running;
  }

  /** Where the session is that a server gave which takes early data. */
  async sessionForEarlyData(): Promise<string> {
    const server = this.run('s_server', '-accept', '127.0.0.1:0', '-early_data');
    await until(() => /^ACCEPT .*:\d+$/m.test(server.said));
    const [, port] = /^ACCEPT .*:(\d+)$/m.exec(server.said) ?? [];
    const session = this.file('session', '');
    this.run('s_client', '-connect', `127.0.0.1:${port}`, '-sess_out', session);
    await until(() => readFileSync(session, 'utf8').includes('END SSL SESSION PARAMETERS'));
    return session;
  }

  [Symbol.dispose](): void {
    for (const child of this.children) child.kill();
    rmSync(this.directory, { recursive: true });
  }
}

describe('L-07 what TLS was', () => {
  const OLD: [version: SecureVersion, minVersion: 'TLSv1.3' | 'TLSv1.2'][] = [
    ['TLSv1', 'TLSv1.3'],
    ['TLSv1.1', 'TLSv1.3'],
    ['TLSv1.2', 'TLSv1.3'],
    ['TLSv1', 'TLSv1.2'],
    ['TLSv1.1', 'TLSv1.2'],
  ];
  /** Without it, OpenSSL would not even offer them. */
  const ALL = { ciphers: 'ALL:COMPLEMENTOFALL:@SECLEVEL=0' } as const;
  const only = (version: SecureVersion) => ({ minVersion: version, maxVersion: version, ...ALL });

  it.each(OLD)('L-07 a client of %s is refused, where at least %s is wanted', async (version, minVersion) => {
    await using door = await Door.open('tls', { tls: { ...LOOPBACK_TLS, minVersion } });
    expect(await tlsVisit(door.port, only(version))).toMatchObject({
      secured: false,
      error: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
    });
    await until(() => door.counts.tls_failed === 1 && door.node.stats().handshakes === 0);
    expect(door.counts).toEqual({ accepted: 2, tls_failed: 1 });
    expect(door.cluster.log.lines).toMatchObject([expect.stringContaining('it speaks another version of TLS')]);
  });

  it.each(OLD)('L-07 a server of %s is refused, where at least %s is wanted', async (version, minVersion) => {
    await using cluster = new Cluster({ driver: 'tls', options: { tls: { ...LOOPBACK_TLS, minVersion } } });
    await using server = await TlsImpostor.listen(only(version));
    redirect(cluster, B, server.port);
    await expect(cluster.create('a', { listen: false }).connect(B)).rejects.toMatchObject({
      code: 'node_down',
      message: expect.stringContaining('it speaks another version of TLS'),
    });
    expect(server.heard).toHaveLength(0);
  });

  it('L-07 whatever Node is told by default', async () => {
    const { DEFAULT_MIN_VERSION, DEFAULT_CIPHERS } = tls;
    Object.assign(tls, { DEFAULT_MIN_VERSION: 'TLSv1', DEFAULT_CIPHERS: ALL.ciphers });
    try {
      await using door = await Door.open('tls');
      expect(await tlsVisit(door.port, only('TLSv1.2'))).toMatchObject({ secured: false });
      await until(() => door.counts.tls_failed === 1);
    } finally {
      Object.assign(tls, { DEFAULT_MIN_VERSION, DEFAULT_CIPHERS });
    }
  });

  const SUITES = [
    ...['NULL-SHA256', 'ECDHE-RSA-NULL-SHA', 'ADH-AES256-GCM-SHA384', 'AECDH-AES256-SHA', 'AES256-GCM-SHA384'],
    ...['DHE-RSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-SHA384', 'ECDHE-RSA-AES128-SHA', 'PSK-AES256-GCM-SHA384'],
  ];

  /** OpenSSL has suites of RSA for nobody who has a key of another kind. */
  let rsa: typeof LOOPBACK_TLS;

  beforeAll(async () => {
    rsa = await tlsOf('any@127.0.0.1', { keyKind: 'rsa', names: { ip: ['127.0.0.1'] } });
  });

  const offering = (suite: string) => ({ ...rsa, maxVersion: 'TLSv1.2', ciphers: `${suite}:@SECLEVEL=0` }) as const;

  it.each(SUITES)('L-07 a client that wants %s is refused', async (suite) => {
    await using door = await Door.open('tls', { tls: { ...rsa, minVersion: 'TLSv1.2' } });
    expect(await tlsVisit(door.port, { ...offering(suite), ...(suite.startsWith('PSK') ? PSK : {}) })).toMatchObject({
      secured: false,
      error: expect.stringContaining('HANDSHAKE_FAILURE'),
    });
    await until(() => door.counts.tls_failed === 1 && door.node.stats().handshakes === 0);
    expect(door.counts).toEqual({ accepted: 2, tls_failed: 1 });
    expect(door.cluster.log.lines).toMatchObject([expect.stringContaining('no cipher suite that is allowed here')]);
  });

  it.each(SUITES)('L-07 a server that has nothing but %s is refused', async (suite) => {
    await using cluster = new Cluster({ driver: 'tls', options: OLD_TOO });
    await using server = await TlsImpostor.listen({
      ...offering(suite),
      ...(suite.startsWith('PSK') ? PSK_SERVER : {}),
    });
    redirect(cluster, B, server.port);
    const a = cluster.create('a', { listen: false });
    await expect(a.connect(B)).rejects.toMatchObject({
      code: 'node_down',
      message: expect.stringContaining('ERR_SSL'),
    });
    expect(server.heard).toHaveLength(0);
  });

  const SHARED = Buffer.alloc(32, 1);
  const PSK: ConnectionOptions = {
    pskCallback: () => ({ psk: SHARED, identity: 'x' }) as never,
    checkServerIdentity: () => undefined,
  };
  const PSK_SERVER: TlsOptions = { pskCallback: () => SHARED, pskIdentityHint: 'x' };

  it('L-07 the suites that are left do', async () => {
    await using door = await Door.open('tls', { tls: { ...rsa, minVersion: 'TLSv1.2' } });
    const peer = await door.dialTls(offering('ECDHE-RSA-AES256-GCM-SHA384'));
    await peer.login('raw@127.0.0.1', door.name);
  });

  it('L-07 a client that wants to negotiate again is not followed', async () => {
    await using door = await Door.open('tls', OLD_TOO);
    const records = new Records();
    await using proxy = await Proxy.to({ port: door.port }, { alter: records.note });
    const peer = await tlsPeer(proxy.port, { maxVersion: 'TLSv1.2' });
    await peer.login('raw@127.0.0.1', door.name);
    records.forget();
    let answer: Error | null | undefined;
    (peer.socket as TLSSocket).renegotiate({}, (error) => (answer = error));
    await until(() => records.of('up').includes(HANDSHAKE));
    // Its no, an alert, may wait for something else to be said.
    for (let turn = 0; turn < 20; turn += 1) expect(await door.ping()).toBe('pong');
    expect(records.of('down')).not.toContain(HANDSHAKE);
    expect(answer).not.toBeNull();
    peer.destroy();
    await until(() => door.node.stats().acceptedConnections === 1);
  });

  it('L-07 a server that wants to negotiate again is told no', async () => {
    await using nodes = await twoNodes({ driver: 'tls', options: OLD_TOO });
    const sockets: TLSSocket[] = [];
    await using server = await TlsImpostor.listen({ maxVersion: 'TLSv1.2' }, (peer) => {
      sockets.push(peer.socket as TLSSocket);
      void peer.welcome(B);
    });
    const records = new Records();
    await using proxy = await Proxy.to({ port: server.port }, { alter: records.note });
    redirect(nodes, B, proxy.port);
    const reply = nodes.a.call(B, 'math', 'add', [1, 2], { timeout: 10_000 });
    await until(() => server.peers[0]?.frames.length === 1);
    records.forget();
    sockets[0]?.renegotiate({}, () => {});
    await until(() => records.of('down').includes(HANDSHAKE) && records.of('up').length > 0);
    expect(records.of('up')).toEqual([ALERT]);
    nodes.a.abort();
    await expect(reply).rejects.toMatchObject({ maybeExecuted: true });
  });
});

const ALERT = 21;
const HANDSHAKE = 22;

/** The types of the records of TLS that pass a proxy. They stand in the clear in front of each. */
class Records {
  private readonly passed: Record<Direction, Buffer> = { up: Buffer.alloc(0), down: Buffer.alloc(0) };
  private readonly told: Record<Direction, number> = { up: 0, down: 0 };

  readonly note = (_link: ProxyLink, direction: Direction, bytes: Buffer): Buffer => {
    this.passed[direction] = Buffer.concat([this.passed[direction], bytes]);
    return bytes;
  };

  /** Those that have passed are not told again. */
  forget(): void {
    for (const way of ['up', 'down'] as const) this.told[way] += this.of(way).length;
  }

  of(direction: Direction): number[] {
    const types: number[] = [];
    const bytes = this.passed[direction];
    for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) types.push(bytes[at] ?? 0);
    return types.slice(this.told[direction]);
  }
}
