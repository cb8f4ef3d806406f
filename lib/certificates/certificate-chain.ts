/** Questions about certificates that Node answers only during a handshake, with a peer waiting. */
import { X509Certificate } from 'node:crypto';
import type { TlsRole } from './credentials.js';

/** The certificate that is shown, then who vouches for whom, up to a trusted authority. */
export type CertificateChain = readonly [X509Certificate, ...X509Certificate[]];

/** No cluster has so many authorities above each other; without a bound, two that issued each other would be a ring. */
const MAX_CHAIN = 10;

/** Extended key usages, as X.509 numbers them. */
const USAGES: Readonly<Record<TlsRole, string>> = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' };

/** The certificates in PEM text, in order. @throws Error where one cannot be read. */
export function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

/** `undefined`: none of `authorities` vouches for it, not even through `between`. */
export function chainOf(
  leaf: X509Certificate,
  between: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): CertificateChain | undefined {
  const chain: [X509Certificate, ...X509Certificate[]] = [leaf];
  let top = leaf;
  while (chain.length < MAX_CHAIN) {
    const issuer = [...authorities, ...between].find((one) => hasIssued(one, top));
    if (issuer === undefined) return undefined;
    chain.push(issuer);
    if (authorities.includes(issuer) && hasIssued(issuer, issuer)) return chain;
    top = issuer;
  }
  return undefined;
}

function hasIssued(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** May be used at this end: says so, or says nothing about use. */
export function hasUsage(certificate: X509Certificate, role: TlsRole): boolean {
  // Node's types leave out that a certificate may have no such extension.
  const usages = certificate.keyUsage as string[] | undefined;
  return usages === undefined || usages.includes(USAGES[role]);
}

export const validFrom = (certificate: X509Certificate): Date => new Date(certificate.validFrom);
export const validTo = (certificate: X509Certificate): Date => new Date(certificate.validTo);

/** One line, for messages. */
export const subjectOf = ({ subject, serialNumber }: X509Certificate): string => oneLine(subject) || serialNumber;
export const issuerOf = ({ issuer }: X509Certificate): string => oneLine(issuer) || 'nobody';

function oneLine(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ');
}
