/** Nodes that find each other through a name server, asked over real sockets, and go on without it. */
import { createServer, type AddressInfo } from 'node:net';
import { mkdtempSync, existsSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DnsDiscovery } from '../../lib/discovery/dns.discovery.js';
import type { DnsDiscoveryOptions } from '../../lib/discovery/dns-options.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { Cluster, type NodeSettings } from '../support/cluster.js';
import { DnsServer, type DnsFault } from '../support/dns-server.js';
import { until } from '../support/door.js';
import { ScriptedNames } from '../support/scripted-names.js';

const HOST = 'math.test';
const SRV = '_gen-rpc._tcp.math.test';
const TWO = 'math@127.0.0.2';
const THREE = 'math@127.0.0.3';
const SOON = { interval: 50, timeout: 2000 } as const;

/** A node that says who it is; on a free port, or on this one. */
async function serving(cluster: Cluster, name: string, port = 0): Promise<{ node: GenRpcNode; port: number }> {
  const host = name.slice(name.indexOf('@') + 1);
  const node = cluster.create(name, { listen: { host, port } });
  node.register('math', { who: () => name });
  const address = await node.listen();
  return { node, port: address?.port ?? 0 };
}

function calling(cluster: Cluster, discovery: DnsDiscovery, options: NodeSettings = {}): GenRpcNode {
  return cluster.create('caller', { listen: false, discovery, ...options });
}

function names(node: GenRpcNode): string[] {
  return node
    .members()
    .map(({ name }) => name)
    .toSorted();
}

const who = (node: GenRpcNode, target: string): Promise<unknown> => node.call(target, 'math', 'who', []);

/** A port on which nobody listens any more. */
async function deadPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.2');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe('nodes of a headless service', () => {
  it('are called by address and by module, come and go', async () => {
    await using cluster = new Cluster();
    await using dns = await DnsServer.start();
    const { port } = await serving(cluster, TWO);
    await serving(cluster, THREE, port);
    dns.addresses(HOST, '127.0.0.2');
    const service = { name: 'math', host: HOST, port, modules: ['math'] };
    const caller = calling(cluster, new DnsDiscovery({ ...service, servers: [dns.address], ...SOON }));
    await until(() => names(caller).length === 1);
    await expect(caller.call({ module: 'math' }, 'math', 'who', [])).resolves.toBe(TWO);
    dns.addresses(HOST, '127.0.0.3');
    await until(() => caller.members().some(({ name, listed }) => name === TWO && !listed));
    await expect(caller.call({ module: 'math' }, 'math', 'who', [])).resolves.toBe(THREE);
    await expect(who(caller, TWO)).resolves.toBe(TWO);
  });

  it('D-01 whose name server is away at the start are called by what is written, until it is back', async () => {
    await using cluster = new Cluster();
    const gone = await DnsServer.start();
    await gone[Symbol.asyncDispose]();
    const { port } = await serving(cluster, TWO);
    const discovery = new DnsDiscovery({ name: 'math', srv: SRV, servers: [gone.address], ...SOON });
    const caller = calling(cluster, discovery, { nodes: { [TWO]: { port } } });
    await until(() => (caller.stats().counts.discovery_failed ?? 0) > 1);
    await expect(who(caller, TWO)).resolves.toBe(TWO);
    await expect(who(caller, THREE)).rejects.toMatchObject({ code: 'external_source_error', maybeExecuted: false });
    await using back = await DnsServer.start(gone.address);
    const other = await serving(cluster, THREE);
    back.set(SRV, { type: 'SRV', target: '127.0.0.3', port: other.port });
    await until(() => names(caller).includes(THREE));
    await expect(who(caller, THREE)).resolves.toBe(THREE);
  });

  it('D-01 whose name server is away at the start are called by what was known before', async () => {
    await using cluster = new Cluster();
    const directory = mkdtempSync(join(tmpdir(), 'gen-rpc-dns-'));
    const membership = { cacheFile: join(directory, 'nodes.json') };
    const dns = await DnsServer.start();
    const { port } = await serving(cluster, TWO);
    dns.set(SRV, { type: 'SRV', target: '127.0.0.2', port });
    const options = { name: 'math', srv: SRV, servers: [dns.address], modules: ['math'], ...SOON };
    const before = calling(cluster, new DnsDiscovery(options), { membership });
    await until(() => existsSync(membership.cacheFile));
    await before.close();
    await dns[Symbol.asyncDispose]();
    const after = cluster.create('later', { listen: false, discovery: new DnsDiscovery(options), membership });
    await expect(after.call({ module: 'math' }, 'math', 'who', [])).resolves.toBe(TWO);
    rmSync(directory, { recursive: true });
  });

  it('D-01 whose name server is away keep a node from starting, and say why, where that is wished for', async () => {
    await using cluster = new Cluster();
    await using dns = await DnsServer.start();
    dns.fail(HOST, 'SERVFAIL');
    const discovery = new DnsDiscovery({ name: 'math', host: HOST, servers: [dns.address], ...SOON });
    const node = cluster.create('a', { discovery, membership: { required: true }, connectTimeout: 300 });
    await expect(node.listen()).rejects.toMatchObject({
      code: 'external_source_error',
      message: expect.stringMatching(/records of math\.test cannot be looked up: .*ESERVFAIL/),
    });
  });
});

