/**
 * What the suites of gen_rpc have in common: who calls whom, over what, and the functions that they call.
 *
 * | there | here |
 * |---|---|
 * | `ok = M:F(A)` | the value that the function returns |
 * | `exit(Reason)` | the function throws an Error: `handler_failed`, and nothing of the Error but that it happened |
 * | `throw(Value)`, a value to the caller | the function throws what is no Error: `handler_failed` too, the value stays behind |
 * | `undef` | there is no such function, or no such module: `undefined_function` |
 * | a worker that is killed | the function never answers, is told so by its signal, and rejects when nobody waits any more |
 * | `erlang:node()` | `proc.node`, a function that names the node it was registered on |
 * | `{badrpc, R}`, `{badtcp, R}` | the rejection's `code` and `family` |
 * | a sleep | a function that waits to be told, and a clock that the test advances |
 */
import { expect } from 'vitest';
import type { Target } from '../../lib/client/target.js';
import type { Occurrence } from '../../lib/connection/journal.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { ErrorFamily, GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { Cluster, driverOf, type DriverName, type NodeSettings } from '../support/cluster.js';
import { until } from '../support/door.js';
import { WatchedDriver } from './wire.js';

/** Every test of these suites runs over each of them. */
export const DRIVERS: readonly DriverName[] = ['tcp', 'tls', 'memory'];

/** Those whose bytes pass through the system, where a proxy sees them. */
export const SOCKET_DRIVERS: readonly DriverName[] = DRIVERS.filter((driver) => driver !== 'memory');

/** Where the called node is, seen from the caller, and by what it is called. */
export interface Place {
  /** The caller calls itself. */
  readonly local: boolean;
  readonly driver: DriverName;
  readonly key: unknown;
}

type Named = readonly [name: string, place: Place];

/** Any value may be a key; the same one as long as its parts are. */
const KEYS = [
  { keyed: 'without a key', key: undefined },
  { keyed: 'with a key', key: { shard: 7, of: ['tenant', 'eu'] } },
];

export const REMOTE: readonly Named[] = DRIVERS.flatMap((driver) =>
  KEYS.map(({ keyed, key }): Named => [`remote over ${driver}, ${keyed}`, { local: false, driver, key }]),
);

/** The own node is called without a driver: one of them is enough. */
const LOCAL = KEYS.map(({ keyed, key }): Named => [`local, ${keyed}`, { local: true, driver: 'tcp', key }]);

export const PLACES: readonly Named[] = [...LOCAL, ...REMOTE];

/** What a function throws and no caller may read. */
export const HIDDEN = 'password=hunter2';

/** A deadline may be met this many ms late (see `Deadlines`). */
export const SLOT_MS = 16;

export const SERVER = 'server@127.0.0.1';

/** What a rejection must look like: `named` is what its message names. */
export function failure(code: GenRpcErrorCode, family: ErrorFamily, maybeExecuted: boolean, ...named: string[]) {
  return expect.objectContaining({
    name: 'GenRpcError',
    code,
    family,
    maybeExecuted,
    message: expect.toSatisfy(
      (message: string) => named.every((name) => message.includes(name)),
      `names ${named.join(', ')}`,
    ),
  });
}

export interface PairSettings {
  readonly caller?: NodeSettings;
  readonly server?: NodeSettings;
}

/** The nodes of a pair, and the drivers that they use. */
interface Nodes {
  readonly cluster: Cluster;
  readonly clock: VirtualClock;
  readonly caller: GenRpcNode;
  readonly server: GenRpcNode;
  readonly bystander: GenRpcNode;
  readonly callerWire: WatchedDriver;
  readonly serverWire: WatchedDriver;
}

/** A caller and a server, or one node that is both; time passes for them when the test says so. */
export async function pairOf(place: Place, settings: PairSettings = {}): Promise<Pair> {
  const clock = new VirtualClock();
  const cluster = new Cluster({ driver: place.driver, ports: { clock } });
  const [callerWire, serverWire] = [watched(cluster, clock), watched(cluster, clock)];
  const server = await cluster.start('server', settings.server, { drivers: [serverWire] });
  const caller = place.local
    ? server
    : cluster.create('caller', { listen: false, ...settings.caller }, { drivers: [callerWire] });
  const bystander = cluster.create('bystander', { listen: false });
  const pair = new Pair(place, { cluster, clock, caller, server, bystander, callerWire, serverWire });
  await bystander.connect(SERVER);
  return pair;
}

