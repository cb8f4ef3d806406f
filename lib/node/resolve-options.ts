/** From what a user wrote to what a node runs on, or one error that names every problem. */
import type { Batching } from '../connection/frame-writer.js';
import { getMetadataStorage, validateSync } from 'class-validator';
import { weaknessOf } from '../protocol/handshake.js';
import { nearestName } from '../protocol/nearest-name.js';
import { isNodeName, NODE_NAME_RULE } from '../protocol/node-name.js';
import { GenRpcConfigError, type Problem } from './config-error.js';
import {
  AdmissionOptions,
  BatchingOptions,
  CompressionOptions,
  ConcurrencyOptions,
  DEFAULT_ADMISSION,
  DEFAULT_BATCH_GROWTH,
  DEFAULT_BATCHING,
  DEFAULT_COMPRESSION,
  DEFAULT_CONCURRENCY,
  DEFAULT_KEEPALIVE,
  DEFAULT_LISTEN,
  DEFAULT_RECONNECT,
  DEFAULT_RETRY,
  KeepaliveOptions,
  ListenOptions,
  NodeLocationOptions,
  ReconnectOptions,
  RetryOptions,
  type LocateNode,
} from './option-groups.js';
import { DEFAULT_OPTIONS, GenRpcOptions } from './options.js';

export interface ResolvedOptions extends Required<
  Omit<GenRpcOptions, 'secret' | 'listen' | 'nodes' | 'life' | GroupName>
> {
  readonly secrets: readonly string[];
  readonly listen: Required<ListenOptions> | false;
  readonly nodes: ReadonlyMap<string, NodeLocationOptions> | LocateNode;
  readonly life: string | undefined;
  readonly reconnect: Required<ReconnectOptions>;
  readonly retry: Required<RetryOptions> | undefined;
  readonly admission: Required<AdmissionOptions>;
  readonly batching: Batching;
  readonly keepalive: Required<KeepaliveOptions> | undefined;
  readonly compression: Required<CompressionOptions> | undefined;
  readonly concurrency: Required<ConcurrencyOptions>;
}

/** Options that are groups of options. */
const GROUPS = {
  reconnect: ReconnectOptions,
  retry: RetryOptions,
  admission: AdmissionOptions,
  batching: BatchingOptions,
  keepalive: KeepaliveOptions,
  compression: CompressionOptions,
  concurrency: ConcurrencyOptions,
} as const;

type GroupName = keyof typeof GROUPS;

/** Groups that may be switched off. */
const SWITCHES: ReadonlySet<string> = new Set<GroupName>(['keepalive', 'compression', 'retry']);

/** What gen_rpc calls it, where that is another word. */
const RENAMED = new Map([
  ['cookie', 'secret'],
  ['authentication_timeout', 'handshakeTimeout'],
  ['call_receive_timeout', 'callTimeout'],
  ['sbcast_receive_timeout', 'sbcastTimeout'],
  ['socket_keepalive_idle', 'keepalive.idle'],
  ['socket_keepalive_interval', 'keepalive.interval'],
  ['socket_keepalive_count', 'keepalive.count'],
  ['max_batch_size', 'batching.frames'],
  ['compress', 'compression.level'],
  ['compression_threshold', 'compression.threshold'],
  ['ipv6_only', 'listen.ipv6Only'],
  ['tcp_server_port', 'listen.port'],
  ['socket_ip', 'listen.host'],
  ['tcp_client_port', 'clientPort'],
  ['client_config_per_node', 'nodes'],
  ['default_client_driver', 'driver'],
  ['rpc_module_control', 'moduleControl'],
  ['rpc_module_list', 'moduleList'],
]);

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|localhost)$/i;

/** @throws GenRpcConfigError. `where` names the call that got the options; `drivers` are those that there are. */
export function resolveOptions(
  given: GenRpcOptions,
  where: string,
  drivers: readonly string[] = ['tcp'],
): ResolvedOptions {
  if (!isRecord(given)) {
    throw new GenRpcConfigError(where, [
      { path: 'options', expected: 'an object with at least name and secret', got: given },
    ]);
  }
  const problems = problemsOf(given, drivers);
  if (problems.length > 0) throw new GenRpcConfigError(where, problems);
  const { secret, listen, nodes, life, ...rest } = withoutUndefined(given);
  const { reconnect, retry, admission, batching, keepalive, compression, concurrency, ...flat } = {
    ...DEFAULT_OPTIONS,
    ...rest,
  };
  return {
    ...flat,
    // One message that is allowed must not close the way to all others.
    maxQueuedBytes: rest.maxQueuedBytes ?? Math.max(DEFAULT_OPTIONS.maxQueuedBytes, 2 * flat.maxMessageBytes),
    secrets: typeof secret === 'string' ? [secret] : secret,
    life,
    listen: listen === false ? false : withDefaults(DEFAULT_LISTEN, listen),
    nodes: typeof nodes === 'function' ? nodes : locationsOf(nodes ?? {}),
    reconnect: withDefaults(DEFAULT_RECONNECT, reconnect),
    retry: retry === false ? undefined : withDefaults<RetryOptions>(DEFAULT_RETRY, retry),
    admission: withDefaults(DEFAULT_ADMISSION, admission),
    batching: {
      ...withDefaults(DEFAULT_BATCHING, batching),
      growth: batching === undefined ? DEFAULT_BATCH_GROWTH : 1,
    },
    keepalive: keepalive === false ? undefined : withDefaults(DEFAULT_KEEPALIVE, keepalive),
    concurrency: withDefaults(DEFAULT_CONCURRENCY, concurrency),
    compression: compression ? withDefaults(DEFAULT_COMPRESSION, compression) : undefined,
  };
}

