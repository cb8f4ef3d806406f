/** Options that belong together, and so are written together. */
import { IsBoolean } from 'class-validator';
import type { NodeLocationOptions } from '../options/node-location-options.js';
import {
  Count,
  Host,
  isText,
  Matches,
  Milliseconds,
  MillisecondsOrInfinity,
  Optional,
  Port,
} from '../options/option-rules.js';
import { ShareOptions } from '../options/share-options.js';

/** Where this node accepts connections. */
export class ListenOptions {
  /** A driver's name. Default: `driver` of the node. */
  @Optional()
  @Matches(isText, 'the name of a driver')
  driver?: string;

  /** Address to bind, IPv4 or IPv6. Default `127.0.0.1`. Any other than loopback needs TLS or `allowPlaintext`. (gen_rpc: `socket_ip`) */
  @Optional()
  @Host()
  host?: string;

  /** Default 5369, over TLS 5370; 0: any free port. (gen_rpc: `tcp_server_port`, `ssl_server_port`) */
  @Optional()
  @Port(0)
  port?: number;

  /** With host `::`: connections over IPv6 only. Default false: over IPv4 too. (gen_rpc: `ipv6_only`) */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  ipv6Only?: boolean;

  /** Accept unencrypted connections from beyond this machine. The secret never travels, but everything else does. */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  allowPlaintext?: boolean;
}

/** When a silent peer is asked whether it is there, and given up. Any byte from it is an answer. */
export class KeepaliveOptions {
  /** ms without a byte, after which it is asked. Default 5,000. (gen_rpc: `socket_keepalive_idle`) */
  @Optional()
  @Milliseconds()
  idle?: number;

  /** ms that it has for an answer. Default 5,000. (gen_rpc: `socket_keepalive_interval`) */
  @Optional()
  @Milliseconds()
  interval?: number;

  /** Questions without an answer, after which it is dead. Default 2. (gen_rpc: `socket_keepalive_count`) */
  @Optional()
  @Count(1, 1000)
  count?: number;
}

/**
 * Frames of one turn of the event loop leave in one write, unless so much has gathered that the peer had better begin.
 * Without this option the marks are doubled for each further write of the turn, up to 16 times: by then the peer has
 * something to do. Either of them given, both are fixed.
 */
export class BatchingOptions {
  /** Frames in a write. 1: each in one of its own. Default 16. (gen_rpc: `max_batch_size`) */
  @Optional()
  @Count(1, 100_000)
  frames?: number;

  /** Bytes in a write, after which it leaves. Default 1,024. */
  @Optional()
  @Count(1, 1024 ** 3)
  bytes?: number;
}

/** Payloads made smaller, on connections where both nodes have this option. It costs CPU time on the event loop. */
export class CompressionOptions {
  /** 1 (fast) to 9 (small). Default 1. (gen_rpc: `compress`) */
  @Optional()
  @Count(1, 9)
  level?: number;

  /** Payloads of more bytes than this are compressed. Default 1,024. (gen_rpc: `compression_threshold`) */
  @Optional()
  @Count(0, 1024 ** 3)
  threshold?: number;
}

/** What discovery is relied upon for. */
export class MembershipOptions {
  /**
   * A file that keeps what is known of other nodes, for a start at which the source cannot be reached. Written when that
   * changes; each node needs one of its own. Default: none.
   */
  @Optional()
  @Matches((value) => isText(value) && value !== '', 'the path of a file')
  cacheFile?: string;

  /**
   * `true`: `listen` fails with `external_source_error` where the source does not tell which nodes there are within
   * `connectTimeout`, and waits as long for it to tell of this one. Default false: the node starts, and goes on asking.
   */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  required?: boolean;
}

/** What a node tells others of itself, where its discovery lets it. Its modules and their versions are told too. */
export class AdvertiseOptions extends ShareOptions {
  /** Default: the host in its name. */
  @Optional()
  @Host()
  host?: string;

  /** For nodes behind another port than they listen on, at the first place of `listen`. Default: where it listens. */
  @Optional()
  @Port(1)
  port?: number;
}

/** When a node gets no calls of modules for a while: never the last one, and keys stay where they are. */
export class EjectionOptions {
  /** Failures in a row. Default 5. */
  @Optional()
  @Count(1, 1_000_000)
  failures?: number;

