/** One authority for all nodes, and a certificate for each, as files. Yours come from an authority that you run. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsOptions } from 'nestjs-gen-rpc';
import { CertificateAuthority, writeCertificate } from 'nestjs-gen-rpc/testing';

export class Certificates {
  private constructor(
    private readonly authority: CertificateAuthority,
    private readonly directory: string,
  ) {}

  static async create(): Promise<Certificates> {
    return new Certificates(await CertificateAuthority.create(), await mkdtemp(join(tmpdir(), 'genrpc-tls-')));
  }

  /** Of the authority: by it nodes believe what it has issued. */
  get ca(): string {
    return this.authority.cert;
  }

  /** Writes the files of a node, in the place of those that there are, and returns what its option `tls` takes. */
  async issue(node: string, days: number): Promise<TlsOptions> {
    const issued = await this.authority.issue(node, { days });
    return { ca: this.ca, ...writeCertificate(this.directory, node, issued, { replace: true }) };
  }

  remove(): Promise<void> {
    return rm(this.directory, { recursive: true });
  }
}
