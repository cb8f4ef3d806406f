/** F-15: compressed payloads that are bombs, broken, or not agreed on. Each costs its sender one call, and us one message. */
import { constants, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deflated, inflated } from '../../lib/protocol/compression.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { FrameFlag, FrameType, type Frame } from '../../lib/protocol/frame.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import type { Payload, PayloadKind } from '../../lib/protocol/payload.js';
import { Cluster, SOCKET_DRIVERS, type NodeSettings, type SocketDriver } from '../support/cluster.js';
import { admit, answerAs, Door, redirect, until } from '../support/door.js';
import { bytesOf, RawServer } from '../support/raw-peer.js';

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
const LIMIT = 4 * MiB;
const COMPRESSION = 1;
const RAW = 'raw@127.0.0.1';

/** Deflated zeros, a MiB for each 1,037 bytes. DEFLATE has nothing that grows more than 1,032 times. */
function zeros(mebibytes: number): Buffer {
  const one = deflateRawSync(Buffer.alloc(MiB), { level: 9, finishFlush: constants.Z_FULL_FLUSH });
  return Buffer.concat([...Array.from({ length: mebibytes }, () => one), deflateRawSync(Buffer.alloc(0))]);
}

const BOMB = zeros(1024);
const SMALL_BOMB = deflateRawSync(Buffer.alloc(MiB), { level: 9 });
const HELLO = deflateRawSync(new MsgpackrCodec().encode(['hello hello hello hello']));

/** Bytes that the process has held at most, so far: a peak is never forgotten, so growth is counted from here. */
const peakMemory = (): number => process.resourceUsage().maxRSS * 1024;
const PEAK_BEFORE = peakMemory();
/** Messages, frames and answers of all these tests, and what the runner needs: far from the GiB that one mistake costs. */
const SLACK = 256 * MiB;

function payload(bytes: Uint8Array, kind: PayloadKind = 'codec'): Payload {
  return { kind, bytes, compressed: true };
}

function call(id: number, given: Payload, fn = 'echo', deliver = false): Frame {
  const name = { module: 'door', fn, version: '' };
  return {
    type: FrameType.Call,
    id,
    name,
    timeoutMs: 5000,
    single: false,
    deliver,
    headers: undefined,
    payload: given,
  };
}

function cast(given: Payload): Frame {
  const name = { module: 'door', fn: 'echo', version: '' };
  return { type: FrameType.Cast, name, single: false, headers: undefined, payload: given };
}

/** What is wrong with compressed bytes, and what becomes of a call that has them for arguments or for a result. */
const BROKEN: readonly (readonly [string, Buffer, string])[] = [
  ['1 GiB in 1 MiB', BOMB, 'message_too_large'],
  ['one byte more than the limit', deflateRawSync(Buffer.alloc(LIMIT + 1)), 'message_too_large'],
  ['no DEFLATE at all', Buffer.alloc(64, 0xff), 'protocol_error'],
  ['not a byte', Buffer.alloc(0), 'protocol_error'],
  ['the last byte missing', HELLO.subarray(0, -1), 'protocol_error'],
  ['the first byte only', HELLO.subarray(0, 1), 'protocol_error'],
  ['a byte behind the end', Buffer.concat([HELLO, Buffer.of(0)]), 'protocol_error'],
  ['3 MiB behind the end', Buffer.concat([HELLO, Buffer.alloc(3 * MiB)]), 'protocol_error'],
  ['a second stream behind the first', Buffer.concat([HELLO, HELLO]), 'protocol_error'],
  [
    'a stream without an end',
    deflateRawSync(Buffer.of(0x90), { finishFlush: constants.Z_SYNC_FLUSH }),
    'protocol_error',
  ],
  ['a zlib header in front', Buffer.concat([Buffer.of(0x78, 0x9c), HELLO]), 'protocol_error'],
  ['a value that the codec refuses', deflateRawSync(Buffer.of(0xc1)), 'protocol_error'],
  ['two values', deflateRawSync(Buffer.of(0x90, 0x90)), 'protocol_error'],
];

