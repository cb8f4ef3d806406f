/** Nodes that find each other through a real etcd, and go on without it. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { EtcdDiscovery } from '../../lib/discovery/etcd.discovery.js';
import type { EtcdOptions } from '../../lib/discovery/etcd-options.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, type NodeSettings } from '../support/cluster.js';
import { until } from '../support/door.js';
import { describeWithEtcd, Etcd } from '../support/etcd.js';
import { PREFIX } from '../support/etcd-source.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';
const SOON = { ttl: 2000, requestTimeout: 700, checkInterval: 300 } as const;

/** A node that finds others through etcd, and says what it is when it is asked. */
async function start(cluster: Cluster, etcd: Etcd, name: string, options: NodeSettings = {}): Promise<GenRpcNode> {
  const node = cluster.create(name, { discovery: throughEtcd(etcd), ...options });
  node.register('who', { are: () => name, never: () => new Promise(() => {}) });
  await node.listen();
  return node;
}

function throughEtcd({ endpoint }: Etcd, options: Partial<EtcdOptions> = {}): EtcdDiscovery {
  return new EtcdDiscovery({ endpoints: [endpoint], ...SOON, ...options });
}

const knows = (node: GenRpcNode, other: string): boolean =>
  node.members().some(({ name, listed }) => name === other && listed);

function count(node: GenRpcNode, what: 'discovery_failed' | 'discovery_doubted' | 'dialled'): number {
  return node.stats().counts[what] ?? 0;
}

