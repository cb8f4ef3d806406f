/** Frames that the protocol does not know, or not here: what ends the connection, and what is only passed over. */
import { connect as connectTls } from 'node:tls';
import { describe, expect, it } from 'vitest';
import type { Occurrence } from '../../lib/connection/journal.js';
import { FrameType, MAX_BODY_BYTES, type Frame } from '../../lib/protocol/frame.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { Cluster, SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { bytesOf, rawFrame, RawPeer, RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const RAW = 'raw@127.0.0.1';

/** A whole body of each type, as it may look; `anyStream`: casts have it too. */
interface Body {
  readonly stream: number;
  readonly anyStream?: true;
  readonly body: Buffer;
}

const BODIES: Readonly<Record<keyof typeof FrameType, Body>> = {
  Call: { stream: 1, body: Buffer.from('0000138800000000', 'hex') },
  Cast: { stream: 0, body: Buffer.from('00000000', 'hex') },
  Item: { stream: 1, body: Buffer.alloc(4) },
  Result: { stream: 1, body: Buffer.alloc(0) },
  Error: { stream: 1, body: Buffer.from('060000', 'hex') },
  Cancel: { stream: 1, body: Buffer.alloc(0) },
  Chunk: { stream: 1, anyStream: true, body: Buffer.alloc(1) },
  Credit: { stream: 0, anyStream: true, body: Buffer.alloc(8, 1) },
  End: { stream: 1, body: Buffer.alloc(4) },
  Headers: { stream: 1, body: Buffer.from('000401610000', 'hex') },
  GoAway: { stream: 0, body: Buffer.alloc(4) },
  Ping: { stream: 0, body: Buffer.alloc(0) },
  Pong: { stream: 0, body: Buffer.alloc(0) },
};
const TYPES = Object.keys(BODIES) as (keyof typeof FrameType)[];

/** Flags that each type knows. */
const FLAGS: Readonly<Record<keyof typeof FrameType, number>> = {
  Call: 0xcf,
  Cast: 0x4f,
  Item: 0x03,
  Result: 0x03,
  Error: 0x03,
  Cancel: 0x00,
  Chunk: 0x10,
  Credit: 0x00,
  End: 0x00,
  Headers: 0x00,
  GoAway: 0x00,
  Ping: 0x00,
  Pong: 0x00,
};

const frameOf = (
  type: keyof typeof FrameType,
  changes: { flags?: number; stream?: number; body?: Buffer } = {},
): Buffer => {
  const { stream, body, flags } = { flags: 0, ...BODIES[type], ...changes };
  return rawFrame(FrameType[type], flags, stream, body);
};

/** One byte of a header set, whatever was there. */
function withByte(frame: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(frame);
  changed[at] = value;
  return changed;
}

