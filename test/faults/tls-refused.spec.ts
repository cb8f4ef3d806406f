/** Certificates that will not do, at both ends, and who gets to know why: L-04, L-05. */
import { describe, expect, it } from 'vitest';
import { CertificateAuthority, selfSigned } from '../../lib/authority/certificate-authority.js';
import type { IssuedCertificate } from '../../lib/authority/issue-options.js';
import type { TlsRole } from '../../lib/certificates/credentials.js';
import { Cluster, TestLog } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { tlsVisit } from '../support/tls-peer.js';
import { authority, LOOPBACK_TLS, tlsDriver } from '../support/tls.js';

const NODE = 'x@127.0.0.1';
const DAY_MS = 86_400_000;
const day = (from: number): Date => new Date(Date.now() + from * DAY_MS);

/** What is shown, and whom the other side does not believe any more. */
interface Flawed {
  readonly cert: string;
  readonly key: string;
  readonly crl?: string;
}

/** By its own certificate, a node vouches for another. */
async function issuedByNode(ca: CertificateAuthority): Promise<Flawed> {
  const node = await ca.issue('mallory@127.0.0.1');
  const { leaf, key } = await (await CertificateAuthority.load(node.cert, node.key)).issue(NODE);
  return { cert: [leaf, node.cert].join('\n'), key };
}

async function revoked(ca: CertificateAuthority): Promise<Flawed> {
  const issued = await ca.issue(NODE);
  return { cert: issued.cert, key: issued.key, crl: await ca.revoke([issued]) };
}

async function incomplete(ca: CertificateAuthority): Promise<Flawed> {
  const { leaf, key } = await (await ca.intermediate()).issue(NODE);
  return { cert: leaf, key };
}

type Maker = (ca: CertificateAuthority, role: TlsRole) => Promise<Flawed | IssuedCertificate>;

/** OpenSSL finds several things wrong with it, and which one it tells differs. */
const NO_AUTHORITY =
  'it was issued by a certificate that is no authority|it was not made for this role|something in it or in its chain is';

/** How it is made for a role, and what is wrong with it, in the words of whoever refuses it. */
const ROWS: [title: string, make: Maker, reason: string][] = [
  ['that has expired', (ca) => ca.issue(NODE, { notBefore: day(-2), notAfter: day(-1) }), 'it has expired'],
  ['that is not valid yet', (ca) => ca.issue(NODE, { notBefore: day(1) }), 'it is not valid yet'],
  ['that is signed by itself', () => selfSigned(NODE), 'it is signed by itself'],
  [
    'by another authority',
    async () => (await CertificateAuthority.create()).issue(NODE),
    'it is by an authority that tls.ca does not hold',
  ],
  ['by an authority in between that is not shown', incomplete, 'it is by an authority that tls.ca does not hold'],
  [
    'by an authority in between that is none',
    async (ca) => (await ca.intermediate({ isAuthority: false })).issue(NODE),
    NO_AUTHORITY,
  ],
  ['by another node', issuedByNode, NO_AUTHORITY],
  [
    'for the other role only',
    (ca, role) => ca.issue(NODE, { usage: [role === 'client' ? 'server' : 'client'] }),
    'it was not made for this role',
  ],
  ['that was revoked', revoked, 'it was revoked'],
];

/** All that a peer must not be told. */
const REASONS = new RegExp(`not accepted|${ROWS.map(([, , reason]) => reason).join('|')}`);

describe('L-04 the certificate of a server', () => {
  it.each(ROWS)('L-04 %s is refused', async (_title, make, reason) => {
    const { cert, key, crl } = { crl: undefined, ...(await make(await authority(), 'server')) };
    await using cluster = new Cluster({ driver: 'tls' });
    const log = new TestLog();
    const shows = { drivers: [tlsDriver({ ...LOOPBACK_TLS, cert, key })], log };
    const x = await cluster.start('x', {}, shows);
    const healthy = await cluster.start('healthy');
    let sang = 0;
    for (const node of [x, healthy]) node.register('canary', { sing: () => (sang += 1) });
    const tls = { ...LOOPBACK_TLS, ...(crl === undefined ? {} : { crl }) };
    const a = cluster.create('a', { listen: false, tls });
    await a.connect(healthy.name);
    await expect(a.call(x.name, 'canary', 'sing')).rejects.toMatchObject({
      code: 'node_down',
      maybeExecuted: false,
      message: expect.stringMatching(`the peer's certificate is not accepted: (${reason})`),
    });
    expect(a.stats().counts).toEqual({ dialled: 2, connected: 1, dial_failed: 1, peer_certificate_refused: 1 });
    expect(cluster.log.lines.join()).toMatch(new RegExp(reason));
    await until(() => x.stats().counts.handshake_failed === 1 && x.stats().handshakes === 0);
    expect(x.stats().counts).toEqual({ accepted: 1, handshake_failed: 1 });
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).not.toMatch(REASONS);
    expect(await a.call(healthy.name, 'canary', 'sing')).toBe(1);
  });

  it('L-04 by an authority in between that is shown is accepted, as what its own list does not name', async () => {
    const ca = await authority();
    const between = await ca.intermediate();
    const { cert, key } = await between.issue(NODE);
    await using cluster = new Cluster({ driver: 'tls' });
    const x = await cluster.start('x', { tls: { ...LOOPBACK_TLS, cert, key } });
    const other = await ca.issue(NODE);
    const crl = [await ca.revoke([other]), await between.revoke([])];
    await cluster.create('a', { listen: false, tls: { ...LOOPBACK_TLS, crl } }).connect(x.name);
  });
});

