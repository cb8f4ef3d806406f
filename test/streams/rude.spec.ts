/** What functions do to streams that nobody should: readers that throw, and sources that bring everything in one turn. */
import { describe, expect, it } from 'vitest';
import type { Subscribable } from '../../lib/protocol/invocation.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import type { Cancel, ReplySink } from '../../lib/client/pending-calls.js';
import { StreamReply } from '../../lib/node/stream-reply.js';
import { Cluster, twoNodes } from '../support/cluster.js';
import { redirect, until } from '../support/door.js';
import { RawServer } from '../support/raw-peer.js';
import { readOf } from '../support/streams.js';

const B = 'b@127.0.0.1';
const SECRET_TEXT = 'SELECT * FROM users';
const explode = (): never => {
  throw new Error(SECRET_TEXT);
};

const WAYS = [
  { way: 'over tcp', driver: 'tcp', target: 'b' },
  { way: 'within a node', driver: 'memory', target: 'a' },
] as const;

async function* forever(): AsyncGenerator<number> {
  for (let n = 0; ; n += 1) yield n;
}

/** Brings one item and then nothing, until it is stopped. */
async function* oneItem(): AsyncGenerator<number> {
  yield 1;
  await new Promise(() => {});
}

describe.each(WAYS)('a function that subscribes to its argument, $way', ({ driver, target }) => {
  it('and throws at an item fails by that, and tells its caller nothing else', async () => {
    await using nodes = await twoNodes({ driver });
    const node = nodes[target];
    node.register('rude', {
      reader: ([items]: [Subscribable]) => {
        items.subscribe({ next: explode, error() {}, complete() {} });
        return new Promise(() => {});
      },
    });
    const error: unknown = await nodes.a
      .call(node.name, 'rude', 'reader', [oneItem()])
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'handler_failed', message: 'rude.reader failed.', maybeExecuted: true });
    expect(JSON.stringify(error)).not.toContain(SECRET_TEXT);
    expect(node.stats().counts.handler_failed).toBe(1);
    // The connection goes on.
    node.register('math', { one: () => 1 });
    expect(await nodes.a.call(node.name, 'math', 'one')).toBe(1);
    expect(node.stats().counts.protocol_error ?? 0).toBe(0);
  });
});

describe('functions that throw at the end of their connection', () => {
  it('harm none of the others, and the node drains', async () => {
    await using nodes = await twoNodes({ driver: 'tcp' });
    let began = 0;
    let told = 0;
    nodes.b.register('rude', {
      reader: ([items]: [Subscribable]) => {
        began += 1;
        items.subscribe({ next() {}, error: explode, complete: explode });
        return new Promise(() => {});
      },
      waiter: (_: unknown, context: CallContext): Subscribable => ({
        subscribe: (observer) => {
          observer.next(Buffer.alloc(100_000));
          observer.next(Buffer.alloc(100_000));
          context.whenReady(explode);
          began += 1;
          return { unsubscribe() {} };
        },
      }),
      listener: (_: unknown, { signal }: CallContext) => {
        began += 1;
        signal.addEventListener('abort', () => (told += 1));
        return new Promise(() => {});
      },
    });
    const calls = [nodes.a.call(B, 'rude', 'reader', [oneItem()]), nodes.a.call(B, 'rude', 'listener')].map((call) =>
      call.catch(() => {}),
    );
    // Nobody reads: there is no room for another item.
    nodes.a.stream(B, 'rude', 'waiter')[Symbol.asyncIterator]();
    await until(() => began === 3);
    nodes.a.abort();
    await Promise.all(calls);
    await until(() => nodes.b.stats().acceptedConnections === 0);
    expect(told).toBe(1);
  });
});

describe('a source that brings everything in one turn', () => {
  it('does not stop a node that runs it for a cast', { timeout: 20_000 }, async () => {
    await using nodes = await twoNodes({ driver: 'tcp' });
    let stopped = false;
    nodes.b.register('endless', {
      async *numbers() {
        try {
          yield* forever();
        } finally {
          stopped = true;
        }
      },
    });
    nodes.a.cast(B, 'endless', 'numbers');
    expect(await nodes.a.call(B, 'math', 'add', [1, 2])).toBe(3);
    await nodes.b.close();
    await until(() => stopped);
  });

  it.each(['reply', 'argument'])(
    'does not hold up the deadline of a local call: as its %s',
    { timeout: 20_000 },
    async (what) => {
      await using nodes = await twoNodes({ driver: 'tcp' });
      nodes.b.register('endless', {
        reply: forever,
        argument: async ([items]: [AsyncIterable<number>]) => {
          for await (const item of items) if (item < 0) return item;
          return 0;
        },
      });
      const args = what === 'argument' ? [forever()] : [];
      await expect(nodes.b.call(B, 'endless', what, args, { timeout: 50 })).rejects.toMatchObject({ code: 'timeout' });
      const read = readOf(nodes.b.stream(B, 'endless', what, what === 'argument' ? [forever()] : [], { timeout: 50 }));
      expect((await read).error).toBe('timeout');
    },
  );
});

describe('what is half done', () => {
  it('a cast that is half sent when its connection ends is counted as lost', async () => {
    await using cluster = new Cluster({ driver: 'tcp' });
    await using server = await RawServer.listen('tcp');
    redirect(cluster, B, server.port);
    const a = cluster.create('a', { listen: false });
    a.cast(B, 'math', 'add', [Buffer.alloc(400_000)]);
    a.cast(B, 'math', 'add', [1, 2]);
    const peer = await server.accept();
    peer.granting = false;
    await peer.welcome(B);
    await peer.until(() => Buffer.concat(peer.received).length > 100_000);
    peer.destroy();
    await until(() => a.stats().openConnections === 0);
    expect(a.stats().counts.cast_dropped).toBe(2);
  });

  it('a reply that cannot be given its shape cancels the call, also before the call was wholly made', async () => {
    let cancelled = 0;
    const request = (sink: ReplySink): Cancel => {
      sink.item(1, 1, { used() {} });
      return () => (cancelled += 1) > 1;
    };
    const reply = new StreamReply(request, { value: explode, error: (error) => error });
    expect(await readOf(reply)).toEqual({ items: [], error: `Error: ${SECRET_TEXT}` });
    expect(cancelled).toBe(1);
  });
});
