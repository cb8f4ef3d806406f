import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Deadline, Deadlines } from '../../lib/connection/deadlines.js';
import { systemClock } from '../../lib/system/system.js';
import type { Clock } from '../../lib/ports/clock.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

/** How late a deadline may be, ms. */
const SLOT_MS = 16;

class Alarm extends Deadline {
  readonly rungAt: number[] = [];

  constructor(
    private readonly clock: Clock,
    private readonly onRing: () => void = () => {},
  ) {
    super();
  }

  override expire(): void {
    this.rungAt.push(this.clock.now());
    this.onRing();
  }
}

function setUp() {
  const clock = new VirtualClock();
  const deadlines = new Deadlines(clock);
  const alarmAt = (at: number, onRing?: () => void): Alarm => {
    const alarm = new Alarm(clock, onRing);
    deadlines.add(alarm, at);
    return alarm;
  };
  return { clock, deadlines, alarmAt };
}

describe('a deadline', () => {
  it('is never early and at most a slot late, whatever else waits', async () => {
    const moments = fc.array(
      fc.nat(16_000).map((eighths) => eighths / 8),
      { minLength: 1, maxLength: 30 },
    );
    await fc.assert(
      fc.asyncProperty(moments, async (ats) => {
        const { clock, deadlines, alarmAt } = setUp();
        const alarms = ats.map((at) => ({ at, alarm: alarmAt(at) }));
        await clock.advance(2000 + SLOT_MS);
        for (const { at, alarm } of alarms) {
          expect(alarm.rungAt).toHaveLength(1);
          expect(alarm.rungAt[0]).toBeGreaterThanOrEqual(at);
          expect(alarm.rungAt[0]).toBeLessThanOrEqual(at + SLOT_MS);
        }
        expect([deadlines.size, clock.pending]).toEqual([0, 0]);
      }),
      { numRuns: 50 },
    );
  });

  it('is never early on the clock of a real process either', async () => {
    const deadlines = new Deadlines(systemClock);
    const random = new SeededRandom(3);
    const early: number[] = [];
    await Promise.all(
      Array.from({ length: 200 }, () => {
        const at = systemClock.now() + random.fraction() * 80;
        return new Promise<void>((resolve) => {
          const alarm = new Alarm(systemClock, () => {
            early.push(Math.min(0, (alarm.rungAt[0] ?? 0) - at));
            resolve();
          });
          deadlines.add(alarm, at);
        });
      }),
    );
    expect(early).toEqual(Array.from({ length: 200 }, () => 0));
    expect(deadlines.size).toBe(0);
  });

  it('in the past is up with the next turn', async () => {
    const { clock, alarmAt } = setUp();
    await clock.advance(1000);
    const alarm = alarmAt(10);
    expect(alarm.rungAt).toEqual([]);
    await clock.advance(0);
    expect(alarm.rungAt).toEqual([1000]);
  });

  it('that was removed never rings, and removing it again is harmless', async () => {
    const { clock, deadlines, alarmAt } = setUp();
    const [first, middle, last] = [alarmAt(10), alarmAt(11), alarmAt(12)];
    for (const alarm of [middle, middle, first]) deadlines.remove(alarm);
    await clock.advance(100);
    deadlines.remove(last);
    expect([first.rungAt, middle.rungAt, last.rungAt]).toEqual([[], [], [SLOT_MS]]);
    expect(deadlines.size).toBe(0);
  });

  it('may be set again once it is up', async () => {
    const { clock, deadlines, alarmAt } = setUp();
    const alarm = alarmAt(10);
    await clock.advance(16);
    deadlines.add(alarm, 40);
    await clock.advance(100);
    expect(alarm.rungAt).toEqual([16, 48]);
  });
});

describe('10,000 deadlines', () => {
  it('of one moment ring at it, on one timer', async () => {
    const { clock, alarmAt } = setUp();
    const alarms = Array.from({ length: 10_000 }, () => alarmAt(15_000));
    expect(clock.pending).toBe(1);
    await clock.advance(14_999);
    expect(alarms.every(({ rungAt }) => rungAt.length === 0)).toBe(true);
    await clock.advance(1 + SLOT_MS);
    expect(new Set(alarms.map(({ rungAt }) => rungAt.join()))).toEqual(new Set(['15008']));
    expect(clock.pending).toBe(0);
  });

  it('that come and go leave nothing behind', async () => {
    const { clock, deadlines, alarmAt } = setUp();
    const random = new SeededRandom(1);
    for (let turn = 0; turn < 10_000; turn += 1) deadlines.remove(alarmAt(random.below(60_000)));
    expect(deadlines.size).toBe(0);
    await clock.advance(60_000);
    expect(clock.pending).toBe(0);
  });
});

describe('a deadline that is up', () => {
  it('may remove others of its slot and of later ones', async () => {
    const { clock, deadlines, alarmAt } = setUp();
    const others = [alarmAt(10), alarmAt(16), alarmAt(17), alarmAt(500)];
    const removing = alarmAt(10, () => others.forEach((other) => deadlines.remove(other)));
    await clock.advance(1000);
    expect(removing.rungAt).toEqual([16]);
    expect(others.flatMap(({ rungAt }) => rungAt)).toEqual([]);
    expect(deadlines.size).toBe(0);
  });

  it('may add others: before, at and after every one that waits', async () => {
    const { clock, deadlines, alarmAt } = setUp();
    const added: Alarm[] = [];
    alarmAt(10, () => added.push(alarmAt(5), alarmAt(16), alarmAt(17), alarmAt(90)));
    const waiting = alarmAt(60);
    await clock.advance(1000);
    expect(added.map(({ rungAt }) => rungAt)).toEqual([[16], [16], [32], [96]]);
    expect(waiting.rungAt).toEqual([64]);
    expect(deadlines.size).toBe(0);
  });

  it('may set itself again, as often as it likes', async () => {
    const { clock, deadlines } = setUp();
    const alarm: Alarm = new Alarm(clock, () => {
      if (alarm.rungAt.length < 5) deadlines.add(alarm, clock.now() + 100);
    });
    deadlines.add(alarm, 100);
    await clock.advance(10_000);
    expect(alarm.rungAt).toEqual([112, 224, 336, 448, 560]);
    expect(deadlines.size).toBe(0);
  });
});

describe('deadlines that are closed', () => {
  it('never ring and leave no timer', async () => {
    const { clock, deadlines, alarmAt } = setUp();
    const alarms = [alarmAt(10), alarmAt(1000)];
    deadlines.close();
    expect([deadlines.size, clock.pending]).toEqual([0, 0]);
    await clock.advance(2000);
    expect(alarms.flatMap(({ rungAt }) => rungAt)).toEqual([]);
  });

  it('take nobody who comes later', async () => {
    const { clock, deadlines, alarmAt } = setUp();
    deadlines.close();
    const late = alarmAt(11);
    expect([deadlines.size, clock.pending]).toEqual([0, 0]);
    await clock.advance(100);
    expect(late.rungAt).toEqual([]);
    expect(() => deadlines.remove(late)).not.toThrow();
  });
});
