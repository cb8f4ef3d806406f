/** What a node lets go of: messages that are too large before they are made, halves that nobody waits for, all at rest. */
import { describe, expect, it } from 'vitest';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { Msgpack5Codec } from '../../lib/protocol/msgpack/msgpack5.codec.js';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { Cluster, DRIVERS, twoNodes } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { bytesOf, headOf, type RawPeer } from '../support/raw-peer.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const B = 'b@127.0.0.1';
const TOO_LARGE = { code: 'message_too_large' };

/** Not touched by anybody, it takes no memory; copied, it would. */
function gigabyte(): Buffer {
  return Buffer.allocUnsafeSlow(GIB);
}

function residentBytes(): number {
  return process.memoryUsage().rss;
}

describe.each(DRIVERS)('B-14 a value of 1 GiB, over %s', (driver) => {
  it('B-14 is refused before it is encoded or copied: as a result, inside of one, as an item, as an argument', async () => {
    await using nodes = await twoNodes({ driver });
    const large = gigabyte();
    nodes.b.register('large', {
      result: () => large,
      inside: () => ({ list: [1, { bytes: large }] }),
      instance: () => Object.assign(new (class Box {})(), { bytes: large }),
      async *items() {
        yield large;
      },
      take: () => 'taken',
    });
    await nodes.a.connect(B);
    const before = residentBytes();
    const late = { ...TOO_LARGE, maybeExecuted: true };
    for (const fn of ['result', 'inside', 'instance', 'items']) {
      await expect(nodes.a.call(B, 'large', fn)).rejects.toMatchObject(late);
    }
    const early = { ...TOO_LARGE, maybeExecuted: false, details: { limit: 4 * MIB } };
    await expect(nodes.a.call(B, 'large', 'take', [large])).rejects.toMatchObject(early);
    await expect(nodes.a.call(B, 'large', 'take', [{ deep: [large] }])).rejects.toMatchObject(early);
    await expect(nodes.a.call('a@127.0.0.1', 'large', 'take', [large])).rejects.toMatchObject(early);
    expect(() => nodes.a.cast(B, 'large', 'take', [large])).toThrow(expect.objectContaining(TOO_LARGE));
    expect(residentBytes() - before).toBeLessThan(256 * MIB);
    expect(await nodes.a.call(B, 'large', 'take')).toBe('taken');
  });
});

describe.each([
  ['msgpackr', new MsgpackrCodec()],
  ['msgpack5', new Msgpack5Codec()],
])('B-14 %s', (_name, codec) => {
  it.each([
    ['bytes', [Buffer.alloc(600), Buffer.alloc(401)]],
    ['texts', { a: 'x'.repeat(1000), b: ['y'] }],
    ['bytes of an instance', [Object.assign(new (class Box {})(), { bytes: new Uint8Array(1001) })]],
  ])('B-14 refuses %s that are certainly too many', (_what, value) => {
    const error = expect.objectContaining({ code: 'message_too_large', details: { bytes: 1001, limit: 1000 } });
    expect(() => codec.encode(value, 1000)).toThrow(error);
    expect(codec.decode(codec.encode(value))).toBeDefined();
  });

  it('B-14 encodes what is just small enough', () => {
    expect(codec.encode([Buffer.alloc(1000)], 1000).length).toBe(1004);
  });
});

describe('half a message that nobody waits for', () => {
  const NAME = { module: 'stream', fn: 'wait', version: '' };

  function itemHead(id: number, sequence: number): Buffer {
    return headOf({ type: FrameType.Item, id, sequence, payload: { kind: 'raw', bytes: Buffer.of() } }, MIB);
  }

  function chunk(id: number, bytes = 4 * KIB): Buffer {
    return bytesOf({ type: FrameType.Chunk, id, bytes: Buffer.alloc(bytes), more: true });
  }

  async function caller(door: Door): Promise<RawPeer> {
    const peer = await (await door.dial()).login('caller@127.0.0.1', door.name);
    const payload = { kind: 'codec', bytes: Buffer.of(0x90) } as const;
    const call: Frame = {
      ...{ type: FrameType.Call, id: 1, name: NAME, timeoutMs: 60_000, single: false, streamed: true },
      ...{ headers: undefined, payload },
    };
    peer.send(bytesOf(call));
    return peer;
  }

  it('B-12 an item of an argument is let go of when its call is answered, and one that comes later is not kept', async () => {
    await using door = await Door.open('tcp');
    let answer = (): void => {};
    let begun = false;
    door.node.register('stream', {
      wait: () => {
        begun = true;
        return new Promise<void>((resolve) => (answer = resolve));
      },
    });
    const peer = await caller(door);
    peer.send(itemHead(1, 0), chunk(1));
    await until(() => begun && door.node.stats().bufferedBytes === 4 * KIB);
    answer();
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Result));
    expect(door.node.stats().bufferedBytes).toBe(0);
    // Sent before the answer was seen: more of them than may be half here.
    for (let n = 0; n < 20; n += 1) peer.send(itemHead(1, 1), chunk(1));
    peer.send(bytesOf({ type: FrameType.Ping }));
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Pong));
    expect(door.node.stats().bufferedBytes).toBe(0);
    expect(door.node.stats().acceptedConnections).toBe(2);
  });
});

