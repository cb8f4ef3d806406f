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
  /** As options and discovery name it: `tcp`, `memory`. */
  readonly name: string;
  /** Ties a handshake to this kind of wire: 32 bytes that both ends compute alike. */
  readonly channelBinding: Uint8Array;
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

/** Ordered bytes both ways, before and after authentication. */
export interface Channel {
  /** The peer's address, for logs and per-address limits. */
  readonly remoteAddress: string;
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
