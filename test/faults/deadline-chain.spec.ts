/** A calls B, whose function calls C: what C gets of A's deadline, and what ends where nobody waits any more. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { Cluster, DRIVERS, SOCKET_DRIVERS, type ClusterSettings } from '../support/cluster.js';
import { until } from '../support/door.js';
import { signalOf } from '../nest/support.js';

const B = 'b@127.0.0.1';
const C = 'c@127.0.0.1';
const LATENCY = 5;
const ROUND_TRIP = 2 * LATENCY;
/** Deadlines are kept in slots: up to so many ms late, never early. */
const SLOT_MS = 16;

type Relay = (nodes: Chain, context: CallContext) => unknown;

/** What a call came to, once it has. */
interface Outcome {
  value?: unknown;
  error?: GenRpcError;
}

function outcomeOf(call: Promise<unknown>): Outcome {
  const outcome: Outcome = {};
  call.then(
    (value) => (outcome.value = value),
    (error: unknown) => (outcome.error = error as GenRpcError),
  );
  return outcome;
}

/** `b.relay` does what the test says; `c.wait` never answers, and says what it saw. */
class Chain {
  readonly left: number[] = [];
  /** Who was told to stop, in that order. */
  readonly stopped: string[] = [];
  /** Of the call that `b` made. */
  inner: Outcome = {};
  relay: Relay = () => undefined;

  private constructor(
    readonly cluster: Cluster,
    readonly a: GenRpcNode,
    readonly b: GenRpcNode,
    readonly c: GenRpcNode,
    /** Beside `b`, in its process. */
    readonly d: GenRpcNode,
  ) {}

  static async start(settings: ClusterSettings = {}): Promise<Chain> {
    const cluster = new Cluster(settings);
    const [b, c] = [await cluster.start('b'), await cluster.start('c')];
    const [a, d] = [cluster.create('a', { listen: false }), cluster.create('d', { listen: false })];
    const chain = new Chain(cluster, a, b, c, d);
    const wait = (_: unknown, context: CallContext): Promise<never> => {
      chain.left.push(context.remainingMs());
      chain.watch('c', context);
      return new Promise(() => {});
    };
    const relay = (_: unknown, context: CallContext): unknown => {
      chain.watch('b', context);
      return chain.relay(chain, context);
    };
    c.register('c', { wait, echo: ([value]: [unknown]) => value });
    b.register('b', { relay, wait });
    return chain;
  }

  static virtual(): Promise<Chain> {
    return Chain.start({ virtual: { seed: 1, latency: () => LATENCY } });
  }

  call(options = {}): Outcome {
    return outcomeOf(this.a.call(B, 'b', 'relay', [], options));
  }

  /** Connections are there: from now on a message takes `LATENCY`. */
  async connected(): Promise<void> {
    const connecting = [this.a.connect(B), this.b.connect(C), this.d.connect(C)];
    await this.advance(100);
    await Promise.all(connecting);
  }

  async advance(ms: number): Promise<void> {
    await this.cluster.clock?.advance(ms);
  }

  after(ms: number): Promise<void> {
    return new Promise((resolve) => this.cluster.clock?.after(ms, resolve));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cluster[Symbol.asyncDispose]();
  }

  private watch(who: string, { signal }: CallContext): void {
    signal.addEventListener('abort', () => this.stopped.push(who));
  }
}

const waitAtC = (node: GenRpcNode, options = {}): Promise<unknown> => node.call(C, 'c', 'wait', [], options);

/** Ways for a function to call, whichever node of its process it takes. */
const WAYS: Readonly<Record<string, (nodes: Chain) => Promise<unknown>>> = {
  'by call': ({ b }) => waitAtC(b),
  'by another node of the process': ({ d }) => waitAtC(d),
  'by asyncCall': ({ b }) => b.asyncCall(C, 'c', 'wait').yield(),
  'by multicall': async ({ b }) => {
    const { outcomes } = await b.multicall([C], 'c', 'wait');
    for (const outcome of outcomes) if (!outcome.ok) throw outcome.error;
  },
  'by request': ({ b }) => {
    const name = b.functionName('c', 'wait');
    const invocation = { name, args: [], single: false, headers: undefined };
    return new Promise((done, failed) => void b.request({ node: C }, invocation, {}, { item() {}, done, failed }));
  },
  'to its own node': ({ b }) => b.call(B, 'b', 'wait'),
  'with a signal': ({ b }) => waitAtC(b, { signal: new AbortController().signal }),
  'with a route that may be repeated': ({ b }) => waitAtC(b, { idempotent: true }),
};

