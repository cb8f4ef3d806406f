/** The port between conversations and wires: whoever can move ordered bytes both ways can carry the protocol. */
import type { GenRpcError } from '../protocol/errors.js';

/** Where a node listens. `port` 0 when listening: any free one. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** Where to listen, and how. */
export interface ListenAt extends Endpoint {
  /** With an address that stands for both: IPv6 connections only. Default false. */
  readonly ipv6Only?: boolean;
}

/** Makes and accepts channels. */
export interface Driver {
  /** As options and discovery name it: `tcp`, `tls`, `memory`. */
  readonly name: string;
  /**
   * Opens a channel, or rejects: `node_down` with the system's code in `details.cause`.
   * Aborting `signal` ends the attempt.
   */
  connect(endpoint: Endpoint, signal: AbortSignal): Promise<Channel>;
  /** Resolves once channels are really accepted; rejects with the system's error, its `code` kept. */
  listen(endpoint: ListenAt, onChannel: (channel: Channel) => void, onError: (error: Error) => void): Promise<Listener>;
}

export interface Listener {
  readonly address: Endpoint;
  /** Stops accepting. Channels live on. Safe to repeat. */
  close(): Promise<void>;
}

/** What a channel tells its one owner. */
export interface ChannelEvents {
  /** Bytes arrived. They are there until this returns: what is kept of them is copied. */
  data(bytes: Buffer): void;
  /** What `send` held back has left. */
  drain(): void;
  /** Nothing comes or goes any more. Called exactly once, also after the owner's own `close` or `abort`. */
  closed(reason: GenRpcError): void;
}

/** What is known of a peer by its certificate. */
export interface PeerCertificate {
  /** Distinguished name, on one line: `CN=b, O=Example`. Empty where there is none. */
  readonly subject: string;
  /** Alternative names: `DNS:b.example`, `IP Address:10.0.0.2`, `URI:genrpc:b@b.example`. */
  readonly names: readonly string[];
  /** SHA-256 of the certificate, `AB:CD:…`. */
  readonly fingerprint: string;
  readonly validTo: Date;
}

/** A certificate that a driver has verified: by an authority of this node's, valid, and the peer has its key. */
export interface VerifiedCertificate extends PeerCertificate {
  /** Why it does not speak for the node; `undefined`: it does. */
  mismatch(node: string): string | undefined;
}

/** Ordered bytes both ways, before and after authentication. */
export interface Channel {
  /**
   * Ties a handshake to this channel: 32 bytes that its two ends, and on a wire that is encrypted nobody else, compute
   * alike. There once the first byte has arrived, or the channel was dialled; before that it throws.
   */
  readonly channelBinding: Uint8Array;
  /** The peer's, there as soon as `channelBinding` is; `undefined` on a wire that knows none. */
  readonly certificate: VerifiedCertificate | undefined;
  /** The peer's address, for logs and per-address limits. */
  readonly remoteAddress: string;
  /** The port at this end; `undefined` on a wire that knows none. */
  readonly localPort?: number | undefined;
  /** Bytes given to `send` that the system has not taken yet; after the end, those that it certainly never took. */
  readonly queuedBytes: number;
  /** Names the owner; bytes that arrived before wait for it. A later owner replaces the former. */
  open(events: ChannelEvents): void;
  /** Queues chunks in order; they must not change afterwards. `false`: hold back until `drain`. Never throws. */
  send(chunks: readonly Uint8Array[]): boolean;
  /** Flushes what was queued, then ends; a flush that does not end is cut short. Safe to repeat. */
  close(): void;
  /** Ends now; the owner is told `reason`. Safe to repeat. */
  abort(reason: GenRpcError): void;
  /** `false`: this channel alone does not keep the process alive. */
  keepAlive(keep: boolean): void;
}