describeWithEtcd('nodes that find each other through etcd', () => {
  it('call each other, by name and by module, know what the others can do, and notice when one goes', async () => {
    await using etcd = await Etcd.start();
    await using cluster = new Cluster();
    const a = await start(cluster, etcd, 'a');
    const b = await start(cluster, etcd, 'b');
    await until(() => knows(a, B) && knows(b, A));
    await expect(a.call(B, 'who', 'are')).resolves.toBe('b');
    expect(a.members().find(({ name }) => name === B)?.modules).toEqual([{ name: 'who', versions: [''] }]);
    b.register('math', { add: ([x, y]: [number, number]) => x + y });
    await until(() => JSON.stringify(a.members()).includes('math'));
    await expect(a.call({ module: 'math' }, 'math', 'add', [1, 2])).resolves.toBe(3);
    await b.drain();
    await until(() => a.members().every(({ name }) => name !== B));
    await expect(etcd.get(PREFIX + B)).resolves.toBeUndefined();
    await expect(a.call(B, 'who', 'are')).rejects.toMatchObject({
      code: 'external_source_error',
      message: expect.stringContaining(`etcd knows no node ${B} under prefix ${PREFIX}`),
    });
  });

  it('find a node that is only just there before they are told of it', async () => {
    await using etcd = await Etcd.start();
    await using cluster = new Cluster();
    const a = await start(cluster, etcd, 'a');
    // Listens once it is registered; nobody waits until `a` knows.
    const b = await start(cluster, etcd, 'b', { membership: { required: true } });
    await expect(a.call(b.name, 'who', 'are')).resolves.toBe('b');
  });

  it('may ask for many at a time', async () => {
    await using etcd = await Etcd.start();
    const source = throughEtcd(etcd);
    const warnings: Error[] = [];
    const listener = (warning: Error): void => void warnings.push(warning);
    process.on('warning', listener);
    const names = Array.from({ length: 100 }, (_, at) => `n${at}@127.0.0.1`);
    const answers = await Promise.all(
      names.map((name) => source.resolve(name, AbortSignal.timeout(10_000)).catch(({ message }: Error) => message)),
    );
    expect(answers).toEqual(names.map((name) => `etcd knows no node ${name} under prefix ${PREFIX}.`));
    await source.close();
    process.off('warning', listener);
    expect(warnings).toEqual([]);
  });

  it('say which name was probably meant', async () => {
    await using etcd = await Etcd.start();
    await using cluster = new Cluster();
    const a = await start(cluster, etcd, 'a');
    await start(cluster, etcd, 'stock');
    await until(() => knows(a, 'stock@127.0.0.1'));
    await expect(a.call('stokc@127.0.0.1', 'who', 'are')).rejects.toMatchObject({
      code: 'external_source_error',
      message: expect.stringContaining('nearest: stock@127.0.0.1'),
    });
  });

  it('D-01 that need it at the start say that it is not there, and why', async () => {
    await using etcd = await Etcd.start();
    await etcd.kill();
    await using cluster = new Cluster();
    const failure = start(cluster, etcd, 'a', { membership: { required: true }, connectTimeout: 500 });
    await expect(failure).rejects.toMatchObject({
      code: 'external_source_error',
      message: expect.stringMatching(/membership\.required is set.*ECONNREFUSED/),
    });
  });

  it('D-01 that start without it use what they were told, and find the others once it is there', async () => {
    await using etcd = await Etcd.start();
    await etcd.kill();
    await using cluster = new Cluster();
    const b = await start(cluster, etcd, 'b');
    const [place] = b.endpoints();
    const a = await start(cluster, etcd, 'a', { nodes: { [B]: { port: place?.port ?? 0 } } });
    await expect(a.call(B, 'who', 'are')).resolves.toBe('b');
    await until(() => count(a, 'discovery_failed') > 0);
    expect(knows(a, B)).toBe(false);
    await etcd.restart();
    await until(() => knows(a, B) && knows(b, A));
    await expect(b.call(A, 'who', 'are')).resolves.toBe('a');
  });

  it('D-01 that start without it use what they knew when they last ran', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gen-rpc-cache-'));
    try {
      await using etcd = await Etcd.start();
      await using cluster = new Cluster();
      await start(cluster, etcd, 'b');
      const membership = { cacheFile: join(folder, 'a.json') };
      const before = await start(cluster, etcd, 'a', { membership });
      await until(() => knows(before, B));
      await until(() => existsSync(membership.cacheFile) && readFileSync(membership.cacheFile, 'utf8').includes(B));
      await before.close();
      await etcd.kill();
      const a = await start(cluster, etcd, 'a', { membership });
      await expect(a.call(B, 'who', 'are')).resolves.toBe('b');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('D-02 go on calling each other while it is dead, lose nobody, and notice who came when it is back', async () => {
    await using etcd = await Etcd.start();
    await using cluster = new Cluster();
    const [a, b] = [await start(cluster, etcd, 'a'), await start(cluster, etcd, 'b')];
    await until(() => knows(a, B) && knows(b, A));
    await a.connect(B);
    await etcd.kill();
    const c = await start(cluster, etcd, 'c');
    const end = performance.now() + 4000;
    let calls = 0;
    // Longer than leases live, with connections that stand and with new ones.
    for (; performance.now() < end; calls += 1) {
      await expect(a.call(B, 'who', 'are')).resolves.toBe('b');
      await expect(b.call({ node: A, key: calls % 8 }, 'who', 'are')).resolves.toBe('a');
    }
    expect(count(a, 'dialled')).toBe(1);
    expect(count(a, 'discovery_failed')).toBeGreaterThan(2);
    expect([knows(a, B), knows(b, A), knows(a, c.name)]).toEqual([true, true, false]);
    await etcd.restart();
    await until(() => knows(a, c.name) && knows(c, A) && knows(c, B));
    expect([knows(a, B), knows(b, A)]).toEqual([true, true]);
    await expect(a.call(c.name, 'who', 'are')).resolves.toBe('c');
  });

  it('D-05 keep the connection to a node whose lease was lost, and its calls, while it is written again', async () => {
    await using etcd = await Etcd.start();
    await using cluster = new Cluster();
    const [a, b] = [await start(cluster, etcd, 'a'), await start(cluster, etcd, 'b')];
    await until(() => knows(a, B));
    const pending = a.call(B, 'who', 'never', [], { timeout: 60_000 });
    pending.catch(() => undefined);
    await until(() => b.stats().runningCalls === 1);
    const events: string[] = [];
    a.onMembership(({ type, member: { name, listed } }) => void events.push(`${type} ${name} ${listed}`));
    await etcd.revoke((await etcd.leaseOf(PREFIX + B)) ?? '');
    await until(() => events.length >= 2);
    expect(events).toEqual([`changed ${B} false`, `changed ${B} true`]);
    expect(b.stats().runningCalls).toBe(1);
    expect(count(a, 'dialled')).toBe(1);
  });

  it('D-06 dial a node whose record flaps no more often than it may change', async () => {
    await using etcd = await Etcd.start();
    await using cluster = new Cluster();
    const a = await start(cluster, etcd, 'a');
    let changes = 0;
    a.onMembership(({ member: { name } }) => void (changes += name === B ? 1 : 0));
    for (let round = 0; round < 20; round += 1) {
      const locations = [{ driver: 'tcp', host: '127.0.0.1', port: 1 + (round % 2) }];
      await etcd.put(PREFIX + B, JSON.stringify({ name: B, locations }));
      await a.call(B, 'who', 'are', [], { timeout: 50 }).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(changes).toBeGreaterThan(0);
    expect(changes).toBeLessThanOrEqual(3);
  });
});
