import { describe, expect, it } from 'vitest';
import { AddressBook } from '../../lib/discovery/address-book.js';
import type { Location } from '../../lib/discovery/discovery.js';
import { ExternalDiscovery } from '../../lib/discovery/external.discovery.js';
import { Membership } from '../../lib/discovery/membership.js';
import { createNode } from '../../lib/node/create-node.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { LocateNode } from '../../lib/node/option-groups.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { Cluster, SECRET } from '../support/cluster.js';
import { portOf } from '../support/door.js';

const B = 'b@127.0.0.1';
const FALLBACK = { driver: 'tcp', port: 5369 };
const FAILED = { code: 'external_source_error', family: 'badrpc', maybeExecuted: false };

type Locate = ConstructorParameters<typeof ExternalDiscovery>[0];

/** What a node makes of a source's answers. */
function asking(locate: Locate): { resolve(node: string): Promise<Location> } {
  const membership = new Membership({
    clock: new VirtualClock(),
    isConnected: () => false,
    problemOf: () => undefined,
    events: { changed() {}, refused() {}, failed() {}, doubted() {}, read() {} },
  });
  const parts = { membership, source: new ExternalDiscovery(locate), nodes: new Map(), fallback: FALLBACK };
  const book = new AddressBook(parts);
  return {
    resolve: async (node) => {
      const [first, ...others] = await book.resolve(node, AbortSignal.timeout(60_000));
      expect(others).toEqual([]);
      return first ?? expect.fail('no place');
    },
  };
}

function answering(answer: unknown): ReturnType<typeof asking> {
  return asking((() => answer) as Locate);
}

async function failureOf(reply: Promise<unknown>): Promise<GenRpcError> {
  return reply.then(
    () => expect.fail('it did not fail'),
    (error: GenRpcError) => error,
  );
}

describe('a source of nodes', () => {
  it.each([
    [{}, { driver: 'tcp', host: '10.0.0.1', port: 5369 }],
    [{ port: 1 }, { driver: 'tcp', host: '10.0.0.1', port: 1 }],
    [{ host: 'db.internal' }, { driver: 'tcp', host: 'db.internal', port: 5369 }],
    [
      { driver: 'tls', host: '::1', port: 65535 },
      { driver: 'tls', host: '::1', port: 65535 },
    ],
    [
      { port: 7, more: 'ignored' },
      { driver: 'tcp', host: '10.0.0.1', port: 7 },
    ],
  ])('tells what differs from the default, at once or later: %j', async (answer, location) => {
    await expect(answering(answer).resolve('db@10.0.0.1')).resolves.toEqual(location);
    await expect(answering(Promise.resolve(answer)).resolve('db@10.0.0.1')).resolves.toEqual(location);
  });

  it.each([undefined, null])('that knows nothing of a node leaves it where its name says: %s', async (answer) => {
    const location = { driver: 'tcp', host: '10.0.0.1', port: 5369 };
    await expect(answering(answer).resolve('db@10.0.0.1')).resolves.toEqual(location);
  });

  it('that leaves something undefined means the default, as options do', async () => {
    const location = { driver: 'tcp', host: '10.0.0.1', port: 5369 };
    const answer = { host: undefined, port: undefined, driver: undefined };
    await expect(answering(answer).resolve('db@10.0.0.1')).resolves.toEqual(location);
  });

  it('is asked by the whole name, each time', async () => {
    const asked: string[] = [];
    const source = asking((node) => {
      asked.push(node);
      return { port: asked.length };
    });
    await expect(source.resolve('db@10.0.0.1')).resolves.toMatchObject({ port: 1 });
    await expect(source.resolve('db@10.0.0.1')).resolves.toMatchObject({ port: 2 });
    expect(asked).toEqual(['db@10.0.0.1', 'db@10.0.0.1']);
  });

  it('is not asked for what is no node', async () => {
    const asked: string[] = [];
    const source = asking((node) => (asked.push(node), {}));
    await expect(source.resolve('no node')).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(asked).toEqual([]);
  });

  it.each([
    ...['0', '5369', 0, -1, 65536, 1.5, NaN, Infinity, null, {}].map((port) => ({ port })),
    ...['', 7, null, {}, ['127.0.0.1']].map((host) => ({ host })),
    ...[7, null, {}].map((driver) => ({ driver })),
    { host: '\u001b[31m\nforged', port: 0 },
    ...['10.0.0.5', ['10.0.0.5'], 5369, true],
  ])('that answers %j fails, in one printable line', async (answer) => {
    const error = await failureOf(answering(answer).resolve('db@10.0.0.1'));
    expect(error).toMatchObject(FAILED);
    expect(error.message).toContain('db@10.0.0.1');
    expect(error.message).toMatch(/^[\x20-\x7e…]+$/);
  });

  it.each([
    ['an Error', new Error('etcd is down'), 'etcd is down'],
    ['text', 'etcd is down', 'etcd is down'],
    ['nothing', undefined, 'undefined'],
    ['an error of ours', new GenRpcError('timeout', 'etcd is slow'), 'etcd is slow'],
  ])('that throws or rejects with %s fails with that as its cause', async (_, cause, said) => {
    const throwing: Locate = () => {
      throw cause as Error;
    };
    for (const locate of [throwing, () => Promise.reject(cause as Error)]) {
      const error = await failureOf(asking(locate).resolve('db@10.0.0.1'));
      expect(error.code).toBe('external_source_error');
      expect(error.message).toContain(said);
      expect(error.cause).toBe(cause);
    }
  });

  it('that says itself why it failed is taken at its word', async () => {
    const said = new GenRpcError('external_source_error', 'no such tenant');
    await expect(answering(Promise.reject(said)).resolve('db@10.0.0.1')).rejects.toBe(said);
  });

  it('that answers with something that throws when it is looked at fails like any other', async () => {
    const hostile = {
      get host(): string {
        throw new Error('look away');
      },
    };
    await expect(answering(hostile).resolve('db@10.0.0.1')).rejects.toMatchObject(FAILED);
    const unprintable = {
      port: {
        toString: () => {
          throw new Error('look away');
        },
      },
    };
    await expect(answering(unprintable).resolve('db@10.0.0.1')).rejects.toMatchObject(FAILED);
  });
});

