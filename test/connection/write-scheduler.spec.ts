/** What is written next of all that waits: every stream in turn, as far as credit goes, and nothing of what was dropped. */
import { describe, expect, it } from 'vitest';
import { Credit } from '../../lib/connection/credit.js';
import { Outbox } from '../../lib/connection/outbox.js';
import { WriteScheduler, type ScheduledWrites } from '../../lib/connection/write-scheduler.js';
import { FrameDecoder } from '../../lib/protocol/frame-decoder.js';
import { FrameEncoder } from '../../lib/protocol/frame-encoder.js';
import {
  FrameType,
  MAX_INTERLEAVED,
  type ChunkFrame,
  type EndFrame,
  type Frame,
  type PayloadFrame,
} from '../../lib/protocol/frame.js';

const KIB = 1024;
const LOTS = 1024 * 1024 * KIB;

/** A channel that has room for so many frames. */
class Out implements ScheduledWrites {
  readonly written: (PayloadFrame | EndFrame | ChunkFrame)[] = [];
  room = 0;
  position = 0;
  flushes = 0;
  stalls = 0;
  readonly ended: number[] = [];
  /** How many frames left together as bytes, each time. */
  readonly runs: number[] = [];

  hasRoom(): boolean {
    return this.room > 0;
  }

  write(frame: PayloadFrame | EndFrame | ChunkFrame): void {
    this.room -= 1;
    this.position += 100;
    this.written.push(frame);
  }

  /** As the frames that the peer makes of them. */
  writeEncoded(bytes: Buffer, frames: number): void {
    const decoded: Frame[] = [];
    new FrameDecoder(LOTS).push(bytes, (frame) => decoded.push(frame));
    expect(decoded).toHaveLength(frames);
    this.runs.push(frames);
    for (const frame of decoded) this.write(frame as PayloadFrame);
  }

  done(box: Outbox): void {
    this.ended.push(box.id);
  }

  flush(): void {
    this.flushes += 1;
  }

  stalled(): void {
    this.stalls += 1;
  }

  /** The streams that were written to, in order; a chunk as its number of KiB behind the stream. */
  logFrom(first: number): string[] {
    return this.written.slice(first).map((frame) => {
      const id = 'id' in frame ? frame.id : 0;
      return frame.type === FrameType.Chunk ? `${id}:${frame.bytes.length / KIB}` : `${id}`;
    });
  }
}

class Bench {
  readonly out = new Out();
  readonly credit: Credit;
  readonly scheduler: WriteScheduler;

  constructor(credit = LOTS) {
    this.credit = new Credit(credit);
    this.scheduler = new WriteScheduler(this.credit, this.out);
  }

  /** A reply of one value. */
  message(id: number, size: number, bytes = Buffer.alloc(size, id)): Outbox {
    const box = new Outbox(id, undefined);
    this.add(box, { type: FrameType.Result, id, payload: { kind: 'raw', bytes } });
    return box;
  }

  stream(id: number, credit = LOTS): Outbox {
    return new Outbox(id, new Credit(credit));
  }

  item(box: Outbox, bytes: number, sequence = 0): void {
    const payload = { kind: 'raw', bytes: Buffer.alloc(bytes, box.id) } as const;
    this.add(box, { type: FrameType.Item, id: box.id, sequence, payload });
  }

  /** As those that are to wait as bytes. */
  small(box: Outbox, count: number, first = 0): void {
    for (let sequence = first; sequence < first + count; sequence += 1) {
      const payload = { kind: 'raw', bytes: Buffer.alloc(100, sequence) } as const;
      this.scheduler.addItem(box, { type: FrameType.Item, id: box.id, sequence, payload }, new FrameEncoder());
    }
  }

  add(box: Outbox, frame: PayloadFrame | EndFrame): void {
    this.scheduler.add(box, { frame, mark: undefined, written: -1 });
  }

  /** Room for so many frames. */
  run(frames: number): string[] {
    const before = this.out.written.length;
    this.out.room = frames;
    this.scheduler.pump();
    return this.out.logFrom(before);
  }
}