describe('a name server that fails while nodes run', () => {
  it.each<DnsFault>(['SERVFAIL', 'REFUSED', 'silent', 'garbage'])(
    'D-03 with %s takes nobody away, nor a connection',
    async (fault) => {
      await using cluster = new Cluster();
      await using dns = await DnsServer.start();
      const { port } = await serving(cluster, TWO);
      await serving(cluster, THREE, port);
      dns.addresses(HOST, '127.0.0.2', '127.0.0.3');
      const options = { name: 'math', host: HOST, port, servers: [dns.address], interval: 50, timeout: 100 };
      const caller = calling(cluster, new DnsDiscovery(options));
      await until(() => names(caller).length === 2);
      await expect(who(caller, TWO)).resolves.toBe(TWO);
      dns.fail(HOST, fault);
      await until(() => (caller.stats().counts.discovery_failed ?? 0) > 3);
      expect(caller.members().map(({ listed }) => listed)).toEqual([true, true]);
      await expect(who(caller, TWO)).resolves.toBe(TWO);
      await expect(who(caller, THREE)).resolves.toBe(THREE);
      expect(caller.stats().counts).toMatchObject({ dialled: 2 });
    },
  );

  it('D-03 with an empty answer or NXDOMAIN is asked again before anybody goes, and connections stay even then', async () => {
    await using cluster = new Cluster();
    await using dns = await DnsServer.start();
    const { port } = await serving(cluster, TWO);
    dns.addresses(HOST, '127.0.0.2', '127.0.0.3');
    const caller = calling(
      cluster,
      new DnsDiscovery({ name: 'math', host: HOST, port, servers: [dns.address], ...SOON }),
    );
    await until(() => names(caller).length === 2);
    await expect(who(caller, TWO)).resolves.toBe(TWO);
    dns.fail(HOST, 'NXDOMAIN');
    await until(() => (caller.stats().counts.discovery_doubted ?? 0) === 1);
    expect(names(caller)).toEqual([TWO, THREE]);
    dns.fail(HOST);
    // By the second question, the answer to the first has been told.
    const asked = dns.asked(`A ${HOST}`);
    await until(() => dns.asked(`A ${HOST}`) > asked + 1);
    expect(names(caller)).toEqual([TWO, THREE]);
    dns.addresses(HOST);
    await until(() => names(caller).length === 1);
    expect(caller.members()).toMatchObject([{ name: TWO, listed: false, connected: true }]);
    await expect(who(caller, TWO)).resolves.toBe(TWO);
    expect(caller.stats().counts).toMatchObject({ discovery_doubted: 2, dialled: 1 });
  });

  it('D-03 that has ten thousand records, far too many for UDP, tells all of them', async () => {
    await using cluster = new Cluster();
    await using dns = await DnsServer.start();
    // A message of the domain name system ends at 64 KiB: some 4,000 addresses.
    const services = [1, 2, 3].map((net) => ({ name: `n${net}`, host: `n${net}.test`, family: 4 as const }));
    services.forEach(({ host }, net) => {
      dns.addresses(host, ...Array.from({ length: 3334 }, (_, at) => `10.${net}.${at >> 8}.${at & 255}`));
    });
    const caller = calling(cluster, new DnsDiscovery({ services, servers: [dns.address], timeout: 15_000 }));
    await until(() => caller.members().length === 10_002);
    expect(dns.queries.filter((query) => query.startsWith('tcp'))).toHaveLength(3);
    expect(caller.stats().counts.discovery_record_refused ?? 0).toBe(0);
  });
});