describe('headers that fit no frame, of a message that must wait', () => {
  const tooMany = { large: 'x'.repeat(20_000) };

  it.each(DRIVERS)('are refused at once, and harm nobody else, over %s', async (driver) => {
    await using nodes = await twoNodes({ driver });
    const large = Buffer.alloc(MIB, 1);
    const others = Array.from({ length: 4 }, () => nodes.a.call(B, 'math', 'echo', [large]));
    const error = { code: 'invalid_argument', maybeExecuted: false };
    await expect(nodes.a.call(B, 'math', 'echo', [large], { headers: tooMany })).rejects.toMatchObject(error);
    async function* numbers(): AsyncGenerator<number> {
      yield 1;
    }
    await expect(nodes.a.call(B, 'math', 'echo', [numbers()], { headers: tooMany })).rejects.toMatchObject(error);
    for (const other of others) expect(await other).toHaveLength(MIB);
    // Casts that wait for credit go by the same way.
    nodes.b.register('slow', { cast: () => new Promise((resolve) => setImmediate(resolve)) });
    for (let n = 0; n < 20; n += 1) nodes.a.cast(B, 'slow', 'cast', [large]);
    expect(() => nodes.a.cast(B, 'slow', 'cast', [large], { headers: tooMany })).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
    expect(await nodes.a.call(B, 'math', 'echo', [large])).toHaveLength(MIB);
    expect(nodes.a.stats().counts.connected).toBe(1);
    await until(() => nodes.a.stats().bufferedBytes === 0 && nodes.b.stats().runningCalls === 0);
  });

  it('may be changed by their owner while the message waits', async () => {
    await using nodes = await twoNodes({ driver: 'tcp' });
    nodes.b.register('headers', { size: (_args, context) => context.headers?.size });
    const headers = new Map([['one', '1']]);
    const calls = Array.from({ length: 8 }, () => nodes.a.call(B, 'headers', 'size', [Buffer.alloc(MIB)], { headers }));
    await nodes.a.connect(B);
    headers.set('large', 'x'.repeat(20_000));
    expect(new Set(await Promise.all(calls))).toEqual(new Set([1]));
  });
});

describe('K-08 names from the wire', () => {
  it('K-08 never become counts: a thousand of them are one', async () => {
    await using cluster = new Cluster({ driver: 'memory' });
    const b = await cluster.start('b');
    const shape = Object.keys(b.stats()).toSorted();
    for (let n = 0; n < 50; n += 1) {
      const a = cluster.create(`stranger${n}`, { listen: false });
      for (let m = 0; m < 20; m += 1) {
        const error = { code: 'undefined_function' };
        await expect(a.call(B, `module${n}`, `fn${m}`, [], { headers: { [`h${m}`]: '1' } })).rejects.toMatchObject(
          error,
        );
        a.cast(B, `cast${n}`, `fn${m}`);
      }
      await a.close();
    }
    await until(() => b.stats().counts.cast_failed === 1000);
    expect(b.stats().counts).toEqual({ accepted: 50, call_refused: 2000, cast_failed: 1000 });
    expect(Object.keys(b.stats()).toSorted()).toEqual(shape);
  });
});

describe.each(DRIVERS)('B-15 at rest, over %s', (driver) => {
  it('B-15 all counters of what waits are 0, after everything that fills them', async () => {
    await using nodes = await twoNodes({ driver });
    const large = Buffer.alloc(2 * MIB, 1);
    nodes.b.register('all', {
      async *items([items]: [AsyncIterable<Buffer>]) {
        for await (const item of items) yield item;
      },
      cast: () => {},
    });
    async function* source(): AsyncGenerator<Buffer> {
      for (let n = 0; n < 5; n += 1) yield large.subarray(n);
    }
    await nodes.a.connect(B);
    const calls = Array.from({ length: 5 }, () => nodes.a.call(B, 'math', 'echo', [large]));
    const streams = Array.from({ length: 3 }, async () => {
      for await (const item of nodes.a.stream<Buffer>(B, 'all', 'items', [source()])) {
        expect(item.length).toBeGreaterThan(MIB);
      }
    });
    for (let n = 0; n < 10; n += 1) nodes.a.cast(B, 'all', 'cast', [large]);
    expect(nodes.a.stats().bufferedBytes).toBeGreaterThan(10 * MIB);
    await Promise.all([...calls, ...streams]);
    // Nothing may be left for good; what is on its way may take a moment.
    const sum = (): number => {
      return [nodes.a.stats(), nodes.b.stats()].reduce((all, { bufferedBytes, pendingCalls, runningCalls }) => {
        return all + bufferedBytes + pendingCalls + runningCalls;
      }, 0);
    };
    await until(() => sum() === 0);
  });
});
