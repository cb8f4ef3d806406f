/** A certificate as people read it. */
import type { X509Certificate } from 'node:crypto';
import { hasUsage, issuerOf, subjectOf, validFrom, validTo } from '../certificates/certificate-chain.js';

const DAY_MS = 86_400_000;

/** Several lines, the last without an end. */
export function describe(certificate: X509Certificate, now: Date): string {
  const days = Math.floor((validTo(certificate).getTime() - now.getTime()) / DAY_MS);
  const uses = (['server', 'client'] as const).filter((role) => hasUsage(certificate, role));
  const rows = {
    subject: subjectOf(certificate),
    names: certificate.subjectAltName ?? 'none',
    issuer: issuerOf(certificate),
    serial: certificate.serialNumber,
    valid: `${validFrom(certificate).toISOString()} to ${validTo(certificate).toISOString()} (${leftOf(certificate, days, now)})`,
    authority: certificate.ca ? 'yes' : 'no',
    use: uses.join(', ') || 'neither server nor client',
    'SHA-256': certificate.fingerprint256,
  };
  return Object.entries(rows)
    .map(([name, value]) => `${name.padEnd(10)}${value}`)
    .join('\n');
}

function leftOf(certificate: X509Certificate, days: number, now: Date): string {
  if (validFrom(certificate) > now) return 'not valid yet';
  return validTo(certificate) <= now ? 'expired' : `${days} days left`;
}
