/** What a node shows of itself over TLS, and whom it believes: the port between the driver and wherever that is kept. */

/** The role in which a node meets its peer: as the one who dials, or the one who accepts. */
export type TlsRole = 'client' | 'server';

/** Certificates and keys as PEM text. */
export interface TlsMaterial {
  /** Authorities whose certificates are believed, and no others. */
  readonly ca: readonly string[];
  /** The node's own certificate, and behind it those between it and its authority. */
  readonly cert: string;
  readonly key: string;
  readonly passphrase?: string | undefined;
  /** Lists of certificates that were taken back. */
  readonly crl?: readonly string[] | undefined;
}

export interface Credentials {
  /** The same object until something has changed, and never one of which no TLS can be made. */
  material(role: TlsRole): TlsMaterial;
}
