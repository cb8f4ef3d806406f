/** The command `nestjs-gen-rpc certs`, as a user runs it: a process of its own, in a directory of its own. */
import { spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CertificateAuthority, selfSigned, writeCertificate } from '../../lib/testing.js';

const MAIN = join(import.meta.dirname, '../../dist/esm/cli/main.js');
const NODE = 'orders@orders-1.local';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'gen-rpc-cli-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
}

function certs(...args: string[]): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'certs', ...args], {
    ...{ cwd: directory, encoding: 'utf8', timeout: 30_000 },
  });
  return { code: status, out: stdout, error: stderr };
}

const textOf = (path: string): string => readFileSync(join(directory, path), 'utf8');
const modeOf = (path: string): string => (statSync(join(directory, path)).mode & 0o777).toString(8);

describe('nestjs-gen-rpc certs', () => {
  it('makes an authority, and certificates that it vouches for, with keys for their owner only', () => {
    expect(certs('init')).toMatchObject({ code: 0, error: '' });
    expect(certs('issue', NODE, '--san', 'dns:localhost', '--san', 'ip:127.0.0.1', '--days', '9')).toEqual({
      ...{ code: 0, error: '' },
      out: expect.stringContaining(
        `{"cert":"certs/${NODE}.pem","key":"certs/${NODE}.key","ca":"certs/ca.pem"}`,
      ) as string,
    });
    const issued = new X509Certificate(textOf(`certs/${NODE}.pem`));
    expect(issued.verify(new X509Certificate(textOf('certs/ca.pem')).publicKey)).toBe(true);
    expect(issued.checkPrivateKey(createPrivateKey(textOf(`certs/${NODE}.key`)))).toBe(true);
    expect(issued.subjectAltName).toBe(`DNS:orders-1.local, URI:genrpc:${NODE}, DNS:localhost, IP Address:127.0.0.1`);
    expect(Math.round((Date.parse(issued.validTo) - Date.now()) / 86_400_000)).toBe(9);
    expect([modeOf('certs/ca.key'), modeOf(`certs/${NODE}.key`), modeOf(`certs/${NODE}.pem`)]).toEqual([
      ...['600', '600', '644'],
    ]);
  });

  it('overwrites nothing unless it is told to, and then as a new file', () => {
    certs('init', '--dir', 'here');
    certs('issue', NODE, '--dir', 'here');
    const before = readdirSync(join(directory, 'here')).map((name) => [name, textOf(`here/${name}`)]);
    expect(certs('init', '--dir', 'here')).toEqual({
      ...{ code: 1, out: '', error: 'error: here/ca.pem exists already. With --force it is replaced.\n' },
    });
    expect(certs('issue', NODE, '--dir', 'here').code).toBe(1);
    rmSync(join(directory, `here/${NODE}.pem`));
    expect(certs('issue', NODE, '--dir', 'here').error).toContain(`${NODE}.key exists already`);
    expect(readdirSync(join(directory, 'here'))).not.toContain(`${NODE}.pem`);
    writeFileSync(join(directory, `here/${NODE}.pem`), before.find(([name]) => name === `${NODE}.pem`)?.[1] ?? '');
    chmodSync(join(directory, `here/${NODE}.key`), 0o644);
    expect(certs('issue', NODE, '--dir', 'here', '--force')).toMatchObject({ code: 0, error: '' });
    const after = readdirSync(join(directory, 'here')).map((name) => [name, textOf(`here/${name}`)]);
    expect(after.map(([name]) => name)).toEqual(before.map(([name]) => name));
    expect(after.filter(([name]) => name?.startsWith('ca.'))).toEqual(
      before.filter(([name]) => name?.startsWith('ca.')),
    );
    expect(textOf(`here/${NODE}.key`)).not.toBe(before.find(([name]) => name === `${NODE}.key`)?.[1]);
    expect(modeOf(`here/${NODE}.key`)).toBe('600');
  });

  it('says what to do where there is no authority, or none that can be used', async () => {
    expect(certs('issue', NODE)).toEqual({
      ...{ code: 1, out: '' },
      error: 'error: certs/ca.pem cannot be read (ENOENT). Run `nestjs-gen-rpc certs init --dir certs` first.\n',
    });
    const [one, other] = [await CertificateAuthority.create(), await CertificateAuthority.create()];
    writeCertificate(join(directory, 'mixed'), 'ca', { cert: one.cert, key: other.key });
    expect(certs('issue', NODE, '--dir', 'mixed')).toMatchObject({
      code: 1,
      error: expect.stringContaining('The key is not'),
    });
    const past = await CertificateAuthority.create({ notBefore: new Date(0), notAfter: new Date(1e12) });
    writeCertificate(join(directory, 'past'), 'ca', past);
    expect(certs('issue', NODE, '--dir', 'past')).toMatchObject({ code: 1, error: expect.stringContaining('expired') });
    expect(readdirSync(join(directory, 'past'))).toEqual(['ca.key', 'ca.pem']);
  });

  it('says what to install where nothing is that writes certificates', () => {
    const hook = `export async function resolve(name, context, next) {
      if (name === '@peculiar/x509') throw new Error('not here');
      return next(name, context);
    }`;
    const url = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`;
    const without = url(`import { register } from 'node:module'; register(${JSON.stringify(url(hook))});`);
    const { status, stderr } = spawnSync(process.execPath, ['--import', without, MAIN, 'certs', 'init'], {
      ...{ cwd: directory, encoding: 'utf8', timeout: 30_000 },
    });
    expect([status, stderr]).toEqual([
      1,
      expect.stringContaining('`npm install --save-dev @peculiar/x509 reflect-metadata`'),
    ]);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('shows every certificate of a file', async () => {
    const middle = await (
      await CertificateAuthority.create({ commonName: 'root' })
    ).intermediate({ commonName: 'mid' });
    const { cert, serialNumber } = await middle.issue(NODE, { usage: ['server'] });
    const old = await selfSigned('old@old', { notBefore: new Date(0), notAfter: new Date(1e12) });
    writeFileSync(join(directory, 'all.pem'), `${cert}\n${old.cert}`);
    const { code, out } = certs('show', 'all.pem');
    expect(code).toBe(0);
    const [leaf, above, last] = out.split('\n\n');
    expect(leaf).toMatch(/^subject +CN=orders@orders-1.local\nnames +DNS:orders-1.local, URI:.*\nissuer +CN=mid\n/);
    expect(leaf?.toLowerCase()).toContain(serialNumber);
    expect(leaf).toMatch(/\(364 days left\)\nauthority +no\nuse +server\nSHA-256 +([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
    expect(above).toMatch(/^subject +CN=mid\nnames +none\nissuer +CN=root\n/);
    expect(above).toMatch(/authority +yes/);
    expect(last).toContain('(expired)');
  });

  it.each([
    [['show', 'none.pem'], 'none.pem cannot be read (ENOENT).'],
    [['show', 'key.pem'], 'key.pem holds no certificate in PEM.'],
    [['show', 'torn.pem'], 'torn.pem'],
  ])('fails where a file is not what it should be: %j', (args, said) => {
    writeFileSync(join(directory, 'key.pem'), 'none');
    writeFileSync(join(directory, 'torn.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    expect(certs(...args)).toMatchObject({ code: 1, out: '', error: expect.stringContaining(`error: ${said}`) });
  });

  it.each([
    [['issue'], "missing required argument 'node'"],
    [['issue', 'orders'], 'name@host'],
    [['issue', NODE, '--days', '0'], 'a whole number from 1 to 36500'],
    [['issue', NODE, '--san', 'localhost'], 'dns:'],
    [['issue', NODE, '--sam', 'localhost'], 'Did you mean --san?'],
    [['bake'], "unknown command 'bake'"],
    [[], 'Usage: nestjs-gen-rpc certs'],
  ])('does not understand %j', (args, said) => {
    expect(certs(...args)).toMatchObject({ code: 2, out: '', error: expect.stringContaining(said) });
    expect(readdirSync(directory)).toEqual([]);
  });

  it('tells what it knows', () => {
    expect(certs('--help')).toMatchObject({
      code: 0,
      error: '',
      out: expect.stringMatching(/\n {2}init [^]*\n {2}issue [^]*\n {2}show /),
    });
  });
});
