/** One certificate, for both ends of every system that goes over TLS: made for the run, and gone with it. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthority, writeCertificate } from 'nestjs-gen-rpc/testing';

/** As PEM text. */
export interface Credentials {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** The variable that tells a worker where they are. */
export const CERTIFICATES = 'BENCH_CERTIFICATES';

/** Resolves with the folder that they are in. It is removed when the process ends. */
export async function makeCertificates(): Promise<string> {
  const authority = await CertificateAuthority.create();
  const issued = await authority.issue('any@localhost', { names: { dns: ['localhost'], ip: ['127.0.0.1'] } });
  const folder = mkdtempSync(join(tmpdir(), 'gen-rpc-bench-tls-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  writeCertificate(folder, 'ca', authority);
  writeCertificate(folder, 'node', issued);
  return folder;
}

/** What this worker shows, and whom it believes. */
export function credentials(): Credentials {
  const folder = process.env[CERTIFICATES];
  if (folder === undefined) throw new Error('Nobody has made certificates.');
  const [ca, cert, key] = ['ca.pem', 'node.pem', 'node.key'].map((file) => readFileSync(join(folder, file), 'utf8'));
  return { ca: ca ?? '', cert: cert ?? '', key: key ?? '' };
}
