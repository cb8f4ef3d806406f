/** Certificates and keys that were given as text. */
import { roleOptionsOf, listOf, type CredentialOptions, type PemSource } from './credential-options.js';
import type { Credentials, TlsMaterial, TlsRole } from './credentials.js';

export class PemCredentials implements Credentials {
  private readonly materials: Readonly<Record<TlsRole, TlsMaterial>>;

  constructor(options: CredentialOptions) {
    this.materials = { client: materialOf(options, 'client'), server: materialOf(options, 'server') };
  }

  material(role: TlsRole): TlsMaterial {
    return this.materials[role];
  }
}

function materialOf(options: CredentialOptions, role: TlsRole): TlsMaterial {
  const { ca, cert = '', key = '', passphrase, crl } = roleOptionsOf(options, role).given;
  return {
    ca: listOf(ca).map(textOf),
    cert: textOf(cert),
    key: textOf(key),
    passphrase,
    crl: crl === undefined ? undefined : listOf(crl).map(textOf),
  };
}

function textOf(source: PemSource): string {
  return typeof source === 'string' ? source : Buffer.from(source).toString();
}
