/** Makes, once for a whole run, the certificates that tests share: that is too slow to be done in every file. */
import type { TestProject } from 'vitest/node';
import { CertificateAuthority } from '../../lib/authority/certificate-authority.js';

export interface SharedCertificates {
  /** The authority of all of them, PEM. */
  readonly ca: string;
  readonly caKey: string;
  /** Of every node on this machine, and on the two that a `Link` makes of it, PEM. */
  readonly cert: string;
  readonly key: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    readonly certificates: SharedCertificates;
  }
}

/** Other addresses of this machine. */
const LOOPBACK = Array.from({ length: 8 }, (_, index) => `127.0.0.${index + 2}`);

export default async function setup({ provide }: TestProject): Promise<void> {
  const authority = await CertificateAuthority.create();
  const names = { dns: ['localhost'], ip: ['127.0.0.1', '::1', '10.77.0.1', '10.77.0.2', ...LOOPBACK] };
  const { cert, key } = await authority.issue('any@localhost', { names });
  provide('certificates', { ca: authority.cert, caKey: authority.key, cert, key });
}