function locationsOf(nodes: Readonly<Record<string, NodeLocationOptions>>): ReadonlyMap<string, NodeLocationOptions> {
  return new Map(Object.entries(nodes).map(([node, location]) => [node, withoutUndefined(location)]));
}

function withDefaults<T extends object>(defaults: Required<T>, given: T = {} as T): Required<T> {
  return { ...defaults, ...withoutUndefined(given) };
}

function problemsOf(given: GenRpcOptions, drivers: readonly string[]): Problem[] {
  const { listen, nodes, ...rest } = given;
  const flat = Object.fromEntries(Object.entries(rest).filter(([name]) => !(name in GROUPS)));
  return [
    ...check(GenRpcOptions, flat, ''),
    ...driverProblems(given.driver, drivers, 'driver'),
    ...(listen === undefined || listen === false
      ? []
      : [...check(ListenOptions, listen, 'listen'), ...exposure(listen)]),
    ...(nodes === undefined || typeof nodes === 'function' ? [] : nodeProblems(nodes, drivers)),
    ...(Object.keys(GROUPS) as GroupName[]).flatMap((name) => groupProblems(name, given[name])),
    ...(given.reconnect === undefined ? [] : order(given.reconnect)),
  ];
}

function groupProblems(name: GroupName, given: unknown): Problem[] {
  if (given === undefined || (given === false && SWITCHES.has(name))) return [];
  return check(GROUPS[name], given, name);
}

function driverProblems(driver: unknown, drivers: readonly string[], path: string): Problem[] {
  if (typeof driver !== 'string' || drivers.includes(driver)) return [];
  return [{ path, expected: `a driver that there is: ${drivers.join(', ')}`, got: driver }];
}

function nodeProblems(nodes: unknown, drivers: readonly string[]): Problem[] {
  if (!isRecord(nodes))
    return [{ path: 'nodes', expected: 'an object from node name to location, or a function', got: nodes }];
  return Object.entries(nodes).flatMap(([node, location]) => {
    const path = `nodes[${JSON.stringify(node)}]`;
    const named = isNodeName(node) ? [] : [{ path, expected: NODE_NAME_RULE, got: node }];
    const driver = isRecord(location) ? driverProblems(location['driver'], drivers, `${path}.driver`) : [];
    return [...named, ...check(NodeLocationOptions, location, path), ...driver];
  });
}

/** Plain TCP beyond this machine is a decision, not a default. */
function exposure(listen: ListenOptions): Problem[] {
  if (!isRecord(listen) || typeof listen.host !== 'string' || LOOPBACK.test(listen.host)) return [];
  if (listen.allowPlaintext === true) return [];
  const expected =
    'a loopback address, or listen.allowPlaintext: true (without TLS, others can read and change what is sent)';
  return [{ path: 'listen.host', expected, got: listen.host }];
}

function order(reconnect: ReconnectOptions): Problem[] {
  const { min, max } = withDefaults<ReconnectOptions>(DEFAULT_RECONNECT, isRecord(reconnect) ? reconnect : {});
  return min > max ? [{ path: 'reconnect.max', expected: `at least reconnect.min, which is ${min}`, got: max }] : [];
}

/** Runs class-validator; each rule's message says what is allowed. */
function check(type: new () => object, given: unknown, path: string): Problem[] {
  if (!isRecord(given)) return [{ path, expected: 'an object', got: given }];
  const at = (property: string): string => (path === '' ? property : `${path}.${property}`);
  const options = { whitelist: true, forbidNonWhitelisted: true, forbidUnknownValues: true };
  return validateSync(Object.assign(new type(), given), options).map(({ property, constraints, value }): Problem => {
    if (constraints !== undefined && 'whitelistValidation' in constraints) {
      return { path: at(property), expected: `no option of this name; ${hintFor(property, type)}` };
    }
    const expected = Object.values(constraints ?? {})[0] ?? 'another value';
    return property === 'secret' ? secretProblem(value) : { path: at(property), expected, got: value };
  });
}

function hintFor(property: string, type: new () => object): string {
  if (property.startsWith('ssl_')) return 'there is no TLS driver yet';
  const rules = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
  const nearest =
    RENAMED.get(property) ?? nearestName(property, new Set(rules.map(({ propertyName }) => propertyName)));
  return nearest === undefined ? 'see the list of options in the docs' : `did you mean ${nearest}?`;
}

/** Says what is wrong with a secret without repeating it. */
function secretProblem(value: unknown): Problem {
  const secrets: unknown[] = Array.isArray(value) ? value : [value];
  if (value === undefined || secrets.length === 0) {
    return { path: 'secret', expected: 'one that all your nodes share: openssl rand -base64 32' };
  }
  const weakness = secrets.map(weaknessOf).find((one) => one !== undefined);
  return { path: 'secret', expected: `1 to 4 strong secrets; one ${weakness ?? 'is too many'}` };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `{ port: undefined }` means the default, as leaving it out does. */
function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;
}
