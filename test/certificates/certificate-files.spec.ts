/** Certificates that files hold: what is said about bad ones, and what happens when they are replaced. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CredentialOptions } from '../../lib/certificates/credential-options.js';
import { CertificateAuthority, selfSigned } from '../../lib/testing.js';
import { DAY_MS, NODE, StoreOnTest } from '../support/certificate-store.js';

const FILES = { cert: 'certs/a.pem', key: 'certs/a.key', ca: 'certs/ca.pem' };

const root = await CertificateAuthority.create({ commonName: 'root' });
const good = await root.issue(NODE);
const next = await root.issue(NODE);
const stranger = await (await CertificateAuthority.create({ commonName: 'another' })).issue(NODE);
const day = (date: Date): string => date.toISOString().slice(0, 10);
const inDays = (days: number): Date => new Date(Date.now() + days * DAY_MS);

/** A store whose good certificates are in files, opened. */
function stored(options: Partial<CredentialOptions> = {}): StoreOnTest {
  const test = new StoreOnTest();
  test.files.write({ [FILES.cert]: good.cert, [FILES.key]: good.key, [FILES.ca]: root.cert });
  return test.open({ ...FILES, ...options });
}

/** What is wrong with these, one line each. */
function problemsOf(options: CredentialOptions, more: Parameters<StoreOnTest['open']>[1] = {}): string[] {
  return new StoreOnTest().open(options, more).problems.map(({ path, expected, got }) => {
    return `${path}: ${expected}${got === undefined ? '' : ` [${got}]`}`;
  });
}

