import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Backoff } from '../../lib/ports/backoff.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';

const LIMITS = { min: 100, max: 30_000 };

/** Draws the same fraction every time. */
const always = (fraction: number) => ({ fraction: () => fraction, bytes: (length: number) => new Uint8Array(length) });

const waitsOf = (backoff: Backoff, count: number): number[] => Array.from({ length: count }, () => backoff.next());

describe('the waits of a back-off', () => {
  it('have bounds that double from the least to the most', () => {
    const bounds = waitsOf(new Backoff(LIMITS, always(1)), 12);
    expect(bounds).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
  });

  it('are jittered over the whole range, down to nothing', () => {
    expect(waitsOf(new Backoff(LIMITS, always(0)), 3)).toEqual([0, 0, 0]);
    expect(waitsOf(new Backoff(LIMITS, always(0.5)), 3)).toEqual([50, 100, 200]);
  });

  it('stay at the most after any number of failures', () => {
    const backoff = new Backoff(LIMITS, always(1));
    expect(new Set(waitsOf(backoff, 5000).slice(9))).toEqual(new Set([30_000]));
  });

  it('begin again after a success', () => {
    const backoff = new Backoff(LIMITS, always(1));
    waitsOf(backoff, 6);
    backoff.reset();
    expect(waitsOf(backoff, 2)).toEqual([100, 200]);
  });

  it('are the longest, without jitter, for what no attempt will mend', () => {
    const backoff = new Backoff(LIMITS, always(0));
    expect(backoff.longest()).toBe(30_000);
  });

  it('are never negative and never above their bound, whatever the limits', () => {
    const limits = fc.tuple(fc.integer({ min: 1, max: 60_000 }), fc.integer({ min: 1, max: 60_000 }));
    fc.assert(
      fc.property(limits, fc.integer(), ([min, max], seed) => {
        waitsOf(new Backoff({ min, max }, new SeededRandom(seed)), 20).forEach((wait, failures) => {
          expect(wait).toBeGreaterThanOrEqual(0);
          expect(wait).toBeLessThan(Math.min(max, min * 2 ** failures));
        });
      }),
    );
  });
});
