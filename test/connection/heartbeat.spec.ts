import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { agreedKeepalive, Heartbeat, type HeartbeatSettings } from '../../lib/connection/heartbeat.js';
import { systemClock } from '../../lib/system/system.js';
import type { Clock, Timer } from '../../lib/ports/clock.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { until } from '../support/door.js';

const SETTINGS: HeartbeatSettings = { idle: 5000, interval: 2000, count: 3 };

/** A heartbeat that began at 0, and what it did when. */
function setUp<C extends Clock>(clock: C, settings: Partial<HeartbeatSettings> = {}) {
  const seen: string[] = [];
  const heartbeat = new Heartbeat(
    clock,
    { ...SETTINGS, ...settings },
    {
      ask: () => void seen.push(`asked at ${clock.now()}`),
      dead: (ms) => void seen.push(`dead at ${clock.now()} after ${ms}`),
    },
  );
  heartbeat.start();
  return { clock, heartbeat, seen };
}

describe('a heartbeat', () => {
  it('asks a silent peer, as often as was said, and then it is dead: once', async () => {
    const { clock, seen } = setUp(new VirtualClock());
    await clock.advance(4999);
    expect(seen).toEqual([]);
    await clock.advance(6000);
    expect(seen).toEqual(['asked at 5000', 'asked at 7000', 'asked at 9000']);
    await clock.advance(1_000_000);
    expect(seen.slice(3)).toEqual(['dead at 11000 after 11000']);
    expect(clock.pending).toBe(0);
  });

  it('with one question gives the peer one interval', async () => {
    const { clock, seen } = setUp(new VirtualClock(), { count: 1, interval: 10 });
    await clock.advance(100_000);
    expect(seen).toEqual(['asked at 5000', 'dead at 5010 after 5010']);
  });

  it('asks nothing of a peer that keeps sending', async () => {
    const { clock, heartbeat, seen } = setUp(new VirtualClock());
    for (let byte = 0; byte < 100; byte += 1) {
      await clock.advance(4900);
      heartbeat.heard();
    }
    expect(seen).toEqual([]);
    expect(clock.pending).toBe(1);
  });

  it('takes any byte as an answer, until the last moment, and begins anew', async () => {
    const { clock, heartbeat, seen } = setUp(new VirtualClock());
    await clock.advance(10_999);
    heartbeat.heard();
    await clock.advance(4999);
    expect(seen).toEqual(['asked at 5000', 'asked at 7000', 'asked at 9000']);
    await clock.advance(6001);
    expect(seen.slice(3)).toEqual([
      ...['asked at 15999', 'asked at 17999', 'asked at 19999', 'dead at 21999 after 11000'],
    ]);
  });

  it('counts from the last byte, also where the interval is longer than that', async () => {
    const { clock, heartbeat, seen } = setUp(new VirtualClock(), { idle: 1000, interval: 30_000, count: 1 });
    for (let round = 0; round < 3; round += 1) {
      await clock.advance(1000);
      heartbeat.heard();
    }
    expect(seen).toEqual(['asked at 1000', 'asked at 2000', 'asked at 3000']);
    expect(clock.pending).toBe(1);
    await clock.advance(100_000);
    expect(seen.slice(3)).toEqual(['asked at 4000', 'dead at 34000 after 31000']);
  });

  it.each([0, 1, 2, 3])('stops for good after %i questions', async (questions) => {
    const { clock, heartbeat, seen } = setUp(new VirtualClock());
    await clock.advance(questions === 0 ? 0 : 3000 + 2000 * questions);
    heartbeat.stop();
    heartbeat.stop();
    expect(clock.pending).toBe(0);
    await clock.advance(1_000_000);
    expect(seen).toHaveLength(questions);
  });
});

/** Time as a process sees it that stands still: timers that fell due meanwhile run late, before what came is read. */
class LeapingClock implements Clock {
  private time = 0;
  private waiting: { at: number; run: () => void }[] = [];

  now(): number {
    return this.time;
  }

  after(ms: number, run: () => void): Timer {
    const entry = { at: this.time + ms, run };
    this.waiting.push(entry);
    return { cancel: () => void (this.waiting = this.waiting.filter((one) => one !== entry)) };
  }

  soon(run: () => void): void {
    process.nextTick(run);
  }

  /** `ms` pass in which nothing runs, and then everything that is due. What that asks for waits for the next leap. */
  leap(ms: number): void {
    this.time += ms;
    const due = this.waiting.filter(({ at }) => at <= this.time);
    this.waiting = this.waiting.filter(({ at }) => at > this.time);
    for (const { run } of due.toSorted((one, other) => one.at - other.at)) run();
  }
}