/** A node whose `nodes` is this function, closed with the cluster. */
async function withSource<T>(
  locate: LocateNode,
  body: (a: GenRpcNode, b: string, port: number) => Promise<T>,
): Promise<T> {
  await using cluster = new Cluster();
  const b = await cluster.start('b');
  b.register('math', { add: ([x, y]: [number, number]) => x + y });
  const a = createNode({ name: 'a@127.0.0.1', secret: SECRET, listen: false, nodes: locate });
  try {
    return await body(a, b.name, portOf(cluster, b.name));
  } finally {
    await a.close();
  }
}

describe('nodes as a function', () => {
  it.each(['at once', 'later'])('tells %s where a node is, once for each dial', async (when) => {
    const asked: string[] = [];
    let known = 0;
    const locate: LocateNode = (node) => {
      asked.push(node);
      return when === 'later' ? Promise.resolve({ port: known }) : { port: known };
    };
    await withSource(locate, async (a, b, port) => {
      known = port;
      const calls = Array.from({ length: 5 }, (_, n) => a.call(b, 'math', 'add', [n, 1]));
      await expect(Promise.all(calls)).resolves.toEqual([1, 2, 3, 4, 5]);
      expect(asked).toEqual([b]);
    });
  });

  it.each<[string, LocateNode]>([
    [
      'throws',
      () => {
        throw new Error('etcd is down');
      },
    ],
    ['rejects', () => Promise.reject(new Error('etcd is down'))],
    ['gives no port', () => ({ port: 'x' }) as never],
    ['wants a driver that there is none of', () => ({ driver: 'pigeon' })],
    [
      'is hostile',
      () =>
        Promise.resolve({
          get port(): number {
            throw new GenRpcError('timeout', 'not what it is');
          },
        }),
    ],
    ['gives what cannot be shown', () => ({ port: Object.create(null) as number })],
  ])('that %s fails the call with external_source_error, which nobody has run', async (_, locate) => {
    await withSource(locate, async (a, b) => {
      const error = await failureOf(a.call(b, 'math', 'add', [1, 2]));
      expect(error).toMatchObject(FAILED);
      expect(error.details).toMatchObject({ nextAttemptMs: expect.any(Number) });
      expect(a.stats()).toMatchObject({ pendingCalls: 0, counts: { dialled: 1, dial_failed: 1 } });
    });
  });

  it('is asked again at the next attempt, and may know better then', async () => {
    let attempts = 0;
    let known = 0;
    const locate: LocateNode = () => {
      attempts += 1;
      if (attempts < 3) throw new Error('not yet');
      return { port: known };
    };
    await withSource(locate, async (a, b, port) => {
      known = port;
      await expect(a.call(b, 'math', 'add', [1, 2], { waitForReady: true })).resolves.toBe(3);
      expect(attempts).toBe(3);
    });
  });

  it('that hangs is given up at connectTimeout, and what it says later is passed over', async () => {
    const clock = new VirtualClock();
    let answer: (location: Partial<Location>) => void = () => {};
    const options = { name: 'a@127.0.0.1', secret: SECRET, listen: false as const, connectTimeout: 700 };
    const a = createNode({ ...options, nodes: () => new Promise((resolve) => (answer = resolve)) }, { clock });
    let settled = false;
    const failure = failureOf(a.call(B, 'math', 'add', [1, 2])).finally(() => (settled = true));
    await clock.advance(699);
    expect(settled).toBe(false);
    await clock.advance(1);
    expect(settled).toBe(true);
    await expect(failure).resolves.toMatchObject({ code: 'external_source_error', maybeExecuted: false });
    answer({ port: 1 });
    await clock.advance(10);
    expect(a.stats().counts).toEqual({ dialled: 1, dial_failed: 1 });
    await a.close();
    await clock.advance(20_000);
    expect(clock.pending).toBe(0);
  });

  it('that hangs does not keep the node from closing', async () => {
    const a = createNode({ name: 'a@127.0.0.1', secret: SECRET, listen: false, nodes: () => new Promise(() => {}) });
    const failure = failureOf(a.call(B, 'math', 'add', [1, 2]));
    await a.close();
    await expect(failure).resolves.toMatchObject({ code: 'cancelled', maybeExecuted: false });
  });

  it('that fails for one node is no obstacle to another', async () => {
    let known = 0;
    const locate: LocateNode = (node) => (node === B ? { port: known } : new Promise(() => {}));
    await withSource(locate, async (a, b, port) => {
      known = port;
      const { outcomes } = await a.multicall(['nobody@10.0.0.9', b], 'math', 'add', [1, 2], { timeout: 300 });
      expect(outcomes.map((outcome) => (outcome.ok ? outcome.value : outcome.error.code))).toEqual(['timeout', 3]);
    });
  });
});