describe('WriteScheduler: turns', () => {
  it('cuts a message in chunks of 64 KiB behind its head', () => {
    const bench = new Bench();
    bench.message(1, 150 * KIB);
    expect(bench.run(10)).toEqual(['1', '1:64', '1:64', '1:22']);
    const chunks = bench.out.written.filter((frame) => frame.type === FrameType.Chunk);
    expect(chunks.map(({ more }) => more)).toEqual([true, true, false]);
    expect(bench.out.ended).toEqual([1]);
    expect([bench.scheduler.queuedBytes, bench.scheduler.idle]).toEqual([0, true]);
  });

  it('lets a small item of one stream wait for one chunk of 4 MiB of another', () => {
    const bench = new Bench();
    bench.message(1, 4096 * KIB);
    expect(bench.run(2)).toEqual(['1', '1:64']);
    bench.item(bench.stream(2), 10);
    expect(bench.run(3)).toEqual(['1:64', '2', '1:64']);
  });

  it('writes a chunk of each in turn', () => {
    const bench = new Bench();
    for (const id of [1, 2, 3]) bench.message(id, 128 * KIB);
    const turns = bench.run(100);
    expect(turns).toEqual(['1', '2', '3', '1:64', '2:64', '3:64', '1:64', '2:64', '3:64']);
  });

  it('keeps the order of one stream', () => {
    const bench = new Bench();
    const box = bench.stream(1);
    bench.item(box, 40 * KIB, 0);
    bench.item(box, 5, 1);
    bench.item(box, 20 * KIB, 2);
    box.ended = true;
    bench.add(box, { type: FrameType.End, id: 1, count: 3 });
    expect(bench.run(100)).toEqual(['1', '1:40', '1', '1', '1:20', '1']);
    expect(bench.out.ended).toEqual([1]);
  });

  it('writes nothing while the channel has no room, and tells how much waits', () => {
    const bench = new Bench();
    bench.message(1, 100 * KIB);
    expect(bench.run(0)).toEqual([]);
    expect(bench.scheduler.queuedBytes).toBe(100 * KIB + 64);
    expect(bench.out.stalls).toBe(0);
  });
});

describe('WriteScheduler: at most 16 messages are half sent', () => {
  it('B-13 begins the next one when one has ended', () => {
    const bench = new Bench();
    for (let id = 1; id <= 20; id += 1) bench.message(id, 128 * KIB);
    const log = bench.run(1000);
    let half = 0;
    let most = 0;
    const chunks = new Map<string, number>();
    for (const entry of log) {
      const [id = '', size] = entry.split(':');
      if (size === undefined) half += 1;
      else chunks.set(id, (chunks.get(id) ?? 0) + 1);
      if (size !== undefined && chunks.get(id) === 2) half -= 1;
      most = Math.max(most, half);
    }
    expect([most, half, chunks.size, bench.scheduler.queuedBytes]).toEqual([MAX_INTERLEAVED, 0, 20, 0]);
  });

  it('still writes what is small meanwhile', () => {
    const bench = new Bench();
    for (let id = 1; id <= 17; id += 1) bench.message(id, 1024 * KIB);
    bench.run(17);
    bench.item(bench.stream(99), 10);
    expect(bench.run(40)).toContain('99');
  });

  it('forgets those that are dropped while they wait, and begins the next', () => {
    const bench = new Bench();
    const boxes = Array.from({ length: 19 }, (_, index) => bench.message(index + 1, 128 * KIB));
    bench.run(17);
    for (const id of [17, 18]) bench.scheduler.drop(boxes[id - 1] as Outbox);
    const log = bench.run(1000);
    expect(log.filter((entry) => /^1[78]/.test(entry))).toEqual([]);
    expect(log.filter((entry) => entry.startsWith('19'))).toEqual(['19', '19:64', '19:64']);
    expect(bench.scheduler.queuedBytes).toBe(0);
  });
});

describe('WriteScheduler: what is dropped', () => {
  it('is not written on, and its place is given to another', () => {
    const bench = new Bench();
    const boxes = Array.from({ length: 17 }, (_, index) => bench.message(index + 1, 1024 * KIB));
    bench.run(30);
    bench.scheduler.drop(boxes[0] as Outbox);
    bench.scheduler.drop(boxes[0] as Outbox);
    const log = bench.run(40);
    expect(log.filter((entry) => entry === '1:64')).toEqual([]);
    expect(log).toContain('17');
  });

  it('lets nobody begin before the peer can have heard of it', () => {
    const bench = new Bench();
    const boxes = Array.from({ length: 17 }, (_, index) => bench.message(index + 1, 1024 * KIB));
    bench.run(30);
    const before = bench.out.written.length;
    bench.out.room = 10;
    expect(bench.scheduler.drop(boxes[0] as Outbox)).toBe(true);
    expect(bench.out.written).toHaveLength(before);
    expect(bench.run(40)).toContain('17');
  });

  it('B-12 ten thousand times over leaves nothing, and all turns to the next', () => {
    const bench = new Bench();
    const bytes = Buffer.alloc(256 * KIB);
    for (let n = 0; n < 10_000; n += 1) {
      const box = bench.message(n, bytes.length, bytes);
      bench.run(n % 5);
      bench.scheduler.drop(box);
    }
    expect(bench.scheduler.queuedBytes).toBe(0);
    bench.message(1, 64 * KIB);
    expect(bench.run(10)).toEqual(['1', '1:64']);
    expect(bench.scheduler.idle).toBe(true);
  });
});