describe('a heartbeat of a process that stood still', () => {
  it('does not take its own silence for that of the peer', () => {
    const { clock, heartbeat, seen } = setUp(new LeapingClock());
    clock.leap(3_600_000);
    expect(seen).toEqual(['asked at 3600000']);
    heartbeat.heard();
    clock.leap(2000);
    expect(seen).toHaveLength(1);
  });

  it('reads what came meanwhile before it judges', () => {
    const { clock, heartbeat, seen } = setUp(new LeapingClock());
    for (const ms of [5000, 2000, 2000]) clock.leap(ms);
    expect(seen).toHaveLength(3);
    clock.leap(2000);
    heartbeat.heard();
    clock.leap(0);
    expect(seen).toHaveLength(3);
    clock.leap(4999);
    expect(seen).toHaveLength(3);
    clock.leap(1);
    expect(seen).toHaveLength(4);
    expect(seen.join()).not.toContain('dead');
  });

  it('W-04 asks once more after a sleep, in which the answer to its last question may have been lost', () => {
    const { clock, heartbeat, seen } = setUp(new LeapingClock());
    for (const ms of [5000, 2000, 2000, 600_000, 0]) clock.leap(ms);
    expect(seen.slice(3)).toEqual(['asked at 609000']);
    heartbeat.heard();
    clock.leap(4999);
    expect(seen).toHaveLength(4);
  });

  it('W-04 gives that question its whole interval, and then the peer is dead', () => {
    const { clock, seen } = setUp(new LeapingClock());
    for (const ms of [5000, 2000, 2000, 600_000, 1999]) clock.leap(ms);
    expect(seen.slice(3)).toEqual(['asked at 609000']);
    clock.leap(1);
    clock.leap(0);
    expect(seen.slice(4)).toEqual(['dead at 611000 after 611000']);
  });

  it('W-04 asks more once only: a process that is always late finds its dead peers too', () => {
    const { clock, seen } = setUp(new LeapingClock());
    for (const ms of [5000, 60_000, 60_000, 60_000, 60_000, 0]) clock.leap(ms);
    expect(seen.slice(4)).toEqual(['dead at 245000 after 245000']);
  });

  it('W-04 asks more after the next sleep too, if the peer was there meanwhile', () => {
    const { clock, heartbeat, seen } = setUp(new LeapingClock(), { count: 1 });
    for (const round of [1, 2, 3]) {
      for (const ms of [5000, 600_000]) clock.leap(ms);
      expect(seen).toHaveLength(2 * round);
      heartbeat.heard();
    }
    expect(seen.join()).not.toContain('dead');
  });

  it('is not asleep for being a little late: the peer has had its time', () => {
    const { clock, seen } = setUp(new LeapingClock());
    for (const ms of [5000, 2000, 2000, 2900, 0]) clock.leap(ms);
    expect(seen.slice(3)).toEqual(['dead at 11900 after 11900']);
  });
});

describe('what two ends agree on', () => {
  const own = { idle: 5000, interval: 2000, count: 3 };

  it.each([
    ['the shorter time, if it is the own one', 60_000, 5000],
    ['the shorter time, if it is that of the peer', 700, 700],
    ['the own one, if the peer does not ask', 0, 5000],
    ['no less than 100 ms, if it is the peer that wants less', 1, 100],
    ['the own one, whatever the largest number may mean', 0xffffffff, 5000],
  ])('is %s', (_, peerIdle, idle) => {
    expect(agreedKeepalive(own, peerIdle)).toEqual({ ...own, idle });
  });

  it('is nothing for a side that does not ask, whatever the peer wants', () => {
    expect(agreedKeepalive(undefined, 0)).toBeUndefined();
    expect(agreedKeepalive(undefined, 1)).toBeUndefined();
  });

  it('is never so little that the questions are a flood', () => {
    expect(agreedKeepalive({ idle: 1, interval: 1, count: 1000 }, 1)).toEqual({ idle: 20, interval: 20, count: 1000 });
  });
});

describe('a heartbeat on the clock of the system', () => {
  /** Nothing else runs meanwhile, and nothing is read. */
  const standStill = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

  it('reads what came while the process stood still before it judges', async () => {
    const listener = createServer();
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const accepted = once(listener, 'connection');
    const socket = connect((listener.address() as AddressInfo).port, '127.0.0.1');
    const [peer] = (await accepted) as [Socket];
    const seen: string[] = [];
    let answers = 0;
    const heartbeat = new Heartbeat(
      systemClock,
      { idle: 20, interval: 50, count: 1 },
      {
        // The answer is in the system's hands in time, but nobody here reads it before the time is up.
        ask: () => {
          setImmediate(() => {
            peer.write('here');
            standStill(100);
          });
        },
        dead: () => void seen.push('dead'),
      },
    );
    socket.on('data', () => {
      answers += 1;
      heartbeat.heard();
    });
    heartbeat.start();
    await until(() => answers >= 5 || seen.length > 0);
    heartbeat.stop();
    socket.destroy();
    listener.close();
    expect(seen).toEqual([]);
  });
});
