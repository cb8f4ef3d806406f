/** What a node can be told. Checked once, at the door; inside, everything is there. */
import { Allow, IsBoolean, IsIn, IsInt, Max, Min, ValidateBy, ValidateIf } from 'class-validator';
import { DEFAULT_MAX_MESSAGE_BYTES } from '../protocol/frame.js';
import { MAX_SECRETS, MIN_SECRET_BYTES, weaknessOf } from '../protocol/handshake.js';
import { isNodeName, NODE_NAME_RULE } from '../protocol/node-name.js';
import type { Codec } from '../protocol/payload.js';
import { MAX_TIMER_MS } from '../ports/clock.js';
import type { ModuleControl } from '../server/module-policy.js';

/** `expected` is what the error says is allowed. */
function Matches(matches: (value: unknown) => boolean, expected: string): PropertyDecorator {
  return ValidateBy({ name: 'matches', validator: { validate: matches, defaultMessage: () => expected } });
}

/** May be left out, or `undefined`. Not `null`: class-validator's own `IsOptional` lets that through unseen. */
function Optional(): PropertyDecorator {
  return ValidateIf((_, value) => value !== undefined);
}

function Milliseconds(): PropertyDecorator {
  const rule = `whole ms from 1 to ${MAX_TIMER_MS}`;
  return Matches((value) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_TIMER_MS, rule);
}

function Port(least: 0 | 1): PropertyDecorator {
  const rule = `${least}..65535`;
  return Matches((value) => Number.isInteger(value) && Number(value) >= least && Number(value) <= 65535, rule);
}

function Count(least: number, most: number): PropertyDecorator {
  const message = `a whole number from ${least} to ${most}`;
  const rules = [IsInt({ message }), Min(least, { message }), Max(most, { message })];
  return (target, key) => rules.forEach((rule) => rule(target, key));
}

const isHost = (value: unknown): boolean => typeof value === 'string' && /^[A-Za-z0-9_.:-]{1,253}$/.test(value);
const isText = (value: unknown): boolean => typeof value === 'string';

/** Where this node accepts connections. */
export class ListenOptions {
  /** Address to bind. Default `127.0.0.1`. Any other than loopback needs `allowPlaintext`. (gen_rpc: `socket_ip`) */
  @Optional()
  @Matches(isHost, 'a host name or address')
  host?: string;

  /** Default 5369; 0: any free port. (gen_rpc: `tcp_server_port`) */
  @Optional()
  @Port(0)
  port?: number;

  /** Accept unencrypted connections from beyond this machine. The secret never travels, but everything else does. */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  allowPlaintext?: boolean;
}

/** Where one other node is, as far as that is not told by its name. (gen_rpc: `client_config_per_node`) */
export class NodeLocationOptions {
  @Optional()
  @Matches(isHost, 'a host name or address')
  host?: string;

  @Optional()
  @Port(1)
  port?: number;

