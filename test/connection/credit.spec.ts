/** Both ends of credit: a sender that may not hold too much of it, a receiver that notices whoever sends without. */
import { describe, expect, it } from 'vitest';
import { Credit, Window } from '../../lib/connection/credit.js';
import { MAX_CREDIT } from '../../lib/protocol/frame.js';

const OVERFLOW = expect.objectContaining({ code: 'protocol_error', details: { violation: 'fc_violation' } });

describe('Credit', () => {
  it('is what was granted, less what was spent, and may be overdrawn', () => {
    const credit = new Credit(100);
    credit.spend(130);
    expect(credit.left).toBe(-30);
    credit.grant(50);
    expect(credit.left).toBe(20);
  });

  it('B-04 is at most 2³¹ − 1: one byte more ends the connection, whatever was granted before', () => {
    const credit = new Credit(1000);
    credit.grant(MAX_CREDIT - 1000);
    expect(credit.left).toBe(MAX_CREDIT);
    expect(() => credit.grant(1)).toThrow(OVERFLOW);
    expect(credit.left).toBe(MAX_CREDIT);
    credit.spend(1);
    credit.grant(1);
    expect(() => new Credit(0).grant(0x8000_0000)).toThrow(OVERFLOW);
    expect(() => new Credit(1).grant(0xffff_ffff)).toThrow(OVERFLOW);
  });
});

describe('Window', () => {
  it('B-05 has room for exactly its size: a byte more is too much', () => {
    const window = new Window(1000);
    expect(window.take(999)).toBe(true);
    expect(window.take(1)).toBe(true);
    expect(window.take(1)).toBe(false);
  });

  it('B-05 may be overdrawn by one item, and not by a second', () => {
    const window = new Window(1000);
    expect(window.takeItem(999)).toBe(true);
    expect(window.takeItem(5000)).toBe(true);
    expect(window.takeItem(1)).toBe(false);
  });

  it('has none for an item when exactly nothing is left', () => {
    const window = new Window(1000);
    expect(window.takeItem(1000)).toBe(true);
    expect(window.takeItem(1)).toBe(false);
  });

  it('B-06 returns credit half a window at a time, not for each byte', () => {
    const window = new Window(1000);
    let grants = 0;
    for (let n = 0; n < 10_000; n += 1) {
      expect(window.take(1)).toBe(true);
      if (!window.free(1)) continue;
      expect(window.claim()).toBe(500);
      grants += 1;
    }
    expect(grants).toBe(20);
  });

  it('grants what it grows by, once, and never shrinks', () => {
    const window = new Window(1000);
    window.take(500);
    window.free(500);
    window.grow(4000);
    window.grow(3000);
    expect(window.claim()).toBe(3500);
    expect(window.take(4000)).toBe(true);
    expect(window.take(1)).toBe(false);
    expect(window.claim()).toBe(0);
  });

  it('grants no more than was used, when items come and go in any order', () => {
    const window = new Window(64);
    let sent = 0;
    let granted = 64;
    for (let round = 1; round <= 500; round += 1) {
      const size = (round * 37) % 90;
      if (granted - sent <= 0) break;
      sent += size;
      expect(window.takeItem(size)).toBe(true);
      if (window.free(size)) granted += window.claim();
      expect(granted).toBeLessThanOrEqual(sent + 64);
    }
    expect(granted - sent).toBeGreaterThan(32 - 1);
  });
});
