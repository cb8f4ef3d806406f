/** Messages in chunks as they should not be: for nobody, of the wrong length, in crumbs, one among the parts of another. */
import { describe, expect, it } from 'vitest';
import { Assembler } from '../../lib/connection/assembler.js';
import { FrameType, type CallFrame, type CastFrame, type ChunkFrame, type Frame } from '../../lib/protocol/frame.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { Cluster, SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { Messages } from '../support/frames.js';
import { heldBytes } from '../support/heap.js';
import { bytesOf, chunksOf, headOf, rawFrame, RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const RAW = 'raw@127.0.0.1';
const KiB = 1024;
const NO_PAYLOAD = { kind: 'none', bytes: Buffer.alloc(0) } as const;

function callOf(id: number, fn: string, length: number, changes: Partial<CallFrame> = {}): CallFrame {
  const name = { module: 'bytes', fn, version: '' };
  const payload = { kind: 'raw', bytes: Buffer.alloc(length, id) } as const;
  return { type: FrameType.Call, id, name, timeoutMs: 20_000, single: true, headers: undefined, payload, ...changes };
}

function castOf(length: number, fill: number, lane?: number): CastFrame {
  const { name, single, headers, payload } = callOf(fill, 'take', length);
  const order = lane === undefined ? undefined : { lane, sequence: 0 };
  return { type: FrameType.Cast, name, single, headers, payload, order };
}

const chunk = (id: number, length: number, more: boolean): ChunkFrame => {
  return { type: FrameType.Chunk, id, bytes: Buffer.alloc(length, id), more };
};
const item = (id: number, sequence: number): Frame => ({ type: FrameType.Item, id, sequence, payload: NO_PAYLOAD });

const LARGE = { type: FrameType.Item, payload: { kind: 'raw', bytes: Buffer.alloc(150_000) } } as const;

/** What `size` answers: how many bytes came, and which. */
function said(length: number, fill = 0): Buffer {
  const bytes = Buffer.alloc(5, fill);
  bytes.writeUInt32BE(length);
  return bytes;
}

const sizeOf = (id: number, length: number, fill: number): object => {
  return { type: FrameType.Result, id, payload: { bytes: said(length, fill) } };
};

/** `b` behind a door, and a peer that has logged in. */
async function doorWithPeer(driver: SocketDriver) {
  const door = await Door.open(driver);
  const taken: [number, number | undefined][] = [];
  door.node.register('bytes', {
    size: ([bytes]: [Buffer]) => said(bytes.length, bytes[0]),
    take: ([bytes]: [Buffer]) => void taken.push([bytes.length, bytes[0]]),
    first: async ([items]: [AsyncIterable<unknown>]) => {
      for await (const one of items) return one;
      return undefined;
    },
    never: () => new Promise(() => {}),
  });
  const peer = await (await door.dial()).login(RAW, B);
  const answered = (id: number): boolean => peer.frames.some((frame) => 'id' in frame && frame.id === id);
  return { door, peer, taken, answered };
}

/** It is the end of the connection, counted as such, and nothing ran. */
async function endsTheConnection(driver: SocketDriver, bytes: Buffer, count: object = {}): Promise<void> {
  const { door, peer, taken } = await doorWithPeer(driver);
  await using _ = door;
  peer.send(bytes, bytesOf(callOf(99, 'size', 1)));
  await peer.closed();
  expect(peer.frames).toEqual([]);
  expect(taken).toEqual([]);
  expect(door.counts).toEqual({ accepted: 2, protocol_error: 1, ...count });
  expect(door.node.stats()).toMatchObject({ runningCalls: 0, bufferedBytes: 0 });
}

/** `a`, whose call a raw server has received. */
async function callerOf(driver: SocketDriver, stream: boolean) {
  const cluster = new Cluster({ driver });
  const server = await RawServer.listen(driver);
  cluster.discovery.locations.set(RAW, { driver, host: '127.0.0.1', port: server.port });
  const a = cluster.create('a', { listen: false });
  const items = stream ? a.stream<unknown>(RAW, 'bytes', 'list')[Symbol.asyncIterator]() : undefined;
  const first = items?.next();
  const call = stream ? undefined : a.call(RAW, 'bytes', 'get').catch((error: unknown) => error);
  const peer = await (await server.accept()).welcome(RAW);
  await peer.until(() => peer.frames.length === 1);
  const dispose = async (): Promise<void> => {
    await cluster[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  };
  return { a, peer, items, first, call, [Symbol.asyncDispose]: dispose };
}

describe.each(SOCKET_DRIVERS)('F-06 a part of a stream that was never opened, over %s', (driver) => {
  it.each<[string, Frame]>([
    ['a CHUNK', chunk(7, 2000, false)],
    ['a CHUNK of the stream of casts', chunk(0, 2000, true)],
    ['an ITEM', item(7, 0)],
    [
      'the head of an ITEM in chunks',
      { ...item(7, 0), total: 20_000, payload: { kind: 'raw', bytes: Buffer.alloc(0) } } as Frame,
    ],
    ['an END', { type: FrameType.End, id: 7, count: 0 }],
  ])('F-06 %s is the end of the connection, towards the server', (_, frame) =>
    endsTheConnection(driver, bytesOf(frame)),
  );

  it.each<[string, Frame]>([
    ['a CHUNK', chunk(7, 2000, false)],
    ['an ITEM', item(7, 0)],
    ['an END', { type: FrameType.End, id: 7, count: 0 }],
  ])('F-06 %s is the end of the connection, towards the client', async (_, frame) => {
    await using caller = await callerOf(driver, false);
    caller.peer.send(bytesOf(frame));
    expect(await caller.call).toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    await caller.peer.closed();
  });

  it('F-06 an ITEM for a call that has no stream is the end of the connection', async () => {
    await endsTheConnection(driver, bytesOf(callOf(1, 'never', 1), item(1, 0)));
  });
});

describe.each(SOCKET_DRIVERS)('F-06 a part of a stream that was just given up, over %s', (driver) => {
  it('F-06 is dropped and counted by the client, and the connection lives', async () => {
    await using caller = await callerOf(driver, true);
    const { a, peer, items, first } = caller;
    peer.send(bytesOf(item(1, 0)));
    await first;
    const large = { ...LARGE, id: 1, sequence: 1 };
    const [begin, middle, end] = chunksOf(large);
    if (begin === undefined || middle === undefined || end === undefined) throw new Error('three chunks');
    peer.send(headOf(large, 150_000), bytesOf(begin));
    await items?.return?.();
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Cancel));
    // The rest of what was half here; another one that begins; and one that is small.
    peer.send(bytesOf(middle, end));
    await until(() => a.stats().counts.late_frames === 1);
    peer.send(bytesOf({ ...large, sequence: 2 }, item(1, 3)));
    await until(() => a.stats().counts.late_frames === 3);
    const echo = a.call(RAW, 'bytes', 'get');
    await peer.until(() => peer.frames.at(-1)?.type === FrameType.Call);
    peer.send(bytesOf({ type: FrameType.Result, id: 2, payload: { kind: 'raw', bytes: Buffer.of(5) } }));
    expect(await echo).toEqual(Buffer.of(5));
    expect(a.stats()).toMatchObject({ bufferedBytes: 0, counts: { dialled: 1, connected: 1, late_frames: 3 } });
  });

  it('F-06 is dropped and counted by the server, and the connection lives', async () => {
    const { door, peer, answered } = await doorWithPeer(driver);
    await using _ = door;
    const large = { ...LARGE, id: 1, sequence: 1 };
    const [begin, middle, end] = chunksOf(large);
    if (begin === undefined || middle === undefined || end === undefined) throw new Error('three chunks');
    peer.send(bytesOf(callOf(1, 'first', 0, { streamed: true, payload: NO_PAYLOAD })));
    peer.send(headOf({ ...large, sequence: 0 }, 150_000), bytesOf(begin));
    peer.send(bytesOf(middle, end), headOf(large, 150_000), bytesOf(begin));
    // The function has what it wanted, and says so.
    await peer.until(() => peer.frames.length === 2);
    expect(peer.frames).toMatchObject([
      { type: FrameType.Cancel, id: 1 },
      { type: FrameType.Result, id: 1 },
    ]);
    peer.send(bytesOf(middle, end));
    await until(() => door.counts.late_frames === 1);
    peer.send(headOf({ ...large, sequence: 2 }, 150_000), bytesOf(begin, middle, end));
    await until(() => door.counts.late_frames === 2);
    peer.send(bytesOf(item(1, 3), { type: FrameType.End, id: 1, count: 4 }));
    await until(() => door.counts.late_frames === 4);
    peer.send(bytesOf(callOf(2, 'size', 5)));
    await peer.until(() => answered(2));
    expect(peer.frames.at(-1)).toMatchObject(sizeOf(2, 5, 2));
    expect(door.counts.protocol_error).toBeUndefined();
    expect(door.node.stats().bufferedBytes).toBe(0);
  });
});

