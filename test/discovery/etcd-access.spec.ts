/** An etcd that wants to know who asks, and shows who it is. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GenRpcConfigError } from '../../lib/options/config-error.js';
import { EtcdDiscovery } from '../../lib/discovery/etcd.discovery.js';
import { CertificateDirectory } from '../support/certificate-directory.js';
import { until } from '../support/door.js';
import { describeWithEtcd, Etcd } from '../support/etcd.js';
import { EtcdSource, placeAt, PREFIX, recordOf } from '../support/etcd-source.js';

const A = 'a@127.0.0.2';
const B = 'b@127.0.0.2';
const USER = { username: 'nodes', password: 'known to few' };

/** Root, and a user who may read and write below the prefix. */
async function withUsers(etcd: Etcd): Promise<void> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  await etcd.ask('/v3/auth/user/add', { name: 'root', password: 'known to the test' });
  await etcd.ask('/v3/auth/role/add', { name: 'root' });
  await etcd.ask('/v3/auth/user/grant', { user: 'root', role: 'root' });
  await etcd.ask('/v3/auth/user/add', { name: USER.username, password: USER.password });
  await etcd.ask('/v3/auth/role/add', { name: 'nodes' });
  await etcd.ask('/v3/auth/user/grant', { user: USER.username, role: 'nodes' });
  const perm = { permType: 'READWRITE', key: base64(PREFIX), range_end: base64(`${PREFIX.slice(0, -1)}0`) };
  await etcd.ask('/v3/auth/role/grant', { name: 'nodes', perm });
  await etcd.ask('/v3/auth/enable', {});
  await authenticate(etcd);
}

async function authenticate(etcd: Etcd): Promise<void> {
  etcd.token = '';
  const { token } = await etcd.ask('/v3/auth/authenticate', { name: 'root', password: 'known to the test' });
  etcd.token = String(token);
}

function tokensOf({ http }: EtcdSource): number {
  return http.asked.filter((path) => path === '/v3/auth/authenticate').length;
}

