/** What is read of a list of revoked certificates, and of bytes that are none. */
import { X509Certificate } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isListOf, revocationListsIn } from '../../lib/certificates/revocation-list.js';
import { CertificateAuthority } from '../../lib/testing.js';

const root = await CertificateAuthority.create({ commonName: 'root' });
const other = await CertificateAuthority.create({ commonName: 'other', keyKind: 'rsa' });

const pemOf = (der: Uint8Array): string =>
  `-----BEGIN X509 CRL-----\n${Buffer.from(der).toString('base64')}\n-----END X509 CRL-----\n`;

describe('a list of revoked certificates', () => {
  it.each([
    ['of this century', '2026-01-02T03:04:05.000Z', '2027-12-31T23:59:59.000Z'],
    ['that outlives two digits of a year', '2049-12-31T23:59:59.000Z', '2050-01-01T00:00:00.000Z'],
    ['of the last century', '1999-01-01T00:00:00.000Z', '2000-01-01T00:00:00.000Z'],
  ])('%s tells its days', async (_, from, until) => {
    const [list] = revocationListsIn(await root.revoke([], { notBefore: new Date(from), notAfter: new Date(until) }));
    expect([list?.thisUpdate.toISOString(), list?.nextUpdate?.toISOString()]).toEqual([from, until]);
  });

  it('tells whose it is, however many it names', async () => {
    const many = Array.from({ length: 500 }, (_, at) => ({ serialNumber: (0x1000 + at).toString(16) }));
    const lists = revocationListsIn(`${await root.revoke(many)}\nbetween\n${await other.revoke([])}`);
    const authorities = [root, other].map(({ cert }) => new X509Certificate(cert));
    expect(lists.map((list) => authorities.map((authority) => isListOf(list, authority)))).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  it('may have no end', () => {
    // version 1 (left out), a signature and an issuer of no content, and one time.
    const signed = [0x30, 0x13, 0x30, 0, 0x30, 0, 0x17, 13, ...Buffer.from('260102030405Z')];
    const [list] = revocationListsIn(pemOf(Uint8Array.from([0x30, signed.length, ...signed])));
    expect(list).toMatchObject({ thisUpdate: new Date('2026-01-02T03:04:05Z'), nextUpdate: undefined });
  });

  it('of any other bytes throws, soon', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        expect(() => revocationListsIn(pemOf(bytes))).toThrow(Error);
      }),
    );
    expect(revocationListsIn('nothing of the kind')).toEqual([]);
  });
});
