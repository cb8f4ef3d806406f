/** What a node proves itself with over TLS, as a user gives it. */
import type { TlsRole } from './credentials.js';

/** PEM: as text, as bytes, or the path of a file that holds it. */
export type PemSource = string | Uint8Array;

export interface RoleCredentialOptions {
  readonly cert?: PemSource | undefined;
  readonly key?: PemSource | undefined;
  readonly passphrase?: string | undefined;
  readonly ca?: PemSource | readonly PemSource[] | undefined;
  readonly crl?: PemSource | readonly PemSource[] | undefined;
}

export interface CredentialOptions extends RoleCredentialOptions {
  /** What differs where this node accepts connections. */
  readonly server?: RoleCredentialOptions | undefined;
  /** What differs where this node dials. */
  readonly client?: RoleCredentialOptions | undefined;
}

/** What is wrong with an option, for a message that collects all of it. */
export interface CredentialProblem {
  /** `tls.cert`, `tls.server.key`. */
  readonly path: string;
  readonly expected: string;
  /** The file, where there is one. Never the text of a key. */
  readonly got?: string;
}

/** The options of one role, and where each was written. */
export interface RoleOptions {
  readonly role: TlsRole;
  readonly given: RoleCredentialOptions;
  readonly pathOf: (option: keyof RoleCredentialOptions) => string;
}

/** What `server` and `client` leave out is as above them. */
export function roleOptionsOf(options: CredentialOptions, role: TlsRole): RoleOptions {
  const { server, client, ...both } = options;
  const own = Object.entries((role === 'server' ? server : client) ?? {}).filter(([, one]) => one !== undefined);
  const names = new Set(own.map(([name]) => name));
  return {
    role,
    given: { ...both, ...Object.fromEntries(own) },
    pathOf: (option) => (names.has(option) ? `tls.${role}.${option}` : `tls.${option}`),
  };
}

/** Text and bytes that hold PEM say so; everything else that is text is a path. */
export function filePathOf(source: PemSource): string | undefined {
  return typeof source === 'string' && !source.includes('-----BEGIN ') ? source : undefined;
}

export function listOf(sources: PemSource | readonly PemSource[] | undefined): readonly PemSource[] {
  if (sources === undefined) return [];
  return typeof sources === 'string' || sources instanceof Uint8Array ? [sources] : sources;
}

/** The files among everything that is given. */
export function filesOf(options: CredentialOptions): string[] {
  const sources = [options, options.server ?? {}, options.client ?? {}].flatMap(({ cert, key, ca, crl }) =>
    [cert, key, ca, crl].flatMap(listOf),
  );
  return [...new Set(sources.flatMap((source) => filePathOf(source) ?? []))];
}
