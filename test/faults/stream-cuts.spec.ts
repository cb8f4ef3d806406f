/** the connection breaks at every frame of a stream: its reader has what came, in order and once, and an error. */
import { expect, it, describe } from 'vitest';
import { HEADER_BYTES, FrameFlag, FrameType } from '../../lib/protocol/frame.js';
import { HandshakeType } from '../../lib/protocol/handshake-frames.js';
import type { NodePorts } from '../../lib/node/create-node.js';
import { Cluster, driverOf, SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { turns } from '../support/held.js';
import { Proxy, type Direction, type ProxyLink } from '../support/proxy.js';
import { numbers, readOf, type Read } from '../support/streams.js';
import { TappedDriver } from '../support/tapped-driver.js';

const B = 'b@127.0.0.1';
const COUNT = 9;
/** Of these one travels in chunks. */
const SIZES = [10, 10, 3000, 10, 70_000, 10, 0, 10, 10];

/** Each some turns after the one before, and so in writes of its own: TLS encrypts what is written together as one. */
async function* items(): AsyncGenerator<[number, Buffer]> {
  for (let n = 0; n < COUNT; n += 1) {
    yield [n, Buffer.alloc(SIZES[n] ?? 0)];
    await turns(5);
  }
}

const numbersOf = (read: Read): unknown[] => read.items.map((item) => (item as [number, Buffer])[0]);

/** Where a frame of a stream begins, and how many items have come by then. */
interface Boundary {
  readonly at: number;
  readonly items: number;
  /** The end of the stream has come as well. */
  readonly whole: boolean;
}

/** What the bytes of one direction are made of, after the handshake. */
function boundariesOf(bytes: Buffer): Boundary[] {
  const found: Boundary[] = [];
  let [complete, whole] = [0, false];
  for (let at = 0; at < bytes.length; at += HEADER_BYTES + bytes.readUInt32BE(at)) {
    const [type, flags] = [bytes[at + 4] ?? 0, bytes[at + 5] ?? 0];
    if (type > HandshakeType.Reject) found.push({ at, items: complete, whole });
    const ends = (flags & FrameFlag.Continued) === 0;
    if ((type === FrameType.Item || type === FrameType.Chunk) && ends) complete += 1;
    whole ||= type === FrameType.End;
  }
  return [...found, { at: bytes.length, items: complete, whole }];
}

/** What is behind the last boundary that lies in the first `length` bytes. */
function lastOf(boundaries: readonly Boundary[], length: number): Boundary {
  return boundaries.filter(({ at }) => at <= length).at(-1) ?? { at: 0, items: 0, whole: false };
}

/** Header, and behind it a type and a tag: what a record of TLS is more than what is in it. */
const RECORD = { header: 5, more: 5 + 1 + 16, type: 23 };

/** Where a byte of what was said went over the wire: in TLS, behind its handshake, in a record of the same stretch. */
function wireOffsets(driver: SocketDriver, wire: Buffer, plain: number): (at: number) => number {
  if (driver === 'tcp') return (at) => at;
  const records: { readonly at: number; readonly bytes: number }[] = [];
  for (let at = 0; at < wire.length; at += RECORD.header + wire.readUInt16BE(at + 3)) {
    const bytes = wire.readUInt16BE(at + 3) + RECORD.header - RECORD.more;
    if (wire[at] === RECORD.type) records.push({ at, bytes });
  }
  let before = records.reduce((sum, { bytes }) => sum + bytes, 0) - plain;
  while (before > 0) before -= records.shift()?.bytes ?? before;
  return (wanted) => {
    let left = wanted;
    for (const { at, bytes } of records) {
      if (left < bytes) return left === 0 ? at : at + RECORD.header + left;
      left -= bytes;
    }
    return wire.length + left;
  };
}

/** `b`, and callers of it through a proxy that ends their connections where the test says. */
class Cutter {
  /** What passed in the direction that is looked at, as it went over the wire. */
  passed: Buffer[] = [];
  /** What has arrived of it, as it was said. */
  arrived: Buffer[] = [];
  cutAt = Infinity;
  readonly reads: Read[] = [];
  private callers = 0;

  private constructor(
    private readonly driver: SocketDriver,
    private readonly cluster: Cluster,
    private readonly direction: Direction,
    private readonly end: (link: ProxyLink) => void,
  ) {}

  static async start(
    driver: SocketDriver,
    direction: Direction,
    end: (link: ProxyLink) => void,
  ): Promise<Cutter & AsyncDisposable> {
    const cluster = new Cluster({ driver });
    const cutter = new Cutter(driver, cluster, direction, end);
    const b = await cluster.start('b', {}, direction === 'up' ? cutter.tapped() : {});
    b.register('stream', {
      give: items,
      take: async ([given]: [AsyncIterable<unknown>]) => {
        const read = await readOf(given);
        cutter.reads.push(read);
        return read.items.length;
      },
    });
    const proxy = await Proxy.to(
      { port: portOf(cluster, B) },
      {
        allow: (link, way, bytes) => (way === direction ? cutter.allow(link, bytes) : bytes),
        alter: (_, way, bytes) => {
          if (way === direction) cutter.passed.push(Buffer.from(bytes));
          return bytes;
        },
      },
    );
    redirect(cluster, B, proxy.port);
    const dispose = async (): Promise<void> => {
      await proxy[Symbol.asyncDispose]();
      await until(() => b.stats().runningCalls === 0);
      await cluster[Symbol.asyncDispose]();
    };
    return Object.assign(cutter, { [Symbol.asyncDispose]: dispose });
  }

  /** What a new caller reads, and what a function reads of it. */
  async read(): Promise<Read> {
    [this.passed, this.arrived] = [[], []];
    this.callers += 1;
    const ports = this.direction === 'down' ? this.tapped() : {};
    const caller = this.cluster.create(`caller${this.callers + 100}`, { listen: false }, ports);
    const args = this.direction === 'up' ? [items()] : [];
    const read = await readOf(caller.stream(B, 'stream', this.direction === 'up' ? 'take' : 'give', args));
    await caller.close();
    return read;
  }

  /** Of the last read, which was not cut: where a frame begins, and where a byte of it goes over the wire. */
  layout(): { boundaries: readonly Boundary[]; wireAt: (at: number) => number } {
    const plain = Buffer.concat(this.arrived);
    return {
      boundaries: boundariesOf(plain),
      wireAt: wireOffsets(this.driver, Buffer.concat(this.passed), plain.length),
    };
  }

  get arrivedBytes(): number {
    return Buffer.concat(this.arrived).length;
  }

  private tapped(): Partial<NodePorts> {
    const received = (bytes: Buffer): Buffer => (this.arrived.push(bytes), bytes);
    return { drivers: [new TappedDriver(driverOf(this.cluster), { received })] };
  }

  private allow(link: ProxyLink, bytes: number): number {
    const left = this.cutAt - link.passed[this.direction];
    if (left <= bytes) setImmediate(() => this.end(link));
    return Math.max(0, Math.min(bytes, left));
  }
}

const inOrder = (link: ProxyLink): void => link.end();

describe.each(SOCKET_DRIVERS)(
  'R-02 a connection that ends at each frame of a stream, over %s',
  { timeout: 60_000 },
  (driver) => {
    it('R-02 that is a reply: exactly the items that came, and an error', async () => {
      await using cutter = await Cutter.start(driver, 'down', inOrder);
      expect(numbersOf(await cutter.read())).toEqual(numbers(COUNT));
      const { boundaries, wireAt } = cutter.layout();
      expect(boundaries.length).toBeGreaterThan(COUNT + 3);
      const seen = new Set<number>();
      for (const { at } of boundaries) {
        for (const wanted of [at, at + 1, at + HEADER_BYTES, at + HEADER_BYTES + 1]) {
          const cutAt = wireAt(wanted);
          cutter.cutAt = cutAt;
          const read = await cutter.read();
          // Whatever its number of bytes is, an item counts when its last one has come.
          const { items: complete, whole } = lastOf(boundaries, cutter.arrivedBytes);
          seen.add(complete);
          expect({ cutAt, items: numbersOf(read) }).toEqual({ cutAt, items: numbers(complete) });
          expect({ cutAt, error: read.error }).toEqual({ cutAt, error: whole ? undefined : 'connection_lost' });
        }
      }
      expect([...seen]).toEqual(numbers(COUNT + 1));
    });

    it('R-02 that is an argument: its function has exactly the items that came, and an error; its caller too', async () => {
      await using cutter = await Cutter.start(driver, 'up', inOrder);
      expect(await cutter.read()).toEqual({ items: [COUNT] });
      const { boundaries, wireAt } = cutter.layout();
      expect(boundaries.length).toBeGreaterThan(COUNT + 4);
      const seen = new Set<number>();
      for (const { at } of boundaries.slice(1)) {
        cutter.reads.length = 0;
        cutter.cutAt = wireAt(at);
        const read = await cutter.read();
        await until(() => cutter.reads.length === 1);
        const { items: complete, whole } = lastOf(boundaries, cutter.arrivedBytes);
        seen.add(complete);
        const there = cutter.reads[0] ?? { items: [] };
        expect({ at, items: numbersOf(there), error: there.error }).toEqual({
          ...{ at, items: numbers(complete), error: whole ? undefined : 'connection_lost' },
        });
        // With the end of its argument the function has answered, and that may have come through.
        if (!whole || read.error !== undefined)
          expect({ at, ...read }).toEqual({ at, items: [], error: 'connection_lost' });
      }
      expect([...seen]).toEqual(numbers(COUNT + 1));
    });

    it('R-02 by a reset, that overtakes what is on its way: a beginning of it in order, and an error', async () => {
      await using cutter = await Cutter.start(driver, 'down', (link) => link.reset());
      expect(numbersOf(await cutter.read())).toEqual(numbers(COUNT));
      const { boundaries, wireAt } = cutter.layout();
      for (const { at } of boundaries.slice(0, -1)) {
        cutter.cutAt = wireAt(at);
        const read = await cutter.read();
        expect(numbersOf(read)).toEqual(numbers(read.items.length));
        expect(read.items.length).toBeLessThanOrEqual(lastOf(boundaries, cutter.arrivedBytes).items);
        // It may have overtaken the end of the handshake as well.
        const lost = cutter.arrivedBytes < (boundaries[0]?.at ?? 0) ? 'node_down' : 'connection_lost';
        expect({ at, error: read.error }).toEqual({ at, error: lost });
      }
    });
  },
);