describe('T-04 what is called of a function', () => {
  it.each(Object.entries(WAYS))('gets no more than is left of the deadline: %s', async (_, way) => {
    await using nodes = await Chain.virtual();
    await nodes.connected();
    nodes.relay = async () => {
      await nodes.after(100);
      const call = way(nodes);
      nodes.inner = outcomeOf(call);
      return call;
    };
    const outer = nodes.call({ timeout: 300 });
    await nodes.advance(LATENCY + 100 + LATENCY);
    expect(nodes.left).toHaveLength(1);
    expect(nodes.left[0]).toBeLessThanOrEqual(200);
    expect(nodes.left[0]).toBeGreaterThan(180);
    await nodes.advance(200 + SLOT_MS);
    expect(outer.error).toMatchObject({ code: 'timeout' });
    // Whichever comes first: its own deadline, or that nobody waits for the outer call any more.
    expect(nodes.inner.error).toMatchObject({ code: expect.stringMatching(/^(timeout|cancelled)$/) as string });
    expect(nodes.inner.error?.maybeExecuted).toBe(true);
    expect([...nodes.stopped].sort()).toEqual(['b', 'c']);
  });

  it.each(Object.entries(WAYS))('ends within a round trip once the caller gives up: %s', async (_, way) => {
    await using nodes = await Chain.virtual();
    await nodes.connected();
    nodes.relay = () => {
      const call = way(nodes);
      nodes.inner = outcomeOf(call);
      return call;
    };
    const caller = new AbortController();
    const outer = nodes.call({ signal: caller.signal });
    await nodes.advance(ROUND_TRIP);
    expect(nodes.left).toHaveLength(1);
    caller.abort();
    await nodes.advance(0);
    expect(nodes.stopped).toEqual([]);
    await nodes.advance(ROUND_TRIP);
    expect(nodes.stopped).toEqual(['b', 'c']);
    expect(outer.error).toMatchObject({ code: 'cancelled', maybeExecuted: true });
    expect(nodes.inner.error).toMatchObject({ code: 'cancelled', maybeExecuted: true });
    expect(nodes.b.stats().pendingCalls + nodes.d.stats().pendingCalls).toBe(0);
  });

  it.each(SOCKET_DRIVERS)('over %s: sees what is left, and ends with it', async (driver) => {
    await using nodes = await Chain.start({ driver });
    let leftAtB = Infinity;
    nodes.relay = async (_, context) => {
      await until(() => context.remainingMs() < 5_000 - 20);
      leftAtB = Math.ceil(context.remainingMs());
      const call = waitAtC(nodes.b);
      nodes.inner = outcomeOf(call);
      return call;
    };
    const caller = new AbortController();
    const outer = nodes.call({ timeout: 5_000, signal: caller.signal });
    await until(() => nodes.left.length > 0);
    expect(nodes.left[0]).toBeLessThanOrEqual(leftAtB);
    caller.abort();
    await until(() => nodes.stopped.length === 2);
    await until(() => outer.error !== undefined && nodes.inner.error !== undefined);
    expect(nodes.inner.error).toMatchObject({ code: 'cancelled', maybeExecuted: true });
  });

  it.each(DRIVERS)('ends with the connection of the caller, over %s', async (driver) => {
    await using nodes = await Chain.start({ driver });
    nodes.relay = () => {
      const call = waitAtC(nodes.b);
      nodes.inner = outcomeOf(call);
      return call;
    };
    nodes.call();
    await until(() => nodes.left.length > 0);
    nodes.a.abort();
    await until(() => nodes.stopped.length === 2 && nodes.inner.error !== undefined);
    expect(nodes.inner.error).toMatchObject({ code: 'cancelled', maybeExecuted: true });
  });

  it('keeps a timeout of its own that is shorter', async () => {
    await using nodes = await Chain.virtual();
    await nodes.connected();
    nodes.relay = () => waitAtC(nodes.b, { timeout: 50 });
    const outer = nodes.call({ timeout: 300 });
    await nodes.advance(ROUND_TRIP);
    expect(nodes.left).toEqual([50]);
    await nodes.advance(100);
    expect(outer.error).toMatchObject({ code: 'handler_failed', details: { code: 'timeout' } });
  });

  it.each(['by call', 'by multicall', 'to its own node'])(
    'is not called after the caller gave up, and says so at once: %s',
    async (name) => {
      await using nodes = await Chain.virtual();
      await nodes.connected();
      nodes.relay = async () => {
        await nodes.after(100);
        nodes.inner = outcomeOf(WAYS[name]?.(nodes) ?? Promise.resolve());
      };
      const caller = new AbortController();
      nodes.call({ timeout: 300, signal: caller.signal });
      await nodes.advance(50);
      caller.abort();
      await nodes.advance(LATENCY + 50);
      expect(nodes.inner.error).toMatchObject({ code: 'cancelled', maybeExecuted: false });
      await nodes.advance(50);
      expect(nodes.left).toEqual([]);
    },
  );

  it.each([true, false])('is not called with nothing left of the deadline (watched: %s)', async (watched) => {
    await using nodes = await Chain.virtual();
    await nodes.connected();
    nodes.b.register('b', {
      relay: async (_: unknown, context: CallContext) => {
        if (watched) context.signal.addEventListener('abort', () => {});
        await nodes.after(300);
        nodes.inner = outcomeOf(waitAtC(nodes.b));
      },
    });
    nodes.call({ timeout: 300 });
    await nodes.advance(LATENCY + 300);
    expect(nodes.inner.error).toMatchObject({ code: 'timeout', maybeExecuted: false });
    await nodes.advance(50);
    expect(nodes.left).toEqual([]);
  });

  it('is cancelled with the others of one multicall, whose own reply still comes', async () => {
    await using nodes = await Chain.virtual();
    await nodes.connected();
    const broadcast: { codes?: unknown[] } = {};
    nodes.relay = async () => {
      const { outcomes } = await nodes.b.multicall([C, B, C], 'c', 'wait');
      broadcast.codes = outcomes.map((outcome) => !outcome.ok && outcome.error.code);
    };
    const caller = new AbortController();
    nodes.call({ signal: caller.signal });
    await nodes.advance(ROUND_TRIP);
    caller.abort();
    await nodes.advance(ROUND_TRIP);
    expect(broadcast.codes).toEqual(['cancelled', 'undefined_function', 'cancelled']);
  });
});

