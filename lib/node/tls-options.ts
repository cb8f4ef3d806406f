/** What a node can be told about TLS. None of it makes TLS prove less. */
import { Allow, IsBoolean, IsIn } from 'class-validator';
import { Count, isText, Matches, Optional, Pem } from '../options/option-rules.js';

/** What a node shows of itself, and whom it believes. Files are watched: what is new in them is used from then on. */
export class TlsCredentialOptions {
  /** The only authorities whose certificates are believed. */
  @Optional()
  @Pem('several')
  ca?: string | Buffer | (string | Buffer)[];

  /** This node's certificate, and behind it those between it and its authority. */
  @Optional()
  @Pem()
  cert?: string | Buffer;

  /** The key of `cert`. */
  @Optional()
  @Pem()
  key?: string | Buffer;

  /** Of `key`, where that is encrypted. */
  @Optional()
  @Matches(isText, 'text')
  passphrase?: string;

  /** Lists of certificates that were taken back, of every authority in `ca`. Default none. */
  @Optional()
  @Pem('several')
  crl?: string | Buffer | (string | Buffer)[];
}

/** TLS of both roles: what this node shows to nodes that it dials, it shows to those that dial it. */
export class TlsOptions extends TlsCredentialOptions {
  /** What differs where this node accepts connections. (gen_rpc: `ssl_server_options`) */
  @Allow()
  server?: TlsCredentialOptions;

  /** What differs where this node dials. (gen_rpc: `ssl_client_options`) */
  @Allow()
  client?: TlsCredentialOptions;

  /** Default `TLSv1.3`. With `TLSv1.2`, only suites with forward secrecy and authenticated encryption. */
  @Optional()
  @IsIn(['TLSv1.3', 'TLSv1.2'], { message: 'TLSv1.3 or TLSv1.2' })
  minVersion?: 'TLSv1.3' | 'TLSv1.2';

  /** May `*.example.com` in a peer's certificate stand for hosts one level below? Default false. */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  allowWildcards?: boolean;

  /** Is the common name believed, in certificates without any alternative name? Default false. */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  allowCommonName?: boolean;

  /** Days before this node's certificate ends, from which on the log says so each day. Default 30. */
  @Optional()
  @Count(0, 3650)
  expiryWarning?: number;

  /** A signal of the system that makes the node read its certificate files again, `SIGHUP` say. Default none. */
  @Optional()
  @Matches((value) => typeof value === 'string' && /^SIG[A-Z0-9]{2,9}$/.test(value), 'the name of a signal, as SIGHUP')
  reloadSignal?: NodeJS.Signals;
}

export const DEFAULT_TLS = {
  minVersion: 'TLSv1.3',
  allowWildcards: false,
  allowCommonName: false,
  expiryWarning: 30,
} as const;
