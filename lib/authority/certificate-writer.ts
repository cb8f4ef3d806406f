/** Writes a certificate and its key as files, the key for its owner only. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface CertificatePaths {
  readonly cert: string;
  readonly key: string;
}

/** Where they are, or would be: `:` of IPv6 addresses is no part of file names everywhere. */
export function certificatePaths(directory: string, name: string): CertificatePaths {
  const base = join(directory, name.replaceAll(':', '_'));
  return { cert: `${base}.pem`, key: `${base}.key` };
}

/**
 * Makes `name.pem` and `name.key` in the directory, which is made where there is none.
 * @throws Error where one of them exists already, unless `replace`: then both are replaced, each at once.
 */
export function writeCertificate(
  directory: string,
  name: string,
  { cert, key }: { readonly cert: string; readonly key: string },
  { replace = false }: { replace?: boolean } = {},
): CertificatePaths {
  const paths = certificatePaths(directory, name);
  const existing = [paths.cert, paths.key].find((path) => existsSync(path));
  if (existing !== undefined && !replace) throw new Error(`${existing} exists already.`);
  mkdirSync(directory, { recursive: true });
  write(paths.key, key, 0o600, replace);
  write(paths.cert, cert, 0o644, replace);
  return paths;
}

/** A file that is replaced is never there by half, and its mode is that of a new one. */
function write(path: string, text: string, mode: number, replace: boolean): void {
  const target = replace ? `${path}.${process.pid}.new` : path;
  writeFileSync(target, text, { mode, flag: 'wx' });
  if (replace) renameSync(target, path);
}
