/** What a node can be told. Checked once, at the door; inside, everything is there. */
import { Allow, IsBoolean, IsIn } from 'class-validator';
import type { Discovery } from '../discovery/discovery.js';
import type { NodeLocationOptions } from '../options/node-location-options.js';
import { MAX_SECRETS, MIN_SECRET_BYTES, weaknessOf } from '../protocol/handshake.js';
import { isNodeName, NODE_NAME_RULE } from '../protocol/node-name.js';
import type { Codec } from '../protocol/payload.js';
import type { Tracing } from '../ports/tracing.js';
import type { ModuleControl } from '../server/module-policy.js';
import { isCodec, isDiscovery, isTracing } from './foreign-options.js';
import type {
  AdmissionOptions,
  AdvertiseOptions,
  BatchingOptions,
  CompressionOptions,
  ConcurrencyOptions,
  EjectionOptions,
  KeepaliveOptions,
  ListenOptions,
  LocateNode,
  MembershipOptions,
  ReconnectOptions,
  RetryOptions,
} from './option-groups.js';
import {
  Count,
  isText,
  Matches,
  Milliseconds,
  MillisecondsOrInfinity,
  Optional,
  Port,
} from '../options/option-rules.js';
import type { TlsOptions } from './tls-options.js';

/** Options of a node. Times are in ms, sizes in bytes. */
export class GenRpcOptions {
  /** This node's name, `name@host`. Others dial `host` unless they are told otherwise. */
  @Matches(isNodeName, NODE_NAME_RULE)
  name!: string;

  /**
   * What all nodes share (gen_rpc: the cookie), at least 16 bytes; or several, newest first, while it is being changed.
   * It proves who is there; it does not encrypt. It is never sent and not kept.
   */
  @Matches(areSecrets, `a secret of at least ${MIN_SECRET_BYTES} bytes, or 1 to ${MAX_SECRETS} of them, newest first`)
  secret!: string | readonly string[];

  /**
   * Where to accept connections, one place or several; `false`: this node only calls. Default: loopback, port 5369, or
   * 5370 over TLS.
   */
  @Allow()
  listen?: ListenOptions | readonly ListenOptions[] | false;

  /** Certificates, for the driver `tls`. */
  @Allow()
  tls?: TlsOptions;

  /** Port of nodes that `nodes` gives none. Default 5369, or 5370 over TLS. (gen_rpc: `tcp_client_port`, `ssl_client_port`) */
  @Optional()
  @Port(1)
  clientPort?: number;

  /**
   * Nodes that are elsewhere than their name says, by name; or a function that is asked for each, and whose failure
   * fails the call with `external_source_error`. (gen_rpc: `client_config_per_node`, internal and external)
   */
  @Allow()
  nodes?: Readonly<Record<string, NodeLocationOptions>> | LocateNode;

  /**
   * Where this node learns of others, and may tell them of itself. With it, `nodes` is for what it cannot tell.
   * Default: what `nodes` says. (gen_rpc: `{external, Module}`)
   */
  @Optional()
  @Matches(isDiscovery, 'an object with a function resolve(node, signal)')
  discovery?: Discovery;

  /** Default: a node starts also while its discovery cannot be reached. */
  @Allow()
  membership?: MembershipOptions;

  /** What is told of this node by its discovery; `false`: nothing. Default: where it listens, as the host in its name. */
  @Allow()
  advertise?: AdvertiseOptions | false;

  /** How calls of a module pass over nodes that fail; `false`: they do not. Default: after 5 failures, for 1 to 30 s. */
  @Allow()
  ejection?: EjectionOptions | false;

  /**
   * Driver of nodes that `nodes` says nothing about, and of `listen`. Default `tls` where there are certificates (`tls`),
   * else `tcp`. (gen_rpc: `default_client_driver`)
   */
  @Optional()
  @Matches(isText, 'the name of a driver')
  driver?: string;

  /** How values become bytes: `msgpackr` (default), `msgpack5`, or a codec of one's own. Both ends need the same. */
  @Optional()
  @Matches(isCodec, "'msgpackr', 'msgpack5' or an object { id, encode, decode }")
  codec?: 'msgpackr' | 'msgpack5' | Codec;

  /** Deadline of calls that bring none: connect, queue, send and reply together. Default 15,000. (gen_rpc: `call_receive_timeout`) */
  @Optional()
  @Milliseconds()
  callTimeout?: number;

  /** Deadline of an `sbcast` that brings none. Default 15,000. (gen_rpc: `sbcast_receive_timeout`) */
  @Optional()
  @Milliseconds()
  sbcastTimeout?: number;

  /**
   * Does what a function calls end with the call that it runs for? Default true. `false` saves up to 2.5 µs for each
   * call that is answered, on Node up to 22 and in processes that also call.
   */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  inheritDeadlines?: boolean;

  /**
   * A connection from here on which nothing was called and nothing is pending for this long is closed. Default
   * `Infinity`. (gen_rpc: `client_inactivity_timeout`)
   */
  @Optional()
  @MillisecondsOrInfinity()
  clientInactivityTimeout?: number;

  /** The same for connections to here: the client is asked to close. (gen_rpc: `server_inactivity_timeout`) */
  @Optional()
  @MillisecondsOrInfinity()
  serverInactivityTimeout?: number;

  /**
   * How long the result of an `asyncCall` is kept for somebody to fetch it. Default `Infinity`: as long as the handle.
   * (gen_rpc: `async_call_inactivity_timeout`)
   */
  @Optional()
  @MillisecondsOrInfinity()
  asyncCallInactivityTimeout?: number;

