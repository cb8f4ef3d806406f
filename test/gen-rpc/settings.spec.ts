/** Settings that decide what may be called, and where a node is. */
import { describe, expect, it } from 'vitest';
import { TcpDriver } from '../../lib/driver/tcp.driver.js';
import { createNode } from '../../lib/node/create-node.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { Cluster, SECRET, type DriverName } from '../support/cluster.js';
import { portOf, until } from '../support/door.js';
import { LOOPBACK_TLS, tlsDriver } from '../support/tls.js';
import { DRIVERS, failure, pairOf, PLACES, type Pair } from './support.js';
import { WatchedDriver } from './wire.js';

/** Every verb that asks for one function, and what it is told: `ran`, or the code of the refusal. */
async function verdictsOn(pair: Pair, module: string): Promise<string[]> {
  const { caller, target } = pair;
  const refused = failure('unauthorized', 'badrpc', false, `${module}.go`);
  const told = (reply: Promise<unknown>) =>
    reply.catch((error: unknown) => (expect(error).toEqual(refused), 'unauthorized'));
  const { cast_failed: before = 0 } = pair.counted();
  const ranBefore = pair.ran.length;
  expect(caller.cast(target, module, 'go')).toBe(true);
  const castEnd = (): boolean => pair.ran.length > ranBefore || (pair.counted()['cast_failed'] ?? 0) > before;
  await until(castEnd);
  const ofCast = pair.ran.length > ranBefore ? 'ran' : 'unauthorized';
  const ofCalls = [caller.call(target, module, 'go'), caller.asyncCall(target, module, 'go').yield()];
  const { good } = await caller.sbcast([target], `${module}.go`, 'message');
  return [ofCast, ...(await Promise.all(ofCalls.map(told))).map(String), good.length === 1 ? 'ran' : 'unauthorized'];
}

const RAN = ['ran', 'ran', 'ran', 'ran'];
const REFUSED = ['unauthorized', 'unauthorized', 'unauthorized', 'unauthorized'];
const MODULES = ['shop', 'shop.till', 'shopping', 'bank', 'embassy'];

const ALL = Object.fromEntries(MODULES.map((module) => [module, RAN]));
const NONE = Object.fromEntries(MODULES.map((module) => [module, REFUSED]));

/** The function `go` in every module, and whether it runs there. */
async function verdicts(pair: Pair): Promise<Record<string, string[]>> {
  const all: Record<string, string[]> = {};
  for (const module of MODULES) all[module] = await verdictsOn(pair, module);
  return all;
}

function registerAll(pair: Pair): void {
  for (const module of MODULES) {
    pair.server.register(module, {
      go: () => {
        pair.ran.push(`${module}.go`);
        return 'ran';
      },
    });
  }
}

