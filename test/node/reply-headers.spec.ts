/** What a function says beside its reply, and when its caller hears of it. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { EMPTY } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { Cluster, DRIVERS, twoNodes, type TwoNodes } from '../support/cluster.js';
import { Door, redirect, until } from '../support/door.js';
import { bytesOf, RawServer } from '../support/raw-peer.js';
import { readOf } from '../support/streams.js';

const B = 'b@127.0.0.1';

/** Functions that say where they ran, beside what they answer. */
function registerOn(node: GenRpcNode, shelf: string): void {
  const say = (context: CallContext): void => context.setReplyHeader('shelf', shelf);
  node.register('stock', {
    count: ([goods]: [string], context) => {
      say(context);
      context.setReplyHeader('goods', goods);
      return 40;
    },
    large: (_: unknown, context) => {
      say(context);
      return Buffer.alloc(100_000);
    },
    async *list(_: unknown, context) {
      say(context);
      yield 1;
      yield 2;
    },
    nothing: (_: unknown, context) => {
      say(context);
      return EMPTY;
    },
    missing: (_: unknown, context) => {
      say(context);
      throw new GenRpcError('handler_failed', 'Sold out.');
    },
    broken: (_: unknown, context) => {
      say(context);
      return () => 1;
    },
    silent: () => 1,
  });
}

/** Everything that a caller hears, in order. */
class Heard {
  readonly all: unknown[] = [];
  readonly options = {
    onReplyHeaders: (headers: ReadonlyMap<string, string>, node: string) => {
      this.all.push([node, Object.fromEntries(headers)]);
    },
  };

  async reply(reply: Promise<unknown>): Promise<void> {
    await reply.then(
      (value) => this.all.push(value),
      (error: GenRpcError) => this.all.push(error.code),
    );
  }
}

const WAYS = [...DRIVERS.map((driver) => ({ driver, own: false })), { driver: 'memory', own: true }] as const;

async function callerAndCalled({ driver, own }: (typeof WAYS)[number]): Promise<TwoNodes & { caller: GenRpcNode }> {
  const nodes = await twoNodes({ driver });
  registerOn(nodes.b, 'A3');
  return Object.assign(nodes, { caller: own ? nodes.b : nodes.a });
}

describe.each(WAYS)('headers of a reply over $driver, of the own node: $own', (way) => {
  it('come once, before the value', async () => {
    await using nodes = await callerAndCalled(way);
    const heard = new Heard();
    await heard.reply(nodes.caller.call(B, 'stock', 'count', ['tea'], heard.options));
    expect(heard.all).toEqual([[B, { shelf: 'A3', goods: 'tea' }], 40]);
  });

  it('come before a value that travels in chunks', async () => {
    await using nodes = await callerAndCalled(way);
    const heard = new Heard();
    const reply = nodes.caller.call<Buffer>(B, 'stock', 'large', [], heard.options);
    await heard.reply(reply.then((bytes) => bytes.length));
    expect(heard.all).toEqual([[B, { shelf: 'A3' }], 100_000]);
  });

  it('come before the first item, and before the end where there is none', async () => {
    await using nodes = await callerAndCalled(way);
    const heard = new Heard();
    for await (const item of nodes.caller.stream(B, 'stock', 'list', [], heard.options)) heard.all.push(item);
    await readOf(nodes.caller.stream(B, 'stock', 'nothing', [], heard.options));
    expect(heard.all).toEqual([[B, { shelf: 'A3' }], 1, 2, [B, { shelf: 'A3' }]]);
  });

  it('come before an error, one of a value that cannot be sent too', async () => {
    await using nodes = await callerAndCalled(way);
    const heard = new Heard();
    await heard.reply(nodes.caller.call(B, 'stock', 'missing', [], heard.options));
    await heard.reply(nodes.caller.call(B, 'stock', 'broken', [], heard.options));
    expect(heard.all).toEqual([[B, { shelf: 'A3' }], 'handler_failed', [B, { shelf: 'A3' }], 'encode_error']);
  });

  it('are not heard of where the function has none, and disturb nobody who does not listen', async () => {
    await using nodes = await callerAndCalled(way);
    const heard = new Heard();
    await heard.reply(nodes.caller.call(B, 'stock', 'silent', [], heard.options));
    expect(heard.all).toEqual([1]);
    expect(await nodes.caller.call(B, 'stock', 'count', ['tea'])).toBe(40);
  });

  it('are heard of in the context of whoever called', async () => {
    await using nodes = await callerAndCalled(way);
    const whose = new AsyncLocalStorage<string>();
    const heard: unknown[] = [];
    const onReplyHeaders = (): void => void heard.push(whose.getStore());
    await Promise.all(
      ['one', 'other'].map((name) =>
        whose.run(name, () => nodes.caller.call(B, 'stock', 'count', ['tea'], { onReplyHeaders })),
      ),
    );
    expect(heard).toEqual(['one', 'other']);
  });

  it('that a listener throws at are noted, and the reply comes', async () => {
    await using nodes = await callerAndCalled(way);
    const onReplyHeaders = (): void => {
      throw new Error('no headers, please');
    };
    expect(await nodes.caller.call(B, 'stock', 'count', ['tea'], { onReplyHeaders })).toBe(40);
    expect(nodes.caller.stats().counts.listener_failed).toBe(1);
  });

  it('are refused where they come too late, are no text, or do not fit', async () => {
    await using nodes = await callerAndCalled(way);
    const errors: GenRpcError[] = [];
    const attempt = (context: CallContext, name: string, value: string): void => {
      try {
        context.setReplyHeader(name, value);
      } catch (error) {
        errors.push(error as GenRpcError);
      }
    };
    let kept: CallContext | undefined;
    nodes.b.register('late', {
      async *items(_: unknown, context) {
        attempt(context, 'fine', 'yes');
        attempt(context, 'number', 5 as unknown as string);
        attempt(context, '', 'no name');
        attempt(context, 'large', 'x'.repeat(17_000));
        // One item is held back: it may be the last.
        yield* [1, 2];
        attempt(context, 'late-item', 'no');
      },
      one: (_: unknown, context) => {
        kept = context;
        return 1;
      },
    });
    const heard = new Heard();
    await readOf(nodes.caller.stream(B, 'late', 'items', [], heard.options));
    expect(heard.all).toEqual([[B, { fine: 'yes' }]]);
    await nodes.caller.call(B, 'late', 'one');
    if (kept !== undefined) attempt(kept, 'late-reply', 'no');
    expect(errors.map(({ code }) => code)).toEqual(Array.from({ length: 5 }, () => 'invalid_argument'));
    expect(errors.map(({ message }) => message)).toEqual([
      ...['expected names and values of valid text', 'names of 1 to 255 bytes', '16384 bytes in all'].map((rule) =>
        expect.stringContaining(rule),
      ),
      ...['Header "late-item" came too late', 'Header "late-reply" came too late'].map((rule) =>
        expect.stringContaining(rule),
      ),
    ]);
  });

  it('of a cast are said to nobody', async () => {
    await using nodes = await callerAndCalled(way);
    let ran = false;
    nodes.b.register('log', {
      write: (_: unknown, context) => {
        context.setReplyHeader('shelf', 'A3');
        ran = true;
      },
    });
    nodes.caller.cast(B, 'log', 'write');
    await until(() => ran);
    expect(await nodes.caller.call(B, 'stock', 'silent')).toBe(1);
    expect(nodes.b.stats().counts.cast_failed).toBeUndefined();
  });
});