describe.each(SOCKET_DRIVERS)('F-07 chunks that are not what was announced, over %s', (driver) => {
  const head = (total: number): Buffer => headOf(callOf(1, 'size', 0), total);

  it.each<[string, Buffer]>([
    ['more than the total', Buffer.concat([head(20_000), bytesOf(chunk(1, 20_001, false))])],
    [
      'more than the total, in several',
      Buffer.concat([head(20_000), bytesOf(chunk(1, 19_000, true), chunk(1, 1500, true))]),
    ],
    ['a last one before the total', Buffer.concat([head(20_000), bytesOf(chunk(1, 19_999, false))])],
    ['one that others follow, at the total', Buffer.concat([head(20_000), bytesOf(chunk(1, 20_000, true))])],
    ['a total that is declared again', Buffer.concat([head(20_000), bytesOf(chunk(1, 2000, true)), head(30_000)])],
    ['the same total again, at once', Buffer.concat([head(20_000), head(20_000)])],
    ['a total above the largest message', head(4 * KiB * KiB + 1)],
    ['a total of nothing', head(0)],
  ])('F-07 %s: the connection ends, and nothing of it is kept', (_, bytes) => endsTheConnection(driver, bytes));
});

describe.each(SOCKET_DRIVERS)('F-08 empty chunks, over %s', (driver) => {
  it('F-08 a million of them: the first one ends the connection, and is counted', async () => {
    const empty = rawFrame(FrameType.Chunk, 0x10, 1, Buffer.alloc(0));
    const million = Buffer.alloc(empty.length * 1_000_000, empty);
    const bytes = Buffer.concat([headOf(callOf(1, 'size', 0), 20_000), million]);
    await endsTheConnection(driver, bytes, { empty_frame_flood: 1 });
  });

  it('F-08 a last one that is empty is none either', () => {
    const bytes = Buffer.concat([
      headOf(callOf(1, 'size', 0), 20_000),
      rawFrame(FrameType.Chunk, 0, 1, Buffer.alloc(0)),
    ]);
    return endsTheConnection(driver, bytes, { empty_frame_flood: 1 });
  });
});