  /** ms, the first time; then doubling, with jitter. Default 1,000. */
  @Optional()
  @Milliseconds()
  min?: number;

  /** ms, at most. Default 30,000. */
  @Optional()
  @Milliseconds()
  max?: number;
}

/** Asked for the place of each node that is dialled. What it leaves out is as with `nodes` that says nothing. */
export type LocateNode = (node: string) => NodeLocationOptions | Promise<NodeLocationOptions>;

/** Waits between attempts to reach a node: doubling from `min` to `max`, with full jitter. */
export class ReconnectOptions {
  /** ms. Default 100. */
  @Optional()
  @Milliseconds()
  min?: number;

  /** ms. Default 30,000. */
  @Optional()
  @Milliseconds()
  max?: number;
}

/** How calls of functions that may run twice are made again, when their connection fails. */
export class RetryOptions {
  /** Routes of such functions, `stock.price`; `stock.*` stands for all that begin so. Default none. */
  @Optional()
  @Matches(areRoutes, 'a list of routes')
  idempotent?: readonly string[];

  /** Of one call, with the first. Default 3. */
  @Optional()
  @Count(1, 10)
  attempts?: number;

  /** Retries for each first attempt of a call that is idempotent, or of a module; over all calls. Default 0.2. */
  @Optional()
  @Matches((value) => typeof value === 'number' && value >= 0 && value <= 1, 'a number from 0 to 1')
  ratio?: number;

  /** Retries a second beside those. Default 10. */
  @Optional()
  @Count(0, 1_000_000)
  perSecond?: number;
}

function areRoutes(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => isText(one) && one !== '');
}

/** The door: what strangers may cost before they have proved anything. */
export class AdmissionOptions {
  /** Unauthenticated connections at a time. Default 512. */
  @Optional()
  @Count(1, 1_000_000)
  total?: number;

  /** Of one address. Default 32. */
  @Optional()
  @Count(1, 1_000_000)
  perAddress?: number;

  /** Failed proofs of one address within a minute, after which it is sent away unheard. Default 10. */
  @Optional()
  @Count(1, 1_000_000)
  failuresPerMinute?: number;
}

/** How much a node runs at once for others. Calls above a limit are refused at once; calls of the own node are not limited. */
export class ConcurrencyOptions {
  /** Running calls of one connection. Default 10,000. */
  @Optional()
  @Count(1, 10_000_000)
  callsPerConnection?: number;

  /** Running calls of all connections together. Default 20,000. */
  @Optional()
  @Count(1, 10_000_000)
  calls?: number;

  /** Running casts; further ones wait. Default 10,000. */
  @Optional()
  @Count(1, 10_000_000)
  casts?: number;

  /**
   * ms that the event loop may be late; above it twice within a second, new calls are refused until it is late by less
   * than half. Default 200.
   */
  @Optional()
  @MillisecondsOrInfinity()
  loopDelay?: number;
}

export const DEFAULT_LISTEN = { host: '127.0.0.1', ipv6Only: false, allowPlaintext: false } as const;
export const DEFAULT_RECONNECT = { min: 100, max: 30_000 } as const;
export const DEFAULT_KEEPALIVE = { idle: 5000, interval: 5000, count: 2 } as const;
/** A write costs 9–10 µs on each side, whatever its size; past these the peer had better start working. */
export const DEFAULT_BATCHING = { frames: 16, bytes: 1024 } as const;
/** With 512 callers worth a tenth of the calls; with 64 there is hardly more than one write a turn. */
export const DEFAULT_BATCH_GROWTH = 16;
export const DEFAULT_COMPRESSION = { level: 1, threshold: 1024 } as const;
export const DEFAULT_CONCURRENCY = {
  callsPerConnection: 10_000,
  calls: 20_000,
  casts: 10_000,
  loopDelay: 200,
} as const;
export const DEFAULT_MEMBERSHIP = { required: false } as const;
export const DEFAULT_ADVERTISE = { priority: 0, weight: 1 } as const;
export const DEFAULT_EJECTION = { failures: 5, min: 1000, max: 30_000 } as const;
export const DEFAULT_RETRY = { idempotent: [], attempts: 3, ratio: 0.2, perSecond: 10 } as const;
export const DEFAULT_ADMISSION = { total: 512, perAddress: 32, failuresPerMinute: 10 } as const;