/** `b` with `door.echo`, and a peer of it that may compress. */
async function doorWith(driver: SocketDriver, options: NodeSettings, features = COMPRESSION) {
  const door = await Door.open(driver, options);
  const ran: unknown[] = [];
  const echo = ([value]: [unknown]): unknown => {
    ran.push(value);
    return Buffer.isBuffer(value) ? value.length : value;
  };
  door.node.register('door', { echo, keep: ([bytes]: [Buffer]) => ran.push(bytes) });
  const peer = await door.dial();
  await peer.login(RAW, door.name, { features });
  const answers = async (count: number): Promise<string[]> => {
    await peer.until(() => peer.frames.length >= count);
    return peer.frames.splice(0, count).map((frame) => {
      if (frame.type === FrameType.Error) return frame.code;
      return frame.type === FrameType.Result ? 'result' : `type ${frame.type}`;
    });
  };
  return { door, peer, ran, answers, [Symbol.asyncDispose]: () => door[Symbol.asyncDispose]() };
}

describe('F-15 a server that is sent compressed arguments', () => {
  it('F-15 is built right: the bomb is one, 1,010 times its size', () => {
    expect(BOMB.length).toBeLessThan(1.02 * MiB);
    expect(GiB / BOMB.length).toBeGreaterThan(1000);
    expect(MiB / SMALL_BOMB.length).toBeGreaterThan(1000);
    expect(inflated(payload(SMALL_BOMB), MiB).bytes).toHaveLength(MiB);
    expect(inflated(payload(zeros(3)), 3 * MiB).bytes).toHaveLength(3 * MiB);
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each(BROKEN)('F-15 %s: fails that call alone', async (_, bytes, code) => {
      await using at = await doorWith(driver, { compression: {} });
      at.peer.send(bytesOf(call(1, payload(HELLO)), call(2, payload(bytes)), call(3, payload(HELLO))));
      expect((await at.answers(3)).toSorted()).toEqual([code, 'result', 'result'].toSorted());
      expect(at.ran).toHaveLength(2);
      expect(at.door.node.stats()).toMatchObject({ acceptedConnections: 2, runningCalls: 0 });
    });

    it.each(BROKEN)('F-15 %s: is refused to an sbcast, and counted of a cast', async (_, bytes, code) => {
      await using at = await doorWith(driver, { compression: {} });
      at.peer.send(bytesOf(cast(payload(bytes)), call(1, payload(bytes), 'echo', true), call(2, payload(HELLO))));
      expect(await at.answers(2)).toEqual([code, 'result']);
      expect(at.door.counts).toMatchObject({ cast_failed: 2 });
      expect(at.ran).toHaveLength(1);
    });

    it('F-15 1 GiB again and again: never holds more of it than one message', { timeout: 60_000 }, async () => {
      await using at = await doorWith(driver, { compression: {} });
      const frame = bytesOf(call(1, payload(BOMB, 'raw')));
      for (let sent = 1; sent <= 20; sent += 1) {
        at.peer.send(frame);
        expect(await at.answers(1)).toEqual(['message_too_large']);
      }
      expect(peakMemory() - PEAK_BEFORE).toBeLessThan(LIMIT + SLACK);
      expect(at.ran).toEqual([]);
      expect(at.door.node.stats().acceptedConnections).toBe(2);
    });

    it('F-15 1 MiB in 1 KiB: stops at a limit that is below it', async () => {
      await using at = await doorWith(driver, { compression: {}, maxMessageBytes: 64 * 1024 });
      at.peer.send(bytesOf(call(1, payload(SMALL_BOMB, 'raw')), call(2, payload(HELLO))));
      expect((await at.answers(2)).toSorted()).toEqual(['message_too_large', 'result']);
    });

    it('F-15 raw bytes of exactly the limit arrive whole', async () => {
      await using at = await doorWith(driver, { compression: {} });
      const bytes = deflateRawSync(Buffer.alloc(LIMIT, 7));
      const single = { ...call(1, payload(bytes, 'raw'), 'keep'), single: true } as Frame;
      at.peer.send(bytesOf(single));
      expect(await at.answers(1)).toEqual(['result']);
      expect(Buffer.alloc(LIMIT, 7).equals(at.ran[0] as Buffer)).toBe(true);
    });

    it.each([
      ['the server does not compress', {}, COMPRESSION],
      ['the client did not offer it', { compression: {} }, 0],
    ] as const)('F-15 where %s, the flag ends the connection', async (_, options, features) => {
      await using at = await doorWith(driver, options, features);
      at.peer.send(bytesOf(call(1, payload(HELLO))));
      await at.peer.closed();
      expect(at.door.counts).toMatchObject({ protocol_error: 1 });
      expect(at.peer.frames).toEqual([]);
      expect(at.ran).toEqual([]);
    });
  });
});

