/** Casts whose loss is counted: those that have not left, however many others have. */
import { describe, expect, it } from 'vitest';
import { UnsentCasts } from '../../lib/client/unsent-casts.js';

describe('unsent casts', () => {
  it('are those that have not left', () => {
    let left = 0;
    const casts = new UnsentCasts((position) => position < left);
    for (let position = 0; position < 5000; position += 1) casts.position = position;
    expect(casts.count).toBe(5000);
    left = 4990;
    expect(casts.count).toBe(10);
    left = 5000;
    expect(casts.count).toBe(0);
  });

  it('are asked after so seldom that a cast costs little, and so often that few are kept', () => {
    let asked = 0;
    let position = 0;
    const casts = new UnsentCasts((one) => {
      asked += 1;
      return one < position - 10;
    });
    for (; position < 100_000; position += 1) casts.position = position;
    expect(asked).toBeLessThan(2 * 100_000);
    const before = asked;
    expect(casts.count).toBeLessThanOrEqual(11);
    expect(asked - before).toBeLessThanOrEqual(1024);
  });
});
