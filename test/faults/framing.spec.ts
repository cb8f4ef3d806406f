/** The stream cut everywhere, and headers that lie: the same results, or a connection closed before anything is kept. */
import { describe, expect, it } from 'vitest';
import { FrameType, MAX_BODY_BYTES, type CallFrame, type Frame } from '../../lib/protocol/frame.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { SOCKET_DRIVERS, twoNodes, type NodeSettings, type SocketDriver } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { framesIn, slicesOf } from '../support/frames.js';
import { Proxy } from '../support/proxy.js';
import { bytesOf, rawFrame, RawPeer, RawServer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const PROTOCOL_ERROR = expect.objectContaining({ code: 'protocol_error' }) as Error;

function callOf(id: number, fn: string, args: string, changes: Partial<CallFrame> = {}): CallFrame {
  return {
    type: FrameType.Call,
    id,
    name: { module: 'math', fn, version: '' },
    timeoutMs: 5000,
    single: false,
    deliver: false,
    streamed: false,
    headers: undefined,
    payload: { kind: 'codec', bytes: Buffer.from(args, 'hex') },
    ...changes,
  };
}

/** Three calls: one with headers, one of an unknown function, one with raw bytes; and what must come back. */
const CONVERSATION: readonly Frame[] = [
  callOf(1, 'add', '920102', { headers: new Map([['trace', 'é']]) }),
  callOf(2, 'sub', '90'),
  callOf(3, 'echo', '00ff10', { single: true, payload: { kind: 'raw', bytes: Buffer.of(0, 255, 16) } }),
];
const RECORDED = bytesOf(...CONVERSATION);
const ANSWERS: readonly Frame[] = [
  { type: FrameType.Result, id: 1, payload: { kind: 'codec', bytes: Buffer.of(3) } },
  {
    type: FrameType.Error,
    id: 2,
    code: 'undefined_function',
    message: 'There is no function math.sub here.',
    payload: { kind: 'none', bytes: Buffer.alloc(0) },
  },
  { type: FrameType.Result, id: 3, payload: { kind: 'raw', bytes: Buffer.of(0, 255, 16) } },
];

/** `b` behind a door, with the functions that the conversation asks for. */
async function openDoor(driver: SocketDriver, options: NodeSettings = {}): Promise<Door> {
  const door = await Door.open(driver, options);
  door.node.register('math', {
    add: (args) => (args as number[]).reduce((sum, one) => sum + one, 0),
    echo: (args) => (args as unknown[])[0],
    size: (args) => (args as Buffer[])[0]?.length,
  });
  return door;
}

async function login(door: Door): Promise<RawPeer> {
  return (await door.dial()).login('raw@127.0.0.1', B);
}

/** Sends pieces so that each has a read of its own, as far as the kernel lets anyone say. */
async function sendApart(peer: RawPeer, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    peer.send(piece);
    await new Promise(setImmediate);
  }
}

