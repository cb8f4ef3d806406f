/** From what a user wrote to what a node runs on, or one error that names every problem. */
import type { Batching } from '../connection/frame-writer.js';
import type { Discovery } from '../discovery/discovery.js';
import { NodeLocationOptions } from '../options/node-location-options.js';
import type { Tracing } from '../ports/tracing.js';
import { isNodeName, NODE_NAME_RULE } from '../protocol/node-name.js';
import { check, driverProblems, isRecord, withDefaults, withoutUndefined } from '../options/check-options.js';
import { GenRpcConfigError, type Problem } from '../options/config-error.js';
import { DEFAULT_OPTIONS } from './default-options.js';
import {
  AdmissionOptions,
  AdvertiseOptions,
  BatchingOptions,
  CompressionOptions,
  ConcurrencyOptions,
  DEFAULT_ADMISSION,
  DEFAULT_BATCH_GROWTH,
  DEFAULT_ADVERTISE,
  DEFAULT_BATCHING,
  DEFAULT_COMPRESSION,
  DEFAULT_CONCURRENCY,
  DEFAULT_EJECTION,
  DEFAULT_KEEPALIVE,
  DEFAULT_MEMBERSHIP,
  DEFAULT_RECONNECT,
  DEFAULT_RETRY,
  EjectionOptions,
  KeepaliveOptions,
  MembershipOptions,
  ReconnectOptions,
  RetryOptions,
  type LocateNode,
} from './option-groups.js';
import { GenRpcOptions } from './options.js';
import { defaultPort, DEFAULT_PORTS, listenProblems, resolveListen, type ResolvedListen } from './resolve-listen.js';
import { resolveTls, tlsProblems, type ResolvedTls } from './resolve-tls.js';

export interface ResolvedOptions extends Required<
  Omit<GenRpcOptions, 'secret' | 'listen' | 'nodes' | 'discovery' | 'life' | 'tls' | 'tracing' | GroupName>
> {
  readonly secrets: readonly string[];
  /** Empty: this node only calls. */
  readonly listen: readonly ResolvedListen[];
  /** Ports of nodes that nothing gives one, where they depend on the driver. */
  readonly driverPorts: ReadonlyMap<string, number>;
  readonly tls: ResolvedTls | undefined;
  readonly nodes: ReadonlyMap<string, NodeLocationOptions> | LocateNode;
  readonly discovery: Discovery | undefined;
  /** `undefined`: nobody. */
  readonly tracing: Tracing | undefined;
  readonly membership: MembershipOptions & { readonly required: boolean };
  /** `undefined`: nothing is told. */
  readonly advertise: AdvertiseOptions | undefined;
  readonly ejection: Required<EjectionOptions> | undefined;
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
  membership: MembershipOptions,
  advertise: AdvertiseOptions,
  ejection: EjectionOptions,
} as const;

type GroupName = keyof typeof GROUPS;

/** Groups that may be switched off. */
const SWITCHES: ReadonlySet<string> = new Set<GroupName>([
  ...(['keepalive', 'compression', 'retry', 'advertise', 'ejection'] as const),
]);

/** @throws GenRpcConfigError. `where` names the call that got the options; `drivers` are those that there are beside TLS. */
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
  const { secret, listen, nodes, discovery, life, tls, tracing, ...rest } = withoutUndefined(given);
  const driver = driverOf(given);
  const { reconnect, retry, admission, batching, keepalive, compression, concurrency, ...others } = {
    ...DEFAULT_OPTIONS,
    ...rest,
  };
  const { membership, advertise, ejection, ...flat } = others;
  return {
    ...flat,
    driver,
    clientPort: rest.clientPort ?? defaultPort(driver),
    driverPorts: rest.clientPort === undefined ? DEFAULT_PORTS : new Map(),
    tls: resolveTls(tls),
    // One message that is allowed must not close the way to all others.
    maxQueuedBytes: rest.maxQueuedBytes ?? Math.max(DEFAULT_OPTIONS.maxQueuedBytes, 2 * flat.maxMessageBytes),
    secrets: typeof secret === 'string' ? [secret] : secret,
    life,
    discovery,
    tracing,
    membership: { ...DEFAULT_MEMBERSHIP, ...withoutUndefined(membership ?? {}) },
    advertise: advertise === false ? undefined : { ...DEFAULT_ADVERTISE, ...withoutUndefined(advertise ?? {}) },
    ejection: ejection === false ? undefined : withDefaults<EjectionOptions>(DEFAULT_EJECTION, ejection),
    listen: resolveListen(listen, driver),
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

/** Who has certificates means to use them: what is not encrypted has to be asked for. */
function driverOf({ driver, tls }: GenRpcOptions): string {
  return driver ?? (tls === undefined ? 'tcp' : 'tls');
}

function locationsOf(nodes: Readonly<Record<string, NodeLocationOptions>>): ReadonlyMap<string, NodeLocationOptions> {
  return new Map(Object.entries(nodes).map(([node, location]) => [node, withoutUndefined(location)]));
}

function problemsOf(given: GenRpcOptions, others: readonly string[]): Problem[] {
  const { listen, nodes, tls, ...rest } = given;
  const drivers = tls === undefined ? others : [...others, 'tls'];
  const flat = Object.fromEntries(Object.entries(rest).filter(([name]) => !(name in GROUPS)));
  return [
    ...check(GenRpcOptions, flat, ''),
    ...driverProblems(given.driver, drivers, 'driver'),
    ...listenProblems(listen, driverOf(given), drivers),
    ...tlsProblems(tls),
    ...(nodes === undefined || typeof nodes === 'function' ? [] : nodeProblems(nodes, drivers)),
    ...(Object.keys(GROUPS) as GroupName[]).flatMap((name) => groupProblems(name, given[name])),
    ...order('reconnect', given.reconnect, DEFAULT_RECONNECT),
    ...order('ejection', given.ejection, DEFAULT_EJECTION),
  ];
}

function groupProblems(name: GroupName, given: unknown): Problem[] {
  if (given === undefined || (given === false && SWITCHES.has(name))) return [];
  return check(GROUPS[name], given, name);
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

/** Of two bounds, the lower must not be above the upper one. */
function order(group: GroupName, given: unknown, defaults: { min: number; max: number }): Problem[] {
  const { min, max } = { ...defaults, ...(isRecord(given) ? withoutUndefined(given) : {}) };
  return min > max ? [{ path: `${group}.max`, expected: `at least ${group}.min, which is ${min}`, got: max }] : [];
}
