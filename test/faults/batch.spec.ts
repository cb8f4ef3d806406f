/** F-16: frames share writes, never a frame of their own: a bad one harms none of the others, and budgets hold for all. */
import { describe, expect, it } from 'vitest';
import type { Channel, Driver } from '../../lib/driver/driver.js';
import { costOf } from '../../lib/connection/credit.js';
import type { BatchingOptions } from '../../lib/node/option-groups.js';
import { FrameType, HEADER_BYTES, STREAM_CREDIT, type Frame } from '../../lib/protocol/frame.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import { Cluster, driverOf, DRIVERS, SOCKET_DRIVERS, type DriverName, type NodeSettings } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { bytesOf } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const KiB = 1024;
const GiB = KiB ** 3;

/** One write of a channel: the sizes of the frames in it. */
type Write = readonly number[];

/** Says of every write that its channels make which frames were in it. */
class WatchedDriver implements Driver {
  /** Writes of whole frames, those of handshakes apart. */
  readonly writes: Write[] = [];
  /** Most bytes that waited in a channel. */
  mostQueued = 0;

  constructor(private readonly inner: Driver) {}

  get name(): string {
    return this.inner.name;
  }

  async connect(...given: Parameters<Driver['connect']>): Promise<Channel> {
    return this.watched(await this.inner.connect(...given));
  }

  listen(...[endpoint, onChannel, onError]: Parameters<Driver['listen']>): ReturnType<Driver['listen']> {
    return this.inner.listen(endpoint, (channel) => onChannel(this.watched(channel)), onError);
  }

  private watched(channel: Channel): Channel {
    const send = channel.send.bind(channel);
    channel.send = (chunks) => {
      const bytes = Buffer.concat(chunks);
      if (bytes.length === 0 || (bytes[4] ?? 0) >= FrameType.Call) this.writes.push(sizesIn(bytes));
      const free = send(chunks);
      this.mostQueued = Math.max(this.mostQueued, channel.queuedBytes);
      return free;
    };
    return channel;
  }
}

/** Of whole frames. */
function sizesIn(bytes: Buffer): number[] {
  const sizes: number[] = [];
  for (let at = 0; at < bytes.length; at += sizes.at(-1) ?? GiB) sizes.push(HEADER_BYTES + bytes.readUInt32BE(at));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  expect(total).toBe(bytes.length);
  return sizes;
}

const sum = (sizes: Write): number => sizes.reduce((total, size) => total + size, 0);

/** What is wrong with how frames were put into writes. */
function offences(writes: readonly Write[], { frames, bytes }: Required<BatchingOptions>): string[] {
  return writes.flatMap((sizes) => {
    if (sizes.length === 0) return ['a write of no frames'];
    if (sizes.length > frames) return [`${sizes.length} frames in a write, ${frames} are allowed`];
    // The frame that reaches the mark is the last one.
    const before = sum(sizes.slice(0, -1));
    return before >= bytes ? [`another frame behind ${before} bytes, ${bytes} are the mark`] : [];
  });
}

/** `a` casts to `b`; the writes of both are watched. */
async function pair(driver: DriverName, options: NodeSettings = {}) {
  const cluster = new Cluster({ driver, options });
  const inner = (): Driver => driverOf(cluster);
  const [atA, atB] = [new WatchedDriver(inner()), new WatchedDriver(inner())];
  const b = await cluster.start('b', {}, { drivers: [atB] });
  const ran: number[] = [];
  b.register('batch', { run: ([at]: [number]) => void ran.push(at), echo: ([at]: [number]) => at });
  const a = cluster.create('a', { listen: false }, { drivers: [atA] });
  return Object.assign(cluster, { a, b, ran, atA, atB });
}

/** What had to wait for credit leaves in writes that are as large as the channel is to hold. */
const GATHERED = { frames: Infinity, bytes: 128 * KiB };

