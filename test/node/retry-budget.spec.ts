import { describe, expect, it } from 'vitest';
import { RetryBudget, type RetryLimits } from '../../lib/node/retry-budget.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

function budgetOf(limits: Partial<RetryLimits>) {
  const clock = new VirtualClock();
  const budget = new RetryBudget(clock, { ratio: 0, perSecond: 0, ...limits });
  /** How many retries there are now; takes them all. */
  const takeAll = (): number => {
    let taken = 0;
    while (budget.spend()) taken += 1;
    return taken;
  };
  const earn = (calls: number): void => {
    for (let call = 0; call < calls; call += 1) budget.earn();
  };
  return { clock, takeAll, earn };
}

describe('a budget of retries', () => {
  it('has what a second brings from the start, so that the first call that fails is made again', () => {
    expect(budgetOf({ perSecond: 10 }).takeAll()).toBe(10);
    expect(budgetOf({ ratio: 0.2 }).takeAll()).toBe(0);
  });

  it('gets so many a second, in fractions of it, and saves no more than those of one', async () => {
    const { clock, takeAll } = budgetOf({ perSecond: 10 });
    takeAll();
    await clock.advance(99);
    expect(takeAll()).toBe(0);
    await clock.advance(1);
    expect(takeAll()).toBe(1);
    await clock.advance(250);
    expect(takeAll()).toBe(2);
    await clock.advance(50);
    expect(takeAll()).toBe(1);
    await clock.advance(60_000);
    expect(takeAll()).toBe(10);
  });

  it('gets a share of the calls, and saves at most 100', () => {
    const { takeAll, earn } = budgetOf({ ratio: 0.25 });
    earn(3);
    expect(takeAll()).toBe(0);
    earn(1);
    expect(takeAll()).toBe(1);
    earn(40);
    expect(takeAll()).toBe(10);
    earn(10_000);
    expect(takeAll()).toBe(100);
  });

  it('has both beside each other', async () => {
    const { clock, takeAll, earn } = budgetOf({ ratio: 0.5, perSecond: 10 });
    earn(20);
    expect(takeAll()).toBe(20);
    earn(20);
    await clock.advance(500);
    expect(takeAll()).toBe(15);
  });
});
