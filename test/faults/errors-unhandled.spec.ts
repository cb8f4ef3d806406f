/* oxlint-disable unicorn/no-thenable -- what a function may return is what is tested here */
import { connect, createServer, type AddressInfo } from 'node:net';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, Observable, throwError } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType } from '../../lib/protocol/frame.js';
import type { Codec } from '../../lib/protocol/payload.js';
import { App, pairOf, SECRET, SERVER } from '../nest/support.js';
import { Cluster, DRIVERS, twoNodes, type TwoNodes } from '../support/cluster.js';
import { bytesOf, helloFor, rawFrame, RawPeer, RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const unhandled: unknown[] = [];
const note = (error: unknown): void => void unhandled.push(error);
const EVENTS = ['unhandledRejection', 'uncaughtException', 'warning'] as const;

beforeEach(() => {
  unhandled.length = 0;
  for (const event of EVENTS) process.on(event, note);
});

/** A rejection counts as unhandled once a turn of the loop has passed. */
afterEach(async () => {
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  for (const event of EVENTS) process.off(event, note);
  expect(unhandled).toEqual([]);
});

/** Settles whatever comes, and says how. */
async function codeOf(reply: Promise<unknown>): Promise<unknown> {
  return reply.then(
    () => 'ok',
    (error: unknown) => (error as { code?: unknown } | null)?.code ?? 'no code',
  );
}

async function stillWorks(nodes: TwoNodes): Promise<void> {
  await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
}

const thrower = (message: string) => (): never => {
  throw new Error(message);
};

/** A stream whose producer throws when it is told to stop. */
const unstoppable = (): Observable<number> =>
  new Observable((observer) => {
    observer.next(1);
    return thrower('teardown');
  });

const HANDLERS: Readonly<Record<string, () => unknown>> = {
  throws: thrower('sync'),
  rejects: () => Promise.reject(new Error('async')),
  'rejects with nothing': () => Promise.reject(undefined as unknown as Error),
  'fails as a stream': () => throwError(() => new Error('stream')),
  'throws while it is subscribed to': () => new Observable(thrower('subscribe')),
  'is no Observable, only like one': () => ({ subscribe: thrower('subscribe') }),
  'has a then that throws': () => ({
    get then(): never {
      throw new Error('then');
    },
  }),
  'resolves to a subscribe that throws': () =>
    Promise.resolve({
      get subscribe(): never {
        throw new Error('subscribe');
      },
    }),
  'is a thenable that throws': () => ({ then: thrower('then') }),
  'settles twice': () => ({
    // oxlint-disable-next-line unicorn/no-thenable
    then: (resolve: (value: unknown) => void, reject: (error: unknown) => void) => {
      resolve(1);
      reject(new Error('twice'));
    },
  }),
  'errors after it completed': () =>
    new Observable((observer) => {
      observer.complete();
      observer.error(new Error('late'));
    }),
  'returns what cannot be encoded': () => ({ fn: thrower('never called') }),
  'streams what cannot be encoded': () =>
    new Observable((observer) => {
      for (const item of [1, () => {}, 2]) observer.next(item);
    }),
  'throws an error whose details cannot be encoded': () => {
    throw new GenRpcError('handler_failed', 'said', { details: { fn: thrower('never called') } });
  },
};

describe.each(DRIVERS)('E-06 nothing is left unhandled, over %s', (driver) => {
  it.each(Object.keys(HANDLERS))('E-06 when a function %s: called, cast, and by its own node', async (name) => {
    await using nodes = await twoNodes({ driver });
    nodes.b.register('wrong', { fn: HANDLERS[name] ?? expect.fail() });
    for (const caller of [nodes.a, nodes.b]) {
      await codeOf(caller.call(B, 'wrong', 'fn', [], { timeout: 200 }));
      expect(caller.cast(B, 'wrong', 'fn')).toBe(true);
    }
    await stillWorks(nodes);
    expect(nodes.a.stats().counts.connected).toBe(1);
  });

  it('E-06 when a producer throws as it is stopped, and the connection lives', async () => {
    await using nodes = await twoNodes({ driver });
    nodes.b.register('wrong', { fn: unstoppable });
    for (const caller of [nodes.a, nodes.b]) {
      await expect(caller.call(B, 'wrong', 'fn', [], { timeout: 30 })).rejects.toMatchObject({ code: 'timeout' });
      const abandoned = new AbortController();
      const reply = codeOf(caller.call(B, 'wrong', 'fn', [], { signal: abandoned.signal }));
      await stillWorks(nodes);
      abandoned.abort();
      await expect(reply).resolves.toBe('cancelled');
    }
    await stillWorks(nodes);
    expect(nodes.b.stats().runningCalls).toBe(0);
    expect(nodes.a.stats().counts.connected).toBe(1);
    expect(nodes.log.causes.map(String).join()).toContain('teardown');
  });

  it('E-06 when calls are refused, time out, are cancelled, or cannot be written', async () => {
    await using nodes = await twoNodes({ driver, options: { moduleControl: 'blacklist', moduleList: ['closed'] } });
    const { a } = nodes;
    const cancelled = AbortSignal.abort();
    const codes = await Promise.all([
      codeOf(a.call(B, 'closed', 'fn')),
      codeOf(a.call(B, 'nobody', 'fn')),
      codeOf(a.call(B, { module: 'math', version: '9' }, 'add')),
      codeOf(a.call(B, 'math', 'never', [], { timeout: 30 })),
      codeOf(a.call(B, 'math', 'never', [], { signal: cancelled })),
      codeOf(a.call(B, 'math', 'echo', [() => {}])),
      codeOf(a.call(B, 'math', 'echo', [Buffer.alloc(5_000_000)])),
      codeOf(a.call(B, 'math', 'echo', [1], { headers: { big: 'x'.repeat(20_000) } })),
      codeOf(a.call(B, 'math', 'echo', [1], { timeout: -1 })),
      codeOf(a.call('no node', 'math', 'echo')),
    ]);
    expect(codes).toEqual([
      ...['unauthorized', 'undefined_function', 'incompatible', 'timeout', 'cancelled', 'encode_error'],
      ...['message_too_large', 'invalid_argument', 'invalid_argument', 'invalid_argument'],
    ]);
    expect(() => a.cast(B, 'math', 'echo', [() => {}])).toThrow();
    await stillWorks(nodes);
  });

  it('E-06 when nodes are down, closed, aborted, or refuse each other', async () => {
    await using cluster = new Cluster({ driver, options: { reconnect: { min: 1, max: 2 } } });
    const b = await cluster.start('b');
    b.register('m', { never: () => new Promise(() => {}), endless: unstoppable });
    const a = cluster.create('a', { listen: false });
    const stranger = cluster.create('stranger', { listen: false, secret: 'another-fine-long-cookie' });
    await expect(codeOf(a.call('nobody@127.0.0.1', 'm', 'fn'))).resolves.toBe('node_down');
    expect(a.cast('nobody@127.0.0.1', 'm', 'fn')).toBeTypeOf('boolean');
    await expect(codeOf(a.connect('nobody@127.0.0.1'))).resolves.toBe('node_down');
    await expect(codeOf(stranger.call(B, 'm', 'fn'))).resolves.toBe('invalid_cookie');
    await a.connect(B);
    const lost = [a.call(B, 'm', 'never'), a.call(B, 'm', 'endless')].map((reply) => codeOf(reply));
    while (b.stats().runningCalls < 2) await new Promise(setImmediate);
    b.abort();
    await expect(Promise.all(lost)).resolves.toEqual(['connection_lost', 'connection_lost']);
    await a.close();
    await expect(codeOf(a.call(B, 'm', 'never'))).resolves.toBe('cancelled');
    expect(a.cast(B, 'm', 'never')).toBe(false);
    await expect(codeOf(a.connect(B))).resolves.toBe('cancelled');
  });

  it('E-06 when a node closes while it connects', async () => {
    await using cluster = new Cluster({ driver });
    await cluster.start('b');
    const a = cluster.create('a', { listen: false });
    const replies = Array.from({ length: 10 }, () => codeOf(a.call(B, 'm', 'fn')));
    const connecting = codeOf(a.connect(B));
    await a.close();
    expect(new Set([...(await Promise.all(replies)), await connecting])).toEqual(new Set(['cancelled']));
  });

  it('E-06 when listeners to the status throw', async () => {
    await using nodes = await twoNodes({ driver });
    nodes.a.onStatus(thrower('listener'));
    const seen: boolean[] = [];
    nodes.a.onStatus((_, connected) => seen.push(connected));
    await stillWorks(nodes);
    await nodes.a.close();
    expect(seen).toEqual([true, false]);
    expect(nodes.a.stats().counts.listener_failed).toBe(2);
  });

  it("E-06 when a user's codec throws what is no error of ours", async () => {
    const codec: Codec = {
      id: 'own',
      encode: (value) => {
        const text = JSON.stringify(value);
        if (text.includes('unencodable')) throw new RangeError('own encode');
        return Buffer.from(text);
      },
      decode: (bytes) => {
        const text = Buffer.from(bytes).toString();
        if (text.includes('undecodable')) throw new RangeError('own decode');
        return JSON.parse(text) as unknown;
      },
    };
    await using nodes = await twoNodes({ driver, options: { codec } });
    nodes.b.register('wrong', { unencodable: () => 'unencodable', undecodable: () => 'undecodable' });
    const codes = [];
    for (const [fn, args] of [
      ['echo', ['unencodable']],
      ['echo', ['undecodable']],
    ] as const) {
      codes.push(await codeOf(nodes.a.call(B, 'math', fn, args)));
    }
    codes.push(await codeOf(nodes.a.call(B, 'wrong', 'unencodable')));
    codes.push(await codeOf(nodes.a.call(B, 'wrong', 'undecodable')));
    codes.push(await codeOf(nodes.b.call(B, 'wrong', 'unencodable')));
    codes.push(await codeOf(nodes.b.call(B, 'math', 'echo', ['undecodable'])));
    expect(codes).toEqual([
      ...['encode_error', 'protocol_error', 'encode_error', 'protocol_error', 'encode_error', 'protocol_error'],
    ]);
    await stillWorks(nodes);
    expect(nodes.a.stats().counts.connected).toBe(1);
  });
});

describe('E-06 nothing is left unhandled of peers that misbehave', () => {
  it.each<[string, (peer: RawPeer) => void]>([
    ['garbage', (peer) => peer.send(Buffer.alloc(4096, 0xa5))],
    ['a huge length', (peer) => peer.send(rawFrame(1, 0, 0, Buffer.alloc(0), 0xffffffff))],
    ['half a hello', (peer) => peer.send(helloFor('x@y', B).subarray(0, 20))],
    ['a reset', (peer) => peer.socket.resetAndDestroy()],
    ['an end', (peer) => peer.socket.end()],
    ['a hello for another', (peer) => peer.send(helloFor('x@y', 'c@127.0.0.1'))],
  ])('E-06 before they have proved anything: %s', async (_, misbehave) => {
    await using nodes = await twoNodes();
    const peer = await RawPeer.dial('tcp', nodes.discovery.locations.get(B)?.port ?? 0);
    misbehave(peer);
    await stillWorks(nodes);
    peer.destroy();
    while (nodes.b.stats().handshakes > 0) await new Promise(setImmediate);
  });

  it.each<[string, (peer: RawPeer) => void]>([
    ['garbage', (peer) => peer.send(Buffer.alloc(4096, 0xa5))],
    ['a frame that only a server sends', (peer) => peer.send(bytesOf({ type: FrameType.GoAway, lastId: 1 }))],
    ['a cancel of nothing', (peer) => peer.send(bytesOf({ type: FrameType.Cancel, id: 7 }))],
    ['a reset', (peer) => peer.socket.resetAndDestroy()],
    ['half a frame and an end', (peer) => peer.socket.end(rawFrame(FrameType.Call, 0, 1, Buffer.alloc(3), 100))],
  ])('E-06 after they have: %s', async (_, misbehave) => {
    await using nodes = await twoNodes();
    const peer = await RawPeer.dial('tcp', nodes.discovery.locations.get(B)?.port ?? 0);
    await peer.login('raw@127.0.0.1', B);
    misbehave(peer);
    await stillWorks(nodes);
    peer.destroy();
    while (nodes.b.stats().acceptedConnections > 1) await new Promise(setImmediate);
  });

  it.each<[string, (peer: RawPeer) => void]>([
    ['garbage', (peer) => peer.send(Buffer.alloc(4096, 0xa5))],
    ['a call', (peer) => peer.send(rawFrame(FrameType.Call, 0, 1, Buffer.from('00000001016d0001660000', 'hex')))],
    ['a reset', (peer) => peer.socket.resetAndDestroy()],
    ['a goaway', (peer) => peer.send(bytesOf({ type: FrameType.GoAway, lastId: 0 }))],
  ])('E-06 when they answer: %s', async (_, misbehave) => {
    await using cluster = new Cluster();
    await using server = await RawServer.listen('tcp');
    cluster.discovery.locations.set(B, { driver: 'tcp', host: '127.0.0.1', port: server.port });
    const a = cluster.create('a', { listen: false });
    const reply = codeOf(a.call(B, 'm', 'fn'));
    const peer = await (await server.accept()).welcome(B);
    await peer.until(() => peer.frames.length === 1);
    misbehave(peer);
    await expect(reply).resolves.toMatch(/^(connection_lost|refused)$/);
  });

  it('E-06 of a listener that accepts and closes', async () => {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    await using cluster = new Cluster({ options: { reconnect: { min: 1, max: 1 } } });
    const { port } = server.address() as AddressInfo;
    cluster.discovery.locations.set(B, { driver: 'tcp', host: '127.0.0.1', port });
    const a = cluster.create('a', { listen: false });
    for (let n = 0; n < 5; n += 1) await expect(codeOf(a.call(B, 'm', 'fn'))).resolves.toBe('node_down');
    await new Promise((resolve) => server.close(resolve));
  });
});

@Controller()
class Failing {
  @MessagePattern('rpc')
  rpc(): never {
    throw new RpcException('m');
  }

  @MessagePattern('plain')
  plain(): never {
    throw new Error('plain');
  }

  @MessagePattern('stream')
  stream(): Observable<number> {
    return throwError(() => new Error('stream'));
  }

  @MessagePattern('unstoppable')
  unstoppable(): Observable<number> {
    return unstoppable();
  }

  @MessagePattern('unencodable')
  unencodable(): unknown {
    return () => {};
  }

  @MessagePattern('works')
  works(): string {
    return 'works';
  }

  @EventPattern('event')
  event(@Payload() _data: unknown): Promise<void> {
    return Promise.reject(new Error('event'));
  }

  @EventPattern('event.stream')
  eventStream(@Payload() _data: unknown): Observable<number> {
    return throwError(() => new Error('event stream'));
  }
}

describe('E-06 nothing is left unhandled in Nest applications', () => {
  it('E-06 whatever handlers of messages and events do', async () => {
    await using pair = await pairOf({ controllers: [Failing] });
    for (const pattern of ['rpc', 'plain', 'stream', 'unencodable', 'nobody']) {
      await codeOf(firstValueFrom(pair.caller.send(pattern, {})));
      await lastValueFrom(pair.caller.emit(pattern, {}));
    }
    for (const pattern of ['event', 'event.stream']) {
      await lastValueFrom(pair.caller.emit(pattern, {}));
      await codeOf(firstValueFrom(pair.caller.send(pattern, {})));
    }
    await expect(firstValueFrom(pair.caller.send('unstoppable', {}))).resolves.toBe(1);
    await expect(firstValueFrom(pair.caller.send('works', {}))).resolves.toBe('works');
    expect(pair.caller.unwrap().stats().counts.connected).toBe(1);
  });

  it('E-06 when nobody subscribes to what emit returns, and nobody is there', async () => {
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: 1 });
    for (let n = 0; n < 10; n += 1) client.emit('event', n);
    await expect(codeOf(client.connect())).resolves.toBe('ECONNREFUSED');
    client.emit('event', 'in back-off');
    await client.close();
  });

  it('E-06 when hooks and listeners of the client throw', async () => {
    class Throwing extends GenRpcClient {
      protected override serializeError = thrower('serializeError');
      protected override serializeResponse = thrower('serializeResponse');
    }
    await using app = await App.start({ controllers: [Failing] });
    const client = new Throwing({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    client.on('connect', thrower('connect listener'));
    client.on('disconnect', thrower('disconnect listener'));
    await expect(firstValueFrom(client.send('works', {}))).rejects.toThrow('serializeResponse');
    await expect(firstValueFrom(client.send('rpc', {}))).rejects.toThrow('serializeError');
    expect(client.unwrap().stats()).toMatchObject({ pendingCalls: 0, counts: { connected: 1 } });
    await client.close();
  });

  it('E-06 when the server dies under its clients', async () => {
    const app = await App.start({ controllers: [Failing] });
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    await firstValueFrom(client.send('works', {}));
    const reply = codeOf(lastValueFrom(client.send('unstoppable', {})));
    while (app.node.stats().runningCalls === 0) await new Promise(setImmediate);
    app.node.abort();
    await expect(reply).resolves.toBe('connection_lost');
    client.emit('event', 1);
    await expect(codeOf(firstValueFrom(client.send('works', {})))).resolves.toBe('ECONNREFUSED');
    await client.close();
    await app.app.close();
    await new Promise<void>((resolve) => connect(app.address.port, '127.0.0.1').on('error', () => resolve()));
  });
});
