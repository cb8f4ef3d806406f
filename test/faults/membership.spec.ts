/** What becomes of connections and calls when discovery tells something else, or nothing. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { MembershipEvent } from '../../lib/node/directory.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, SOCKET_DRIVERS, type NodeSettings } from '../support/cluster.js';
import { until } from '../support/door.js';
import { RawServer } from '../support/raw-peer.js';
import { recordOf, ToldDiscovery } from '../support/told-discovery.js';

const B = 'b@127.0.0.1';
const PLACES: NodeSettings = { listen: [{ port: 0 }, { port: 0 }] };

/** `b`, which `a` knows only by what `discovery` tells. */
class Pair implements AsyncDisposable {
  readonly discovery = new ToldDiscovery();
  readonly a: GenRpcNode;
  /** Calls that wait for `answer`. */
  readonly held: ((value: string) => void)[] = [];

  private constructor(
    readonly cluster: Cluster,
    readonly b: GenRpcNode,
    options: NodeSettings,
  ) {
    this.a = cluster.create('a', { listen: false, discovery: this.discovery, ...options });
    b.register('slow', { answer: () => new Promise((resolve) => this.held.push(resolve)) });
    b.register('math', { add: ([x, y]: [number, number]) => x + y });
  }

  static async over(driver: 'tcp' | 'tls', options: NodeSettings = {}): Promise<Pair> {
    const cluster = new Cluster({ driver });
    return new Pair(cluster, await cluster.start('b', PLACES), options);
  }

  /** Discovery tells of `b` at these of its places, in this order; at all by default. */
  tell(...places: number[]): void {
    const all = this.b.endpoints();
    const wanted = places.length === 0 ? all : places.map((at) => all[at] ?? expect.fail(`no place ${at}`));
    this.discovery.tell(recordOf(this.b, { locations: wanted }));
  }

