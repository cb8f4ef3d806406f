/** Bad payloads on a connection that is logged in: each fails its own call, and nothing else. */
import { Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { FrameFlag, FrameType, type ErrorFrame, type Frame, type ResultFrame } from '../../lib/protocol/frame.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { Cluster, DRIVERS, twoNodes, type TwoNodes } from '../support/cluster.js';
import { bytesOf, rawFrame, RawPeer, RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const codec = new MsgpackrCodec();

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const text = (value: string | Buffer): Buffer => Buffer.concat([Buffer.of(0xd9, value.length), Buffer.from(value)]);
/** `value` as the only argument of a list, inside `depth` objects. */
const argument = (value: Buffer, depth = 0): Buffer =>
  Buffer.concat([Buffer.of(0x91), ...Array.from({ length: depth }, () => bytes('81 a1 61')), value]);

/** A logged-in peer that writes what it likes, and a healthy connection beside it. */
class Bench {
  private calls = 0;

  private constructor(
    readonly nodes: TwoNodes,
    readonly peer: RawPeer,
  ) {}

  static async open(): Promise<Bench> {
    const nodes = await twoNodes();
    const peer = await RawPeer.dial('tcp', nodes.discovery.locations.get(B)?.port ?? 0);
    await peer.login('raw@127.0.0.1', B);
    return new Bench(nodes, peer);
  }

  /** Calls `math.add`, or another function, with these bytes as arguments. */
  async call(payload: Uint8Array, fn = 'add'): Promise<Frame> {
    this.calls += 1;
    const id = this.calls;
    const name = { module: 'math', fn, version: '' };
    const call = { type: FrameType.Call, id, name, timeoutMs: 5000, single: false, headers: undefined } as const;
    this.peer.send(bytesOf({ ...call, payload: { kind: 'codec', bytes: payload } }));
    const answer = (frame: Frame): boolean => 'id' in frame && frame.id === id;
    await this.peer.until(() => this.peer.frames.some(answer));
    return this.peer.frames.find(answer) ?? expect.fail();
  }

  /** The payload is refused; on the same connection the next call works, and on the other nobody noticed. */
  async refuses(payload: Uint8Array): Promise<ErrorFrame> {
    const ran = this.nodes.ran.length;
    const answer = (await this.call(payload)) as ErrorFrame;
    expect(answer).toMatchObject({ type: FrameType.Error, code: 'protocol_error' });
    expect(this.nodes.ran).toHaveLength(ran);
    const next = (await this.call(codec.encode([1, 2]))) as ResultFrame;
    expect(codec.decode(next.payload.bytes)).toBe(3);
    await expect(this.nodes.a.call(B, 'math', 'add', [3, 4])).resolves.toBe(7);
    expect(this.nodes.a.stats().counts.connected).toBe(1);
    expect(this.nodes.b.stats().counts.protocol_error ?? 0).toBe(0);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.peer.destroy();
    await this.nodes[Symbol.asyncDispose]();
  }
}

describe('C-01 lengths that the bytes cannot hold', () => {
  it.each(['dd01312d00', 'ddffffffff', 'dfffffffff', 'dbffffffff', 'c6ffffffff', 'c9ffffffff01'])(
    'C-01 %s fails that call alone, as all arguments, as one and deep inside one',
    async (hex) => {
      await using bench = await Bench.open();
      const before = process.memoryUsage();
      for (const payload of [bytes(hex), argument(bytes(hex)), argument(bytes(hex), 5)]) await bench.refuses(payload);
      const after = process.memoryUsage();
      expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(1024 * 1024);
    },
  );

  it('C-01 a hundred of them in one write are a hundred errors, in order', async () => {
    await using bench = await Bench.open();
    const name = { module: 'math', fn: 'add', version: '' };
    const payload = { kind: 'codec', bytes: bytes('ddffffffff') } as const;
    const calls = Array.from({ length: 100 }, (_, n) => {
      return bytesOf({
        type: FrameType.Call,
        id: n + 1,
        name,
        timeoutMs: 5000,
        single: false,
        headers: undefined,
        payload,
      });
    });
    bench.peer.send(Buffer.concat(calls));
    await bench.peer.until(() => bench.peer.frames.length === 100);
    expect(bench.peer.frames.map((frame) => 'id' in frame && frame.id)).toEqual(calls.map((_, n) => n + 1));
    expect(bench.nodes.ran).toEqual([]);
  });
});

describe('C-05 keys that reach for a prototype', () => {
  it.each(['__proto__', 'constructor', 'prototype'])('C-05 %s fails that call alone, at any depth', async (key) => {
    await using bench = await Bench.open();
    const evil = Buffer.concat([bytes('81'), text(key), bytes('81'), text('polluted'), text('yes')]);
    for (const depth of [0, 1, 5]) {
      const { message } = await bench.refuses(argument(evil, depth));
      expect(message).toContain(`the key ${key}`);
    }
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect((Object.prototype as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it.each(DRIVERS)('C-05 in a value of our own, the caller is told, over %s', async (driver) => {
    await using nodes = await twoNodes({ driver });
    const evil: unknown = JSON.parse('{ "a": { "__proto__": { "polluted": 1 } } }');
    for (const caller of [nodes.a, nodes.b]) {
      await expect(caller.call(B, 'math', 'echo', [evil])).rejects.toMatchObject({ code: 'encode_error' });
    }
    nodes.b.register('evil', { reply: () => evil });
    await expect(nodes.a.call(B, 'evil', 'reply')).rejects.toMatchObject({ code: 'encode_error' });
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
  });
});

const INVALID = ['c328', 'c080', 'eda080', 'f4908080', 'ff', 'c3'];

describe('C-09 texts that are no UTF-8', () => {
  it.each(INVALID)('C-09 %s in an argument, or a key of one, fails that call alone', async (hex) => {
    await using bench = await Bench.open();
    await bench.refuses(argument(text(bytes(hex))));
    await bench.refuses(argument(Buffer.concat([bytes('81'), text(bytes(hex)), bytes('01')]), 2));
  });

  it.each([
    [
      'module',
      (bad: Buffer) => Buffer.concat([Buffer.of(bad.length), bad, bytes('0003'), Buffer.from('add'), bytes('00')]),
    ],
    [
      'function',
      (bad: Buffer) => Buffer.concat([bytes('04'), Buffer.from('math'), Buffer.of(0, bad.length), bad, bytes('00')]),
    ],
    [
      'version',
      (bad: Buffer) =>
        Buffer.concat([
          bytes('04'),
          Buffer.from('math'),
          bytes('0003'),
          Buffer.from('add'),
          Buffer.of(bad.length),
          bad,
        ]),
    ],
  ])('C-09 in the name of a %s ends that connection, and only that one', async (_, nameOf) => {
    for (const hex of INVALID) {
      await using bench = await Bench.open();
      await bench.nodes.a.connect(B);
      const body = Buffer.concat([bytes('000003e8'), nameOf(bytes(hex)), codec.encode([1, 2])]);
      bench.peer.send(rawFrame(FrameType.Call, FrameFlag.PayloadCodec, 1, body));
      await bench.peer.closed();
      expect(bench.nodes.ran).toEqual([]);
      expect(bench.nodes.b.stats().counts.protocol_error).toBe(1);
      await expect(bench.nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
      expect(bench.nodes.a.stats().counts.connected).toBe(1);
    }
  });

  it.each(DRIVERS)(
    'C-09 lone surrogates in names, keys, headers and values are refused by the caller, over %s',
    async (driver) => {
      await using nodes = await twoNodes({ driver });
      const { a } = nodes;
      await a.connect(B);
      for (const lone of ['\ud800', 'a\udc00b', '\udc00\ud800']) {
        const invalid = { code: 'invalid_argument', maybeExecuted: false };
        await expect(a.call(B, lone, 'add')).rejects.toMatchObject(invalid);
        await expect(a.call(B, 'math', lone)).rejects.toMatchObject(invalid);
        await expect(a.call(B, { module: 'math', version: lone }, 'add')).rejects.toMatchObject(invalid);
        await expect(a.call(`${lone}@127.0.0.1`, 'math', 'add')).rejects.toMatchObject(invalid);
        await expect(a.call(B, 'math', 'add', [], { headers: { [lone]: 'x' } })).rejects.toMatchObject(invalid);
        await expect(a.call(B, 'math', 'add', [], { headers: { x: lone } })).rejects.toMatchObject(invalid);
        await expect(a.call({ node: B, key: lone }, 'math', 'add')).rejects.toMatchObject({ code: 'encode_error' });
        await expect(a.call(B, 'math', 'echo', [lone])).rejects.toMatchObject({ code: 'encode_error' });
      }
      expect(nodes.ran).toEqual([]);
      await expect(a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
      expect(a.stats().counts.connected).toBe(1);
    },
  );
});

describe('C-10 the byte that stands for nothing', () => {
  it.each([
    ['alone', bytes('c1')],
    ['as an argument', argument(bytes('c1'))],
    ['inside one', argument(bytes('c1'), 3)],
    ['as a key', argument(bytes('81 c1 01'))],
  ])('C-10 0xc1 fails that call alone: %s', async (_, payload) => {
    await using bench = await Bench.open();
    await bench.refuses(payload);
  });
});

/** 200 levels. */
function deep(): unknown {
  let value: unknown = 'bottom';
  for (let level = 0; level < 200; level += 1) value = level % 2 === 0 ? [value] : { value };
  return value;
}

function circular(): unknown {
  const value: Record<string, unknown> = { name: 'loop' };
  value['self'] = [value];
  return value;
}

const thrower = (): never => {
  throw new Error('hidden');
};

const UNENCODABLE: Readonly<Record<string, () => unknown>> = {
  'a circular object': circular,
  'a circular array': () => {
    const list: unknown[] = [];
    list.push(list);
    return list;
  },
  'a bigint beyond 64 bits': () => ({ big: 2n ** 64n }),
  'a function': () => thrower,
  'a function deep inside': () => ({ a: [{ b: thrower }] }),
  'a symbol': () => Symbol('s'),
  'a Map': () => new Map([['a', 1]]),
  'a Set': () => [new Set([1])],
  'a Promise inside': () => ({ later: Promise.resolve(1) }),
  'an Error': () => new Error('returned'),
  'a RegExp': () => /x/,
  'a getter that throws': () => Object.defineProperty({}, 'a', { enumerable: true, get: thrower }),
  'a toJSON that throws': () => ({ toJSON: thrower }),
  'a Proxy that throws': () => ({ inside: new Proxy({}, { ownKeys: thrower }) }),
  '200 levels': deep,
  'more than 100,000 values': () => Array.from({ length: 100_001 }, () => 0),
  'a lone surrogate': () => ['\ud800'],
};

/** What stands for what. */
const MAPPED: Readonly<Record<string, readonly [() => unknown, unknown]>> = {
  'a bigint': [() => [2n ** 63n], [2n ** 63n]],
  undefined: [() => undefined, undefined],
  'undefined inside': [() => [undefined, { a: undefined }], [undefined, { a: undefined }]],
  // oxlint-disable-next-line no-sparse-arrays
  'a sparse array': [() => [1, , 3], [1, undefined, 3]],
  'a class instance': [
    () =>
      new (class User {
        name = 'Ann';
        method(): void {}
      })(),
    { name: 'Ann' },
  ],
  'a Proxy': [() => new Proxy({ a: 1 }, {}), { a: 1 }],
  'a toJSON': [() => ({ toJSON: () => 'said' }), 'said'],
  'a Date': [() => new Date(5), new Date(5)],
  'an object without prototype': [() => Object.assign(Object.create(null) as object, { a: 1 }), { a: 1 }],
};

describe.each(DRIVERS)('C-14 what a function returns, over %s', (driver) => {
  it.each(Object.keys(UNENCODABLE))('C-14 %s fails that call alone, with a typed error', async (name) => {
    await using nodes = await twoNodes({ driver });
    const reply = UNENCODABLE[name] ?? expect.fail();
    const stream = (): unknown =>
      new Observable((observer) => (observer.next(1), observer.next(reply()), observer.next(3)));
    nodes.b.register('odd', { now: reply, later: async () => reply(), stream });
    for (const caller of [nodes.a, nodes.b]) {
      for (const fn of ['now', 'later', 'stream']) {
        const error = { code: 'encode_error', maybeExecuted: true };
        await expect(caller.call(B, 'odd', fn), `${caller.name} ${fn}`).rejects.toMatchObject(error);
      }
    }
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(nodes.a.stats().counts.connected).toBe(1);
    expect(nodes.b.stats().runningCalls).toBe(0);
  });

  it.each(Object.keys(MAPPED))('C-14 %s arrives as what stands for it', async (name) => {
    await using nodes = await twoNodes({ driver });
    const [reply, expected] = MAPPED[name] ?? expect.fail();
    nodes.b.register('odd', { now: reply, later: async () => reply() });
    for (const caller of [nodes.a, nodes.b]) {
      await expect(caller.call(B, 'odd', 'now')).resolves.toStrictEqual(expected);
      await expect(caller.call(B, 'odd', 'later')).resolves.toStrictEqual(expected);
    }
  });
});

describe.each(DRIVERS)('C-14 what a function returns and nobody can have, over %s', (driver) => {
  it('C-14 stops the producer of a stream, here and there', async () => {
    await using nodes = await twoNodes({ driver });
    let stopped = 0;
    const endless = (): unknown =>
      new Observable((observer) => {
        const timer = setInterval(() => observer.next(thrower), 1);
        return () => {
          clearInterval(timer);
          stopped += 1;
        };
      });
    nodes.b.register('odd', { endless });
    for (const [at, caller] of [nodes.a, nodes.b].entries()) {
      await expect(caller.call(B, 'odd', 'endless')).rejects.toMatchObject({
        code: 'encode_error',
        maybeExecuted: true,
      });
      expect(stopped).toBe(at + 1);
    }
    expect(nodes.b.stats().runningCalls).toBe(0);
  });

  it('C-14 because it is too large is said to have run', async () => {
    await using nodes = await twoNodes({ driver, options: { maxMessageBytes: 2048 } });
    nodes.b.register('odd', { large: () => 'x'.repeat(4096), buffer: () => Buffer.alloc(4096) });
    for (const fn of ['large', 'buffer']) {
      const error = { code: 'message_too_large', maybeExecuted: true };
      await expect(nodes.a.call(B, 'odd', fn)).rejects.toMatchObject(error);
    }
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(nodes.a.stats().counts.connected).toBe(1);
  });
});

describe('C-14 a Buffer that is a slice of a pool', () => {
  const SECRET_NEIGHBOUR = 'the-neighbour-in-the-pool';
  const slice = (): Buffer => {
    const pool = Buffer.from(`${SECRET_NEIGHBOUR}visible${SECRET_NEIGHBOUR}`);
    return pool.subarray(SECRET_NEIGHBOUR.length, SECRET_NEIGHBOUR.length + 7);
  };

  it.each<[string, () => unknown]>([
    ['as the reply', slice],
    ['inside it', () => ({ list: [slice()] })],
    ['as a Uint8Array', () => new Uint8Array(slice().buffer, slice().byteOffset, 7)],
  ])('C-14 sends its own bytes and none beside them: %s', async (_, reply) => {
    await using bench = await Bench.open();
    bench.nodes.b.register('math', { slice: reply });
    const answer = await bench.call(codec.encode([]), 'slice');
    expect(answer.type).toBe(FrameType.Result);
    const wire = Buffer.concat(bench.peer.received);
    expect(wire.includes('visible')).toBe(true);
    expect(wire.includes('neighbour')).toBe(false);
  });

  it.each(DRIVERS)('C-14 arrives as it was, whatever becomes of the pool, over %s', async (driver) => {
    await using nodes = await twoNodes({ driver });
    const pool = Buffer.from('0123456789');
    nodes.b.register('pool', { raw: () => pool.subarray(2, 5), inside: () => ({ bytes: pool.subarray(2, 5) }) });
    const received: Buffer[] = [];
    for (const caller of [nodes.a, nodes.b]) {
      received.push(await caller.call<Buffer>(B, 'pool', 'raw'));
      received.push((await caller.call<{ bytes: Buffer }>(B, 'pool', 'inside')).bytes);
    }
    pool.fill(0);
    expect(received.map(String)).toEqual(['234', '234', '234', '234']);
  });
});

describe('C-16 arguments that are no list, or too many', () => {
  it.each([
    ['a map', codec.encode({ 0: 1, length: 1 })],
    ['a string', codec.encode('ab')],
    ['a number', codec.encode(2)],
    ['nil', codec.encode(null)],
    ['undefined', codec.encode(undefined)],
    ['256 arguments', codec.encode(Array.from({ length: 256 }, () => 1))],
    ['10,000 arguments', codec.encode(Array.from({ length: 10_000 }, () => 1))],
  ])('C-16 %s fails that call alone', async (_, payload) => {
    await using bench = await Bench.open();
    const { message } = await bench.refuses(payload);
    expect(message).toContain('a list of at most 255');
  });

  it.each(DRIVERS)('C-16 are refused by the caller before they are sent, over %s', async (driver) => {
    await using nodes = await twoNodes({ driver });
    const many = Array.from({ length: 10_000 }, (_, n) => n);
    const headers = Object.fromEntries(many.map((n) => [`name-${n}`, 'value']));
    const expected = { code: 'invalid_argument', maybeExecuted: false };
    for (const caller of [nodes.a, nodes.b]) {
      await expect(caller.call(B, 'math', 'add', many)).rejects.toMatchObject(expected);
      await expect(caller.call(B, 'math', 'add', 'ab' as unknown as [])).rejects.toMatchObject(expected);
      expect(() => caller.cast(B, 'math', 'add', many)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
      await expect(caller.call(B, 'math', 'echo', [many])).resolves.toEqual(many);
    }
    await expect(nodes.a.call(B, 'math', 'add', [], { headers })).rejects.toMatchObject(expected);
    expect(nodes.ran).toEqual([]);
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(nodes.a.stats().counts.connected).toBe(1);
  });

  it('C-16 10,000 headers end the connection that sends them, and only that', async () => {
    await using bench = await Bench.open();
    const entries = Buffer.concat(
      Array.from({ length: 8000 }, (_, n) => Buffer.from(`\x04${String(n).padStart(4, '0')}\0\x00`)),
    );
    const head = Buffer.concat([
      bytes('000003e8 04'),
      Buffer.from('math'),
      bytes('0003'),
      Buffer.from('add'),
      bytes('00'),
    ]);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(entries.length);
    const flags = FrameFlag.PayloadCodec | FrameFlag.Headers;
    bench.peer.send(rawFrame(FrameType.Call, flags, 1, Buffer.concat([head, length, entries, codec.encode([1, 2])])));
    await bench.peer.closed();
    expect(bench.nodes.ran).toEqual([]);
    await expect(bench.nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
  });
});

const BAD_REPLIES = ['ddffffffff', 'c1', 'a2c328', '81a95f5f70726f746f5f5f01', 'c0c0', ''];

/** A node that calls, and a server that answers with any bytes. */
async function callerOf(
  answer: (peer: RawPeer) => unknown,
): Promise<{ cluster: Cluster; server: RawServer; a: GenRpcNode }> {
  const cluster = new Cluster();
  const server = await RawServer.listen('tcp', (peer) => void peer.welcome(B).then(() => answer(peer)));
  cluster.discovery.locations.set(B, { driver: 'tcp', host: '127.0.0.1', port: server.port });
  return { cluster, server, a: cluster.create('a', { listen: false }) };
}

describe('C-10 replies that cannot be read', () => {
  it.each(BAD_REPLIES)('C-01 C-05 C-09 C-10 "%s" fails that call alone, which may have run', async (hex) => {
    const { cluster, server, a } = await callerOf(async (peer) => {
      await peer.until(() => peer.frames.length === 1);
      peer.send(bytesOf({ type: FrameType.Result, id: 1, payload: { kind: 'codec', bytes: bytes(hex) } }));
      await peer.until(() => peer.frames.some((frame) => frame.type === FrameType.Call && frame.id === 2));
      peer.send(bytesOf({ type: FrameType.Result, id: 2, payload: { kind: 'codec', bytes: codec.encode('fine') } }));
    });
    await using _ = cluster;
    await using __ = server;
    await expect(a.call(B, 'm', 'fn')).rejects.toMatchObject({ code: 'protocol_error', maybeExecuted: true });
    await expect(a.call(B, 'm', 'fn')).resolves.toBe('fine');
    expect(a.stats()).toMatchObject({ pendingCalls: 0, counts: { connected: 1 } });
  });

  it('C-10 of a stream fail the call, and the server is told to stop', async () => {
    const { cluster, server, a } = await callerOf(async (peer) => {
      await peer.until(() => peer.frames.length === 1);
      peer.send(
        bytesOf({ type: FrameType.Item, id: 1, sequence: 0, payload: { kind: 'codec', bytes: codec.encode(1) } }),
      );
      peer.send(bytesOf({ type: FrameType.Item, id: 1, sequence: 1, payload: { kind: 'codec', bytes: bytes('c1') } }));
    });
    await using _ = cluster;
    await using __ = server;
    await expect(a.call(B, 'm', 'fn')).rejects.toMatchObject({ code: 'protocol_error', maybeExecuted: true });
    const peer = server.peers[0] ?? expect.fail();
    await peer.until(() => peer.frames.length === 2);
    expect(peer.frames[1]).toEqual({ type: FrameType.Cancel, id: 1 });
  });
});