describe('F-01 a conversation of three calls', () => {
  it('F-01 is the same frames, cut at every byte offset, byte by byte and whole', () => {
    for (let at = 1; at < RECORDED.length; at += 1) {
      expect(framesIn(RECORDED.subarray(0, at), RECORDED.subarray(at))).toEqual(CONVERSATION);
    }
    expect(framesIn(...slicesOf(RECORDED, 1))).toEqual(CONVERSATION);
    expect(framesIn(RECORDED)).toEqual(CONVERSATION);
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('F-01 is answered the same by a node, cut at every byte offset, byte by byte and whole', async () => {
      await using door = await openDoor(driver);
      const peer = await login(door);
      const cuts = Array.from({ length: RECORDED.length - 1 }, (_, at) => slicesOf(RECORDED, at + 1, RECORDED.length));
      for (const pieces of [...cuts, slicesOf(RECORDED, 1), [RECORDED]]) {
        await sendApart(peer, pieces);
        await peer.until(() => peer.frames.length >= ANSWERS.length);
        expect(peer.frames.splice(0)).toEqual(ANSWERS);
      }
    });

    it('F-01 is understood by a caller, however its answers are cut', async () => {
      await using nodes = await twoNodes({ driver });
      await using server = await RawServer.listen(driver);
      nodes.discovery.locations.set('raw@127.0.0.1', { driver, host: '127.0.0.1', port: server.port });
      const accepted = server.accept();
      await Promise.all([nodes.a.connect('raw@127.0.0.1'), accepted.then((peer) => peer.welcome('raw@127.0.0.1'))]);
      const peer = await accepted;
      const answer = (ids: readonly number[]): Buffer =>
        bytesOf(...ANSWERS.map((frame, index) => ({ ...frame, id: ids[index] ?? 0 }) as Frame));
      for (let at = 1; at <= answer([1, 2, 3]).length; at += 1) {
        const [sum, unknown, echo] = [
          nodes.a.call('raw@127.0.0.1', 'math', 'add', [1, 2]),
          nodes.a.call('raw@127.0.0.1', 'math', 'sub'),
          nodes.a.call('raw@127.0.0.1', 'math', 'echo', [Buffer.of(0, 255, 16)]),
        ];
        await peer.until(() => peer.frames.length >= 3);
        const ids = peer.frames.splice(0).map((frame) => ('id' in frame ? frame.id : 0));
        const replies = Promise.allSettled([sum, unknown, echo]);
        await sendApart(peer, slicesOf(answer(ids), at));
        expect(await replies).toMatchObject([
          { value: 3 },
          { reason: { code: 'undefined_function' } },
          { value: Buffer.of(0, 255, 16) },
        ]);
      }
    });
  });
});

describe('F-02 the length in a header', () => {
  const MAX_MESSAGE = 64 * 1024;
  const MAX = MAX_BODY_BYTES;
  const headerOf = (length: number): Buffer => rawFrame(FrameType.Call, 0x0a, 1, Buffer.alloc(0), length);

  it.each([0xffffffff, 1024 ** 3, MAX + 1])(
    'F-02 of %i is refused on the header, before anything is allocated',
    (length) => {
      const decoder = new FrameDecoder(MAX_MESSAGE);
      const header = headerOf(length);
      decoder.push(header.subarray(0, 11), () => {});
      const before = process.memoryUsage().arrayBuffers;
      expect(() => decoder.push(header.subarray(11), () => {})).toThrow(PROTOCOL_ERROR);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024);
    },
  );

  it('F-02 that is allowed costs what has arrived of it, not what it declares', () => {
    const decoders = Array.from({ length: 1000 }, () => new FrameDecoder(1024 ** 3));
    const before = process.memoryUsage().arrayBuffers;
    for (const decoder of decoders) decoder.push(Buffer.concat([headerOf(MAX), Buffer.alloc(10)]), () => {});
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1000 * 32 * 1024);
    expect(decoders.every(({ midFrame }) => midFrame)).toBe(true);
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each([0xffffffff, MAX + 1])('F-02 of %i closes the connection at once', async (length) => {
      await using door = await openDoor(driver, { maxMessageBytes: MAX_MESSAGE });
      const peer = await login(door);
      const before = process.memoryUsage().arrayBuffers;
      peer.send(headerOf(length));
      await peer.closed();
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 1024 * 1024);
      expect(door.counts.protocol_error).toBe(1);
    });

    it.each([
      ['the largest message is accepted', MAX_MESSAGE, { type: FrameType.Result, id: 1 }],
      ['a larger one in a frame of the most allowed fails its call alone', undefined, { type: FrameType.Error, id: 1 }],
    ])('F-02 %s', async (_, payload, answer) => {
      await using door = await openDoor(driver, { maxMessageBytes: MAX_MESSAGE });
      const peer = await login(door);
      const head = Buffer.from('00001388046d617468000473697a6500', 'hex');
      const bytes = Buffer.alloc(payload ?? MAX - head.length);
      peer.send(rawFrame(FrameType.Call, 0x0a, 1, Buffer.concat([head, bytes])));
      await peer.until(() => peer.frames.length > 0);
      expect(peer.frames).toMatchObject([answer]);
      expect(door.counts.protocol_error).toBeUndefined();
    });
  });
});