const SHORT: readonly (readonly [string, Buffer])[] = [
  ['an empty CALL', frameOf('Call', { body: Buffer.alloc(0) })],
  ['a CALL of 7 bytes', frameOf('Call', { body: Buffer.alloc(7) })],
  ['an empty CAST', frameOf('Cast', { body: Buffer.alloc(0) })],
  ['a CAST of 3 bytes', frameOf('Cast', { body: Buffer.alloc(3) })],
  ['an empty ERROR', frameOf('Error', { body: Buffer.alloc(0) })],
  ['an ERROR of 2 bytes', frameOf('Error', { body: Buffer.alloc(2) })],
  [
    'an ERROR whose message is longer than it',
    frameOf('Error', { body: Buffer.from('06000161', 'hex').subarray(0, 3) }),
  ],
  ['an empty GOAWAY', frameOf('GoAway', { body: Buffer.alloc(0) })],
  ['an empty ITEM', frameOf('Item', { body: Buffer.alloc(0) })],
  ['an ITEM of 3 bytes', frameOf('Item', { body: Buffer.alloc(3) })],
  ['a CREDIT of 7 bytes', frameOf('Credit', { body: Buffer.alloc(7) })],
  ['a CREDIT of 9 bytes', frameOf('Credit', { body: Buffer.alloc(9) })],
  ['an END of 3 bytes', frameOf('End', { body: Buffer.alloc(3) })],
  ['an END of 5 bytes', frameOf('End', { body: Buffer.alloc(5) })],
  ['a CHUNK of 1,023 bytes that others follow', frameOf('Chunk', { flags: 0x10, body: Buffer.alloc(1023) })],
  ['a CHUNK of more than 64 KiB', frameOf('Chunk', { body: Buffer.alloc(64 * 1024 + 1) })],
  ['a continued RESULT without a total', frameOf('Result', { flags: 0x12, body: Buffer.alloc(3) })],
  ['a continued RESULT of nothing', frameOf('Result', { flags: 0x12, body: Buffer.alloc(4) })],
  ['a continued RESULT above the largest message', frameOf('Result', { flags: 0x12, body: Buffer.alloc(4, 0xff) })],
  ['a continued RESULT with a payload', frameOf('Result', { flags: 0x12, body: Buffer.from('0000040000', 'hex') })],
  ['a continued RESULT of no kind', frameOf('Result', { flags: 0x10, body: Buffer.from('00000400', 'hex') })],
  ['HEADERS of 5 bytes', frameOf('Headers', { body: Buffer.from('0003016100', 'hex') })],
  ['HEADERS with a byte behind them', frameOf('Headers', { body: Buffer.from('00040161000000', 'hex') })],
  ['HEADERS of more than 16 KiB', rawFrame(FrameType.Headers, 0, 1, Buffer.from('4001', 'hex'), 2 + 0x4001)],
  ['a GOAWAY of 5 bytes', frameOf('GoAway', { body: Buffer.alloc(5) })],
  ['a CANCEL with a body', frameOf('Cancel', { body: Buffer.alloc(1) })],
  ['a RESULT without a payload, but with bytes', frameOf('Result', { body: Buffer.alloc(1) })],
  ['a CALL without a payload, but with bytes', frameOf('Call', { body: Buffer.from('000013880000000000', 'hex') })],
];

const RESERVED: readonly (readonly [string, Buffer])[] = [
  ...TYPES.flatMap((type) =>
    [1, 2, 4, 8, 0x10, 0x40, 0x80]
      .filter((bit) => (FLAGS[type] & bit) === 0)
      .map((flags): [string, Buffer] => {
        return [`flag 0x${flags.toString(16)} on ${type}`, frameOf(type, { flags })];
      }),
  ),
  ['two kinds of payload at once', frameOf('Result', { flags: 0x03 })],
  ...TYPES.flatMap((type): [string, Buffer][] => [
    [`byte 6 of ${type}`, withByte(frameOf(type), 6, 1)],
    [`byte 7 of ${type}`, withByte(frameOf(type), 7, 0x80)],
  ]),
  ...TYPES.filter((type) => BODIES[type].anyStream === undefined).map((type): [string, Buffer] => {
    return [`the stream of ${type}`, frameOf(type, { stream: BODIES[type].stream === 0 ? 1 : 0 })];
  }),
];

const UNKNOWN = [0x00, 0x01, 0x05, 0x0f, 0x1a, 0x1f, 0x23, 0x7f];
const SKIPPABLE = [0x80, 0x90, 0xa0, 0xff];

async function login(door: Door): Promise<RawPeer> {
  door.node.register('math', { add: (args) => (args as number[]).reduce((sum, one) => sum + one, 0) });
  return (await door.dial()).login(RAW, B);
}

/** A call of `math.add` that must be answered with 3. */
const SUM = bytesOf({
  type: FrameType.Call,
  id: 5,
  name: { module: 'math', fn: 'add', version: '' },
  timeoutMs: 5000,
  single: false,
  headers: undefined,
  payload: { kind: 'codec', bytes: Buffer.from('920102', 'hex') },
});

/** The decoder refuses it, and a node that receives it closes the connection, with one count and one line. */
async function endsTheConnection(driver: SocketDriver, bytes: Buffer): Promise<void> {
  const frames: Frame[] = [];
  expect(() => new FrameDecoder(1024).push(bytes, (frame) => frames.push(frame))).toThrow(
    expect.objectContaining({ code: 'protocol_error' }) as Error,
  );
  expect(frames).toEqual([]);
  await using door = await Door.open(driver);
  const peer = await login(door);
  peer.send(bytes, SUM);
  await peer.closed();
  expect(peer.frames).toEqual([]);
  expect(door.counts).toEqual({ accepted: 2, protocol_error: 1 });
  expect(door.cluster.log.lines).toHaveLength(1);
  expect(door.cluster.log.causes).toEqual([]);
}