function watched(cluster: Cluster, clock: VirtualClock): WatchedDriver {
  return new WatchedDriver(driverOf(cluster, clock));
}

/** Counts of what went as it should. */
const EXPECTED: ReadonlySet<string> = new Set<Occurrence>(['dialled', 'connected', 'accepted']);

export class Pair {
  readonly cluster: Cluster;
  readonly clock: VirtualClock;
  readonly caller: GenRpcNode;
  readonly server: GenRpcNode;
  readonly callerWire: WatchedDriver;
  readonly serverWire: WatchedDriver;
  /** The server, with the place's key. */
  readonly target: string | Target;
  /** What ran on the server, in the order begun. */
  readonly ran: string[] = [];
  /** Ends the calls of `proc.hold`, by their argument. */
  readonly release = new Map<string, () => void>();
  /** How many connections the caller is to have made in the end, and how many not. */
  dials: number;
  failedDials = 0;
  /** Connected to the server all the while, and none of its business is anybody else's. */
  readonly bystander: GenRpcNode;

  constructor(place: Place, nodes: Nodes) {
    ({
      cluster: this.cluster,
      clock: this.clock,
      caller: this.caller,
      server: this.server,
      bystander: this.bystander,
      callerWire: this.callerWire,
      serverWire: this.serverWire,
    } = nodes);
    this.target = place.key === undefined ? SERVER : { node: SERVER, key: place.key };
    this.dials = place.local ? 0 : 1;
    this.registerOn(nodes.server);
  }

  /** Makes the functions of these suites callable: what they do is noted in `ran`. */
  registerOn(node: GenRpcNode): void {
    const { ran, release } = this;
    node.register('math', {
      add: ([x, y]: [number, number]) => {
        ran.push(`add ${x} ${y}`);
        return x + y;
      },
    });
    node.register('proc', {
      exit: () => {
        ran.push('exit');
        throw new Error(HIDDEN);
      },
      throw: () => {
        ran.push('throw');
        // oxlint-disable-next-line typescript/only-throw-error
        throw HIDDEN;
      },
      node: (_args, { caller }) => [node.name, caller.node],
      /** Never answers. Once nobody waits, it dies of it. */
      hang: (_args, { signal }) => {
        ran.push('hang');
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => (ran.push('killed'), reject(new Error(HIDDEN))));
        });
      },
      /** Answers with its argument when the test says so. */
      hold: ([name]: [string]) => {
        ran.push(`hold ${name}`);
        return new Promise((resolve) => release.set(name, () => resolve(name)));
      },
    });
    node.register('health', { ping: () => 'pong' });
  }

  /** Lets one call of `proc.hold` answer. */
  letGo(name: string): void {
    const release = this.release.get(name);
    if (release === undefined) throw new Error(`${name} does not run`);
    release();
  }

  /** What was counted at the caller and the server beside the making of connections. */
  counted(): Partial<Record<string, number>> {
    const sum: Record<string, number> = {};
    for (const node of new Set([this.caller, this.server])) {
      for (const [kind, times] of Object.entries(node.stats().counts)) {
        if (!EXPECTED.has(kind)) sum[kind] = (sum[kind] ?? 0) + times;
      }
    }
    return sum;
  }

  /** Nothing is pending or running, no connection was lost on the way, and the bystander noticed nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    expect(this.caller.stats().pendingCalls).toBe(0);
    await until(() => this.server.stats().runningCalls === 0);
    const { dialled = 0, connected = 0 } = this.caller.stats().counts;
    expect({ dialled, connected }).toEqual({ dialled: this.dials + this.failedDials, connected: this.dials });
    expect(await this.bystander.call(SERVER, 'health', 'ping')).toBe('pong');
    expect(this.bystander.stats().counts).toEqual({ dialled: 1, connected: 1 });
    await this.cluster[Symbol.asyncDispose]();
    expect(this.clock.pending).toBe(0);
  }
}
