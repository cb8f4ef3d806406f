/** What tests need that are about TLS: certificates, drivers that show them, and sockets that know nothing of nodes. */
import { inject } from 'vitest';
import { CertificateAuthority } from '../../lib/authority/certificate-authority.js';
import type { IssueOptions } from '../../lib/authority/issue-options.js';
import type { Credentials, TlsMaterial } from '../../lib/certificates/credentials.js';
import { systemClock } from '../../lib/system/system.js';
import { TlsDriver, type TlsRules } from '../../lib/driver/tls.driver.js';
import type { Clock } from '../../lib/ports/clock.js';

const { ca, caKey, cert, key } = inject('certificates');

/** Certificates for any node at `127.0.0.1`, `::1` or `localhost`, or at an end of a `Link`. */
export const LOOPBACK_TLS = { ca, cert, key } as const;

/** Who issued them, to issue others. */
export function authority(): Promise<CertificateAuthority> {
  return CertificateAuthority.load(ca, caKey);
}

/** A certificate of the node by the same authority, as the option `tls` takes it. */
export async function tlsOf(node: string, says: IssueOptions = {}): Promise<typeof LOOPBACK_TLS> {
  const { cert: shown, key: secret } = await (await authority()).issue(node, says);
  return { ca, cert: shown, key: secret };
}

/** What a driver shows and believes. */
export type Shown = Omit<TlsMaterial, 'ca'> & { readonly ca: string | readonly string[] };

/** The same in both roles, whatever it is: nobody judges it before a peer does. */
class FixedCredentials implements Credentials {
  constructor(private readonly given: Shown) {}

  /** Made anew when somebody asks for another. */
  private current: TlsMaterial | undefined;

  material(): TlsMaterial {
    return (this.current ??= { ...this.given, ca: [this.given.ca].flat() });
  }
}

const RULES: TlsRules = { minVersion: 'TLSv1.3', allowWildcards: false, allowCommonName: false };

export function tlsDriver(
  given: Shown = LOOPBACK_TLS,
  { clock = systemClock, ...rules }: Partial<TlsRules> & { readonly clock?: Clock } = {},
): TlsDriver {
  return new TlsDriver(clock, new FixedCredentials(given), { ...RULES, ...rules });
}
