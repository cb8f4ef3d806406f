/** What two nodes agreed on in their handshake, and what this side brings to every connection. */
import type { PeerCertificate } from '../driver/driver.js';
import type { Compression } from '../protocol/compression.js';
import type { Codec } from '../protocol/payload.js';
import type { Buffers } from './buffers.js';
import type { Decoder, ReaderSettings } from './frame-reader.js';
import type { Encoder, WriterSettings } from './frame-writer.js';
import type { HeartbeatSettings } from './heartbeat.js';

/** The node at the other end, as the handshake proved it. */
export interface Peer {
  readonly node: string;
  /** Hex: tells this process of it from every other. */
  readonly incarnation: string;
  /** The part of it that processes serving one node together have in common. */
  readonly life: string;
  readonly address: string;
  /** The port at this end of the connection; `undefined` on wires without. */
  readonly localPort: number | undefined;
  /** `undefined` on wires without. */
  readonly certificate: PeerCertificate | undefined;
  /** Largest message that the peer accepts, in payload bytes. */
  readonly maxMessageBytes: number;
}

/** How frames look in bytes: what two nodes agreed on in their handshake. */
export interface Wire {
  readonly peer: Peer;
  readonly codec: Codec;
  /** `undefined`: not agreed on. */
  readonly compression: Compression | undefined;
  readonly encoder: Encoder;
  readonly decoder: Decoder;
  /** ms that a question and its answer took in the handshake. */
  readonly rttMs: number;
}

export interface ConnectionSettings extends ReaderSettings, WriterSettings {
  /** Above this many waiting bytes the connection is `congested`. */
  readonly maxQueuedBytes: number;
  /** Largest message that this side accepts and sends, in payload bytes. */
  readonly maxMessageBytes: number;
  /** `undefined`: a peer that is silent is not asked whether it is there. */
  readonly keepalive: HeartbeatSettings | undefined;
  /** What all connections of the node hold together. */
  readonly buffers: Buffers;
}