/** Writes of casts that there was credit for, and of those that waited. */
function splitAtCredit(writes: readonly Write[]): readonly [Write[], Write[]] {
  const codec = new MsgpackrCodec();
  let direct = 0;
  for (let spent = 0; spent < STREAM_CREDIT; direct += 1) spent += costOf(codec.encode([direct]).length);
  let seen = 0;
  const behind = writes.findIndex((sizes) => (seen += sizes.length) > direct);
  return behind < 0 ? [[...writes], []] : [writes.slice(0, behind), writes.slice(behind)];
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

const BATCHING: readonly Required<BatchingOptions>[] = [
  { frames: 16, bytes: 1024 },
  { frames: 1, bytes: 1024 },
  { frames: 7, bytes: GiB },
  { frames: 100_000, bytes: 300 },
  { frames: 100_000, bytes: 1 },
  { frames: 100_000, bytes: GiB },
];

describe.each(DRIVERS)('F-16 many casts in one turn, over %s', (driver) => {
  it.each(BATCHING)('F-16 10,000 with 100 bad ones, $frames frames and $bytes bytes a write', async (batching) => {
    await using nodes = await pair(driver, { batching });
    await nodes.a.connect(B);
    for (const at of upTo(10_000)) {
      expect(nodes.a.cast(B, 'batch', at % 100 === 50 ? 'none' : 'run', [at])).toBe(true);
    }
    const good = upTo(10_000).filter((at) => at % 100 !== 50);
    await until(() => nodes.ran.length === good.length);
    expect(nodes.ran).toEqual(good);
    expect(nodes.b.stats().counts).toEqual({ accepted: 1, call_refused: 100, cast_failed: 100 });
    const [atOnce, behind] = splitAtCredit(nodes.atA.writes);
    expect(offences(atOnce, batching)).toEqual([]);
    expect(offences(behind, GATHERED)).toEqual([]);
    expect(nodes.atA.writes.flat()).toHaveLength(10_000);
    const direct = atOnce.flat().length;
    if (batching.bytes === GiB) expect(atOnce).toHaveLength(Math.ceil(direct / batching.frames));
    if (batching.frames === 1 || batching.bytes === 1) expect(atOnce).toHaveLength(direct);
  });

  it('F-16 by default they leave in ever larger writes', async () => {
    await using nodes = await pair(driver);
    await nodes.a.connect(B);
    for (const at of upTo(400)) nodes.a.cast(B, 'batch', 'run', [at]);
    await until(() => nodes.ran.length === 400);
    expect(nodes.ran).toEqual(upTo(400));
    expect(nodes.atA.writes.map((sizes) => sizes.length)).toEqual([16, 32, 64, 128, 160]);
    nodes.a.cast(B, 'batch', 'run', [400]);
    for (const at of upTo(40)) nodes.a.cast(B, 'batch', 'run', [at]);
    await until(() => nodes.ran.length === 441);
    expect(nodes.atA.writes.slice(5).map((sizes) => sizes.length)).toEqual([16, 25]);
  });

  it('F-16 answers share writes by the same rule', async () => {
    const batching = { frames: 5, bytes: 200 };
    await using nodes = await pair(driver, { batching });
    const calls = upTo(1000).map((at) => nodes.a.call(B, 'batch', 'echo', [at]));
    expect(await Promise.all(calls)).toEqual(upTo(1000));
    for (const { writes } of [nodes.atA, nodes.atB]) {
      expect(offences(writes, batching)).toEqual([]);
      expect(writes.flat()).toHaveLength(1000);
      expect(writes.length).toBeLessThan(500);
    }
  });

  it('F-16 that the caller cannot send throw alone, and nothing of them leaves', async () => {
    await using nodes = await pair(driver);
    await nodes.a.connect(B);
    for (const at of upTo(100)) {
      const cast = (value: unknown): boolean => nodes.a.cast(B, 'batch', 'run', [at, value]);
      if (at === 30) expect(() => cast(() => {})).toThrow(expect.objectContaining({ code: 'encode_error' }));
      else if (at === 60)
        expect(() => cast('x'.repeat(5 * KiB * KiB))).toThrow(expect.objectContaining({ code: 'message_too_large' }));
      else expect(cast(0)).toBe(true);
    }
    await until(() => nodes.ran.length === 98);
    expect(nodes.ran).toEqual(upTo(100).filter((at) => at !== 30 && at !== 60));
    expect(nodes.atA.writes.flat()).toHaveLength(98);
    expect(nodes.a.stats().counts).toMatchObject({ cast_not_accepted: 2 });
    expect(nodes.b.stats().counts).toEqual({ accepted: 1 });
  });

  it('F-16 none: nothing is written', async () => {
    await using nodes = await pair(driver);
    await nodes.a.connect(B);
    expect(nodes.a.abcast([], 'batch.run', 1)).toEqual({ accepted: [], refused: [] });
    await nodes.a.drain();
    await nodes.b.close();
    expect([...nodes.atA.writes, ...nodes.atB.writes].filter((sizes) => sizes.length === 0)).toEqual([]);
    expect(nodes.atA.writes).toEqual([]);
  });
});

const codec = new MsgpackrCodec();

function castOf(bytes: Uint8Array, ordered?: number): Frame {
  const name = { module: 'batch', fn: 'run', version: '' };
  const order = ordered === undefined ? undefined : { lane: 1, sequence: ordered };
  return { type: FrameType.Cast, name, single: false, order, headers: undefined, payload: { kind: 'codec', bytes } };
}

const BAD: readonly (readonly [string, Uint8Array])[] = [
  ['arguments that are no list', codec.encode('tea')],
  ['arguments that are cut', codec.encode([1, 'tea']).subarray(0, 3)],
  ['arguments that the profile forbids', Buffer.of(0x91, 0xc1)],
  ['too many arguments', codec.encode(upTo(256))],
];

describe.each(SOCKET_DRIVERS)('F-16 100 casts in one packet, and one of them bad, over %s', (driver) => {
  it.each(BAD.flatMap(([what, bytes]) => [false, true].map((ordered) => ({ what, bytes, ordered }))))(
    'F-16 $what, ordered: $ordered',
    async ({ bytes, ordered }) => {
      await using door = await Door.open(driver);
      const ran: number[] = [];
      door.node.register('batch', { run: ([at]: [number]) => void ran.push(at) });
      const peer = await door.dial();
      await peer.login('raw@127.0.0.1', door.name);
      const frames = upTo(100).map((at) => castOf(at === 42 ? bytes : codec.encode([at]), ordered ? at : undefined));
      peer.send(bytesOf(...frames));
      await until(() => ran.length === 99);
      expect(ran).toEqual(upTo(100).filter((at) => at !== 42));
      expect(door.counts).toMatchObject({ cast_failed: 1 });
      expect(door.node.stats()).toMatchObject({ acceptedConnections: 2, runningCalls: 0 });
    },
  );
});

describe('F-16 budgets hold for all casts of a turn', () => {
  it.each(DRIVERS)('F-16 casts that wait for the connection, over %s', async (driver) => {
    const batching = { frames: 16, bytes: 1024 };
    await using nodes = await pair(driver, { maxQueuedCasts: 3000, batching });
    const accepted = upTo(10_000).filter((at) => nodes.a.cast(B, 'batch', 'run', [at]));
    expect(accepted).toEqual(upTo(3000));
    await until(() => nodes.ran.length === 3000);
    expect(nodes.ran).toEqual(accepted);
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1, cast_not_accepted: 7000 });
    const [atOnce, behind] = splitAtCredit(nodes.atA.writes);
    expect(offences(atOnce, batching)).toEqual([]);
    expect(offences(behind, GATHERED)).toEqual([]);
  });

  const BUDGET = 1024 * KiB;
  const LARGE = 64 * KiB;
  const settings = { maxQueuedBytes: BUDGET, maxMessageBytes: 256 * KiB };

  it('F-16 bytes that wait for a peer that takes none', async () => {
    await using nodes = await pair('memory', settings);
    await nodes.a.connect(B);
    const [link] = nodes.network.links;
    link?.hold();
    const accepted = upTo(1000).filter((at) => nodes.a.cast(B, 'batch', 'run', [at, Buffer.alloc(LARGE)]));
    expect(accepted).toEqual(upTo(BUDGET / LARGE));
    expect(nodes.atA.mostQueued).toBeLessThan(BUDGET + LARGE + KiB);
    link?.release();
    await until(() => nodes.ran.length === accepted.length);
    expect(nodes.ran).toEqual(accepted);
    expect(nodes.a.stats().counts).toMatchObject({ cast_not_accepted: 1000 - accepted.length });
    expect(nodes.a.cast(B, 'batch', 'run', [1000])).toBe(true);
    await until(() => nodes.ran.at(-1) === 1000);
  });

  it('F-16 bytes of casts that waited for the connection: those above are dropped and counted', async () => {
    await using nodes = await pair('tcp', settings);
    const accepted = upTo(1000).filter((at) => nodes.a.cast(B, 'batch', 'run', [at, Buffer.alloc(LARGE)]));
    expect(accepted).toHaveLength(1000);
    await until(() => nodes.a.isConnected(B));
    const dropped = nodes.a.stats().counts.cast_dropped ?? 0;
    expect(dropped).toBeGreaterThan(0);
    await until(() => nodes.ran.length === 1000 - dropped);
    expect(nodes.ran).toEqual(nodes.ran.toSorted((one, other) => one - other));
    expect(nodes.atA.mostQueued).toBeLessThan(BUDGET + LARGE + KiB);
  });

  it('F-16 ordered casts that wait for their turn', async () => {
    await using nodes = await pair('tcp', { maxQueuedCasts: 50 });
    const begun: number[] = [];
    let finish = (): void => {};
    const first = new Promise<void>((resolve) => (finish = resolve));
    nodes.b.register('slow', { run: ([at]: [number]) => (begun.push(at), at === 0 ? first : undefined) });
    await nodes.a.connect(B);
    for (const at of upTo(100)) expect(nodes.a.cast(B, 'slow', 'run', [at], { ordered: true })).toBe(true);
    await until(() => nodes.b.stats().counts.ordered_cast_dropped === 49);
    expect(begun).toEqual([0]);
    expect(nodes.b.stats().runningCalls).toBe(51);
    finish();
    await until(() => begun.length === 51);
    expect(begun).toEqual(upTo(51));
  });
});