describe('F-04 a length that its type cannot have', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each(SHORT)('F-04 %s ends the connection', (_, bytes) => endsTheConnection(driver, bytes));
  });

  it('F-04 the least of every type is a frame', () => {
    for (const type of TYPES) {
      const frames: Frame[] = [];
      new FrameDecoder(1024).push(frameOf(type), (frame) => frames.push(frame));
      expect(frames).toMatchObject([{ type: FrameType[type] }]);
    }
  });
});

describe('F-05 what is reserved', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each(RESERVED)('F-05 %s ends the connection', (_, bytes) => endsTheConnection(driver, bytes));

    it.each(UNKNOWN)('F-05 unknown type %i ends the connection', (type) => {
      return endsTheConnection(driver, rawFrame(type, 0, 0, Buffer.alloc(0)));
    });
  });

  it.each(SKIPPABLE)('F-05 skippable type %i is passed over and counted, in one piece or many', (type) => {
    const bytes = Buffer.concat([rawFrame(type, 0xff, 77, Buffer.alloc(500, 9)), SUM]);
    for (const size of [1, 7, 512, bytes.length]) {
      const decoder = new FrameDecoder(1024);
      const frames: Frame[] = [];
      for (let at = 0; at < bytes.length; at += size)
        decoder.push(bytes.subarray(at, at + size), (frame) => frames.push(frame));
      expect(frames).toMatchObject([{ type: FrameType.Call, id: 5 }]);
      expect(decoder).toMatchObject({ frames: 2, skippedFrames: 1, midFrame: false });
    }
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('F-05 a connection lives on behind frames that it passes over', async () => {
      await using door = await Door.open(driver);
      const peer = await login(door);
      peer.send(...SKIPPABLE.map((type) => rawFrame(type, 0xff, 77, Buffer.alloc(500, 9))), SUM);
      await peer.until(() => peer.frames.length > 0);
      expect(peer.frames).toMatchObject([{ type: FrameType.Result, id: 5, payload: { bytes: Buffer.of(3) } }]);
      expect(door.counts).toEqual({ accepted: 2 });
    });
  });

  it('F-05 a frame to pass over may not be longer than any other', () => {
    const header = rawFrame(0x80, 0, 0, Buffer.alloc(0), MAX_BODY_BYTES + 1);
    expect(() => new FrameDecoder(1024).push(header, () => {})).toThrow(/declares/);
  });
});

describe.each(SOCKET_DRIVERS)('F-14 the flag of compression, which was not negotiated, over %s', (driver) => {
  it.each(TYPES)('F-14 on %s ends the connection', (type) => endsTheConnection(driver, frameOf(type, { flags: 0x20 })));
});