  add(): Promise<unknown> {
    return this.a.call(B, 'math', 'add', [1, 2]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }
}

describe.each(SOCKET_DRIVERS)('R-15 an address that changes, over %s', (driver) => {
  it('R-15 while connected: what runs finishes where it is, what comes goes to the new one', async () => {
    await using pair = await Pair.over(driver);
    pair.tell(0);
    const running = pair.a.call(B, 'slow', 'answer');
    await until(() => pair.held.length === 1);
    pair.tell(1);
    await expect(pair.add()).resolves.toBe(3);
    expect(pair.b.stats()).toMatchObject({ acceptedConnections: 2 });
    expect(pair.a.stats().counts).toMatchObject({ dialled: 2, connected: 2 });
    pair.held[0]?.('from the old one');
    await expect(running).resolves.toBe('from the old one');
    await until(() => pair.b.stats().acceptedConnections === 1);
    await expect(pair.add()).resolves.toBe(3);
    expect(pair.a.stats().counts).toMatchObject({ dialled: 2 });
    expect(pair.a.stats().counts).not.toHaveProperty('connection_lost');
  });

  it('R-15 loses no call of many that are made meanwhile', async () => {
    await using pair = await Pair.over(driver);
    pair.tell(0);
    const calls: Promise<unknown>[] = [];
    for (let n = 0; n < 300; n += 1) {
      if (n === 100) pair.tell(1);
      calls.push(pair.add());
      if (n % 10 === 0) await calls.at(-1);
    }
    expect(new Set(await Promise.all(calls))).toEqual(new Set([3]));
    await until(() => pair.b.stats().acceptedConnections === 1);
  });

  it('R-15 while it is dialled: nobody waits for the old place, or is led there', async () => {
    await using silent = await RawServer.listen(driver, () => {});
    await using pair = await Pair.over(driver, { handshakeTimeout: 30_000 });
    pair.discovery.tell({ name: B, locations: [{ driver, host: '127.0.0.1', port: silent.port }] });
    const calls = [pair.add(), pair.add()];
    await until(() => silent.peers.length > 0);
    pair.tell(1);
    calls.push(pair.add());
    await expect(Promise.all(calls)).resolves.toEqual([3, 3, 3]);
    expect(pair.a.stats().counts).toMatchObject({ dialled: 2, connected: 1 });
    expect(pair.a.stats().counts).not.toHaveProperty('dial_failed');
    await until(() => silent.peers.every(({ ended }) => ended));
  });

  it('R-15 that is still one of several changes nothing', async () => {
    await using pair = await Pair.over(driver);
    pair.tell(0);
    await pair.add();
    pair.tell(1, 0);
    await pair.add();
    expect(pair.a.stats().counts).toMatchObject({ dialled: 1 });
  });

  it('R-15 of a node that was down is tried at once', async () => {
    await using pair = await Pair.over(driver, { reconnect: { min: 30_000, max: 30_000 } });
    pair.discovery.tell({ name: B, locations: [{ driver, host: '127.0.0.1', port: 1 }] });
    await expect(pair.add()).rejects.toMatchObject({ code: 'node_down' });
    const waiting = pair.a.call(B, 'math', 'add', [1, 2], { waitForReady: true });
    pair.tell(0);
    await expect(waiting).resolves.toBe(3);
    await expect(pair.add()).resolves.toBe(3);
  });

  it('R-15 of a node that was down, and has been started anew where it was, is tried at once', async () => {
    await using pair = await Pair.over(driver, { reconnect: { min: 30_000, max: 30_000 } });
    const [place] = pair.b.endpoints();
    pair.discovery.tell(recordOf(pair.b, { incarnation: '1', locations: [place ?? {}] }));
    await pair.b.close();
    await expect(pair.add()).rejects.toMatchObject({ code: 'node_down' });
    const again = await pair.cluster.start('b', { listen: { port: place?.port ?? 0 } });
    again.register('math', { add: () => 'again' });
    await expect(pair.add()).rejects.toMatchObject({ code: 'node_down' });
    pair.discovery.tell(recordOf(again, { incarnation: '2' }));
    await expect(pair.add()).resolves.toBe('again');
  });

  it('D-10 of several places, tries the next where nobody answers, and where somebody else does', async () => {
    await using stranger = await RawServer.listen(driver, (peer) => peer.reset());
    await using pair = await Pair.over(driver);
    const refused = { driver, host: '127.0.0.1', port: 1 };
    const other = { driver, host: '127.0.0.1', port: stranger.port };
    pair.discovery.tell(recordOf(pair.b, { locations: [refused, other, ...pair.b.endpoints()] }));
    await expect(pair.add()).resolves.toBe(3);
    expect(pair.a.stats().counts).toMatchObject({ dialled: 1, connected: 1 });
    expect(pair.a.stats().counts).not.toHaveProperty('dial_failed');
  });

  it('D-05 of a node whose entry is lost: connection, calls and membership stay, until it is gone itself', async () => {
    await using pair = await Pair.over(driver);
    const events: MembershipEvent[] = [];
    pair.a.onMembership((event) => events.push(event));
    const other = { name: 'c@127.0.0.1', locations: [{ port: 1 }] };
    pair.discovery.tell(other, recordOf(pair.b));
    await pair.add();
    pair.discovery.tell(other);
    await pair.add();
    await pair.a.call({ node: 'b' }, 'math', 'add', [1, 2]);
    expect(pair.a.members().find(({ name }) => name === B)).toMatchObject({ listed: false, connected: true });
    expect(pair.a.stats().counts).toMatchObject({ dialled: 1 });
    pair.b.abort();
    await until(() => events.some(({ type }) => type === 'down'));
    expect(events.map(({ type, member }) => `${type} ${member.name}`)).toEqual([
      'up c@127.0.0.1',
      `up ${B}`,
      `changed ${B}`,
      `down ${B}`,
    ]);
  });

  it('D-02 of a source that is away: calls go on, also to nodes that are dialled only now', async () => {
    await using pair = await Pair.over(driver);
    pair.tell(0);
    await pair.add();
    for (let time = 0; time < 3; time += 1) pair.discovery.fail('the registry is away');
    await pair.add();
    await pair.a.call({ node: B, key: 'another lane' }, 'math', 'add', [1, 2]);
    expect(pair.a.stats()).toMatchObject({
      members: 1,
      connectedNodes: 1,
      counts: { discovery_failed: 3, dialled: 2 },
    });
    expect(pair.cluster.log.lines.join('\n')).toContain('the registry is away');
  });

  it('D-03 of a source that tells of nobody: once is not enough, and twice closes no connection', async () => {
    await using pair = await Pair.over(driver);
    pair.tell(0);
    await pair.add();
    expect(pair.discovery.tell()).toBe(false);
    expect(pair.a.members()).toHaveLength(1);
    expect(pair.discovery.tell()).toBe(true);
    await pair.add();
    expect(pair.a.stats().counts).toMatchObject({ dialled: 1, discovery_doubted: 1 });
  });

  it('D-07 of a record that leads elsewhere: no call is sent there, and the secret is not either', async () => {
    await using cluster = new Cluster({ driver });
    const discovery = new ToldDiscovery();
    const a = await cluster.start('a', { discovery });
    const canary: string[] = [];
    a.register('canary', { sing: () => canary.push('la') });
    const wrong = await cluster.start('wrong');
    wrong.register('canary', { sing: () => canary.push('la') });
    discovery.tell(recordOf(wrong, { name: B }), recordOf(a, { name: 'mirror@127.0.0.1' }), {
      name: 'meta@127.0.0.1',
      locations: [{ host: '169.254.169.254', port: 80 }],
    });
    const code = driver === 'tls' ? /wrong_node|node_certificate_mismatch/ : /wrong_node/;
    await expect(a.call(B, 'canary', 'sing')).rejects.toMatchObject({ code: expect.stringMatching(code) });
    expect(a.members().map(({ name }) => name)).toEqual([B]);
    expect(a.stats().counts).toMatchObject({ discovery_record_refused: 2 });
    expect(canary).toEqual([]);
  });
});

describe('D-10 a place that swallows everything', () => {
  it('D-10 has its share of the time to connect, and leaves the next one the rest', async () => {
    await using cluster = new Cluster({ virtual: { seed: 10 }, options: { connectTimeout: 5000 } });
    const discovery = new ToldDiscovery();
    const b = await cluster.start('b');
    b.register('math', { add: ([x, y]: [number, number]) => x + y });
    const a = cluster.create('a', { listen: false, discovery });
    cluster.network.partition(['127.0.0.1'], ['10.0.0.9']);
    discovery.tell(recordOf(b, { locations: [{ ...b.endpoints()[0], host: '10.0.0.9' }, ...b.endpoints()] }));
    const call = a.call(B, 'math', 'add', [1, 2]);
    await cluster.clock?.advance(2400);
    expect(a.stats()).toMatchObject({ pendingCalls: 1, connectedNodes: 0 });
    await cluster.clock?.advance(200);
    await expect(call).resolves.toBe(3);
    expect(a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('D-10 that is the only one is given up after all of it, and told as what it is', async () => {
    await using cluster = new Cluster({ virtual: { seed: 11 }, options: { connectTimeout: 5000 } });
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery });
    cluster.network.partition(['127.0.0.1'], ['10.0.0.9']);
    discovery.tell({ name: B, locations: [{ driver: 'memory', host: '10.0.0.9', port: 1 }] });
    const failure = a.call(B, 'math', 'add', [1, 2]).catch((error: unknown) => error);
    await cluster.clock?.advance(4900);
    expect(a.stats().pendingCalls).toBe(1);
    await cluster.clock?.advance(200);
    await expect(failure).resolves.toMatchObject({ code: 'node_down', maybeExecuted: false });
  });
});

describe('D-06 a record that flaps', () => {
  it('D-06 has its node dialled a few times in ten seconds, not a hundred; others feel nothing', async () => {
    await using cluster = new Cluster({ virtual: { seed: 6 } });
    const discovery = new ToldDiscovery();
    const [b, calm] = [await cluster.start('b', PLACES), await cluster.start('calm')];
    for (const node of [b, calm]) node.register('math', { add: ([x, y]: [number, number]) => x + y });
    const a = cluster.create('a', { listen: false, discovery });
    const places = b.endpoints();
    const outcomes: Promise<unknown>[] = [];
    for (let n = 0; n < 100; n += 1) {
      discovery.tell(recordOf(calm), recordOf(b, { locations: places.slice(n % 2, 1 + (n % 2)) }));
      outcomes.push(a.call(B, 'math', 'add', [n, 0]), a.call('calm', 'math', 'add', [n, 0]));
      await cluster.clock?.advance(100);
    }
    expect(await Promise.all(outcomes)).toHaveLength(200);
    // One for the calm one.
    expect(a.stats().counts.dialled).toBeLessThanOrEqual(1 + 4);
  });
});

describe('D-01 a source that is away at the start', () => {
  it('D-01 leaves what the node was started with in use, and goes on being asked', async () => {
    await using cluster = new Cluster();
    const b = await cluster.start('b');
    b.register('math', { add: ([x, y]: [number, number]) => x + y });
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery, nodes: { [B]: b.endpoints()[0] ?? {} } });
    discovery.fail('the registry is away');
    await expect(a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
    await expect(a.call('x@127.0.0.1', 'math', 'add', [1, 2])).rejects.toMatchObject({
      code: 'external_source_error',
      message: expect.stringContaining('nobody told of x@127.0.0.1'),
    });
  });

  it('D-01 leaves what it told the node before in use, from the cache file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gen-rpc-cache-'));
    try {
      await using cluster = new Cluster();
      const b = await cluster.start('b');
      b.register('math', { add: ([x, y]: [number, number]) => x + y });
      const cacheFile = join(directory, 'nodes.json');
      const lives = ['before', 'after', 'broken'].map(() => new ToldDiscovery());
      const [before, after, broken] = lives.map((discovery, at) =>
        cluster.create(`a${at}`, { listen: false, discovery, membership: { cacheFile: `${cacheFile}${at}` } }),
      );
      lives[0]?.tell(recordOf(b));
      await before?.call(B, 'math', 'add', [1, 2]);
      await until(() => before !== undefined && existsWith(`${cacheFile}0`, B));
      writeFileSync(`${cacheFile}2`, '{');
      const next = cluster.create('a0', {
        listen: false,
        discovery: new ToldDiscovery(),
        membership: { cacheFile: `${cacheFile}0` },
      });
      await expect(next.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
      expect(next.stats().discoveryAgeMs).toBeUndefined();
      expect(after?.stats().counts).toEqual({});
      const again = cluster.create('a2', {
        listen: false,
        discovery: new ToldDiscovery(),
        membership: { cacheFile: `${cacheFile}2` },
      });
      expect(broken?.members()).toEqual([]);
      expect(again.stats().counts).toEqual({ discovery_cache_failed: 1 });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('D-01 keeps a node from listening only where it is told to, and then says why', async () => {
    await using cluster = new Cluster();
    const discovery = new ToldDiscovery();
    const strict = cluster.create('strict', { discovery, membership: { required: true }, connectTimeout: 50 });
    discovery.fail('the registry is away');
    await expect(strict.listen()).rejects.toMatchObject({
      code: 'external_source_error',
      message: expect.stringMatching(/within 50 ms, and membership\.required is set\. the registry is away/),
    });
    discovery.tell();
    await expect(strict.listen()).resolves.toMatchObject({ port: expect.any(Number) });
    await using _ = await cluster.start('patient', { discovery: new ToldDiscovery() }).then(() => cluster);
  });
});

describe('a node tells of itself', () => {
  it('once it listens: where it is, and what can be called; again when that changes; and takes it back first', async () => {
    await using cluster = new Cluster();
    const discovery = new ToldDiscovery();
    const b = cluster.create('b', { discovery, moduleControl: 'blacklist', moduleList: ['secret'] });
    b.register('math', { add: () => 3 }, { version: '1.0.0' });
    b.register('secret', { tell: () => 'no' });
    b.registerEvent('nameless', () => {});
    expect(discovery.registered).toEqual([]);
    await b.listen();
    const [place] = b.endpoints();
    expect(discovery.registered).toEqual([
      {
        name: B,
        locations: [{ driver: 'tcp', host: '127.0.0.1', port: place?.port }],
        modules: [{ name: 'math', versions: ['1.0.0'] }],
        priority: 0,
        weight: 1,
        incarnation: expect.stringMatching(/^[0-9a-f]{32}$/),
      },
    ]);
    b.register('math', { add: () => 3 }, { version: '2.0.0' });
    b.register('stats', { mean: () => 3 });
    b.setModulePolicy('disabled');
    await until(() => discovery.registered.length === 2);
    expect(discovery.registered[1]?.modules).toEqual([
      { name: 'math', versions: ['1.0.0', '2.0.0'] },
      { name: 'secret', versions: [''] },
      { name: 'stats', versions: [''] },
    ]);
    await b.drain();
    expect(discovery).toMatchObject({ deregistered: 1, closed: 1 });
    b.register('late', { one: () => 1 });
    expect(discovery.registered).toHaveLength(2);
  });

  it('as it is told to, or not at all', async () => {
    await using cluster = new Cluster();
    const [told, silent, calling] = [new ToldDiscovery(), new ToldDiscovery(), new ToldDiscovery()];
    const advertise = { host: 'b.example', port: 7000, priority: 2, weight: 5 };
    const b = await cluster.start('b', { discovery: told, advertise, listen: [{ port: 0 }, { port: 0 }] });
    await cluster.start('c', { discovery: silent, advertise: false });
    await cluster.start('d', { discovery: calling, listen: false });
    expect(told.registered).toMatchObject([{ priority: 2, weight: 5 }]);
    expect(told.registered[0]?.locations).toMatchObject([
      { host: 'b.example', port: 7000 },
      { host: 'b.example', port: b.endpoints()[1]?.port },
    ]);
    expect([silent.registered, calling.registered]).toEqual([[], []]);
  });

  it('before its listeners close, so that nobody is sent to it any more', async () => {
    await using cluster = new Cluster();
    const order: string[] = [];
    const discovery = new ToldDiscovery();
    const b = await cluster.start('b', { discovery });
    discovery.deregister = async (): Promise<void> => {
      const connects = await cluster
        .create('late', { listen: false })
        .connect(B)
        .then(
          () => true,
          () => false,
        );
      order.push(`deregistered, ${connects ? 'still open' : 'closed'}`);
    };
    await b.drain();
    expect(order).toEqual(['deregistered, still open']);
  });

  it('and does not wait long for a source that hangs', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const discovery = new ToldDiscovery();
    const b = await cluster.start('b', { discovery });
    discovery.deregister = () => new Promise(() => {});
    discovery.close = () => new Promise(() => {});
    let closed = false;
    const closing = b.drain().then(() => (closed = true));
    await cluster.clock?.advance(5000);
    expect(closed).toBe(true);
    await closing;
  });
});

function existsWith(path: string, text: string): boolean {
  try {
    return readFileSync(path, 'utf8').includes(text);
  } catch {
    return false;
  }
}