describe('F-09 a message of 4 MiB in crumbs', () => {
  const TOTAL = 4 * KiB * KiB;
  const whole = callOf(1, 'size', TOTAL);

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('F-09 chunks of one byte are refused at the first', () => {
      return endsTheConnection(
        driver,
        Buffer.concat([headOf(whole, TOTAL), rawFrame(FrameType.Chunk, 0x10, 1, Buffer.of(1))]),
      );
    });

    it('F-09 chunks of 1 KiB are accepted', async () => {
      const { door, peer, answered } = await doorWithPeer(driver);
      await using _ = door;
      peer.send(headOf(whole, TOTAL));
      let credit = 256 * KiB;
      let granted = 0;
      for (const part of chunksOf(whole, KiB)) {
        while (credit < KiB) {
          await peer.until(() => peer.grants.length > granted);
          for (const { connection } of peer.grants.slice(granted)) credit += connection;
          granted = peer.grants.length;
        }
        credit -= KiB;
        peer.send(bytesOf(part));
      }
      await peer.until(() => answered(1));
      expect(peer.frames).toMatchObject([sizeOf(1, TOTAL, 1)]);
    });
  });

  it.each([7, 100, KiB, 64 * KiB])('F-09 costs less than four times its size, in reads of %i bytes', async (size) => {
    const bytes = Buffer.concat([headOf(whole, TOTAL), ...chunksOf(whole, KiB).map((part) => bytesOf(part))]);
    const decoder = new FrameDecoder(TOTAL);
    const { take, messages } = new Messages();
    // Each read has memory of its own, as those of a socket have: what is kept of it keeps all of it.
    const before = await heldBytes();
    let most = 0;
    for (let at = 0; at < bytes.length; at += size) {
      decoder.push(Buffer.from(bytes.subarray(at, at + size)), take);
      if (at % (256 * KiB) < size) most = Math.max(most, (await heldBytes()) - before);
    }
    expect(messages).toHaveLength(1);
    expect(most).toBeGreaterThan(TOTAL / 2);
    expect(most).toBeLessThan(4 * TOTAL);
  });
});

