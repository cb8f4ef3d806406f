/** What a call that timed out is held against: what its node takes to answer, and whether it has answered anybody. */
import { describe, expect, it } from 'vitest';
import { AnswerTimes } from '../../lib/client/answer-times.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';

const NODE = 'a@h';

/** A node that has answered so many calls, one after the other; the next one is asked at `now`. */
function answering(count: number, ms: (random: SeededRandom) => number) {
  const times = new AnswerTimes();
  const random = new SeededRandom(11);
  let now = 0;
  for (let n = 0; n < count; n += 1) {
    const askedAt = now;
    now += ms(random);
    times.add(NODE, askedAt, now);
  }
  return { times, now, isLate: (timeout: number): boolean => times.isOverdue(NODE, now, now + timeout) };
}

describe('a call that timed out', () => {
  it('had too little time below 20 ms, whatever its node takes', () => {
    for (const count of [0, 1, 100]) {
      const { isLate } = answering(count, () => 0.2);
      expect([1, 19, 21, 15_000].map(isLate)).toEqual([false, false, true, true]);
    }
  });

  it('had too little time where half of the answers of its node take longer', () => {
    const { isLate } = answering(1000, (random) => -100 * Math.log(1 - random.fraction()));
    // Of answers that take 100 ms on average, half take 69 ms.
    expect([20, 40, 110, 200].map(isLate)).toEqual([false, false, true, true]);
  });

  it('is not excused by few answers that take very long, the last ones neither', () => {
    const { isLate } = answering(1000, (random) => (random.fraction() < 0.1 ? 30_000 : 30));
    expect([20, 60].map(isLate)).toEqual([false, true]);
    const { times, now } = answering(1000, () => 1);
    times.add(NODE, 0, now);
    expect(times.isOverdue(NODE, now, now + 25)).toBe(true);
  });

  it('is judged by what its node takes now, not by what it took once', () => {
    const { times, now } = answering(200, () => 1000);
    expect(times.isOverdue(NODE, now, now + 500)).toBe(false);
    for (let n = 0; n < 100; n += 1) times.add(NODE, now - 5, now);
    expect(times.isOverdue(NODE, now, now + 50)).toBe(true);
  });

  it('says nothing of a node that has answered anybody since it was asked, or goes on answering', () => {
    const { times, now } = answering(1, () => 1);
    expect(times.isOverdue(NODE, now - 1, now + 1000)).toBe(false);
    expect(times.isOverdue(NODE, now, now + 1000)).toBe(true);
    times.add(NODE, undefined, now + 10);
    expect(times.isOverdue(NODE, now, now + 1000)).toBe(false);
    times.forget(NODE);
    expect(times.isOverdue(NODE, now, now + 1000)).toBe(true);
  });

  it('is not measured by how long streams go on', () => {
    const { times, now } = answering(100, () => 10);
    for (let n = 0; n < 100; n += 1) times.add(NODE, undefined, now);
    expect(times.isOverdue(NODE, now, now + 25)).toBe(true);
  });
});
