/** Puts a node together: the one place where parts meet. */
import { Dialer } from '../client/dialer.js';
import { Candidates } from '../client/candidates.js';
import { Dispatcher } from '../client/dispatcher.js';
import { Ejections } from '../client/ejections.js';
import { Picker } from '../client/picker.js';
import { newIncarnation, type Identity } from '../connection/authenticate.js';
import { Buffers } from '../connection/buffers.js';
import { Deadlines } from '../connection/deadlines.js';
import { GuardedTracing } from '../connection/guarded-tracing.js';
import { Journal } from '../connection/journal.js';
import { ExternalDiscovery } from '../discovery/external.discovery.js';
import { StaticDiscovery } from '../discovery/static.discovery.js';
import type { Driver } from '../driver/driver.js';
import type { CertificateFiles } from '../certificates/certificate-files.js';
import { systemCalendar, systemClock, systemRandom, systemSignals } from '../system/system.js';
import { systemFiles } from '../system/system-files.js';
import { TcpDriver } from '../driver/tcp.driver.js';
import { TlsDriver, type TlsRules } from '../driver/tls.driver.js';
import { deriveKeys } from '../protocol/handshake.js';
import { FunctionNames } from '../protocol/invocation.js';
import { hashKey } from '../protocol/key-hash.js';
import { Msgpack5Codec } from '../protocol/msgpack/msgpack5.codec.js';
import { MsgpackrCodec } from '../protocol/msgpack/msgpackr.codec.js';
import type { Codec } from '../protocol/payload.js';
import type { Calendar } from '../ports/calendar.js';
import type { Clock } from '../ports/clock.js';
import type { Files } from '../ports/files.js';
import { silentLog, type Log } from '../ports/log.js';
import type { ProcessSignals } from '../ports/process-signals.js';
import type { Random } from '../ports/random.js';
import type { Tracing } from '../ports/tracing.js';
import { Invoker, type InvokerOptions } from '../server/invoker.js';
import { ModulePolicy } from '../server/module-policy.js';
import { ModuleRegistry } from '../server/module-registry.js';
import { Server } from '../server/server.js';
import { Broadcasts } from './broadcasts.js';
import { Calls, type CallsParts } from './calls.js';
import { certificatesOf } from './certificates.js';
import { Directory, type DirectoryParts } from './directory.js';
import { GenRpcNode } from './gen-rpc-node.js';
import { LocalCalls } from './local-call.js';
import { DEFAULT_RETRY } from './option-groups.js';
import type { GenRpcOptions } from './options.js';
import type { StatusListener } from './node-parts.js';
import { resolveOptions, type ResolvedOptions } from './resolve-options.js';
import type { ResolvedTls } from './resolve-tls.js';
import { Retries } from './retry.js';
import { RetryBudget } from './retry-budget.js';
import { TracedCalls, transportOf } from './traced-calls.js';
import { WaitingCalls } from './waiting-calls.js';

/** What a node takes from its surroundings. Everything has a default. */
export interface NodePorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Beside or instead of the drivers `tcp` and `tls`. */
  readonly drivers: readonly Driver[];
  /** By which certificates are valid. */
  readonly calendar: Calendar;
  /** Where certificates are read from. */
  readonly files: Files;
  /** For `tls.reloadSignal`. */
  readonly signals: ProcessSignals;
}

/** What the parts of one node share. */
interface Shared {
  readonly options: ResolvedOptions;
  readonly self: Identity;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly deadlines: Deadlines;
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly statusListeners: Set<StatusListener>;
  /** `undefined`: nobody follows calls. */
  readonly tracing: Tracing | undefined;
}

