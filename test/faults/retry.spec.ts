/** Calls whose connection fails: which are made again, how often, and what their callers and functions get to know. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { CallOptions } from '../../lib/node/call-options.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType, type CallFrame } from '../../lib/protocol/frame.js';
import { NO_PAYLOAD } from '../../lib/protocol/payload.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { Cluster, DRIVERS, SOCKET_DRIVERS, type ClusterSettings, type NodeSettings } from '../support/cluster.js';
import { redirect, until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { bytesOf, RawServer, type RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const RAW = 'raw@127.0.0.1';
const SLOT_MS = 16;
const IDEMPOTENT: CallOptions = { idempotent: true };

/** One time that the canary sang. */
interface Song {
  readonly key: string | undefined;
  readonly headers: unknown;
  readonly args: unknown;
}

/** `canary.sing` loses its connection the first `deaths` times, and answers then. */
class Aviary {
  readonly songs: Song[] = [];
  deaths = Infinity;
  proxy: Proxy | undefined;

  private constructor(
    readonly cluster: Cluster,
    readonly a: GenRpcNode,
    readonly b: GenRpcNode,
  ) {}

  static async open(settings: ClusterSettings = {}, options: NodeSettings = {}): Promise<Aviary> {
    const cluster = new Cluster(settings);
    const b = await cluster.start('b');
    const aviary = new Aviary(cluster, cluster.create('a', { listen: false, ...options }), b);
    b.register('canary', { sing: (args: unknown, context: CallContext) => aviary.sing(args, context) });
    b.register('health', { ping: () => 'pong' });
    if (cluster.driver === 'memory') return aviary;
    const home = cluster.discovery.locations.get(B);
    if (home === undefined) throw new Error('b listens');
    aviary.proxy = await Proxy.to(home);
    redirect(cluster, B, aviary.proxy.port);
    return aviary;
  }

  static virtual(options: NodeSettings = {}): Promise<Aviary> {
    return Aviary.open({ virtual: { seed: 1, latency: () => 5 } }, options);
  }

  get retried(): number {
    return this.a.stats().counts.call_retried ?? 0;
  }

  call(options: CallOptions = IDEMPOTENT, args: readonly unknown[] = []): Promise<unknown> {
    return this.a.call(B, 'canary', 'sing', args, options);
  }

  /** The same, while time passes. */
  async outcome(options: CallOptions = IDEMPOTENT, args: readonly unknown[] = []): Promise<GenRpcError | string> {
    const call = this.call(options, args).catch((error: unknown) => error);
    await this.cluster.clock?.advance(5_000);
    return (await call) as GenRpcError | string;
  }

  /** Lets time pass until the canary has sung, and its connection is gone. */
  async sung(): Promise<void> {
    while (this.songs.length === 0) await this.cluster.clock?.advance(1);
    expect(this.songs).toHaveLength(1);
  }

  cut(): void {
    for (const link of this.cluster.network.links) link.cut();
    for (const link of this.proxy?.links ?? []) link.reset();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    await this.proxy?.[Symbol.asyncDispose]();
  }

  private sing(args: unknown, { callKey, headers }: CallContext): unknown {
    this.songs.push({ key: callKey, headers, args });
    if (this.songs.length > this.deaths) return 'tweet';
    this.cut();
    return new Promise(() => {});
  }
}

describe.each(DRIVERS)('R-10 a connection killed after the call was sent, over %s', (driver) => {
  it('R-10 an idempotent call is made again, with the same call key', async () => {
    await using nodes = await Aviary.open({ driver });
    nodes.deaths = 1;
    // A connection that has answered is made anew at once.
    expect(await nodes.a.call(B, 'health', 'ping')).toBe('pong');
    expect(await nodes.call()).toBe('tweet');
    expect(nodes.songs).toHaveLength(2);
    const [first, second] = nodes.songs;
    expect(first?.key).toMatch(/^[0-9a-f]{16}$/);
    expect(second?.key).toBe(first?.key);
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, counts: { call_retried: 1 } });
    expect(await nodes.call()).toBe('tweet');
    expect(nodes.songs[2]?.key).not.toBe(first?.key);
  });

  it('R-10 any other call never is', async () => {
    await using nodes = await Aviary.open({ driver });
    await expect(nodes.call({})).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    expect(nodes.songs).toEqual([{ key: undefined, headers: undefined, args: [] }]);
    expect(nodes.retried).toBe(0);
  });
});