  /** A driver's name. */
  @Optional()
  @Matches(isText, 'the name of a driver')
  driver?: string;
}

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

  /** Where to accept connections; `false`: this node only calls. Default: loopback, port 5369. */
  @Allow()
  listen?: ListenOptions | false;

  /** Port of nodes that `nodes` says nothing about. Default 5369. (gen_rpc: `tcp_client_port`) */
  @Optional()
  @Port(1)
  clientPort?: number;

  /** Nodes that are elsewhere than their name says, by name. */
  @Allow()
  nodes?: Readonly<Record<string, NodeLocationOptions>>;

  /** Driver of nodes that `nodes` says nothing about. Default `tcp`. (gen_rpc: `default_client_driver`) */
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

  /** For finding and reaching a node. Default 5,000. (gen_rpc: `connect_timeout`) */
  @Optional()
  @Milliseconds()
  connectTimeout?: number;

  /** For a whole handshake, counted from accept. Default 5,000. (gen_rpc: `authentication_timeout`) */
  @Optional()
  @Milliseconds()
  handshakeTimeout?: number;

  /** A peer that takes no byte for this long is cut off. Default 5,000. (gen_rpc: `send_timeout`) */
  @Optional()
  @Milliseconds()
  sendTimeout?: number;

  /** A frame must be whole this long after its header. Default 30,000. */
  @Optional()
  @Milliseconds()
  frameReadTimeout?: number;

  /** How long `drain` waits for running calls. Default 10,000. */
  @Optional()
  @Milliseconds()
  gracePeriod?: number;

  @Allow()
  reconnect?: ReconnectOptions;

  @Allow()
  admission?: AdmissionOptions;

  /** Largest message, both ways. Default 4 MiB. */
  @Optional()
  @Count(1024, 1024 ** 3)
  maxMessageBytes?: number;

  /** Bytes that may wait for one slow connection before nothing more is taken. Default 8 MiB, at least twice `maxMessageBytes`. */
  @Optional()
  @Count(1024, 1024 ** 3)
  maxQueuedBytes?: number;

  /** Casts that may wait while a connection is made. Default 10,000. */
  @Optional()
  @Count(0, 10_000_000)
  maxQueuedCasts?: number;

  /** Upper bound of connections to one node: keys share them. Default 16. */
  @Optional()
  @Count(1, 1024)
  maxLanesPerNode?: number;

  /** Narrows what may be called. Default `disabled`: every registered module. (gen_rpc: `rpc_module_control`) */
  @Optional()
  @IsIn(['disabled', 'whitelist', 'blacklist'], { message: 'disabled, whitelist or blacklist' })
  moduleControl?: ModuleControl;

  /** Modules for `moduleControl`. (gen_rpc: `rpc_module_list`) */
  @Optional()
  @Matches((value) => Array.isArray(value) && value.every(isText), 'a list of module names')
  moduleList?: readonly string[];

  /** A second process with a connected node's name: replaces it (`newest`, default) or is sent away (`refuse`). */
  @Optional()
  @IsIn(['newest', 'refuse'], { message: 'newest or refuse' })
  duplicateNodes?: 'newest' | 'refuse';

  /** Send messages and stacks of unexpected errors to remote callers. For development only. Default false. */
  @Optional()
  @IsBoolean({ message: 'true or false' })
  exposeErrors?: boolean;
}

/** Defaults of everything that has one. */
export const DEFAULT_OPTIONS = {
  clientPort: 5369,
  driver: 'tcp',
  codec: 'msgpackr',
  callTimeout: 15_000,
  connectTimeout: 5_000,
  handshakeTimeout: 5_000,
  sendTimeout: 5_000,
  frameReadTimeout: 30_000,
  gracePeriod: 10_000,
  maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES,
  maxQueuedBytes: 8 * 1024 * 1024,
  maxQueuedCasts: 10_000,
  maxLanesPerNode: 16,
  moduleControl: 'disabled',
  moduleList: [],
  duplicateNodes: 'newest',
  exposeErrors: false,
} as const satisfies Partial<GenRpcOptions>;

export const DEFAULT_LISTEN = { host: '127.0.0.1', port: 5369, allowPlaintext: false } as const;
export const DEFAULT_RECONNECT = { min: 100, max: 30_000 } as const;
export const DEFAULT_ADMISSION = { total: 512, perAddress: 32, failuresPerMinute: 10 } as const;

function areSecrets(value: unknown): boolean {
  const secrets = Array.isArray(value) ? value : [value];
  return secrets.length > 0 && secrets.length <= MAX_SECRETS && secrets.every((one) => weaknessOf(one) === undefined);
}

function isCodec(value: unknown): boolean {
  if (value === 'msgpackr' || value === 'msgpack5') return true;
  if (typeof value !== 'object' || value === null) return false;
  const { id, encode, decode } = value as Partial<Codec>;
  return /^[a-z0-9-]{1,32}$/.test(id ?? '') && typeof encode === 'function' && typeof decode === 'function';
}