describe('L-04 the certificate of a client', () => {
  it.each(ROWS)('L-04 %s is refused, and only the log of the server says why', async (_title, make, reason) => {
    const { cert, key, crl } = { crl: undefined, ...(await make(await authority(), 'client')) };
    await using door = await Door.open('tls', { tls: { ...LOOPBACK_TLS, ...(crl === undefined ? {} : { crl }) } });
    const log = new TestLog();
    const shows = { drivers: [tlsDriver({ ...LOOPBACK_TLS, cert, key })], log };
    const x = door.cluster.create('x', { listen: false }, shows);
    const error = await x.call(door.name, 'canary', 'sing').catch((cause: unknown) => cause);
    expect(error).toMatchObject({
      code: 'node_down',
      maybeExecuted: false,
      message: expect.stringContaining('it may not accept it. Its log says why.'),
      details: { cause: 'TLS_CLIENT_CERT_REFUSED' },
    });
    for (const text of [(error as Error).message, ...log.lines]) expect(text).not.toMatch(REASONS);
    await until(() => door.counts.certificate_refused === 1);
    // And to somebody who looks at the wire the end is the same whatever was wrong.
    const { heard, error: seen } = await tlsVisit(door.port, { cert, key });
    expect(heard).toHaveLength(0);
    expect(seen ?? 'ECONNRESET').toMatch(/^(ECONNRESET|EPIPE)$/);
    await until(() => door.counts.certificate_refused === 2);
    expect(door.counts).toEqual({ accepted: 3, certificate_refused: 2 });
    expect(door.cluster.log.lines).toHaveLength(1);
    expect(door.cluster.log.lines[0]).toMatch(new RegExp(`not accepted: (${reason})`));
    expect(x.stats()).toMatchObject({ connectedNodes: 0, counts: { dialled: 1, dial_failed: 1 } });
    expect(door.sang).toEqual([]);
  });

  it('L-04 again and again, from one address: it is not listened to any more', async () => {
    await using door = await Door.open('tls', { admission: { failuresPerMinute: 3 } });
    const { cert, key } = await selfSigned(NODE);
    for (let times = 1; times <= 3; times += 1) {
      await tlsVisit(door.port, { cert, key });
      await until(() => door.counts.certificate_refused === times);
    }
    expect(await tlsVisit(door.port)).toMatchObject({ secured: false });
    expect(door.counts).toMatchObject({ certificate_refused: 3, admission_refused: 1 });
  });
});

describe('L-05 no certificate', () => {
  const NONE = { cert: '', key: '' };

  it('L-05 of a client: it is told to bring one, and was never connected', async () => {
    await using door = await Door.open('tls');
    const shows = { drivers: [tlsDriver({ ...LOOPBACK_TLS, ...NONE })] };
    const bare = door.cluster.create('bare', { listen: false }, shows);
    const connected: boolean[] = [];
    bare.onStatus((_node, is) => connected.push(is));
    for (const times of [1, 2]) {
      await expect(
        bare.call(door.name, 'canary', 'sing', [], { waitForReady: times === 2, timeout: 2000 }),
      ).rejects.toMatchObject({
        code: 'node_down',
        maybeExecuted: false,
        message: expect.stringContaining('give it tls.cert and tls.key'),
        details: { cause: 'TLS_CLIENT_CERT_REQUIRED' },
      });
    }
    await until(() => door.counts.certificate_refused === bare.stats().counts.dialled);
    expect(bare.stats().counts).not.toHaveProperty('connected');
    expect(bare.stats().counts).not.toHaveProperty('connection_lost');
    expect(connected).not.toContain(true);
    expect(bare.stats().counts.dial_failed).toBe(bare.stats().counts.dialled);
    expect(door.cluster.log.lines.join()).toContain('there is none');
    expect(door.sang).toEqual([]);
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('L-05 of a client of %s: it gets no byte over TLS', async (maxVersion) => {
    await using door = await Door.open('tls', { tls: { ...LOOPBACK_TLS, minVersion: 'TLSv1.2' } });
    const { heard, error } = await tlsVisit(door.port, { maxVersion, ...NONE });
    expect(heard).toHaveLength(0);
    expect(error).toMatch(/^ERR_SSL_.*_ALERT_(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE)$/);
    await until(() => door.counts.certificate_refused === 1);
    expect(door.counts).toEqual({ accepted: 2, certificate_refused: 1 });
  });
});
