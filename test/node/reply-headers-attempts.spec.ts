/** Headers of a call that is made more than once: those of the attempt that brought the reply, and no others. */
import { describe, expect, it } from 'vitest';
import type { CallOptions } from '../../lib/node/call-options.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError, GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { NO_PAYLOAD } from '../../lib/protocol/payload.js';
import { Cluster, SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { redirect, until } from '../support/door.js';
import { bytesOf, RawServer, type RawPeer } from '../support/raw-peer.js';
import { recordOf, ToldDiscovery } from '../support/told-discovery.js';

const B = 'b@127.0.0.1';
const C = 'c@127.0.0.1';

/** Everything that a caller hears, in order. */
class Heard {
  readonly all: unknown[] = [];

  options(more: CallOptions = { idempotent: true }): CallOptions {
    return { ...more, onReplyHeaders: (headers, node) => this.all.push([node, headers.get('shelf')]) };
  }

  async reply(reply: Promise<unknown>): Promise<void> {
    await reply.then(
      (value) => this.all.push(value),
      (error: GenRpcError) => this.all.push(error.code),
    );
  }

  async items(items: AsyncIterable<unknown>): Promise<void> {
    const read = async (): Promise<string> => {
      for await (const item of items) this.all.push(item);
      return 'end';
    };
    await this.reply(read());
  }
}

const said = (shelf: string, id = 1): Frame => ({
  ...{ type: FrameType.Headers, id },
  headers: new Map([['shelf', shelf]]),
});
const payload = { kind: 'codec' as const, bytes: Buffer.of(40) };
const RESULT: Frame = { type: FrameType.Result, id: 1, payload };
const ITEM: Frame = { type: FrameType.Item, id: 1, sequence: 0, payload };
const END: Frame = { type: FrameType.End, id: 1, count: 1 };
const failure = (code: GenRpcErrorCode): Frame => ({
  ...{ type: FrameType.Error, id: 1 },
  ...{ code, message: 'No.', payload: NO_PAYLOAD },
});

/** `a`, that calls up to `attempts` times, and a node `b` of which the test writes every byte. */
async function scripted(driver: SocketDriver, attempts = 3) {
  const cluster = new Cluster({ driver });
  const server = await RawServer.listen(driver);
  redirect(cluster, B, server.port);
  const a = cluster.create('a', { listen: false, retry: { attempts } });
  /** The next connection, once a call has come by it. */
  const called = async (): Promise<RawPeer> => {
    const peer = await (await server.accept()).welcome(B);
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Call));
    return peer;
  };
  /** Answers the next call so. */
  const answers = async (...frames: Frame[]): Promise<RawPeer> => {
    const peer = await called();
    peer.send(bytesOf(...frames));
    return peer;
  };
  /** The same, and then the connection ends. */
  const loses = async (...frames: Frame[]): Promise<void> => {
    const peer = await answers(...frames);
    peer.socket.end();
  };
  return {
    ...{ cluster, server, a, answers, loses },
    async [Symbol.asyncDispose]() {
      await cluster[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

describe.each(SOCKET_DRIVERS)('headers of a call that is made again, over %s', (driver) => {
  it('are those of the attempt that brought the value', async () => {
    await using nodes = await scripted(driver);
    const heard = new Heard();
    const call = heard.reply(nodes.a.call(B, 'stock', 'count', [], heard.options()));
    await nodes.loses(said('first'));
    await nodes.answers(said('second'), RESULT);
    await call;
    expect(heard.all).toEqual([[B, 'second'], 40]);
    expect(nodes.a.stats().counts.call_retried).toBe(1);
  });

  it('are none where the attempt that brought the value had none', async () => {
    await using nodes = await scripted(driver);
    const heard = new Heard();
    const call = heard.reply(nodes.a.call(B, 'stock', 'count', [], heard.options()));
    await nodes.loses(said('first'));
    await nodes.answers(RESULT);
    await call;
    expect(heard.all).toEqual([40]);
  });

  it('are those of the error that is not tried again', async () => {
    await using nodes = await scripted(driver, 2);
    const heard = new Heard();
    const call = heard.reply(nodes.a.call(B, 'stock', 'count', [], heard.options()));
    await nodes.loses(said('first'), failure('shutting_down'));
    await nodes.answers(said('second'), failure('shutting_down'));
    await call;
    expect(heard.all).toEqual([[B, 'second'], 'shutting_down']);
  });

  it('are not those of an attempt before the one that did not get there', async () => {
    await using nodes = await scripted(driver, 2);
    const heard = new Heard();
    const call = heard.reply(nodes.a.call(B, 'stock', 'count', [], heard.options()));
    const peer = await nodes.answers(said('first'));
    // Nobody is there any more, for the second one.
    redirect(nodes.cluster, B, 1);
    peer.socket.end();
    await call;
    expect(heard.all).toEqual(['node_down']);
  });

  it('are those of the attempt whose items come, also of a stream', async () => {
    await using nodes = await scripted(driver);
    const heard = new Heard();
    const read = heard.items(nodes.a.stream(B, 'stock', 'list', [], heard.options()));
    await nodes.loses(said('first'));
    await nodes.answers(said('second'), ITEM, END);
    await read;
    expect(heard.all).toEqual([[B, 'second'], 40, 'end']);
  });

  it('are those of a stream that is not made again, for an item of it has come', async () => {
    await using nodes = await scripted(driver);
    const heard = new Heard();
    const read = heard.items(nodes.a.stream(B, 'stock', 'list', [], heard.options()));
    await nodes.loses(said('first'), ITEM);
    await read;
    expect(heard.all).toEqual([[B, 'first'], 40, 'connection_lost']);
  });

  it('are heard of before the error where the call is made once', async () => {
    await using nodes = await scripted(driver);
    const heard = new Heard();
    const call = heard.reply(nodes.a.call(B, 'stock', 'count', [], heard.options({})));
    await nodes.loses(said('first'));
    await call;
    expect(heard.all).toEqual([[B, 'first'], 'connection_lost']);
  });

  it('are those of the process that answers, where the one before went while it worked', async () => {
    await using cluster = new Cluster({ driver });
    const startB = async (shelf: string, answer: () => unknown): Promise<GenRpcNode> => {
      const node = await cluster.start('b');
      node.register('stock', {
        count: (_, context) => {
          context.setReplyHeader('shelf', shelf);
          return answer();
        },
      });
      return node;
    };
    let working = false;
    const old = await startB('old', () => ((working = true), new Promise(() => {})));
    const a = cluster.create('a', { listen: false });
    const heard = new Heard();
    const call = heard.reply(a.call(B, 'stock', 'count', [], heard.options()));
    await until(() => working);
    await startB('young', () => 40);
    await old.close();
    await call;
    expect(heard.all).toEqual([[B, 'young'], 40]);
  });

  it('are those of the node that answered, where the one before did not start it', async () => {
    await using cluster = new Cluster({ driver });
    await using server = await RawServer.listen(driver);
    const c = await cluster.start('c');
    c.register('stock', {
      count: (_, context) => {
        context.setReplyHeader('shelf', 'c');
        return 40;
      },
    });
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery });
    const modules = [{ name: 'stock', versions: [''] }];
    const locations = c.endpoints().map((location) => ({ ...location, port: server.port }));
    discovery.tell({ name: B, locations, modules }, recordOf(c, { modules, priority: 1 }));
    const heard = new Heard();
    const call = heard.reply(a.call({ module: 'stock' }, 'stock', 'count', [], heard.options({})));
    const peer = await (await server.accept()).welcome(B);
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Call));
    peer.send(bytesOf(said('b'), failure('refused')));
    await call;
    expect(heard.all).toEqual([[C, 'c'], 40]);
    expect(a.stats().counts.call_failed_over).toBe(1);
  });

  it('may make their listener give the call up: nothing of the reply comes behind them', async () => {
    await using nodes = await scripted(driver);
    const giveUp = new AbortController();
    const onReplyHeaders = (): void => giveUp.abort();
    // Whoever gathers what many say would see a second end of one of them.
    const calls = nodes.a.multicall([B], 'stock', 'count', [], { onReplyHeaders, signal: giveUp.signal });
    await nodes.answers(said('first'), RESULT);
    const { results, badNodes, outcomes } = await calls;
    expect([results, badNodes]).toEqual([[], [B]]);
    expect(outcomes).toMatchObject([{ ok: false, error: { code: 'cancelled', maybeExecuted: true } }]);
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 1 });
  });
});

