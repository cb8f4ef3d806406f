/** There is no way to start a node that checks less over TLS, and none to make a running one check less: L-10. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CertificateAuthority, selfSigned } from '../../lib/authority/certificate-authority.js';
import { GenRpcConfigError } from '../../lib/options/config-error.js';
import { createNode } from '../../lib/node/create-node.js';
import { Cluster, SECRET } from '../support/cluster.js';
import { Door, redirect, until } from '../support/door.js';
import { TlsImpostor, tlsVisit } from '../support/tls-peer.js';
import { LOOPBACK_TLS } from '../support/tls.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';
const GOOD = { name: A, secret: SECRET };

afterEach(() => vi.unstubAllEnvs());

/** Where something is wrong with the options; nobody started. */
function problemsOf(given: object): string[] {
  try {
    void createNode({ ...GOOD, ...given }).close();
  } catch (error) {
    if (error instanceof GenRpcConfigError) return error.problems.map(({ path }) => path);
    throw error;
  }
  throw new Error('it started');
}

describe('L-10 options that would check less', () => {
  const WAYS: [option: string, value: unknown][] = [
    ['rejectUnauthorized', false],
    ['requestCert', false],
    ['checkServerIdentity', () => undefined],
    ['secureContext', {}],
    ['secureOptions', 0],
    ['secureProtocol', 'TLSv1_method'],
    ['ciphers', 'NULL'],
    ['maxVersion', 'TLSv1'],
    ['session', Buffer.alloc(1)],
    ['pskCallback', () => null],
    ['SNICallback', () => undefined],
    ['ALPNCallback', () => undefined],
    ['sessionTimeout', 300],
    ['ticketKeys', Buffer.alloc(48)],
    ['enableTrace', true],
    ['allowPartialTrustChain', true],
    ['dangerouslyAcceptAnyPeer', true],
    ['insecure', true],
    ['verify', 'verify_none'],
  ];

  it.each(WAYS)('L-10 %s is refused at the start, wherever it stands', (option, value) => {
    const more = { [option]: value };
    expect(problemsOf({ tls: { ...LOOPBACK_TLS, ...more } })).toEqual([`tls.${option}`]);
    for (const role of ['server', 'client']) {
      expect(problemsOf({ tls: { ...LOOPBACK_TLS, [role]: more } })).toEqual([`tls.${role}.${option}`]);
    }
    expect(problemsOf({ tls: LOOPBACK_TLS, listen: more })).toEqual([`listen.${option}`]);
    expect(problemsOf({ tls: LOOPBACK_TLS, listen: [more] })).toEqual([`listen[0].${option}`]);
    expect(problemsOf({ tls: LOOPBACK_TLS, nodes: { [B]: { port: 1, ...more } } })[0]).toContain(option);
    expect(problemsOf({ tls: LOOPBACK_TLS, ...more })).toEqual([option]);
  });

  it.each<[title: string, ca: unknown]>([
    ['not there', undefined],
    ['null', null],
    ['empty text', ''],
    ['an empty list', []],
    ['a list of nothing', ['']],
    ['an empty Buffer', Buffer.alloc(0)],
    ['text that is no certificate', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
    ['a file that is not there', '/nowhere/ca.pem'],
    ['true', true],
  ])('L-10 an authority that is %s is refused at the start', (_title, ca) => {
    const { cert, key } = LOOPBACK_TLS;
    expect(problemsOf({ tls: { cert, key, ca } })[0]).toMatch(/^tls\.ca/);
    // Of one role: what is not there is that of both.
    if (ca !== undefined)
      expect(problemsOf({ tls: { ...LOOPBACK_TLS, server: { ca } } })[0]).toMatch(/^tls\.server\.ca/);
  });

  it('L-10 an authority in an empty file is refused at the start', () => {
    const directory = mkdtempSync(join(tmpdir(), 'gen-rpc-empty-'));
    try {
      const ca = join(directory, 'ca.pem');
      writeFileSync(ca, '');
      expect(problemsOf({ tls: { ...LOOPBACK_TLS, ca } })[0]).toMatch(/^tls\.ca/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('L-10 a certificate is no authority of its own', async () => {
    const { cert, key } = await selfSigned(A);
    expect(problemsOf({ tls: { cert, key, ca: cert } }).length).toBeGreaterThan(0);
  });
});

describe('L-10 a process that is told to check nothing', () => {
  const root = join(import.meta.dirname, '../..');

  /** What a process says and ends with that makes a node with these options, in this environment. */
  async function start(options: object, env: NodeJS.ProcessEnv, execArgv: readonly string[] = [], body = '') {
    const code = `
      import { createNode } from 'nestjs-gen-rpc/core';
      const node = createNode(${JSON.stringify(options)});
      ${body}
      console.log('started');
      await node.close();`;
    const all = { ...process.env, NODE_OPTIONS: '', ...env };
    return promisify(execFile)(process.execPath, [...execArgv, '--input-type=module', '--eval', code], {
      ...{ cwd: root, env: all, timeout: 15_000 },
    }).then(
      ({ stdout, stderr }) => ({ status: 0, stdout, stderr }),
      ({ code: status, stdout, stderr }) => ({ status, stdout, stderr }) as never,
    );
  }

  it('L-10 by NODE_TLS_REJECT_UNAUTHORIZED=0 does not start, and says why', async () => {
    const options = { ...GOOD, tls: LOOPBACK_TLS, listen: false };
    const { status, stdout, stderr } = await start(options, { NODE_TLS_REJECT_UNAUTHORIZED: '0' });
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain('without NODE_TLS_REJECT_UNAUTHORIZED=0: peers are always verified');
    expect(stderr).not.toContain('PRIVATE');
    expect(await start(options, { NODE_TLS_REJECT_UNAUTHORIZED: '1' })).toMatchObject({ stdout: 'started\n' });
  });

  it('L-10 to believe other authorities: believes none of them', async () => {
    const other = await CertificateAuthority.create();
    const { cert, key } = await other.issue(B);
    const directory = mkdtempSync(join(tmpdir(), 'gen-rpc-extra-'));
    try {
      const file = join(directory, 'ca.pem');
      writeFileSync(file, other.cert);
      await using server = await TlsImpostor.listen({ ca: [other.cert, LOOPBACK_TLS.ca], cert, key });
      const options = { ...GOOD, tls: LOOPBACK_TLS, listen: false, nodes: { [B]: { port: server.port } } };
      const body = `console.log(await node.connect('${B}').then(() => 'connected', (error) => error.message));`;
      const env = { NODE_EXTRA_CA_CERTS: file, SSL_CERT_FILE: file };
      const { stdout } = await start(options, env, ['--use-openssl-ca', '--tls-min-v1.0'], body);
      expect(stdout).toContain('by an authority that tls.ca does not hold');
      expect(server.heard).toHaveLength(0);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('L-10 a node that runs', () => {
  it('L-10 does not check less when the environment changes', async () => {
    await using door = await Door.open('tls');
    const { cert, key } = await selfSigned(B);
    await using server = await TlsImpostor.listen({ cert, key });
    const a = door.cluster.create('a', { listen: false });
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    expect((await tlsVisit(door.port, { cert, key })).heard).toHaveLength(0);
    await until(() => door.counts.certificate_refused === 1);
    redirect(door.cluster, B, server.port);
    await expect(a.connect(B)).rejects.toMatchObject({ code: 'node_down' });
    expect(a.stats().counts).toMatchObject({ peer_certificate_refused: 1 });
    expect(server.heard).toHaveLength(0);
  });

  it('L-10 does not check less when every object says so', async () => {
    await using door = await Door.open('tls');
    const { cert, key } = await selfSigned(B);
    const poison = { rejectUnauthorized: false, requestCert: false, checkServerIdentity: () => undefined };
    for (const [name, value] of Object.entries(poison)) {
      Object.defineProperty(Object.prototype, name, { value, configurable: true, writable: true, enumerable: false });
    }
    try {
      expect((await tlsVisit(door.port, { cert, key, rejectUnauthorized: true })).heard).toHaveLength(0);
      await until(() => door.counts.certificate_refused === 1);
      await using cluster = new Cluster({ driver: 'tls' });
      await using server = await TlsImpostor.listen({ cert, key });
      redirect(cluster, B, server.port);
      await expect(cluster.create('a', { listen: false }).connect(B)).rejects.toMatchObject({ code: 'node_down' });
      expect(server.heard).toHaveLength(0);
    } finally {
      for (const name of Object.keys(poison)) Reflect.deleteProperty(Object.prototype, name);
    }
  });
});
