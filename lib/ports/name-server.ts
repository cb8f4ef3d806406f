/** Names as servers of the domain name system tell them. No file on this machine is asked, and no suffix is tried. */
export interface NameServer {
  /** IPv4 addresses of `name`. @throws as all of these: the system's error (as a rejection), its `code` kept. */
  a(name: string, signal: AbortSignal): Promise<readonly NamedAddress[]>;
  /** IPv6 addresses. */
  aaaa(name: string, signal: AbortSignal): Promise<readonly NamedAddress[]>;
  srv(name: string, signal: AbortSignal): Promise<readonly ServiceTarget[]>;
}

export interface NamedAddress {
  readonly address: string;
  /** Seconds that it may be used for. */
  readonly ttl: number;
}

/** One SRV record. (RFC 2782) */
export interface ServiceTarget {
  /** A host name. `''` or `.`: this service is not to be had here. */
  readonly name: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

/** There is no such name, or nothing of this kind: an answer. Any other error is a failure to give one. */
export function isEmptyAnswer(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENODATA' || code === 'ENOTFOUND';
}