describe('F-10 something else than this protocol', () => {
  const garbage = (seed: number): Buffer => Buffer.from(new SeededRandom(seed).bytes(4096));

  const ELSE: readonly (readonly [string, Buffer])[] = [
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: b\r\nConnection: keep-alive\r\n\r\n')],
    ['4 KiB of garbage, seed 1', garbage(1)],
    ['4 KiB of garbage, seed 2', garbage(2)],
    ['4 KiB of garbage, seed 3', garbage(3)],
    ['frames without a handshake', SUM],
  ];

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each(ELSE)('F-10 %s is cut off at once, without an answer', async (_, bytes) => {
      await using door = await Door.open(driver);
      const peer = await door.dial();
      const since = performance.now();
      peer.send(bytes);
      await peer.closed();
      // 100 ms where the machine is not busy. What would be wrong is to wait for the handshake's 5 s.
      expect(performance.now() - since).toBeLessThan(1500);
      expect(peer.received).toEqual([]);
      await expectOneCount(door);
    });
  });

  it.each(ELSE)('F-10 %s on a port of TLS is cut off at once, without an answer of ours', async (_, bytes) => {
    await using door = await Door.open('tls');
    const peer = await RawPeer.dial('tcp', door.port);
    const since = performance.now();
    peer.send(bytes);
    await peer.closed();
    expect(performance.now() - since).toBeLessThan(1500);
    // An alert, if that: seven bytes of TLS.
    expect(Buffer.concat(peer.received).length).toBeLessThanOrEqual(7);
    await expectOneCount(door, 'tls_failed');
  });

  it('F-10 a TLS client on a port of TCP is cut off at once, without an answer', async () => {
    await using door = await Door.open('tcp');
    const since = performance.now();
    const socket = connectTls({ port: door.port, host: '127.0.0.1', rejectUnauthorized: false });
    const error = await new Promise<unknown>((resolve) => socket.once('error', resolve));
    expect(error).toMatchObject({ code: expect.stringMatching(/^ECONN/) as string });
    expect(performance.now() - since).toBeLessThan(1500);
    await expectOneCount(door);
  });

  async function expectOneCount(door: Door, count: Occurrence = 'handshake_failed'): Promise<void> {
    await until(() => door.counts[count] !== undefined);
    expect(door.counts).toEqual({ accepted: 2, [count]: 1 });
    expect(door.cluster.log.lines).toHaveLength(1);
    expect(door.cluster.log.lines[0]).not.toMatch(/^\s+at |\.ts|\.js|node:/m);
    expect(door.cluster.log.causes).toEqual([]);
  }
});

describe.each(SOCKET_DRIVERS)('F-13 an answer that nobody waits for, over %s', (driver) => {
  const NONE = { kind: 'none', bytes: Buffer.alloc(0) } as const;
  const result = (id: number, value: number): Frame => {
    return { type: FrameType.Result, id, payload: { kind: 'codec', bytes: Buffer.of(value) } };
  };
  const failure = (id: number): Frame => ({
    type: FrameType.Error,
    id,
    code: 'handler_failed',
    message: 'no',
    payload: NONE,
  });
  const item = (id: number): Frame => ({ type: FrameType.Item, id, sequence: 0, payload: NONE });

  it.each<[string, (id: number) => readonly Frame[], number, unknown]>([
    ['a RESULT twice', (id) => [result(id, 1), result(id, 2)], 1, 1],
    ['an ERROR after the RESULT', (id) => [result(id, 1), failure(id)], 1, 1],
    ['an ITEM after the RESULT', (id) => [result(id, 1), item(id)], 1, 1],
    ['a RESULT after the ERROR', (id) => [failure(id), result(id, 1)], 1, 'handler_failed'],
    ['a RESULT of a number never given', (id) => [result(4711, 9), result(id, 1)], 1, 1],
    [
      'a RESULT and an ERROR, of numbers low and high',
      (id) => [failure(0xffffffff), result(78, 2), result(id, 1)],
      2,
      1,
    ],
  ])('F-13 %s is dropped and counted; the caller is told once', async (_, answersTo, late, outcome) => {
    await using cluster = new Cluster({ driver });
    await using server = await RawServer.listen(driver);
    cluster.discovery.locations.set(RAW, { driver, host: '127.0.0.1', port: server.port });
    const a = cluster.create('a', { listen: false });
    const told: unknown[] = [];
    const call = (): Promise<unknown> =>
      a.call(RAW, 'math', 'add').then(
        (value) => told.push(value),
        (error: { code: string }) => told.push(error.code),
      );
    const first = call();
    const peer = await (await server.accept()).welcome(RAW);
    const answer = async (frames: (id: number) => readonly Frame[]): Promise<void> => {
      await peer.until(() => peer.frames.length > 0);
      const [frame] = peer.frames.splice(0);
      if (frame === undefined || !('id' in frame)) throw new Error('a call was expected');
      peer.send(bytesOf(...frames(frame.id)));
    };
    await answer(answersTo);
    await first;
    const second = call();
    await answer((id) => [result(id, 5)]);
    await second;
    expect(told).toEqual([outcome, 5]);
    expect(a.stats()).toMatchObject({ pendingCalls: 0, counts: { dialled: 1, connected: 1, late_frames: late } });
  });
});