describe('certificates that a node is given', () => {
  it('may be PEM text, bytes or paths, and differ by role', () => {
    const asText = { cert: good.cert, key: good.key, ca: root.cert };
    const test = new StoreOnTest().open({
      ...{ cert: Buffer.from(good.cert), key: Buffer.from(good.key), ca: [root.cert] },
      client: { cert: next.cert, key: next.key },
    });
    expect(test.opened.material('server')).toMatchObject({ cert: good.cert, key: good.key, ca: [root.cert] });
    expect(test.opened.material('client')).toMatchObject({ cert: next.cert, key: next.key, ca: [root.cert] });
    expect(stored().opened.material('client')).toMatchObject({ ...asText, ca: [root.cert] });
    expect(test.opened.material('server')).toBe(test.opened.material('server'));
  });

  it('are all missed at once where they are left out', () => {
    expect(problemsOf({})).toEqual([
      "tls.cert: this node's certificate: PEM text, or the path of a file",
      'tls.key: its private key: PEM text, or the path of a file',
      'tls.ca: the certificate of the authority that your nodes share; no other is trusted',
    ]);
  });

  it('are files that can be read, or the command that makes them is told', () => {
    const advice = 'PEM text, or a file that can be read (ENOENT); `npx nestjs-gen-rpc certs';
    expect(problemsOf(FILES)).toEqual([
      `tls.cert: ${advice} issue ${NODE} --dir certs\` makes one [certs/a.pem]`,
      `tls.key: ${advice} issue ${NODE} --dir certs\` makes one [certs/a.key]`,
      `tls.ca: ${advice} init --dir certs\` makes one [certs/ca.pem]`,
    ]);
  });

  it('are PEM, and the text of a key is never repeated', () => {
    const broken = '-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----';
    const said = problemsOf({ cert: good.key, key: broken, ca: good.key, crl: good.cert });
    expect(said).toEqual([
      'tls.cert: a certificate, as PEM',
      'tls.ca: certificates of authorities, as PEM',
      'tls.crl: a list of what is revoked, as PEM',
      'tls.key: a private key, as PEM',
    ]);
    expect(said.join()).not.toMatch(/c2VjcmV0|BEGIN/);
  });

  it('have their own key, opened by its passphrase', async () => {
    const secret = await root.issue(NODE, { passphrase: 'open sesame' });
    const withKey = (key: string, passphrase?: string): string[] =>
      problemsOf({ cert: secret.cert, key, ca: root.cert, passphrase });
    expect(withKey(secret.key, 'open sesame')).toEqual([]);
    expect(withKey(secret.key, 'wrong')).toEqual(['tls.key: a private key that tls.passphrase opens']);
    expect(withKey(secret.key)).toEqual(['tls.key: a private key that tls.passphrase opens, which is missing']);
    expect(withKey(good.key)).toEqual([`tls.key: the key of the certificate in tls.cert (CN=${NODE})`]);
  });

  it('come from an authority that is trusted, through whatever is between', async () => {
    const middle = await root.intermediate({ commonName: 'middle' });
    const lower = await middle.issue(NODE);
    const noAuthority = await root.intermediate({ isAuthority: false, commonName: 'nobody' });
    const bad = await noAuthority.issue(NODE);
    const self = await selfSigned(NODE);
    const leadsTo = (subject: string, issuer: string): string =>
      `tls.cert: a certificate that leads to an authority in tls.ca; ${subject} was issued by ${issuer}`;
    expect(problemsOf({ ...lower, ca: root.cert })).toEqual([]);
    expect(problemsOf({ ...lower, cert: lower.leaf, ca: [root.cert, middle.cert] })).toEqual([]);
    expect(problemsOf({ ...lower, cert: lower.leaf, ca: root.cert })).toEqual([leadsTo(`CN=${NODE}`, 'CN=middle')]);
    expect(problemsOf({ ...stranger, ca: root.cert })).toEqual([leadsTo(`CN=${NODE}`, 'CN=another')]);
    expect(problemsOf({ ...self, ca: root.cert })).toEqual([leadsTo(`CN=${NODE}`, `CN=${NODE}`)]);
    expect(problemsOf({ ...bad, ca: root.cert })).toEqual([leadsTo('CN=nobody', 'CN=root')]);
    expect(problemsOf({ ...self, ca: self.cert })).toContain(`tls.ca: certificates of authorities; CN=${NODE} is none`);
  });

  it('may be shown to one kind of peer, and another kind trusted', async () => {
    const ours = await CertificateAuthority.create({ commonName: 'ours' });
    const mine = await ours.issue(NODE);
    const both = { ...good, ca: root.cert, server: { cert: mine.cert, key: mine.key }, client: { ca: ours.cert } };
    expect(problemsOf(both)).toEqual([]);
  });

  it('are valid today, whoever vouches for them too', async () => {
    const old = await root.issue(NODE, { notBefore: inDays(-9), notAfter: inDays(-1) });
    const early = await root.issue(NODE, { notBefore: inDays(1) });
    const past = await root.intermediate({ commonName: 'past', notBefore: inDays(-9), notAfter: inDays(-1) });
    const below = await past.issue(NODE, { notAfter: inDays(9) });
    expect(problemsOf({ ...old, ca: root.cert })).toEqual([
      expect.stringMatching(`^tls.cert: a certificate that has not expired; CN=${NODE} ended on `),
    ]);
    expect(problemsOf({ ...early, ca: root.cert })).toEqual([
      expect.stringMatching(`^tls.cert: a certificate that is valid already; CN=${NODE} begins on `),
    ]);
    expect(problemsOf({ ...below, ca: root.cert })).toEqual([expect.stringContaining('CN=past ended on')]);
  });

  it('name the node, and may be used at the ends that it has', async () => {
    const other = await root.issue('b@node-b.local');
    const serverOnly = await root.issue(NODE, { usage: ['server'] });
    expect(problemsOf({ ...other, ca: root.cert })).toEqual([
      expect.stringMatching(/^tls.cert: a certificate of this node; .*node-a.local.*node-b.local/),
    ]);
    expect(problemsOf({ ...serverOnly, ca: root.cert })).toEqual([
      'tls.cert: a certificate whose extended key usage allows clientAuth',
    ]);
    expect(problemsOf({ ...good, ca: root.cert, server: { ...other } })).toEqual([
      expect.stringMatching(/^tls.server.cert: a certificate of this node; /),
    ]);
    expect(problemsOf({ ...good, ca: root.cert, server: { ...other } }, { roles: ['client'] })).toEqual([]);
  });
});