  /**
   * For an attempt to connect: to find a node, reach it and prove who is who, at all of its places together. Default
   * 5,000. (gen_rpc: `connect_timeout`)
   */
  @Optional()
  @Milliseconds()
  connectTimeout?: number;

  /**
   * For a whole handshake, counted from accept; where this node dials, as far as `connectTimeout` leaves so much. Default
   * 5,000. (gen_rpc: `authentication_timeout`)
   */
  @Optional()
  @Milliseconds()
  handshakeTimeout?: number;

  /**
   * A peer that takes no byte for this long, or gives no credit of its connection back while something waits for that,
   * is cut off. Default 5,000. (gen_rpc: `send_timeout`)
   */
  @Optional()
  @Milliseconds()
  sendTimeout?: number;

  /** A frame must be whole this long after its first byte; of a message that comes in parts, the next frame must follow within it. Default 30,000. */
  @Optional()
  @Milliseconds()
  frameReadTimeout?: number;

  /** How long `drain` waits for running calls. Default 10,000. */
  @Optional()
  @Milliseconds()
  gracePeriod?: number;

  /**
   * `false`: `drain`, and with it Nest's shutdown, waits for nothing and is `close`, unless it is given a time.
   * Default true. (Nest: `gracefulShutdown`)
   */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  gracefulShutdown?: boolean;

  /** Default: 100 ms to 30 s. */
  @Allow()
  reconnect?: ReconnectOptions;

  /** How idempotent calls are made again; `false`: no call is. Default: within 20 % of them and 10 a second. */
  @Allow()
  retry?: RetryOptions | false;

  /** `false`: a silent peer is taken to be alive. Default: it is found out within 15 s. */
  @Allow()
  keepalive?: KeepaliveOptions | false;

  /** Default: 16 frames or 1,024 bytes. */
  @Allow()
  batching?: BatchingOptions;

  /** Default `false`: nothing is compressed. */
  @Allow()
  compression?: CompressionOptions | false;

  /** Bounds of what strangers may cost. */
  @Allow()
  admission?: AdmissionOptions;

  /** Bounds of what runs at once for others. */
  @Allow()
  concurrency?: ConcurrencyOptions;

  /** Largest message, both ways. Default 4 MiB. */
  @Optional()
  @Count(1024, 1024 ** 3)
  maxMessageBytes?: number;

  /** Bytes that may wait for one slow connection before nothing more is taken. Default 64 MiB, at least twice `maxMessageBytes`. */
  @Optional()
  @Count(1024, 1024 ** 3)
  maxQueuedBytes?: number;

  /** The same for all connections together, half received messages too: above it, the one that holds most is cut. Default 256 MiB. */
  @Optional()
  @Count(1024, 1024 ** 4)
  maxBufferedBytes?: number;

  /**
   * Bytes of large messages and streams that a peer may have on the way to here. Windows begin with 128 KiB for a
   * connection and 64 KiB for a stream, and grow to twice bandwidth × round trip, up to this. Default 16 MiB.
   */
  @Optional()
  @Count(64 * 1024, 1024 ** 3)
  maxWindow?: number;

  /** Casts that may wait: for a connection, its credit, room at their node, ordered ones for their turn. Default 10,000. */
  @Optional()
  @Count(0, 10_000_000)
  maxQueuedCasts?: number;

  /** Upper bound of connections to one node: keys share them. Default 16. */
  @Optional()
  @Count(1, 1024)
  maxLanesPerNode?: number;

  /** Connections to all nodes: to make another, the least recently used idle one is closed. Default 4,096. */
  @Optional()
  @Count(1, 1_000_000)
  maxLanes?: number;

  /** Do casts take connections of their own, beside those of calls? Default `shared`: they do not. */
  @Optional()
  @IsIn(['shared', 'separate'], { message: 'shared or separate' })
  castLanes?: 'shared' | 'separate';

  /** Narrows what may be called. Default `disabled`: every registered module. (gen_rpc: `rpc_module_control`) */
  @Optional()
  @IsIn(['disabled', 'whitelist', 'blacklist'], { message: 'disabled, whitelist or blacklist' })
  moduleControl?: ModuleControl;

  /** Modules for `moduleControl`; one that ends in `*` stands for all that begin like it. (gen_rpc: `rpc_module_list`) */
  @Optional()
  @Matches((value) => Array.isArray(value) && value.every(isText), 'a list of module names')
  moduleList?: readonly string[];

  /**
   * Processes of one name and one `life` are one node, of which each serves some connections. Default: drawn at the
   * start, so that a second process is a stranger. Any text, the same in all of them, another after every restart.
   */
  @Optional()
  @Matches((value) => typeof value === 'string' && value.length >= 1 && value.length <= 255, '1 to 255 characters')
  life?: string;

  /**
   * A stranger with a connected node's name: replaces it (`newest`, default) or is sent away (`refuse`). One without a
   * certificate never replaces one that has shown its own.
   */
  @Optional()
  @IsIn(['newest', 'refuse'], { message: 'newest or refuse' })
  duplicateNodes?: 'newest' | 'refuse';

  /**
   * Who follows calls from node to node: `openTelemetry()` of `nestjs-gen-rpc/opentelemetry`, or one of one's own.
   * Default: nobody, and nothing is done for it.
   */
  @Optional()
  @Matches(isTracing, 'an object with functions outgoing(call) and incoming(call)')
  tracing?: Tracing;

  /** Send messages and stacks of unexpected errors to remote callers. For development only. Default false. */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  exposeErrors?: boolean;
}

function areSecrets(value: unknown): boolean {
  const secrets = Array.isArray(value) ? value : [value];
  return secrets.length > 0 && secrets.length <= MAX_SECRETS && secrets.every((one) => weaknessOf(one) === undefined);
}