/** `a`, which compresses, connected to a server that answers what the test says. */
async function callerOf(driver: SocketDriver, features: number, options: NodeSettings = { compression: {} }) {
  const cluster = new Cluster({ driver });
  const server = await RawServer.listen(driver);
  const a = cluster.create('a', { listen: false, ...options });
  redirect(cluster, RAW, server.port);
  const connected = a.connect(RAW);
  const peer = await server.accept();
  await admit(peer, await answerAs(peer, RAW, { features }));
  await connected;
  /** Makes a call that is answered with these frames, and says what becomes of it. */
  const answered = async (...frames: ((id: number) => Frame)[]): Promise<unknown> => {
    const calls = (): number[] => peer.frames.flatMap((frame) => (frame.type === FrameType.Call ? [frame.id] : []));
    const seen = calls().length;
    const reply = a.call(RAW, 'any', 'thing').catch((error: unknown) => error);
    await peer.until(() => calls().length > seen);
    const id = calls().at(-1) ?? 0;
    peer.send(bytesOf(...frames.map((frame) => frame(id))));
    return reply;
  };
  const dispose = async (): Promise<void> => {
    await cluster[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  };
  return { a, peer, answered, [Symbol.asyncDispose]: dispose };
}

const result =
  (given: Payload) =>
  (id: number): Frame => ({ type: FrameType.Result, id, payload: given });
const item =
  (given: Payload) =>
  (id: number): Frame => ({ type: FrameType.Item, id, sequence: 0, payload: given });
const error =
  (given: Payload) =>
  (id: number): Frame => {
    return { type: FrameType.Error, id, code: 'handler_failed', message: 'no', payload: given };
  };
const VALUE = ['hello hello hello hello'];

describe.each(SOCKET_DRIVERS)('F-15 a client that is sent a compressed answer, over %s', (driver) => {
  it.each([
    ['RESULT', result],
    ['ITEM', item],
    ['ERROR', error],
  ])('F-15 in a %s, broken in any way: fails that call alone', async (_, frame) => {
    await using caller = await callerOf(driver, COMPRESSION);
    for (const [what, bytes, code] of BROKEN) {
      const end = await caller.answered(frame(payload(bytes)));
      expect(end, what).toMatchObject({ code, maybeExecuted: true });
      expect(await caller.answered(result(payload(HELLO))), what).toEqual(VALUE);
    }
    expect(caller.a.stats()).toMatchObject({ pendingCalls: 0, counts: { dialled: 1, connected: 1 } });
  });

  it('F-15 reads results, items and the details of errors', async () => {
    await using caller = await callerOf(driver, COMPRESSION);
    const bytes = Buffer.alloc(5000, 'ab');
    expect(await caller.answered(result(payload(deflateRawSync(bytes), 'raw')))).toEqual(bytes);
    expect(await caller.answered(item(payload(HELLO)), result({ kind: 'none', bytes: Buffer.alloc(0) }))).toEqual(
      VALUE,
    );
    const failed = await caller.answered(error(payload(HELLO)));
    expect(failed).toMatchObject({ code: 'handler_failed', message: 'no', details: VALUE });
  });

  it('F-15 1 GiB again and again: never holds more of it than one message', { timeout: 60_000 }, async () => {
    await using caller = await callerOf(driver, COMPRESSION);
    for (let sent = 0; sent < 20; sent += 1) {
      expect(await caller.answered(result(payload(BOMB, 'raw')))).toMatchObject({ code: 'message_too_large' });
    }
    expect(peakMemory() - PEAK_BEFORE).toBeLessThan(LIMIT + SLACK);
  });

  it('F-15 loses the connection where it was not agreed on', async () => {
    await using caller = await callerOf(driver, 0);
    const end = await caller.answered(result(payload(HELLO)));
    expect(end).toMatchObject({ code: 'connection_lost', maybeExecuted: true });
  });

  it('F-15 ends the handshake with a server that agrees to what was not offered', async () => {
    await using caller = await callerOf(driver, COMPRESSION, {});
    const end = await caller.answered(result(payload(HELLO)));
    expect(end).toMatchObject({ code: 'connection_lost' });
  });
});

describe('F-15 two nodes that compress', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('F-15 send large values compressed, both ways, and agree on every byte', async () => {
      await using cluster = new Cluster({ driver, options: { compression: { threshold: 64 } } });
      const b = await cluster.start('b');
      const heard: unknown[] = [];
      b.register('door', {
        echo: ([value]: [unknown]) => value,
        fail: ([value]: [unknown]) => {
          throw new GenRpcError('handler_failed', 'no', { details: value });
        },
        hear: ([value]: [unknown]) => heard.push(value),
      });
      const a = cluster.create('a', { listen: false });
      const values = ['x'.repeat(100_000), Buffer.alloc(100_000, 3), Array.from({ length: 1000 }, (_, i) => ({ i }))];
      for (const value of values) {
        expect(await a.call(b.name, 'door', 'echo', [value])).toEqual(value);
        await expect(a.call(b.name, 'door', 'fail', [value])).rejects.toMatchObject({ details: value });
        expect(a.cast(b.name, 'door', 'hear', [value])).toBe(true);
      }
      await until(() => heard.length === values.length);
      expect(heard).toEqual(values);
    });

    it('F-15 do not, where only one of them does', async () => {
      await using cluster = new Cluster({ driver });
      const compressing = await cluster.start('b', { compression: { threshold: 0 } });
      compressing.register('door', { echo: ([value]: [unknown]) => value });
      const plain = cluster.create('a', { listen: false });
      expect(await plain.call(compressing.name, 'door', 'echo', ['x'.repeat(10_000)])).toBe('x'.repeat(10_000));
    });
  });

  it('F-15 write the flag only where it helps', () => {
    const random = Buffer.from(Array.from({ length: 4096 }, (_, at) => (at * 7919 + (at >> 3) * 104_729) & 0xff));
    const settings = { level: 9, threshold: 1024 };
    const compressible = deflated({ kind: 'raw', bytes: Buffer.alloc(4096) }, settings);
    expect(compressible).toMatchObject({ compressed: true });
    expect(deflated({ kind: 'raw', bytes: Buffer.alloc(1024) }, settings).compressed).toBeUndefined();
    expect(deflated({ kind: 'raw', bytes: deflateRawSync(random) }, settings).compressed).toBeUndefined();
    expect(bytesOf({ type: FrameType.Result, id: 1, payload: compressible })[5]).toBe(
      FrameFlag.PayloadRaw | FrameFlag.Compressed,
    );
  });

  it('F-15 get back what they had, whatever it is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), fc.integer({ min: 1, max: 9 }), (bytes, level) => {
        const sent = deflated({ kind: 'raw', bytes }, { level, threshold: 0 });
        expect(sent.bytes.length).toBeLessThanOrEqual(bytes.length);
        expect(Buffer.from(inflated(sent, 5000).bytes).equals(bytes)).toBe(true);
      }),
    );
  });

  it('F-15 read no stream that is cut or has something behind it', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 500 }),
        fc.nat(),
        fc.uint8Array({ minLength: 1 }),
        (bytes, at, more) => {
          const whole = deflateRawSync(bytes);
          for (const broken of [whole.subarray(0, at % whole.length), Buffer.concat([whole, more])]) {
            expect(() => inflated(payload(broken, 'raw'), 5000)).toThrow(
              expect.objectContaining({ code: 'protocol_error' }),
            );
          }
        },
      ),
    );
  });
});