describeWithEtcd('an etcd with users', () => {
  it('is read, watched and written to by whoever has the password', async () => {
    await using etcd = await Etcd.start();
    await withUsers(etcd);
    await using source = new EtcdSource({ endpoints: [etcd.endpoint], ...USER });
    await source.source.register(recordOf(A, 1));
    await source.holds({ [A]: [placeAt(1)] });
    await etcd.put(PREFIX + B, JSON.stringify(recordOf(B, 2)));
    await source.holds({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
    await expect(source.source.resolve(B, AbortSignal.timeout(5000))).resolves.toMatchObject([{ port: 2 }]);
    await source.source.deregister();
    await source.holds({ [B]: [placeAt(2)] });
    expect(tokensOf(source)).toBe(1);
    expect(source.failures).toEqual([]);
  });

  it('that no longer knows a token is shown the password again', async () => {
    await using etcd = await Etcd.start();
    await withUsers(etcd);
    await using source = new EtcdSource({ endpoints: [etcd.endpoint], ...USER });
    await source.source.register(recordOf(A, 1));
    await source.holds({ [A]: [placeAt(1)] });
    // Tokens are kept in memory.
    await etcd.kill();
    await etcd.restart();
    await authenticate(etcd);
    await etcd.put(PREFIX + B, JSON.stringify(recordOf(B, 2)));
    await source.holds({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
    await etcd.delete(PREFIX + A);
    await until(() => source.changes.get(A) === 3 || source.http.asked.filter((p) => p === '/v3/kv/txn').length === 2);
    await source.holds({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
  });

  it('whose tokens end soon goes on being watched', async () => {
    await using etcd = await Etcd.start({ tokenTtl: 1 });
    await withUsers(etcd);
    // So rarely asked that each question finds its token ended.
    await using source = new EtcdSource({ endpoints: [etcd.endpoint], ...USER, checkInterval: 1900 });
    await source.source.register(recordOf(A, 1));
    await until(() => tokensOf(source) >= 3);
    await authenticate(etcd);
    await etcd.put(PREFIX + B, JSON.stringify(recordOf(B, 2)));
    await source.holds({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
    expect(source.failures).toEqual([]);
  });

  it.each([
    ['with a wrong password', { ...USER, password: 'made up' }, /authentication failed, invalid user ID or password/],
    ['without one', {}, /user name is empty/],
    ['for what is not theirs', { ...USER, prefix: '/elsewhere/' }, /permission denied/],
  ])('sends those away that come %s, who say why without saying the password', async (_, options, why) => {
    await using etcd = await Etcd.start();
    await withUsers(etcd);
    await using source = new EtcdSource({ endpoints: [etcd.endpoint], ...options });
    void source.source.register(recordOf(A, 1));
    await until(() => source.hasFailed(why));
    await expect(source.source.resolve(A, AbortSignal.timeout(5000))).rejects.toMatchObject({
      code: 'external_source_error',
      message: expect.stringMatching(why),
    });
    expect(source.failures.map(({ message, stack }) => message + stack).join()).not.toMatch(/known to|made up/);
    expect(source.membership.size).toBe(0);
  });

  it('that has no users yet takes those that bring a password', async () => {
    await using etcd = await Etcd.start();
    await using source = new EtcdSource({ endpoints: [etcd.endpoint], ...USER });
    await source.source.register(recordOf(A, 1));
    await source.holds({ [A]: [placeAt(1)] });
    await withUsers(etcd);
    await etcd.put(PREFIX + B, JSON.stringify(recordOf(B, 2)));
    await source.holds({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
  });
});

describeWithEtcd('an etcd over TLS', () => {
  async function withTls(
    body: (etcd: Etcd, tls: { ca: string; cert: string; key: string }, files: CertificateDirectory) => Promise<void>,
  ): Promise<void> {
    using files = await CertificateDirectory.make();
    const tls = await files.tlsOf('etcd@127.0.0.1');
    const shown = await files.authority.issue('test@127.0.0.1');
    const credentials = { ca: [files.authority.cert], cert: shown.cert, key: shown.key };
    await using etcd = await Etcd.start({ tls, credentials });
    await body(etcd, { ca: files.authority.cert, cert: shown.cert, key: shown.key }, files);
  }

  it('is reached by whoever believes its authority and has a certificate of it, as text or in files', () =>
    withTls(async (etcd, tls, files) => {
      await using source = new EtcdSource({ endpoints: [etcd.endpoint], tls });
      await source.source.register(recordOf(A, 1));
      await using other = new EtcdSource({ endpoints: [etcd.endpoint], tls: await files.tlsOf('other@127.0.0.1') });
      await other.source.register(recordOf(B, 2));
      await source.holds({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
      await other.holds({ [A]: [placeAt(1)], [B]: [placeAt(2)] });
      expect([...source.failures, ...other.failures]).toEqual([]);
    }));

  it('is not believed by others, and does not hear from those without a certificate', () =>
    withTls(async (etcd, { ca, cert, key }) => {
      const endpoints = [etcd.endpoint];
      await using misled = new EtcdSource({ endpoints, tls: { cert, key } });
      await until(() => misled.hasFailed(/self.signed certificate|unable to (get|verify)/));
      await using stranger = new EtcdSource({ endpoints, tls: { ca } });
      await until(() => stranger.hasFailed(/certificate|alert|socket hang up|ECONNRESET/));
      expect([misled.membership.size, stranger.membership.size]).toEqual([0, 0]);
    }));

  it('is not believed either where the environment says that everybody is to be', () =>
    withTls(async (etcd, { cert, key }) => {
      process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
      try {
        await using misled = new EtcdSource({ endpoints: [etcd.endpoint], tls: { cert, key } });
        await until(() => misled.hasFailed(/self.signed certificate|unable to (get|verify)/));
      } finally {
        delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      }
    }));

  it('is reached by a certificate that is put in the place of one that etcd refuses', () =>
    withTls(async (etcd, { ca }, files) => {
      const strangers = await CertificateDirectory.make();
      using _ = strangers;
      const [cert, key] = ['own.pem', 'own.key'].map((name) => join(files.path, name));
      if (cert === undefined || key === undefined) return;
      const write = (made: { cert: string; key: string }): void => {
        writeFileSync(cert, made.cert);
        writeFileSync(key, made.key);
      };
      write(await strangers.authority.issue('a@127.0.0.2'));
      await using source = new EtcdSource({ endpoints: [etcd.endpoint], tls: { ca, cert, key } });
      await until(() => source.failures.length > 1);
      write(await files.authority.issue('a@127.0.0.2'));
      await source.source.register(recordOf(A, 1));
      await source.holds({ [A]: [placeAt(1)] });
    }));
});

describe('options of a source in etcd', () => {
  const problemsOf = (options: object): unknown => {
    try {
      return new EtcdDiscovery(options as never);
    } catch (error) {
      return error instanceof GenRpcConfigError ? error.problems : error;
    }
  };
  const GOOD = { endpoints: ['http://127.0.0.1:2379'] };

  it.each<[object, string, string | RegExp]>([
    [{ endpoints: [] }, 'endpoints', /1 to 16/],
    [{ endpoints: undefined }, 'endpoints', /1 to 16/],
    [{ endpoints: 'http://127.0.0.1:2379' }, 'endpoints', /list/],
    [{ endpoints: ['127.0.0.1:2379'] }, 'endpoints', /http:\/\/host:port/],
    [{ endpoints: ['ftp://127.0.0.1'] }, 'endpoints', /http:\/\/host:port/],
    [{ endpoints: ['http://127.0.0.1:2379/v3'] }, 'endpoints', /http:\/\/host:port/],
    [{ endpoints: ['http://me:pass@127.0.0.1'] }, 'endpoints', /http:\/\/host:port/],
    [{ prefix: '' }, 'prefix', /1 to 256/],
    [{ prefix: 7 }, 'prefix', /1 to 256/],
    [{ ttl: 0 }, 'ttl', /whole ms/],
    [{ requestTimeout: '3000' }, 'requestTimeout', /whole ms/],
    [{ resync: Infinity }, 'resync', /whole ms/],
    [{ checkInterval: -1 }, 'checkInterval', /whole ms/],
    [{ username: 'me' }, 'password', /both/],
    [{ password: 'x' }, 'username', /both/],
    [{ tls: 'ca.pem' }, 'tls', /object/],
    [{ tls: { ca: 7 } }, 'tls.ca', /PEM/],
    [{ tls: { cert: 'x' } }, 'tls.key', /both/],
    [{ tls: { cacert: 'x' } }, 'tls.cacert', /no option of this name/],
    [{ check_interval: 5 }, 'check_interval', /did you mean checkInterval/],
  ])('cannot be %j', (options, path, expected) => {
    expect(problemsOf({ ...GOOD, ...options })).toMatchObject([
      { path, expected: expected instanceof RegExp ? expect.stringMatching(expected) : expected },
    ]);
  });

  it('are all told of in one error, in which no secret is', () => {
    const secret = 'pass-of-somebody';
    const given = {
      endpoints: [`http://me:${secret}@127.0.0.1`],
      ...{ ttl: 0, password: { secret }, tls: { key: { secret } } },
    };
    const error: unknown = (() => {
      try {
        return new EtcdDiscovery(given as never);
      } catch (cause) {
        return cause;
      }
    })();
    expect(error).toBeInstanceOf(GenRpcConfigError);
    const { message } = error as Error;
    expect(message).toMatch(/^\d problems in new EtcdDiscovery\(\)/);
    for (const path of ['endpoints', 'ttl', 'password', 'tls.key']) expect(message).toContain(`- ${path}: `);
    expect(message).not.toContain(secret);
  });
});