describe('an idempotent call', () => {
  it('is made three times in all, and says then that it may have run', async () => {
    await using nodes = await Aviary.virtual();
    expect(await nodes.outcome()).toMatchObject({ maybeExecuted: true });
    expect(nodes.retried).toBe(2);
    expect(nodes.songs.length).toBeGreaterThan(1);
    expect(new Set(nodes.songs.map(({ key }) => key)).size).toBe(1);
  });

  it.each([1, 2, 5])('is made as often as retry.attempts says: %i', async (attempts) => {
    await using nodes = await Aviary.virtual({ retry: { attempts }, reconnect: { min: 1, max: 1 } });
    expect(await nodes.outcome()).toMatchObject({ code: 'connection_lost' });
    expect(nodes.songs).toHaveLength(attempts);
    expect(nodes.retried).toBe(attempts - 1);
  });

  it('keeps saying that it may have run when later attempts do not reach the node', async () => {
    await using nodes = await Aviary.virtual();
    nodes.b.register('canary', {
      sing: () => {
        nodes.b.abort();
        return new Promise(() => {});
      },
    });
    expect(await nodes.outcome()).toMatchObject({ code: 'node_down', maybeExecuted: true });
  });

  it('waits for a node that is being started', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const a = cluster.create('a', { listen: false });
    const call = a.call(B, 'canary', 'sing', [], IDEMPOTENT);
    await cluster.clock?.advance(1);
    expect(a.stats()).toMatchObject({ pendingCalls: 1, counts: { dial_failed: 1 } });
    const b = await cluster.start('b');
    b.register('canary', { sing: () => 'late' });
    await cluster.clock?.advance(1_000);
    expect(await call).toBe('late');
  });

  it('has one deadline for all attempts', async () => {
    await using nodes = await Aviary.virtual({ retry: { attempts: 10 }, reconnect: { min: 1, max: 1 } });
    const left: number[] = [];
    nodes.b.register('canary', {
      sing: (_: unknown, context: CallContext) => {
        left.push(context.remainingMs());
        if (left.length < 3) nodes.cut();
        return new Promise(() => {});
      },
    });
    const call = nodes.call({ ...IDEMPOTENT, timeout: 400 }).catch((error: unknown) => error);
    await nodes.cluster.clock?.advance(400 + SLOT_MS);
    expect(await call).toMatchObject({ code: 'timeout', maybeExecuted: true });
    expect(left).toHaveLength(3);
    expect(left).toEqual([...left].sort((one, other) => other - one));
    expect(new Set(left).size).toBe(3);
  });

  it('fails at once when no attempt would fit into its deadline any more', async () => {
    await using nodes = await Aviary.virtual({ reconnect: { min: 10_000, max: 10_000 } });
    nodes.b.abort();
    const call = nodes.call({ ...IDEMPOTENT, timeout: 60 }).catch((error: unknown) => error);
    await nodes.cluster.clock?.advance(30);
    expect(await call).toMatchObject({ code: 'node_down', maybeExecuted: false });
  });

  it('is not made again for what the function answered, nor for its deadline', async () => {
    await using nodes = await Aviary.virtual();
    let ran = 0;
    nodes.b.register('canary', {
      sing: ([how]: [string]) => {
        ran += 1;
        if (how === 'never') return new Promise(() => {});
        throw new Error(how);
      },
    });
    expect(await nodes.outcome(IDEMPOTENT, ['fail'])).toMatchObject({ code: 'handler_failed' });
    expect(await nodes.outcome({ ...IDEMPOTENT, timeout: 100 }, ['never'])).toMatchObject({ code: 'timeout' });
    expect(ran).toBe(2);
    expect(nodes.retried).toBe(0);
  });

  it('is not made again once an item of its reply was handed on', async () => {
    await using nodes = await Aviary.virtual({ reconnect: { min: 1, max: 1 } });
    let ran = 0;
    const items = (count: number) => ({
      subscribe(observer: { next(value: unknown): void }) {
        ran += 1;
        for (let item = 0; item < count; item += 1) observer.next(item);
        nodes.cluster.clock?.after(50, () => nodes.cut());
        return { unsubscribe() {} };
      },
    });
    nodes.b.register('canary', { sing: ([count]: [number]) => items(count) });
    expect(await nodes.outcome(IDEMPOTENT, [2])).toMatchObject({ code: 'connection_lost' });
    expect(ran).toBe(1);
    expect(await nodes.outcome(IDEMPOTENT, [0])).toMatchObject({ code: 'connection_lost' });
    expect(ran).toBe(1 + 3);
  });

  it('sends what its arguments were when it was asked for', async () => {
    await using nodes = await Aviary.virtual();
    nodes.deaths = 1;
    const args = [{ price: 1 }];
    const call = nodes.call(IDEMPOTENT, args);
    await nodes.sung();
    args[0] = { price: 2 };
    await nodes.cluster.clock?.advance(1_000);
    expect(await call).toBe('tweet');
    expect(nodes.songs.map((song) => song.args)).toEqual([[{ price: 1 }], [{ price: 1 }]]);
  });

  it('may bring a key of its own; its function sees the other headers alone', async () => {
    await using nodes = await Aviary.virtual();
    nodes.deaths = 1;
    await nodes.outcome({ ...IDEMPOTENT, headers: { 'gen-rpc-call-key': 'mine', trace: '7' } });
    const song = { key: 'mine', headers: new Map([['trace', '7']]), args: [] };
    expect(nodes.songs).toEqual([song, song]);
    await nodes.outcome(IDEMPOTENT);
    expect(nodes.songs[2]?.headers).toBeUndefined();
  });

  it('is cancelled while it waits for its next attempt', async () => {
    await using nodes = await Aviary.virtual();
    const caller = new AbortController();
    const call = nodes.call({ ...IDEMPOTENT, signal: caller.signal }).catch((error: unknown) => error);
    await nodes.sung();
    expect(nodes.a.stats().pendingCalls).toBe(1);
    caller.abort();
    expect(await call).toMatchObject({ code: 'cancelled', maybeExecuted: true });
    await nodes.cluster.clock?.advance(5_000);
    expect(nodes.songs).toHaveLength(1);
    expect(nodes.a.stats().pendingCalls).toBe(0);
  });

  it('fails at once when its node closes while it waits', async () => {
    await using nodes = await Aviary.virtual();
    const call = nodes.call().catch((error: unknown) => error);
    await nodes.sung();
    const ended = nodes.a.close();
    expect(await call).toMatchObject({ code: 'cancelled', maybeExecuted: true });
    await nodes.cluster.clock?.advance(5_000);
    await ended;
  });

  it('is waited for by a node that drains', async () => {
    await using nodes = await Aviary.virtual();
    nodes.deaths = 1;
    const call = nodes.call().catch((error: unknown) => error);
    await nodes.sung();
    const ended = nodes.a.drain();
    await nodes.cluster.clock?.advance(5_000);
    await ended;
    expect(await call).toBe('tweet');
  });
});

