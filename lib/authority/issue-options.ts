/** What a certificate may say; everything has a default that makes a good certificate of a node. */

/**
 * EC: P-256, quick to make. RSA: 2,048 bits, for peers that know nothing else. It stands here and not where keys are
 * made, as types that users see must not lead to a package that they need not have.
 */
export type KeyKind = 'ec' | 'rsa';

/** Names that a certificate speaks for. */
export interface AlternativeNames {
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly uri?: readonly string[];
  readonly email?: readonly string[];
}

/** What every certificate has. */
export interface CertificateOptions {
  /** Common name of the subject; empty: there is no subject at all. Default: the name that it is made for. */
  readonly commonName?: string;
  /** Default: five minutes ago, as clocks differ. */
  readonly notBefore?: Date;
  /** Default: `days` after now. */
  readonly notAfter?: Date;
  /** Days that it is valid. Default 365; of an authority 3,650. */
  readonly days?: number;
  /** Default `ec`: P-256. */
  readonly keyKind?: KeyKind;
  /** Encrypts the key. Default: it is not encrypted. */
  readonly passphrase?: string;
}

export interface AuthorityOptions extends CertificateOptions {
  /** `false`: an authority whose certificate says that it is none. For tests. Default true. */
  readonly isAuthority?: boolean;
}

export interface IssueOptions extends CertificateOptions {
  /** Replaces the names made of the node's name, `false`: names none. Default: its host, and `genrpc:name@host`. */
  readonly names?: AlternativeNames | false;
  /** Names beside those. */
  readonly alsoNames?: AlternativeNames;
  /** What it may be used for. Default: both ends of a connection. */
  readonly usage?: readonly ('server' | 'client')[];
}

/** A certificate and its key, as PEM text. */
export interface IssuedCertificate {
  /** The certificate, then those of the intermediate authorities above it: what `tls.cert` takes. */
  readonly cert: string;
  /** The certificate alone. */
  readonly leaf: string;
  readonly key: string;
  /** Hexadecimal. */
  readonly serialNumber: string;
}