describe('lists of revoked certificates', () => {
  const judged = (crl: CredentialOptions['crl'], ca: CredentialOptions['ca'] = root.cert): string[] =>
    problemsOf({ ...good, ca, crl });

  it('are of every authority that is trusted, and good today', async () => {
    const other = await CertificateAuthority.create({ commonName: 'other' });
    const [ours, theirs] = [await root.revoke([stranger]), await other.revoke([])];
    const old = await root.revoke([], { notBefore: inDays(-2), notAfter: inDays(-1) });
    const early = await root.revoke([], { notBefore: inDays(1), notAfter: inDays(2) });
    const rule = 'tls.crl: lists of what each authority in tls.ca has revoked; that of';
    expect(judged(ours)).toEqual([]);
    expect(judged([ours, theirs], [root.cert, other.cert])).toEqual([]);
    expect(judged(`${old}\n${ours}`)).toEqual([]);
    expect(judged(ours, [root.cert, other.cert])).toEqual([`${rule} CN=other is missing`]);
    expect(judged(old)).toEqual([expect.stringContaining(`${rule} CN=root has expired on ${day(inDays(-1))}`)]);
    expect(judged(early)).toEqual([expect.stringContaining(`${rule} CN=root begins on ${day(inDays(1))}`)]);
  });

  it('are told of when they should be replaced soon', async () => {
    const list = await root.revoke([], { notBefore: inDays(-2), notAfter: inDays(2.01) });
    const test = stored({ crl: list });
    test.opened.start();
    expect(test.heard()).toEqual([]);
    await test.clock.advance(DAY_MS * 3);
    expect(test.heard()).toEqual([
      expect.stringContaining('the list of what CN=root has revoked expires in 0 days, on'),
      expect.stringContaining('the list of what CN=root has revoked has expired, on'),
    ]);
    expect(test.opened.daysLeft).toBeGreaterThan(300);
  });

  it('that are replaced are taken, and revoke what they name', async () => {
    const test = stored({ crl: 'certs/ca.crl' });
    expect(test.problems).toEqual([
      {
        path: 'tls.crl',
        expected: 'PEM text, or a file that can be read (ENOENT); an authority makes one',
        got: 'certs/ca.crl',
      },
    ]);
    const lists = [await root.revoke([]), await root.revoke([next])];
    test.files.write({ 'certs/ca.crl': lists[0] });
    test.open({ ...FILES, crl: 'certs/ca.crl' }).opened.start();
    test.files.write({ 'certs/ca.crl': lists[1] });
    test.files.changed();
    await test.clock.advance(1000);
    expect(test.opened.material('server').crl).toEqual([lists[1]]);
  });
});

describe('whatever is in the files', () => {
  it('is a problem that is told, never a throw', async () => {
    const whole = { cert: good.cert, key: good.key, ca: root.cert, crl: await root.revoke([]) };
    const names = Object.keys(whole) as (keyof typeof whole)[];
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.nat(), fc.string(), (name, where, instead) => {
        const text = whole[name];
        const at = where % text.length;
        const torn = `${text.slice(0, at)}${instead}${text.slice(at + 1)}`;
        const test = new StoreOnTest();
        test.files.write({ x: torn });
        expect(() => test.open({ ...whole, [name]: 'x' })).not.toThrow();
        expect(test.store === undefined).toBe(test.problems.length > 0);
      }),
      { numRuns: 300 },
    );
  });
});