describe('of several nodes', () => {
  it('each says its own', async () => {
    await using cluster = new Cluster();
    const a = cluster.create('a', { listen: false });
    for (const name of ['b', 'c']) {
      registerOn(await cluster.start(name), name.toUpperCase());
    }
    const heard = new Heard();
    await a.multicall([B, 'c@127.0.0.1'], 'stock', 'count', ['tea'], heard.options);
    expect(heard.all).toHaveLength(2);
    expect(heard.all).toEqual(
      expect.arrayContaining([
        [B, { shelf: 'B', goods: 'tea' }],
        ['c@127.0.0.1', { shelf: 'C', goods: 'tea' }],
      ]),
    );
  });
});

describe('a server that does not keep to the protocol', () => {
  const headers = (id: number): Frame => ({ type: FrameType.Headers, id, headers: new Map([['shelf', 'A3']]) });
  const item: Frame = { type: FrameType.Item, id: 1, sequence: 0, payload: { kind: 'codec', bytes: Buffer.of(1) } };
  const result = (id: number): Frame => ({ type: FrameType.Result, id, payload: item.payload });

  async function told(...frames: Frame[]): Promise<{ code: string; heard: number; a: GenRpcNode; cluster: Cluster }> {
    const cluster = new Cluster();
    await using server = await RawServer.listen('tcp');
    redirect(cluster, B, server.port);
    const a = cluster.create('a', { listen: false });
    let heard = 0;
    const reply = a.call(B, 'stock', 'count', [], { onReplyHeaders: () => (heard += 1) });
    const peer = await (await server.accept()).welcome(B);
    await peer.until(() => peer.frames.length === 1);
    peer.send(bytesOf(...frames));
    const code = await reply.then(
      () => 'replied',
      (error: GenRpcError) => error.code,
    );
    return { code, heard, a, cluster };
  }

  it.each([
    ['says headers twice', [headers(1), headers(1)], 1],
    ['says them behind an item', [item, headers(1)], 0],
  ])('and %s is not believed the rest of that reply', async (_, frames, times) => {
    const { code, heard, a, cluster } = await told(...frames);
    await using _closes = cluster;
    expect({ code, heard }).toEqual({ code: 'protocol_error', heard: times });
    expect(a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 1 });
  });

  it('and says them of a call that was never made loses the connection', async () => {
    const { code, heard, a, cluster } = await told(headers(2));
    await using _closes = cluster;
    expect({ code, heard }).toEqual({ code: 'connection_lost', heard: 0 });
    expect(a.stats().openConnections).toBe(0);
  });

  it('and says them of a call that has ended is passed over, and counted', async () => {
    const { code, heard, a, cluster } = await told(result(1), headers(1));
    await using _closes = cluster;
    expect({ code, heard }).toEqual({ code: 'replied', heard: 0 });
    await until(() => a.stats().counts.late_frames === 1);
    expect(a.stats().openConnections).toBe(1);
  });
});

describe('a client that sends what only a server sends', () => {
  it('loses its connection by headers, too', async () => {
    await using door = await Door.open('tcp');
    const peer = await (await door.dial()).login('x@127.0.0.1', door.name);
    peer.send(bytesOf({ type: FrameType.Headers, id: 1, headers: new Map([['shelf', 'A3']]) }));
    await peer.closed();
    expect(door.counts.protocol_error).toBe(1);
  });
});