describe('WriteScheduler: credit', () => {
  it('stops at the end of the credit of the connection, says so, and goes on with more', () => {
    const bench = new Bench(100 * KIB);
    bench.message(1, 300 * KIB);
    expect(bench.run(100)).toEqual(['1', '1:64', '1:36']);
    expect(bench.out.stalls).toBeGreaterThan(0);
    expect([bench.credit.left, bench.scheduler.stalled]).toEqual([0, true]);
    bench.credit.grant(10 * KIB);
    expect(bench.run(100)).toEqual([]);
    bench.credit.grant(1024 * KIB);
    expect(bench.run(100)).toEqual(['1:64', '1:64', '1:64', '1:8']);
    expect(bench.scheduler.stalled).toBe(false);
  });

  it('B-02 begins no large item that it cannot pay for', () => {
    const bench = new Bench(64 * KIB + 30);
    bench.item(bench.stream(1), 64 * KIB);
    bench.run(1);
    bench.item(bench.stream(2), 64 * KIB);
    bench.run(100);
    expect(bench.credit.left).toBeGreaterThanOrEqual(0);
    bench.credit.grant(1024 * KIB);
    bench.run(100);
    expect(bench.scheduler.queuedBytes).toBe(0);
  });

  it('B-02 writes items of a stream as far as it has credit, and overdraws that by one', () => {
    const bench = new Bench();
    const box = bench.stream(1, 1000);
    let ready = 0;
    box.onReady = () => (ready += 1);
    for (let n = 0; n < 10; n += 1) bench.item(box, 336, n);
    expect(bench.run(100)).toEqual(['1', '1', '1']);
    expect([box.credit?.left, box.ready, ready]).toEqual([-200, false, 0]);
    box.credit?.grant(200);
    bench.scheduler.resume(box);
    expect(bench.run(100)).toEqual([]);
    box.credit?.grant(10_000);
    bench.scheduler.resume(box);
    bench.run(100);
    expect([box.queue.length, box.bytes, box.ready, ready]).toEqual([0, 0, true, 1]);
  });

  it('does not let one stream without credit hold up the others', () => {
    const bench = new Bench();
    const slow = bench.stream(1, 0);
    bench.item(slow, 10);
    bench.message(2, 100 * KIB);
    expect(bench.run(100)).toEqual(['2', '2:64', '2:36']);
    expect(bench.out.stalls).toBe(0);
  });
});

describe('WriteScheduler: many small items of a stream', () => {
  /** Of payloads of 100 bytes. */
  const COST = 164;

  const sequencesOf = ({ written }: Out): number[] => {
    return written.map((frame) => (frame.type === FrameType.Item ? frame.sequence : -1));
  };

  it('leave together, in order, with what comes before and behind them', () => {
    const bench = new Bench();
    const box = bench.stream(1);
    bench.item(box, 5000, 0);
    bench.small(box, 300, 1);
    bench.item(box, 5000, 301);
    bench.small(box, 3, 302);
    box.ended = true;
    bench.add(box, { type: FrameType.End, id: 1, count: 305 });
    bench.run(LOTS);
    expect(sequencesOf(bench.out)).toEqual([...Array.from({ length: 305 }, (_, sequence) => sequence), -1]);
    expect(bench.out.runs.length).toBeLessThan(12);
    expect(bench.out.ended).toEqual([1]);
    expect([box.bytes, bench.scheduler.queuedBytes, bench.scheduler.idle]).toEqual([0, 0, true]);
  });

  it('let others have their turn after 16 KiB', () => {
    const bench = new Bench();
    bench.small(bench.stream(1), 2000);
    bench.small(bench.stream(2), 1);
    const ids = bench.run(LOTS);
    expect(ids.indexOf('2')).toBeLessThan((16 * KIB) / 100);
    expect(ids).toHaveLength(2001);
  });

  it('wait for credit of their stream, to the item, and hold nobody up', () => {
    const bench = new Bench();
    const box = bench.stream(1, 10 * COST);
    bench.small(box, 30);
    bench.small(bench.stream(2), 1);
    expect(bench.run(LOTS).filter((id) => id === '1')).toHaveLength(10);
    expect(bench.out.written).toHaveLength(11);
    expect(box.bytes).toBe(20 * COST);
    box.credit?.grant(5 * COST);
    bench.scheduler.resume(box);
    expect(sequencesOf(bench.out).slice(11)).toEqual([10, 11, 12, 13, 14]);
    expect(bench.scheduler.stalled).toBe(false);
  });

  it('wait for credit of the connection, and say so', () => {
    const bench = new Bench(3 * COST);
    bench.small(bench.stream(1), 5);
    expect(bench.run(LOTS)).toHaveLength(3);
    expect([bench.scheduler.stalled, bench.out.stalls]).toEqual([true, 1]);
    bench.credit.grant(2 * COST);
    bench.scheduler.pump();
    expect(sequencesOf(bench.out)).toEqual([0, 1, 2, 3, 4]);
  });

  it('are forgotten with their stream', () => {
    const bench = new Bench();
    const box = bench.stream(1, 2 * COST);
    bench.small(box, 5);
    expect(bench.run(LOTS)).toHaveLength(2);
    expect(bench.scheduler.drop(box)).toBe(false);
    box.credit?.grant(LOTS);
    bench.scheduler.resume(box);
    expect([bench.out.written.length, bench.scheduler.queuedBytes]).toEqual([2, 0]);
  });
});
