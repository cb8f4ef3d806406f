/** A directory with the certificates of nodes, replaced as whoever looks after them would: by the files alone. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthority } from '../../lib/authority/certificate-authority.js';
import { certificatePaths, writeCertificate, type CertificatePaths } from '../../lib/authority/certificate-writer.js';
import type { IssuedCertificate, IssueOptions } from '../../lib/authority/issue-options.js';

export class CertificateDirectory implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'gen-rpc-certificates-'));

  private constructor(public authority: CertificateAuthority) {
    this.write('ca', authority);
  }

  static async make(): Promise<CertificateDirectory> {
    return new CertificateDirectory(await CertificateAuthority.create());
  }

  /** What the node has as `tls`, with files of its own. */
  async tlsOf(node: string): Promise<CertificatePaths & { readonly ca: string }> {
    await this.renew(node);
    return { ...certificatePaths(this.path, node), ca: certificatePaths(this.path, 'ca').cert };
  }

  /** Another certificate in the place of the node's. */
  async renew(node: string, options: IssueOptions = {}): Promise<IssuedCertificate> {
    const issued = await this.authority.issue(node, options);
    this.write(node, issued);
    return issued;
  }

  write(name: string, made: { readonly cert: string; readonly key: string }): void {
    writeCertificate(this.path, name, made, { replace: true });
  }

  /** Whom every node believes. */
  trust(...authorities: readonly CertificateAuthority[]): void {
    writeFileSync(certificatePaths(this.path, 'ca').cert, authorities.map(({ cert }) => cert).join('\n'));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}