/** @throws GenRpcConfigError naming every problem; `where` is the call that got the options. */
export function createNode(given: GenRpcOptions, ports: Partial<NodePorts> = {}, where = 'createNode()'): GenRpcNode {
  const clock = ports.clock ?? systemClock;
  const known = ['tcp', ...(ports.drivers ?? []).map(({ name }) => name)];
  const resolved = resolveOptions(given, where, known);
  const journal = new Journal(ports.log ?? silentLog, clock);
  const certificates = certificatesFor(resolved, ports, where, { clock, journal });
  const shared: Shared = {
    options: resolved,
    clock,
    journal,
    deadlines: new Deadlines(clock),
    drivers: driversOf(resolved, certificates, clock, ports.drivers),
    statusListeners: new Set(),
    tracing: resolved.tracing === undefined ? undefined : new GuardedTracing(resolved.tracing, journal),
    self: identityOf(resolved, clock, ports.random ?? systemRandom),
  };
  const policy = new ModulePolicy(resolved.moduleControl, resolved.moduleList);
  const registry = new ModuleRegistry(policy);
  const { deadlines } = shared;
  const { name: node, sbcastTimeout, maxMessageBytes } = resolved;
  const invoker = invokerOf(shared, registry);
  const codec = shared.self.codecs[0] ?? new MsgpackrCodec();
  const directory = directoryOf(shared, ports.files ?? systemFiles, (moved, leadsThere) =>
    dispatcher.relocate(moved, leadsThere),
  );
  const dispatcher = dispatcherOf(shared, directory);
  const server = serverOf(shared, invoker);
  const local = new LocalCalls({ clock, deadlines, journal, node, codec, maxMessageBytes, invoker, server });
  const waiting = new WaitingCalls();
  const calls = callsOf(shared, { directory, dispatcher, local, waiting });
  const everyone = (): string[] => [node, ...dispatcher.nodes()];
  const broadcasts = new Broadcasts({ calls, clock, sbcastTimeout, everyone });
  // The secrets end here: what the node keeps are keys that cannot be read back.
  const { secrets: _, tls: __, ...options } = resolved;
  const { buffers } = shared.self.settings;
  certificates?.start();
  directory.start();
  const incarnation = Buffer.from(shared.self.incarnation).toString('hex');
  const parts = {
    ...{ registry, policy, dispatcher, server, local, calls, broadcasts, buffers },
    ...{ certificates, directory, waiting, incarnation },
  };
  return new GenRpcNode({ ...shared, ...parts, options });
}

/** What goes from here. */
interface Ways {
  readonly directory: Directory;
  readonly dispatcher: Dispatcher;
  readonly local: LocalCalls;
  readonly waiting: WaitingCalls;
}

function callsOf({ options, self, clock, journal, deadlines, tracing }: Shared, ways: Ways): Calls {
  const { name: node, callTimeout, connectTimeout, retry, ejection } = options;
  const { directory, dispatcher, local, waiting } = ways;
  const { random } = self;
  const isMember = (other: string): boolean => directory.membership.get(other) !== undefined;
  const ejections = new Ejections(ejection, { clock, random, journal, isMember });
  directory.listeners.add(({ type, member }) => {
    if (type === 'down') ejections.forget(member.name);
  });
  const hashOf = (key: unknown): number => dispatcher.hashOf(key);
  const picker = new Picker({
    ...{ ejections, random, hashOf, candidates: new Candidates(directory.membership, hashOf) },
    loadOf: (other) => (other === node ? local.size : dispatcher.loadOf(other)),
    isDown: (other) => other !== node && dispatcher.isDown(other),
  });
  const budget = new RetryBudget(clock, retry ?? DEFAULT_RETRY);
  const parts: CallsParts = {
    ...{ node, callTimeout, connectTimeout, clock, journal, deadlines, picker, ejections, budget, ...ways },
    names: new FunctionNames(),
    retries: retry === undefined ? undefined : new Retries(retry, { clock, random, journal, waiting, budget }),
  };
  return tracing === undefined ? new Calls(parts) : new TracedCalls(parts, tracing);
}

function invokerOf({ options, journal, clock, tracing }: Shared, registry: ModuleRegistry): Invoker {
  const { exposeErrors, inheritDeadlines } = options;
  const follow = tracing === undefined ? undefined : followerOf(options, tracing);
  return new Invoker({ registry, journal, clock, exposeErrors, inheritDeadlines, follow });
}

/** Tells of calls that come here. */
function followerOf({ name: node, listen }: ResolvedOptions, tracing: Tracing): InvokerOptions['follow'] {
  const [transport, ...others] = new Set(listen.map(({ driver }) => transportOf(driver)));
  const remote = others.length === 0 ? transport : undefined;
  return (call, known) => {
    const { caller, headers, name } = call;
    const kind = call.remainingMs() === Infinity ? 'cast' : 'call';
    const over = caller.address === 'local' ? undefined : remote;
    return tracing.incoming({ kind, module: name.module, fn: name.fn, headers, node, known, caller, transport: over });
  };
}

/** By name; those that were brought along go before. */
function driversOf(
  { tls }: ResolvedOptions,
  certificates: CertificateFiles | undefined,
  clock: Clock,
  given: readonly Driver[] = [],
): ReadonlyMap<string, Driver> {
  const known: Driver[] = [new TcpDriver(clock)];
  if (tls !== undefined && certificates !== undefined) known.push(new TlsDriver(clock, certificates, rulesOf(tls)));
  return new Map([...known, ...given].map((driver) => [driver.name, driver]));
}