describe.each(SOCKET_DRIVERS)('F-03 a body that does not come, over %s', (driver) => {
  const HEADER = rawFrame(FrameType.Call, 0, 9, Buffer.alloc(0), 100);

  async function slowPeer(frameReadTimeout: number) {
    const nodes = await twoNodes({ driver, virtual: { seed: 1 }, options: { frameReadTimeout } });
    const peer = await RawPeer.dial(driver, nodes.discovery.locations.get(B)?.port ?? 0);
    await peer.login('raw@127.0.0.1', B);
    /** A round trip on the healthy connection: what was sent before it has been read. */
    const settle = (): Promise<unknown> => nodes.a.call(B, 'math', 'add', [1, 2]);
    return Object.assign(nodes, { peer, clock: nodes.clock, settle });
  }

  it('F-03 closes the connection at the deadline, counted from the header, whatever trickles in', async () => {
    await using nodes = await slowPeer(1000);
    nodes.peer.send(HEADER);
    for (let tenth = 1; tenth <= 9; tenth += 1) {
      await nodes.settle();
      await nodes.clock?.advance(100);
      nodes.peer.send(Buffer.of(0));
    }
    await nodes.clock?.advance(99);
    await nodes.settle();
    expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 2 });
    await nodes.clock?.advance(1);
    await nodes.peer.closed();
    expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 1, counts: { protocol_error: 1 } });
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('F-03 gives every frame a time of its own: one that is slow but whole is answered', async () => {
    await using nodes = await slowPeer(1000);
    const call = bytesOf(callOf(1, 'add', '920102'));
    for (let round = 1; round <= 3; round += 1) {
      for (const half of [call.subarray(0, 20), call.subarray(20)]) {
        nodes.peer.send(half);
        await nodes.settle();
        await nodes.clock?.advance(900);
      }
      await nodes.peer.until(() => nodes.peer.frames.length === round);
    }
    expect(nodes.b.stats().counts.protocol_error).toBeUndefined();
  });

  it('F-03 counts a header that is itself cut as begun', async () => {
    await using nodes = await slowPeer(1000);
    nodes.peer.send(HEADER.subarray(0, 5));
    await nodes.settle();
    await nodes.clock?.advance(1000);
    await nodes.peer.closed();
    expect(nodes.b.stats().counts.protocol_error).toBe(1);
  });
});

describe.each(SOCKET_DRIVERS)('F-11 a connection sliced at random, over %s', (driver) => {
  it.each([1, 2, 3, 4, 5])('F-11 gives the same results as an unsliced one, seed %i', async (seed) => {
    const random = new SeededRandom(seed);
    await using nodes = await twoNodes({ driver });
    const home = nodes.discovery.locations.get(B);
    if (home === undefined) throw new Error('b listens');
    const slice = (): number => (random.fraction() < 0.7 ? 1 + random.below(24) : 1 + random.below(16 * 1024));
    await using proxy = await Proxy.to(home, { slice });
    nodes.discovery.locations.set(B, { ...home, port: proxy.port });
    const values: readonly unknown[] = Array.from({ length: 40 }, () => {
      const size = random.fraction() < 0.8 ? random.below(200) : random.below(60_000);
      return random.fraction() < 0.5
        ? Buffer.alloc(size, random.below(256))
        : { text: 'é'.repeat(size), list: [size, null] };
    });
    const replies = await Promise.all(values.map((value) => nodes.a.call(B, 'math', 'echo', [value])));
    values.forEach((value, index) => expect(sameValue(replies[index], value), `value ${index}`).toBe(true));
    expect(proxy.links).toHaveLength(1);
    await until(() => nodes.b.stats().runningCalls === 0);
  });
});

/** `toEqual` takes seconds for a large Buffer. */
function sameValue(one: unknown, other: unknown): boolean {
  if (Buffer.isBuffer(one) && Buffer.isBuffer(other)) return one.equals(other);
  return JSON.stringify(one) === JSON.stringify(other);
}
