/** What may be said about TLS, and what may not be left unsaid. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { GenRpcConfigError, type Problem } from '../../lib/options/config-error.js';
import { createNode } from '../../lib/node/create-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { resolveOptions } from '../../lib/node/resolve-options.js';
import { SECRET } from '../support/cluster.js';
import { authority, LOOPBACK_TLS } from '../support/tls.js';

const GOOD = { name: 'a@127.0.0.1', secret: SECRET, tls: LOOPBACK_TLS };

function problemsOf(given: object): readonly Problem[] {
  try {
    void createNode({ ...GOOD, ...given }).close();
    return [];
  } catch (error) {
    if (error instanceof GenRpcConfigError) return error.problems;
    throw error;
  }
}

function resolved(given: Partial<GenRpcOptions>) {
  return resolveOptions({ ...GOOD, ...given }, 'a test');
}

afterEach(() => vi.unstubAllEnvs());

describe('a node with certificates', () => {
  it('uses TLS for all that says nothing else', () => {
    expect(resolved({})).toMatchObject({ driver: 'tls', clientPort: 5370, listen: [{ driver: 'tls', port: 5370 }] });
    const places = [{ host: '0.0.0.0' }, { driver: 'tcp' }];
    expect(resolved({ listen: places }).listen).toMatchObject([
      { driver: 'tls', host: '0.0.0.0', port: 5370 },
      { driver: 'tcp', host: '127.0.0.1', port: 5369 },
    ]);
  });

  it('may use TCP for most, and TLS where it says so', () => {
    const { driver, clientPort, driverPorts, listen } = resolved({ driver: 'tcp', listen: [{}, { driver: 'tls' }] });
    expect({ driver, clientPort, tls: driverPorts.get('tls') }).toEqual({ driver: 'tcp', clientPort: 5369, tls: 5370 });
    expect(listen).toMatchObject([{ port: 5369 }, { driver: 'tls', port: 5370 }]);
    expect(resolved({ clientPort: 7000 }).driverPorts.size).toBe(0);
  });

  it('may listen beyond this machine over TLS, and not over TCP unless it is asked for', () => {
    expect(problemsOf({ listen: { host: '0.0.0.0' } })).toEqual([]);
    const listen = [{ host: '0.0.0.0' }, { driver: 'tcp', host: '10.0.0.2' }];
    expect(problemsOf({ listen })).toMatchObject([{ path: 'listen[1].host', got: '10.0.0.2' }]);
    expect(problemsOf({ driver: 'tcp', listen: { host: '10.0.0.2' } })).toMatchObject([{ path: 'listen.host' }]);
  });

  it('names each place where something is wrong', () => {
    const listen = [{ port: -1 }, { driver: 'telnet' }, 7, { prot: 1 }];
    expect(problemsOf({ listen }).map(({ path }) => path)).toEqual([
      'listen[0].port',
      'listen[1].driver',
      'listen[2]',
      'listen[3].prot',
    ]);
    expect(problemsOf({ listen: [] })).toMatchObject([{ path: 'listen' }]);
  });

  it('does not start where none of them will do, and does not repeat the key', async () => {
    const other = await (await authority()).issue('b@10.0.0.2');
    expect(problemsOf({ tls: {} }).map(({ path }) => path)).toEqual(['tls.cert', 'tls.key', 'tls.ca']);
    const problems = problemsOf({ tls: { ...LOOPBACK_TLS, cert: other.cert } });
    expect(problems.map(({ path }) => path)).toContain('tls.cert');
    expect(JSON.stringify(problems)).toContain('not for host 127.0.0.1');
    expect(JSON.stringify(problems)).not.toContain('PRIVATE');
    expect(JSON.stringify(problemsOf({ tls: LOOPBACK_TLS.key }))).not.toContain('PRIVATE');
    const body = LOOPBACK_TLS.key.replaceAll(/-----.*-----|\n/g, '');
    for (const key of [
      body,
      `${body.slice(0, 64)}\n${body.slice(64)}`,
      Buffer.from(LOOPBACK_TLS.key).toString('base64'),
    ]) {
      const wrong = problemsOf({ tls: { ...LOOPBACK_TLS, key } });
      expect(wrong).toEqual([{ path: 'tls.key', expected: expect.stringContaining('this seems to be neither') }]);
      for (const part of key.match(/\w{16}/g) ?? []) expect(JSON.stringify(wrong)).not.toContain(part);
    }
    const misplaced = [{ text: LOOPBACK_TLS.key }];
    for (const option of ['ca', 'cert', 'key', 'passphrase', 'crl', 'server', 'client']) {
      const wrong = problemsOf({ tls: { ...LOOPBACK_TLS, [option]: misplaced } });
      expect.soft(wrong.length, option).toBeGreaterThan(0);
      expect.soft(JSON.stringify(wrong), option).not.toContain('PRIVATE');
    }
  });
});

describe('what TLS proves', () => {
  it.each(['rejectUnauthorized', 'checkServerIdentity', 'requestCert', 'ciphers', 'secureOptions', 'verify'])(
    'cannot be made less by %s',
    (option) => {
      const expected = 'no option of this name; what TLS proves cannot be made less';
      expect(problemsOf({ tls: { ...LOOPBACK_TLS, [option]: false } })).toEqual([{ path: `tls.${option}`, expected }]);
      const server = { [option]: false };
      expect(problemsOf({ tls: { ...LOOPBACK_TLS, server } })).toEqual([{ path: `tls.server.${option}`, expected }]);
    },
  );

  it.each(['TLSv1', 'TLSv1.1', 'SSLv3', undefined])('is of version 1.2 or above, not %s', (minVersion) => {
    const problems = problemsOf({ tls: { ...LOOPBACK_TLS, minVersion } });
    expect(problems.map(({ path }) => path)).toEqual(minVersion === undefined ? [] : ['tls.minVersion']);
  });

  it('cannot be switched off by the environment: the node does not start', () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    expect(problemsOf({})).toMatchObject([{ path: 'tls', expected: expect.stringContaining('always verified') }]);
    expect(() => createNode({ name: GOOD.name, secret: SECRET })).not.toThrow();
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '1');
    expect(problemsOf({})).toEqual([]);
  });
});

describe('words of gen_rpc', () => {
  it.each([
    ['cacertfile', 'ca'],
    ['certfile', 'cert'],
    ['keyfile', 'key'],
    ['password', 'passphrase'],
  ])('are understood inside tls: %s', (given, meant) => {
    const expected = `no option of this name; did you mean ${meant}?`;
    expect(problemsOf({ tls: { ...LOOPBACK_TLS, [given]: 'x' } })).toEqual([{ path: `tls.${given}`, expected }]);
  });

  it('say what TLS takes where it is wanted without', () => {
    const { tls: _, ...plain } = GOOD;
    expect(() => createNode({ ...plain, driver: 'tls' })).toThrow(/there is tls where the option tls gives it/);
  });
});