describe('headers of a call that waits for its next attempt', () => {
  it('are heard by nobody when its node closes while it waits for another node', async () => {
    await using cluster = new Cluster();
    await using server = await RawServer.listen('tcp');
    const discovery = new ToldDiscovery();
    const a = cluster.create('a', { listen: false, discovery });
    const locations = [{ driver: 'tcp', host: '127.0.0.1', port: server.port }];
    discovery.tell({ name: B, locations, modules: [{ name: 'stock', versions: [''] }] });
    const heard = new Heard();
    const call = a.call({ module: 'stock' }, 'stock', 'count', [], heard.options({ waitForReady: true }));
    const failed = heard.reply(call);
    const peer = await (await server.accept()).welcome(B);
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Call));
    peer.send(bytesOf(said('b'), failure('refused'), { type: FrameType.Ping }));
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Pong));
    expect(a.stats().pendingCalls).toBe(1);
    await a.close();
    await failed;
    expect(heard.all).toEqual(['cancelled']);
  });

  it('are heard by nobody when its node closes', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1, latency: () => 5 } });
    const b = await cluster.start('b');
    let working = false;
    b.register('stock', {
      count: (_, context) => {
        context.setReplyHeader('shelf', 'b');
        working = true;
        return new Promise(() => {});
      },
    });
    const a = cluster.create('a', { listen: false });
    const heard = new Heard();
    const call = heard.reply(a.call(B, 'stock', 'count', [], heard.options()));
    while (!working) await cluster.clock?.advance(5);
    const closed = b.close();
    while (a.stats().openConnections > 0) await cluster.clock?.advance(1);
    expect(a.stats()).toMatchObject({ pendingCalls: 1 });
    await a.close();
    await call;
    await closed;
    expect(heard.all).toEqual(['cancelled']);
  });
});