/** Without the key. */
function rulesOf({ minVersion, allowWildcards, allowCommonName }: ResolvedTls): TlsRules {
  return { minVersion, allowWildcards, allowCommonName };
}

/** Not watched yet. @throws GenRpcConfigError where the certificates will not do. */
function certificatesFor(
  options: ResolvedOptions,
  { calendar = systemCalendar, files = systemFiles, signals = systemSignals, log = silentLog }: Partial<NodePorts>,
  where: string,
  { clock, journal }: { clock: Clock; journal: Journal },
): CertificateFiles | undefined {
  if (options.tls === undefined) return undefined;
  return certificatesOf(options, options.tls, where, { clock, calendar, files, signals, journal, log });
}

function identityOf(options: ResolvedOptions, clock: Clock, random: Random): Identity {
  const { name, secrets, codec, life, compression } = options;
  const { maxMessageBytes, frameReadTimeout, sendTimeout, maxQueuedBytes, maxWindow, batching, keepalive } = options;
  const buffers = new Buffers(options.maxBufferedBytes);
  return {
    node: name,
    incarnation: newIncarnation(random, life),
    // Not by way of a Buffer: those share memory, and whoever prints one of them prints the others.
    keys: secrets.map((secret) => deriveKeys(new TextEncoder().encode(secret))),
    codecs: [codecOf(codec)],
    settings: {
      ...{ frameReadTimeout, sendTimeout, maxQueuedBytes, maxMessageBytes, maxWindow, batching, keepalive },
      buffers,
    },
    compression,
    clock,
    random,
  };
}

function codecOf(codec: 'msgpackr' | 'msgpack5' | Codec): Codec {
  if (codec === 'msgpackr') return new MsgpackrCodec();
  return codec === 'msgpack5' ? new Msgpack5Codec() : codec;
}

function dispatcherOf(shared: Shared, directory: Directory): Dispatcher {
  const { options, self, clock, journal, drivers, statusListeners } = shared;
  const { connectTimeout, handshakeTimeout, maxQueuedCasts, maxLanesPerNode, maxLanes, castLanes, reconnect } = options;
  const { addresses } = directory;
  const dialer = new Dialer({ self, addresses, drivers, journal, connectTimeout, handshakeTimeout });
  const keyCodec = new MsgpackrCodec();
  return new Dispatcher({
    self: self.node,
    clock,
    journal,
    random: self.random,
    maxQueuedCasts,
    maxLanesPerNode,
    maxLanes,
    castLanes,
    inactivityTimeout: options.clientInactivityTimeout,
    backoff: reconnect,
    dial: (node, signal) => dialer.dial(node, signal),
    hashOf: (key) => hashKey(keyCodec, key),
    onStatus: (node, connected) => {
      directory.status(node, connected);
      for (const listener of statusListeners) tell(listener, node, connected, journal);
    },
  });
}

function directoryOf(
  { options, clock, journal, drivers, self }: Shared,
  files: Files,
  relocated: DirectoryParts['relocated'],
): Directory {
  const { driver, clientPort, driverPorts, nodes, membership } = options;
  const isFunction = typeof nodes === 'function';
  const told = isFunction ? new ExternalDiscovery(async (node) => nodes(node)) : new StaticDiscovery(nodes);
  return new Directory({
    ...{ self: self.node, clock, journal, files, relocated, nodes: isFunction ? new Map() : nodes },
    source: options.discovery ?? told,
    fallback: { driver, port: clientPort, ports: driverPorts },
    drivers: new Set(drivers.keys()),
    cacheFile: membership.cacheFile,
  });
}

/** What a listener does must not keep the connection from being used. */
function tell(listener: StatusListener, node: string, connected: boolean, journal: Journal): void {
  try {
    listener(node, connected);
  } catch (error) {
    journal.note('listener_failed', () => `A listener to the status of ${node} threw.`, error);
  }
}

function serverOf({ options, self, clock, journal, deadlines }: Shared, invoker: Invoker): Server {
  const { admission, concurrency, handshakeTimeout, duplicateNodes, maxQueuedCasts, maxQueuedBytes } = options;
  return new Server({
    ...{ self, clock, journal, deadlines, invoker },
    ...{ admission, concurrency, handshakeTimeout, duplicateNodes, maxQueuedCasts, maxQueuedBytes },
    inactivityTimeout: options.serverInactivityTimeout,
  });
}