describe.each(PLACES)('%s', (_name, place) => {
  it('rpc_module_whitelist', async () => {
    const server = { moduleControl: 'whitelist', moduleList: ['shop', 'ba*', 'health', 'absent'] } as const;
    await using pair = await pairOf(place, { server });
    registerAll(pair);
    expect(await verdicts(pair)).toEqual({ ...NONE, shop: RAN, bank: RAN });
    expect(pair.ran).toEqual(['shop.go', 'bank.go'].flatMap((one) => [one, one, one, one]));
    expect(pair.counted()).toMatchObject({ call_refused: 12 });
    // Listed is not registered.
    await expect(pair.caller.call(pair.target, 'absent', 'go')).rejects.toEqual(
      failure('undefined_function', 'badrpc', false, 'absent.go'),
    );
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).rejects.toEqual(
      failure('unauthorized', 'badrpc', false, 'math.add'),
    );
  });

  it('rpc_module_whitelist of nothing', async () => {
    await using pair = await pairOf(place, { server: { moduleControl: 'whitelist' } });
    registerAll(pair);
    expect(await verdicts(pair)).toEqual(NONE);
    expect(pair.ran).toEqual([]);
    pair.server.setModulePolicy('disabled');
  });

  it('rpc_module_blacklist', async () => {
    const server = { moduleControl: 'blacklist', moduleList: ['shop', 'ba*', 'absent'] } as const;
    await using pair = await pairOf(place, { server });
    registerAll(pair);
    expect(await verdicts(pair)).toEqual({ ...ALL, shop: REFUSED, bank: REFUSED });
    expect(pair.ran).toEqual(['shop.till.go', 'shopping.go', 'embassy.go'].flatMap((one) => [one, one, one, one]));
    // Whether there is such a module is nobody's business who may not call it.
    await expect(pair.caller.call(pair.target, 'absent', 'go')).rejects.toEqual(
      failure('unauthorized', 'badrpc', false, 'absent.go'),
    );
  });

  it('rpc_module_blacklist that becomes a whitelist, while a call runs', async () => {
    await using pair = await pairOf(place, { server: { moduleControl: 'blacklist', moduleList: ['shop'] } });
    registerAll(pair);
    const held = pair.caller.call(pair.target, 'proc', 'hold', ['held']);
    await until(() => pair.ran.length === 1);
    pair.server.setModulePolicy('whitelist', ['shop', 'health']);
    expect(await verdictsOn(pair, 'shop')).toEqual(RAN);
    await expect(pair.caller.call(pair.target, 'proc', 'hold', ['other'])).rejects.toEqual(
      failure('unauthorized', 'badrpc', false, 'proc.hold'),
    );
    pair.letGo('held');
    await expect(held).resolves.toBe('held');
    pair.server.setModulePolicy('disabled');
    expect(await verdictsOn(pair, 'bank')).toEqual(RAN);
  });
});

/** Nodes of their own on two drivers, and a caller who asks a source of nodes for each. */
class Sourced {
  readonly clock = new VirtualClock();
  readonly cluster = new Cluster({ driver: 'memory', ports: { clock: this.clock } });
  readonly asked: string[] = [];
  readonly wires: Readonly<Record<DriverName, WatchedDriver>> = {
    memory: new WatchedDriver(this.cluster.network.driver('127.0.0.1')),
    tcp: new WatchedDriver(new TcpDriver(this.clock)),
    tls: new WatchedDriver(tlsDriver(LOOPBACK_TLS, { clock: this.clock })),
  };
  private readonly callers: GenRpcNode[] = [];

  /** A node that listens on this driver; returns its port. */
  async start(name: string, driver: DriverName): Promise<number> {
    const node = await this.cluster.start(name, { driver, ...(driver === 'tls' ? { tls: LOOPBACK_TLS } : {}) });
    node.register('proc', { node: () => node.name });
    return portOf(this.cluster, node.name);
  }

  caller(options: Omit<GenRpcOptions, 'name' | 'secret' | 'listen'>): GenRpcNode {
    const drivers = Object.values(this.wires);
    const identity = { name: 'caller@127.0.0.1', secret: SECRET, listen: false } as const;
    const node = createNode({ ...identity, ...options }, { clock: this.clock, drivers });
    this.callers.push(node);
    return node;
  }

  /** Connections that the caller has made, by driver. */
  get dialled(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.wires).map(([name, { dialled }]) => [name, dialled.length]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.callers) {
      expect(node.stats().pendingCalls).toBe(0);
      await node.close();
    }
    await this.cluster[Symbol.asyncDispose]();
    expect(this.clock.pending).toBe(0);
  }
}

const CROSSINGS = DRIVERS.flatMap((usual) =>
  DRIVERS.filter((forced) => forced !== usual).map((forced) => [usual, forced] as const),
);