describe('which calls are idempotent', () => {
  const rows: readonly [why: string, NodeSettings, CallOptions, again: boolean][] = [
    ['by its route', { retry: { idempotent: ['canary.sing'] } }, {}, true],
    ['by the beginning of its route', { retry: { idempotent: ['x.y', 'canary.*'] } }, {}, true],
    ['as all are', { retry: { idempotent: ['*'] } }, {}, true],
    ['by no such route', { retry: { idempotent: ['canary', 'canary.sin', 'canary.sings', 'Canary.*'] } }, {}, false],
    ['by its route, but not this time', { retry: { idempotent: ['canary.*'] } }, { idempotent: false }, false],
    ['on a node without retry', { retry: false }, { idempotent: true }, false],
    ['on a node without budget', { retry: { ratio: 0, perSecond: 0 } }, { idempotent: true }, false],
  ];

  it.each(rows)('%s', async (_, options, callOptions, again) => {
    await using nodes = await Aviary.virtual(options);
    nodes.deaths = 1;
    const outcome = await nodes.outcome(callOptions);
    if (again) expect(outcome).toBe('tweet');
    else expect(outcome).toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    expect(nodes.songs).toHaveLength(again ? 2 : 1);
  });

  it('every verb with a reply', async () => {
    await using nodes = await Aviary.virtual();
    nodes.deaths = 1;
    const handle = nodes.a.asyncCall(B, 'canary', 'sing', [], IDEMPOTENT);
    await nodes.cluster.clock?.advance(1_000);
    expect(await handle.yield()).toBe('tweet');
    nodes.songs.length = 0;
    const broadcast = nodes.a.multicall([B, 'nowhere@127.0.0.1'], 'canary', 'sing', [], IDEMPOTENT);
    await nodes.cluster.clock?.advance(1_000);
    expect(await broadcast).toMatchObject({ results: ['tweet'], badNodes: ['nowhere@127.0.0.1'] });
    expect(nodes.songs).toHaveLength(2);
  });
});

