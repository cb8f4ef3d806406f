/** What the maker of certificates promises, judged by Node itself and by a real TLS handshake. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TlsOptions } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { CertificateAuthority, selfSigned, type IssuedCertificate } from '../../lib/testing.js';

const NODE = 'orders@orders-1.local';

/** `undefined`: the server takes the client's certificate. Otherwise the code of its refusal. */
async function verdict(
  ca: string | string[],
  { cert, key }: IssuedCertificate,
  more: TlsOptions = {},
): Promise<string | undefined> {
  const server = createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: false, ...more });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: '127.0.0.1', cert, key, rejectUnauthorized: false });
  const [socket] = (await once(server, 'secureConnection')) as [{ authorizationError?: string }];
  client.on('error', () => undefined).destroy();
  server.close();
  return socket.authorizationError ?? undefined;
}

describe('a certificate authority', () => {
  it('issues a certificate that names the host and the node, and its key', async () => {
    const ca = await CertificateAuthority.create();
    const { cert, key, serialNumber } = await ca.issue(NODE);
    const certificate = new X509Certificate(cert);
    expect(certificate.subjectAltName).toBe('DNS:orders-1.local, URI:genrpc:orders@orders-1.local');
    expect(certificate.subject).toBe(`CN=${NODE}`);
    expect(certificate.serialNumber.toLowerCase()).toBe(serialNumber);
    expect(certificate.checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect(certificate.checkIssued(new X509Certificate(ca.cert))).toBe(true);
    expect(certificate.ca).toBe(false);
    expect(new X509Certificate(ca.cert).ca).toBe(true);
    expect(Date.parse(certificate.validFrom)).toBeLessThan(Date.now());
    expect(Math.round((Date.parse(certificate.validTo) - Date.now()) / 86_400_000)).toBe(365);
  });

  it('names addresses as such, IPv4 and IPv6', async () => {
    const ca = await CertificateAuthority.create();
    const { subjectAltName: v4 } = new X509Certificate((await ca.issue('a@10.0.0.1')).cert);
    const { subjectAltName: v6 } = new X509Certificate((await ca.issue('a@fe80::1')).cert);
    expect([v4, v6]).toEqual([
      'IP Address:10.0.0.1, URI:genrpc:a@10.0.0.1',
      'IP Address:FE80:0:0:0:0:0:0:1, URI:genrpc:a@fe80::1',
    ]);
  });

  it('issues what a TLS server trusts, EC and RSA, directly and through an intermediate', async () => {
    const root = await CertificateAuthority.create({ keyKind: 'rsa' });
    const middle = await root.intermediate();
    const lower = await middle.intermediate({ keyKind: 'rsa' });
    const issued = await Promise.all([
      root.issue(NODE),
      root.issue(NODE, { keyKind: 'rsa' }),
      middle.issue(NODE),
      lower.issue(NODE),
    ]);
    expect(await Promise.all(issued.map((one) => verdict(root.cert, one)))).toEqual(issued.map(() => undefined));
  });

  it('goes on where it was loaded from PEM, also from an encrypted key', async () => {
    const made = await CertificateAuthority.create({ passphrase: 'open sesame' });
    expect(made.key).toContain('ENCRYPTED');
    const loaded = await CertificateAuthority.load(made.cert, made.key, 'open sesame');
    expect(await verdict(made.cert, await loaded.issue(NODE))).toBeUndefined();
  });

  it('makes what must not be trusted', async () => {
    const root = await CertificateAuthority.create();
    const middle = await root.intermediate();
    const none = await root.intermediate({ isAuthority: false });
    const good = await root.issue(NODE);
    const day = 86_400_000;
    const at = (days: number): Date => new Date(Date.now() + days * day);
    const { leaf, ...rest } = await middle.issue(NODE);
    const refused = {
      expired: verdict(root.cert, await root.issue(NODE, { notBefore: at(-2), notAfter: at(-1) })),
      early: verdict(root.cert, await root.issue(NODE, { notBefore: at(1), notAfter: at(2) })),
      selfSigned: verdict(root.cert, await selfSigned(NODE)),
      other: verdict(root.cert, await (await CertificateAuthority.create()).issue(NODE)),
      missing: verdict(root.cert, { ...rest, leaf, cert: leaf }),
      notCa: verdict(root.cert, await none.issue(NODE)),
      serverOnly: verdict(root.cert, await root.issue(NODE, { usage: ['server'] })),
      revoked: verdict(root.cert, good, { crl: await root.revoke([good]) }),
      notRevoked: verdict(root.cert, good, { crl: await root.revoke([]) }),
    };
    const found = await Promise.all(Object.entries(refused).map(async ([why, said]) => [why, await said]));
    expect(Object.fromEntries(found)).toEqual({
      expired: 'CERT_HAS_EXPIRED',
      early: 'CERT_NOT_YET_VALID',
      selfSigned: 'DEPTH_ZERO_SELF_SIGNED_CERT',
      other: expect.stringMatching(/^UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT/),
      missing: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      notCa: expect.stringMatching(/^INVALID_(CA|PURPOSE)$/),
      serverOnly: 'INVALID_PURPOSE',
      revoked: 'CERT_REVOKED',
      notRevoked: undefined,
    });
  });

  it('names what it is told to, and nothing where it is told so', async () => {
    const ca = await CertificateAuthority.create();
    const altNames = async (options: Parameters<typeof ca.issue>[1]): Promise<string | undefined> =>
      new X509Certificate((await ca.issue(NODE, options)).cert).subjectAltName;
    expect(await altNames({ names: false, commonName: 'orders-1.local' })).toBeUndefined();
    expect(await altNames({ names: { dns: ['*.local'], ip: ['::1'], uri: ['a:b'], email: ['a@b.c'] } })).toBe(
      'DNS:*.local, IP Address:0:0:0:0:0:0:0:1, URI:a:b, email:a@b.c',
    );
    expect(await altNames({ alsoNames: { dns: ['localhost'] } })).toMatch(/^DNS:orders-1.local,.*DNS:localhost$/);
    await expect(ca.issue('orders')).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});
