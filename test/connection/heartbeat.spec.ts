import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Heartbeat, type HeartbeatSettings } from '../../lib/connection/heartbeat.js';
import { systemClock } from '../../lib/driver/system.js';
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
    clock.leap(3_600_000);
    heartbeat.heard();
    clock.leap(0);
    expect(seen).toHaveLength(3);
    clock.leap(4999);
    expect(seen).toHaveLength(3);
    clock.leap(1);
    expect(seen).toHaveLength(4);
    expect(seen.join()).not.toContain('dead');
  });

  it('still finds that the peer is dead', () => {
    const { clock, seen } = setUp(new LeapingClock());
    for (const ms of [5000, 2000, 2000, 3_600_000, 0]) clock.leap(ms);
    expect(seen.slice(3)).toEqual(['dead at 3609000 after 3609000']);
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