describe('a look-up in the way of a call', () => {
  it('D-09 that never comes back is given up at connectTimeout, and keeps nobody else waiting', async () => {
    await using cluster = new Cluster();
    const { port } = await serving(cluster, 'other@127.0.0.2');
    const nameServer = new ScriptedNames();
    nameServer.says(`SRV ${SRV}`, 'nothing');
    const services = [
      { name: 'math', srv: SRV },
      { name: 'other', host: HOST, port },
    ];
    const discovery = new DnsDiscovery({ services, timeout: 60_000 }, { nameServer });
    const caller = calling(cluster, discovery, { connectTimeout: 1000 });
    const lost = who(caller, THREE).catch((error: unknown) => error);
    await expect(who(caller, 'other@127.0.0.2')).resolves.toBe('other@127.0.0.2');
    await expect(lost).resolves.toMatchObject({ code: 'external_source_error', maybeExecuted: false });
    expect(nameServer.abandoned).toEqual([`SRV ${SRV}`]);
  });

  it('D-09 that never comes back leaves time for what is written of the node', async () => {
    await using cluster = new Cluster();
    const { port } = await serving(cluster, TWO);
    const nameServer = new ScriptedNames();
    nameServer.says(`SRV ${SRV}`, 'nothing');
    const clock = new VirtualClock();
    const discovery = new DnsDiscovery({ name: 'math', srv: SRV }, { nameServer, clock });
    const caller = calling(cluster, discovery, { nodes: { [TWO]: { port } } });
    const reply = who(caller, TWO);
    await until(() => nameServer.asked.length === 2);
    await clock.advance(2000);
    await expect(reply).resolves.toBe(TWO);
  });
});

describe('two records of one node', () => {
  const record = (port: number, priority: number) => ({ type: 'SRV', target: '127.0.0.2', port, priority }) as const;

  it('D-10 are its places in the order of RFC 2782, of which the next is tried where one fails', async () => {
    await using cluster = new Cluster();
    await using dns = await DnsServer.start();
    const { port } = await serving(cluster, TWO);
    const dead = await deadPort();
    for (const [at, records] of [
      [1, [record(port, 20), record(dead, 10)]],
      [2, [record(dead, 10), record(port, 20)]],
    ] as const) {
      dns.set(SRV, ...records);
      const options: DnsDiscoveryOptions = { name: 'math', srv: SRV, servers: [dns.address], ...SOON };
      // Once by what the table knows, once by asking.
      const watching = cluster.create(`watching${at}`, { listen: false, discovery: new DnsDiscovery(options) });
      await until(() => names(watching).length === 1);
      expect(watching.members()[0]?.locations.map((place) => place.port)).toEqual([dead, port]);
      await expect(who(watching, TWO)).resolves.toBe(TWO);
      const asking = cluster.create(`asking${at}`, { listen: false, discovery: new DnsDiscovery(options) });
      await expect(who(asking, TWO)).resolves.toBe(TWO);
    }
  });
});