describe.each(CROSSINGS)('remote over %s, with %s forced for one node', (usual, forced) => {
  it('external_client_config_source', async () => {
    await using sourced = new Sourced();
    const ports = { plain: await sourced.start('plain', usual), special: await sourced.start('special', forced) };
    const caller = sourced.caller({
      driver: usual,
      clientPort: ports.plain,
      nodes: async (node) => {
        sourced.asked.push(node);
        return node.startsWith('special') ? { driver: forced, port: ports.special } : {};
      },
    });
    await expect(caller.call('special@127.0.0.1', 'proc', 'node')).resolves.toBe('special@127.0.0.1');
    expect(sourced.dialled).toMatchObject({ [usual]: 0, [forced]: 1 });
    await expect(caller.call('plain@127.0.0.1', 'proc', 'node')).resolves.toBe('plain@127.0.0.1');
    expect(sourced.dialled).toMatchObject({ [usual]: 1, [forced]: 1 });
    // Asked for each node that is dialled, and for those only.
    await expect(caller.call('special@127.0.0.1', 'proc', 'node')).resolves.toBe('special@127.0.0.1');
    await expect(caller.call({ node: 'special@127.0.0.1', key: 1 }, 'proc', 'node')).resolves.toBe('special@127.0.0.1');
    expect(sourced.dialled).toMatchObject({ [usual]: 1, [forced]: 2 });
    expect(sourced.asked).toEqual(['special@127.0.0.1', 'plain@127.0.0.1', 'special@127.0.0.1']);
  });

  it('external_client_config_source, internal: nodes that are written down', async () => {
    await using sourced = new Sourced();
    const ports = { plain: await sourced.start('plain', usual), special: await sourced.start('special', forced) };
    const nodes = { 'special@127.0.0.1': { driver: forced, port: ports.special } };
    const caller = sourced.caller({ driver: usual, clientPort: ports.plain, nodes });
    await expect(caller.call('special@127.0.0.1', 'proc', 'node')).resolves.toBe('special@127.0.0.1');
    await expect(caller.call('plain@127.0.0.1', 'proc', 'node')).resolves.toBe('plain@127.0.0.1');
    expect(sourced.dialled).toMatchObject({ [usual]: 1, [forced]: 1 });
  });
});

describe.each(DRIVERS)('remote over %s', (driver) => {
  it('external_client_config_source that fails', async () => {
    await using sourced = new Sourced();
    const port = await sourced.start('plain', driver);
    const answers: Record<string, () => unknown> = {
      'throws@127.0.0.1': () => {
        throw new Error('the registry is gone');
      },
      'rejects@127.0.0.1': () => Promise.reject(new Error('the registry is gone')),
      'undriven@127.0.0.1': () => ({ driver: 'carrier-pigeon' }),
      'portless@127.0.0.1': () => ({ port: 0 }),
      'nothing@127.0.0.1': () => ({ host: '' }),
    };
    const nodes = (node: string) => (answers[node]?.() ?? {}) as Record<string, never>;
    const caller = sourced.caller({ driver, clientPort: port, nodes });
    const named = ['the registry is gone', 'the registry is gone', 'carrier-pigeon', 'port 0', 'host'];
    for (const [index, node] of Object.keys(answers).entries()) {
      const failed = failure('external_source_error', 'badrpc', false, node, named[index] ?? '');
      await expect(caller.call(node, 'proc', 'node'), node).rejects.toEqual(failed);
      expect(caller.cast(node, 'proc', 'node')).toBe(false);
      await expect(caller.asyncCall({ node, key: 1 }, 'proc', 'node').yield(), node).rejects.toEqual(failed);
    }
    await expect(caller.call('plain@127.0.0.1', 'proc', 'node')).resolves.toBe('plain@127.0.0.1');
    expect(sourced.dialled).toMatchObject({ [driver]: 1 });
    expect(caller.stats().counts).toEqual({ dialled: 11, connected: 1, dial_failed: 10, cast_not_accepted: 5 });
  });

  it('external_client_config_source that never answers', async () => {
    await using sourced = new Sourced();
    const port = await sourced.start('plain', driver);
    const nodes = (node: string) => (node.startsWith('plain') ? {} : new Promise<never>(() => {}));
    const caller = sourced.caller({ driver, clientPort: port, nodes, connectTimeout: 400 });
    const reply = caller.call('lost@127.0.0.1', 'proc', 'node');
    reply.catch(() => {});
    // Nobody else waits for the source.
    await expect(caller.call('plain@127.0.0.1', 'proc', 'node')).resolves.toBe('plain@127.0.0.1');
    await sourced.clock.advance(399);
    expect(caller.stats().pendingCalls).toBe(1);
    await sourced.clock.advance(1);
    await expect(reply).rejects.toEqual(failure('external_source_error', 'badrpc', false, 'lost@127.0.0.1'));
  });
});