describe('T-04 what is not bound', () => {
  /** A function that is answered or given up, and a while later calls again: what became of that. */
  async function laterCall(relay: Relay, giveUp: boolean): Promise<Outcome> {
    await using nodes = await Chain.virtual();
    await nodes.connected();
    nodes.relay = relay;
    const caller = new AbortController();
    nodes.call({ timeout: 300, signal: caller.signal });
    await nodes.advance(50);
    if (giveUp) caller.abort();
    await nodes.advance(1_000);
    return nodes.inner;
  }

  const echoLater = async (nodes: Chain, options = {}): Promise<void> => {
    await nodes.after(500);
    nodes.inner = outcomeOf(nodes.b.call(C, 'c', 'echo', ['here'], options));
  };

  it('is a call after the answer: for that one nobody waits any more', async () => {
    const relay: Relay = (nodes) => void echoLater(nodes);
    expect(await laterCall(relay, false)).toEqual({ value: 'here' });
  });

  it('is a detached call, even of one that was given up', async () => {
    expect(await laterCall((nodes) => echoLater(nodes, { detached: true }), true)).toEqual({ value: 'here' });
    expect(await laterCall((nodes) => echoLater(nodes), true)).toMatchObject({ error: { code: 'timeout' } });
  });

  it('is what functions of a node call that does not want it', async () => {
    await using nodes = await Chain.start({
      virtual: { seed: 1, latency: () => LATENCY },
      options: { inheritDeadlines: false },
    });
    await nodes.connected();
    nodes.relay = () => waitAtC(nodes.b, { timeout: 500 });
    const outer = nodes.call({ timeout: 300 });
    await nodes.advance(400);
    expect(outer.error).toMatchObject({ code: 'timeout' });
    expect(nodes.left).toEqual([500]);
    expect(nodes.stopped).toEqual(['b']);
  });

  it('is what an abort listener calls: it runs because the call is over', async () => {
    const relay: Relay = (nodes, { signal }) => {
      signal.addEventListener('abort', () => (nodes.inner = outcomeOf(nodes.b.call(C, 'c', 'echo', ['bye']))));
      return new Promise(() => {});
    };
    expect(await laterCall(relay, true)).toEqual({ value: 'bye' });
  });

  it('is a cast, nor what is called by the function that handles it', async () => {
    const relay: Relay = (nodes) => {
      nodes.b.register('own', { note: () => echoLater(nodes) });
      nodes.b.cast(B, 'own', 'note');
      nodes.b.cast(B, 'own', 'nothing', [], { ordered: true });
      nodes.b.cast(B, 'own', 'note', [], { ordered: true });
      return new Promise(() => {});
    };
    expect(await laterCall(relay, true)).toEqual({ value: 'here' });
  });

  it.each(SOCKET_DRIVERS)(
    'is what others ask of a connection that a function was the first to need, over %s',
    async (driver) => {
      await using nodes = await Chain.start({ driver });
      nodes.relay = () => waitAtC(nodes.d);
      const caller = new AbortController();
      const first = nodes.call({ signal: caller.signal });
      await until(() => nodes.left.length > 0);
      caller.abort();
      await until(() => first.error !== undefined && nodes.stopped.length === 2);
      // Callbacks of its socket, outside of any promise.
      const { promise, resolve } = signalOf<unknown>();
      const invocation = { name: nodes.d.functionName('c', 'echo'), args: [1], single: false, headers: undefined };
      const echo = (then: (value: unknown) => void): void => {
        const sink = { item() {}, done: then, failed: (error: GenRpcError) => resolve(error) };
        nodes.d.request({ node: C }, invocation, {}, sink);
      };
      echo(() => echo(resolve));
      expect(await promise).toBe(1);
    },
  );

  it('is what other calls do about their failure, at the same time', async () => {
    await using nodes = await Chain.virtual();
    await nodes.connected();
    const left = new Map<unknown, Outcome>();
    nodes.relay = (_, { headers }) => {
      const who = headers?.get('who');
      const invocation = { name: nodes.b.functionName('c', 'wait'), args: [], single: false, headers: undefined };
      const failed = (): void => void left.set(who, outcomeOf(nodes.b.call(C, 'c', 'echo', [who])));
      nodes.b.request({ node: C }, invocation, { timeout: 50 }, { item() {}, done() {}, failed });
      return new Promise(() => {});
    };
    // Their calls share a slot of one timer; the one has nothing left then, the other has.
    nodes.call({ timeout: 51, headers: { who: 'short' } });
    nodes.call({ timeout: 300, headers: { who: 'long' } });
    await nodes.advance(200);
    expect(left.get('long')).toEqual({ value: 'long' });
    expect(left.get('short')?.error?.maybeExecuted).toBe(false);
  });

  const firstUses: Readonly<Record<string, (nodes: Chain) => unknown>> = {
    'a call': ({ d }) => outcomeOf(waitAtC(d)),
    'a cast': ({ d }) => d.cast(C, 'c', 'wait'),
    'an abcast': ({ d }) => d.abcast([C], 'nothing'),
    connect: ({ d }) => d.connect(C),
  };

  it.each(Object.entries(firstUses))('is a listener to the status of a node, which %s connects', async (_, use) => {
    await using nodes = await Chain.virtual();
    const heard: Outcome[] = [];
    nodes.d.onStatus((name, connected) => {
      if (connected) heard.push(outcomeOf(nodes.d.call(name, 'c', 'wait', [], { timeout: 500 })));
    });
    nodes.relay = () => {
      use(nodes);
      return new Promise(() => {});
    };
    const caller = new AbortController();
    nodes.call({ signal: caller.signal });
    await nodes.advance(ROUND_TRIP * 10);
    expect(heard).toHaveLength(1);
    caller.abort();
    await nodes.advance(ROUND_TRIP);
    expect(heard).toEqual([{}]);
    await nodes.advance(1_000);
    expect(heard).toMatchObject([{ error: { code: 'timeout' } }]);
  });

  it('is what an abort listener calls, though the abort comes from a function that was given up itself', async () => {
    const relay: Relay = async (nodes) => {
      nodes.b.register('own', {
        work: (_: unknown, { signal }: CallContext) => {
          signal.addEventListener('abort', () => (nodes.inner = outcomeOf(nodes.b.call(C, 'c', 'echo', ['bye']))));
          return new Promise(() => {});
        },
      });
      const handle = nodes.b.asyncCall(B, 'own', 'work', [], { detached: true });
      await nodes.after(200);
      handle.cancel();
    };
    expect(await laterCall(relay, true)).toEqual({ value: 'bye' });
  });

  it('is what the function of a cast calls, by another node, once its own has closed', async () => {
    await using nodes = await Chain.virtual();
    await nodes.connected();
    nodes.b.register('own', {
      note: async () => {
        await nodes.after(200);
        nodes.inner = outcomeOf(nodes.d.call(C, 'c', 'echo', ['still here']));
      },
    });
    nodes.a.cast(B, 'own', 'note');
    await nodes.advance(100);
    const closing = nodes.b.close();
    await nodes.advance(1_000);
    await closing;
    expect(nodes.inner).toEqual({ value: 'still here' });
  });
});