describe('certificates whose files are replaced', () => {
  it('are used once both files are there, and the old ones until then', async () => {
    const test = stored();
    test.opened.start();
    const before = test.opened.material('server');
    test.files.write({ [FILES.cert]: next.cert });
    test.files.changed();
    await test.clock.advance(600);
    expect(test.opened.material('server')).toBe(before);
    test.files.write({ [FILES.key]: next.key });
    test.files.changed();
    await test.clock.advance(600);
    expect(test.opened.material('server')).toMatchObject({ cert: next.cert, key: next.key });
    expect(test.opened.material('client')).toMatchObject({ cert: next.cert, key: next.key });
    expect(test.heard()).toEqual([`New certificates of ${NODE} are in use, good for 364 days.`]);
  });

  it('L-11 are kept in use while the new ones are broken, and somebody is told, once and then daily', async () => {
    const test = stored();
    test.opened.start();
    const before = test.opened.material('server');
    for (const broken of [undefined, '', good.cert.slice(0, 200), stranger.cert]) {
      test.said.length = 0;
      test.files.write({ [FILES.cert]: broken });
      test.files.changed();
      await test.clock.advance(1000);
      expect(test.opened.material('server')).toBe(before);
      expect(test.heard()).toEqual([
        expect.stringMatching(/^New certificates of \S+ cannot be used, those before still are: tls\.cert: expected /),
      ]);
    }
    test.said.length = 0;
    await test.clock.advance(DAY_MS);
    expect(test.heard('refused')).toHaveLength(1);
    test.files.write({ [FILES.cert]: good.cert });
    test.files.changed();
    await test.clock.advance(DAY_MS * 2);
    expect(test.heard('refused')).toHaveLength(1);
    expect(test.opened.material('server')).toBe(before);
  });

  it('are seen within a minute where nobody tells', async () => {
    const test = stored();
    test.files.failure = Object.assign(new Error('no more watches'), { code: 'ENOSPC' });
    test.opened.start();
    test.files.write({ [FILES.cert]: next.cert, [FILES.key]: next.key });
    await test.clock.advance(60_000);
    expect(test.opened.material('client')).toMatchObject({ cert: next.cert });
    await test.clock.advance(600_000);
    expect(test.heard('unwatched')).toHaveLength(1);
  });

  it('are seen where they were replaced between reading and watching', async () => {
    const test = stored();
    test.files.write({ [FILES.cert]: next.cert, [FILES.key]: next.key });
    test.opened.start();
    expect(test.opened.material('client')).toMatchObject({ cert: next.cert });
  });

  it('are used from the day on which they become valid', async () => {
    const early = await root.issue(NODE, { notBefore: inDays(0.1) });
    const test = stored();
    test.opened.start();
    test.files.write({ [FILES.cert]: early.cert, [FILES.key]: early.key });
    test.files.changed();
    await test.clock.advance(DAY_MS * 0.09);
    expect(test.heard()).toEqual([expect.stringContaining('valid already')]);
    await test.clock.advance(DAY_MS * 0.06);
    expect(test.opened.material('client')).toMatchObject({ cert: early.cert });
  });

  it('are read again when asked, and the answer says what is wrong with them', () => {
    const test = stored();
    expect(test.opened.reload()).toEqual([]);
    test.files.write({ [FILES.cert]: next.cert });
    expect(test.opened.reload()).toEqual([
      { path: 'tls.key', expected: `the key of the certificate in tls.cert (CN=${NODE})` },
    ]);
    test.files.write({ [FILES.key]: next.key });
    expect(test.opened.reload()).toEqual([]);
    expect(test.opened.material('server')).toMatchObject({ cert: next.cert });
    expect(test.said.map(({ kind }) => kind)).toEqual(['refused', 'renewed']);
  });

  it('are read again at a signal, until it is closed', () => {
    const test = stored();
    test.files.write({ [FILES.ca]: root.cert });
    const store = test.open(FILES, { reloadSignal: 'SIGHUP' }).opened;
    store.start();
    test.files.write({ [FILES.cert]: next.cert, [FILES.key]: next.key });
    test.signals.get('SIGHUP')?.();
    expect(store.material('server')).toMatchObject({ cert: next.cert });
    store.close();
    expect(test.signals.size).toBe(0);
  });

  it('leave no timer and no watch behind, also when closed in the middle of a change', async () => {
    const test = stored();
    test.opened.start();
    expect(test.files.watches.size).toBe(1);
    test.files.changed();
    test.opened.close();
    test.opened.close();
    expect([test.clock.pending, test.files.watches.size]).toEqual([0, 0]);
    test.opened.start();
    test.files.write({ [FILES.cert]: next.cert, [FILES.key]: next.key });
    test.files.changed();
    await test.clock.advance(1000);
    expect(test.opened.material('server')).toMatchObject({ cert: next.cert });
    test.opened.close();
    expect([test.clock.pending, test.files.watches.size]).toEqual([0, 0]);
  });

  it('are not read for every file that something else writes beside them', async () => {
    const test = stored();
    test.opened.start();
    const before = test.files.reads;
    for (let i = 0; i < 1000; i += 1) test.files.changed();
    await test.clock.advance(600);
    expect(test.files.reads - before).toBe(3);
    expect(test.heard()).toEqual([]);
  });
});

