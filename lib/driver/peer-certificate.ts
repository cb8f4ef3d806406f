/** A peer's certificate, as far as anybody here asks of it. */
import type { X509Certificate } from 'node:crypto';
import { alternativeNames, nameMismatch, type NameRules } from '../certificates/certificate-names.js';
import type { VerifiedCertificate } from './driver.js';

export class PeersCertificate implements VerifiedCertificate {
  readonly subject: string;
  readonly names: readonly string[];
  readonly fingerprint: string;
  readonly validTo: Date;

  constructor(
    private readonly x509: X509Certificate,
    private readonly rules: NameRules,
  ) {
    // Node's types leave out that a certificate may have none.
    this.subject = ((x509.subject as string | undefined) ?? '').replaceAll('\n', ', ');
    this.names = alternativeNames(x509.subjectAltName);
    this.fingerprint = x509.fingerprint256;
    this.validTo = new Date(x509.validTo);
  }

  mismatch(node: string): string | undefined {
    return nameMismatch(this.x509, node, this.rules);
  }
}
