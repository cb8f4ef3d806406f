import { describe, expect, it } from 'vitest';
import { PingGuard } from '../../lib/connection/ping-guard.js';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

/** A stream of which a test says how much has left: a frame is one position. */
class Stream {
  readonly sent: Frame[] = [];
  written = Infinity;

  get position(): number {
    return this.sent.length;
  }

  hasWritten(position: number): boolean {
    return position < this.written;
  }

  send(frame: Frame): void {
    this.sent.push(frame);
  }
}

function setUp() {
  const clock = new VirtualClock();
  const stream = new Stream();
  const guard = new PingGuard(clock, stream);
  const times = (count: number, run: () => void): void => {
    for (let time = 0; time < count; time += 1) run();
  };
  const pings = (count: number): void => times(count, () => guard.onPing());
  const pongs = (count: number): void => times(count, () => void guard.onPong());
  return { clock, stream, guard, pings, pongs };
}

const FLOOD = expect.objectContaining({ code: 'protocol_error', details: { violation: 'ping_flood' } }) as Error;

describe('a ping guard', () => {
  it('answers every PING, in a process that stood still a thousand at once', () => {
    const { stream, pings } = setUp();
    pings(1000);
    expect(stream.sent).toEqual(Array.from({ length: 1000 }, () => ({ type: FrameType.Pong })));
  });

  it('ends a flood, and does not answer what was too much', () => {
    const { stream, pings } = setUp();
    expect(() => pings(10_000)).toThrow(FLOOD);
    expect(stream.sent).toHaveLength(1000);
  });

  it('lets pass what comes every 20 ms, for ever', async () => {
    const { clock, pings } = setUp();
    pings(999);
    for (let time = 0; time < 5000; time += 1) {
      pings(1);
      await clock.advance(20);
    }
  });

  it('ends 10,000 a second within a second, however evenly they come', async () => {
    const { clock, pings } = setUp();
    let passed = 0;
    const flood = async (): Promise<void> => {
      for (; passed < 10_000; passed += 10) {
        pings(10);
        await clock.advance(1);
      }
    };
    await expect(flood()).rejects.toThrow(FLOOD);
    expect(passed).toBeLessThan(1200);
  });

  it('forgives with time, but never more than a thousand', async () => {
    const { clock, pings } = setUp();
    pings(1000);
    expect(() => pings(1)).toThrow(FLOOD);
    await clock.advance(3_600_000);
    pings(1000);
    expect(() => pings(1)).toThrow(FLOOD);
  });

  it('keeps no more than a thousand answers that do not leave', async () => {
    const { clock, stream, pings } = setUp();
    stream.written = 0;
    const trickle = async (): Promise<void> => {
      for (;;) {
        pings(1);
        await clock.advance(20);
      }
    };
    await expect(trickle()).rejects.toThrow(FLOOD);
    expect(stream.sent).toHaveLength(1000);
  });

  it('keeps answering a peer that takes the answers, however late', async () => {
    const { clock, stream, pings } = setUp();
    for (let time = 0; time < 10_000; time += 1) {
      stream.written = Math.max(0, time - 999);
      pings(1);
      await clock.advance(20);
    }
    expect(stream.sent).toHaveLength(10_000);
  });

  it('tells how long an answer took', async () => {
    const { clock, stream, guard } = setUp();
    guard.ask();
    expect(stream.sent).toEqual([{ type: FrameType.Ping }]);
    await clock.advance(30);
    expect(guard.onPong()).toBe(30);
    expect(guard.onPong()).toBeUndefined();
  });

  it('takes answers in the order of their questions: that to an older one is not that to the last one', async () => {
    const { clock, guard } = setUp();
    guard.ask();
    await clock.advance(200);
    guard.ask();
    await clock.advance(30);
    expect(guard.onPong()).toBe(230);
    await clock.advance(30);
    expect(guard.onPong()).toBe(60);
  });

  it('passes over PONGs that nobody asked for, until they are a storm', async () => {
    const { clock, pongs } = setUp();
    for (let second = 0; second < 100; second += 1) {
      pongs(100);
      await clock.advance(1000);
    }
    expect(() => pongs(2000)).toThrow(FLOOD);
  });

  it('does not count those that were asked for', () => {
    const { guard, pongs } = setUp();
    for (let question = 0; question < 5000; question += 1) guard.ask();
    pongs(5000);
    pongs(1000);
    expect(() => pongs(1)).toThrow(FLOOD);
  });
});