describe('certificates that end', () => {
  /** A store whose certificate is good for so many days, and a bit. */
  async function ending(days: number, options: Partial<CredentialOptions> = {}): Promise<StoreOnTest> {
    const short = await root.issue(NODE, { notAfter: inDays(days + 0.01) });
    const test = new StoreOnTest().open({ ...short, ca: root.cert, ...options });
    test.opened.start();
    return test;
  }

  it('are told of at the start and once a day, from the day on that was asked for', async () => {
    const test = await ending(32);
    expect([test.opened.daysLeft, test.heard()]).toEqual([32, []]);
    await test.clock.advance(DAY_MS);
    expect(test.heard()).toEqual([]);
    await test.clock.advance(DAY_MS);
    expect(test.heard()).toEqual([
      expect.stringMatching(`^Certificates of ${NODE}: the certificate of CN=${NODE} expires in 30 days, on `),
    ]);
    await test.clock.advance(DAY_MS * 10);
    expect(test.heard()).toHaveLength(11);
    const late = await ending(3);
    expect(late.heard()).toEqual([expect.stringContaining('expires in 3 days')]);
  });

  it('have ended when they have', async () => {
    const test = await ending(1);
    await test.clock.advance(DAY_MS * 2);
    expect(test.opened.daysLeft).toBe(-1);
    expect(test.heard().at(-1)).toContain('has expired');
  });

  it('end with whoever vouches for them', async () => {
    const middle = await root.intermediate({ commonName: 'middle', notAfter: inDays(10.01) });
    const test = await ending(5, await middle.issue(NODE, { notAfter: inDays(99) }));
    expect(test.opened.daysLeft).toBe(10);
    expect(test.heard()).toEqual([
      expect.stringMatching(/: the certificate of CN=middle expires in 10 days, on [^;]*$/),
    ]);
  });

  it('are told of when they are taken, and no more when they are replaced', async () => {
    const test = stored();
    test.opened.start();
    const short = await root.issue(NODE, { notAfter: inDays(5.01) });
    test.files.write({ [FILES.cert]: short.cert, [FILES.key]: short.key });
    test.files.changed();
    await test.clock.advance(1000);
    expect(test.heard()).toEqual([
      `New certificates of ${NODE} are in use, good for 5 days.`,
      expect.stringContaining('expires in 5 days'),
    ]);
    test.files.write({ [FILES.cert]: next.cert, [FILES.key]: next.key });
    test.files.changed();
    await test.clock.advance(DAY_MS * 3);
    expect(test.heard('expiring')).toHaveLength(1);
  });
});