describe.each(SOCKET_DRIVERS)('F-12 two messages at once, over %s', (driver) => {
  const [one, other] = [callOf(1, 'size', 40_000), callOf(2, 'size', 50_000)];
  const parts = (frame: CallFrame | CastFrame): Buffer[] => [
    headOf(frame, frame.payload.bytes.length),
    ...chunksOf(frame, 10_000).map((part) => bytesOf(part)),
  ];
  const interleaved = (...all: Buffer[][]): Buffer => {
    const longest = Math.max(...all.map(({ length }) => length));
    return Buffer.concat(Array.from({ length: longest }, (_, at) => all.flatMap((some) => some[at] ?? [])).flat());
  };

  it('F-12 on two streams are both right', async () => {
    const { door, peer } = await doorWithPeer(driver);
    await using _ = door;
    peer.send(interleaved(parts(one), parts(other)));
    await peer.until(() => peer.frames.length === 2);
    expect(peer.frames).toMatchObject([sizeOf(1, 40_000, 1), sizeOf(2, 50_000, 2)]);
  });

  it('F-12 a call and a cast are both right', async () => {
    const { door, peer, taken } = await doorWithPeer(driver);
    await using _ = door;
    peer.send(interleaved(parts(one), parts(castOf(30_000, 9))));
    await peer.until(() => peer.frames.length === 1);
    expect(peer.frames).toMatchObject([sizeOf(1, 40_000, 1)]);
    expect(taken).toEqual([[30_000, 9]]);
  });

  it.each<[string, Buffer]>([
    ['on one stream', interleaved(parts(one), parts({ ...other, id: 1 }))],
    ['of casts', interleaved(parts(castOf(30_000, 1)), parts(castOf(30_000, 2)))],
    ['of an ordered lane', interleaved(parts(castOf(30_000, 1, 4)), parts(castOf(30_000, 2, 4)))],
    ['of which the second is small', interleaved(parts(castOf(30_000, 1, 4)), [bytesOf(castOf(10, 2, 4))])],
    [
      'of which the second is the end of the stream',
      interleaved(parts(one), [bytesOf({ type: FrameType.End, id: 1, count: 0 })]),
    ],
  ])('F-12 %s end the connection', (_, bytes) => endsTheConnection(driver, bytes));

  it('F-12 sixteen are both right, and a seventeenth ends the connection', async () => {
    const heads = Array.from({ length: 17 }, (_, at) => headOf(callOf(at + 1, 'size', 20_000), 20_000));
    const chunks = Array.from({ length: 16 }, (_, at) => bytesOf(chunk(at + 1, 12_000, true)));
    const ends = Array.from({ length: 16 }, (_, at) => bytesOf(chunk(at + 1, 8000, false)));
    const { door, peer } = await doorWithPeer(driver);
    await using _ = door;
    peer.send(...heads.slice(0, 16), ...chunks);
    peer.send(...ends.slice(0, 8));
    await peer.until(() => peer.frames.length === 8);
    peer.send(...ends.slice(8));
    await peer.until(() => peer.frames.length === 16);
    expect(peer.frames).toMatchObject(Array.from({ length: 16 }, (_, at) => sizeOf(at + 1, 20_000, at + 1)));
    await endsTheConnection(driver, Buffer.concat(heads));
  });
});

describe('W-01 numbers of calls that go round', () => {
  it('W-01 are all right towards the server, large calls among them', async () => {
    const { door, peer } = await doorWithPeer('tcp');
    await using _ = door;
    const ids = Array.from({ length: 100 }, (_unused, at) => (at < 10 ? 2 ** 32 - 10 + at : at - 9));
    for (const [at, id] of ids.entries()) {
      const length = at % 10 === 0 ? 20_000 : at;
      peer.send(bytesOf({ ...callOf(1, 'size', length), id }));
    }
    await peer.until(() => peer.frames.length === 100);
    const numbers = peer.frames.map((frame) => ('id' in frame ? frame.id : 0));
    expect(numbers.toSorted((one, other) => one - other)).toEqual(ids.toSorted((one, other) => one - other));
    for (const [at, id] of ids.entries()) {
      const length = at % 10 === 0 ? 20_000 : at;
      const answer = peer.frames.find((frame) => 'id' in frame && frame.id === id);
      expect(answer).toMatchObject(sizeOf(id, length, length === 0 ? 0 : 1));
    }
    expect(door.counts).toEqual({ accepted: 2 });
  });
});

describe('an assembler', () => {
  it('keeps nothing of a message that was whole, dropped or cleared', () => {
    const assembler = new Assembler();
    const begin = (id: number): void => assembler.begin(callOf(id, 'size', 0), 20_000);
    begin(1);
    expect(assembler.add(chunk(1, 20_000, false))?.payload.bytes).toEqual(Buffer.alloc(20_000, 1));
    begin(2);
    assembler.add(chunk(2, 5000, true));
    expect([assembler.size, assembler.bytes]).toEqual([1, 5000]);
    assembler.drop(2);
    expect([assembler.size, assembler.bytes]).toEqual([0, 0]);
    begin(3);
    assembler.add(chunk(3, 5000, true));
    assembler.clear();
    expect([assembler.size, assembler.bytes]).toEqual([0, 0]);
  });
});