/** A node that refuses every call, and keeps them. */
class Refuser {
  readonly calls: CallFrame[] = [];

  private constructor(private readonly server: RawServer) {}

  static async listen(cluster: Cluster): Promise<Refuser> {
    const server = await RawServer.listen('tcp', (peer) => void refuser.serve(peer).catch(() => {}));
    const refuser = new Refuser(server);
    redirect(cluster, RAW, server.port);
    return refuser;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }

  private async serve(peer: RawPeer): Promise<void> {
    await peer.welcome(RAW);
    for (let next = 0; ; next += 1) {
      await peer.until(() => peer.frames.length > next);
      const frame = peer.frames[next];
      if (frame?.type !== FrameType.Call) continue;
      this.calls.push(frame);
      const { id } = frame;
      peer.send(bytesOf({ type: FrameType.Error, id, code: 'refused', message: 'full', payload: NO_PAYLOAD }));
    }
  }
}

describe.each(SOCKET_DRIVERS)('R-11 a node that fails every call, over %s', (driver) => {
  const PER_SECOND = 200;
  const SECONDS = 20;
  const STEP_MS = 50;

  it('R-11 gets at most 20 % more calls and 10 a second, where each would be made three times', async () => {
    await using cluster = new Cluster({ driver, virtual: { seed: 1 }, options: { keepalive: false } });
    await using peer = await Refuser.listen(cluster);
    const a = cluster.create('a', { listen: false });
    const connecting = a.connect(RAW);
    await until(() => a.isConnected(RAW));
    await connecting;
    const failures: unknown[] = [];
    let calls = 0;
    const retried = (): number => a.stats().counts.call_retried ?? 0;
    for (let now = 0; now < SECONDS * 1000; now += STEP_MS) {
      for (let call = 0; call < (PER_SECOND * STEP_MS) / 1000; call += 1) {
        calls += 1;
        a.call(RAW, 'm', 'f', [], IDEMPOTENT).catch((error: unknown) => failures.push(error));
      }
      await cluster.clock?.advance(STEP_MS);
      await until(() => peer.calls.length === calls + retried());
    }
    // What waits at the end gets its turn; then everybody has been told.
    while (failures.length < calls) {
      await cluster.clock?.advance(STEP_MS);
      await until(() => peer.calls.length === calls + retried());
    }
    const extra = peer.calls.length - calls;
    expect(calls).toBe(PER_SECOND * SECONDS);
    expect(extra).toBe(retried());
    expect(extra).toBeLessThanOrEqual(0.2 * calls + 10 * (SECONDS + 1));
    // It was the budget that kept it so: all of it was used.
    expect(extra).toBeGreaterThan(0.2 * calls + 10 * (SECONDS - 2));
    expect(a.stats().counts.retry_budget_exhausted).toBeGreaterThan(0);
    for (const error of failures) expect(error).toMatchObject({ code: 'refused', maybeExecuted: false });
    const attempts = new Map<string | undefined, number[]>();
    for (const { headers, timeoutMs } of peer.calls) {
      const key = headers?.get('gen-rpc-call-key');
      attempts.set(key, [...(attempts.get(key) ?? []), timeoutMs]);
    }
    expect(attempts.size).toBe(calls);
    // Each within what is left of the one deadline.
    for (const left of attempts.values()) {
      expect(left.length).toBeLessThanOrEqual(3);
      expect(left).toEqual([...left].sort((one, other) => other - one));
    }
    const unchanged = [...attempts.values()].filter((left) => left.length > 1 && left[0] === left.at(-1));
    // Those whose wait was below a millisecond.
    expect(unchanged.length).toBeLessThan(0.1 * extra);
  }, 60_000);

  it('R-11 gets no more at all of calls that are not idempotent', async () => {
    await using cluster = new Cluster({ driver });
    await using peer = await Refuser.listen(cluster);
    const a = cluster.create('a', { listen: false });
    const calls = Array.from({ length: 100 }, () => a.call(RAW, 'm', 'f'));
    for (const result of await Promise.allSettled(calls)) expect(result).toMatchObject({ reason: { code: 'refused' } });
    expect(peer.calls).toHaveLength(100);
    expect(peer.calls.every(({ headers }) => headers === undefined)).toBe(true);
  });
});
