/** A stream as its reader has it: every item once, in order, and credit back for each, also for those that nobody read. */
import { describe, expect, it } from 'vitest';
import { ItemQueue } from '../../lib/connection/item-queue.js';

class Filled {
  used = 0;
  left = 0;
  readonly queue = new ItemQueue({ used: (cost) => (this.used += cost), left: () => (this.left += 1), threw() {} });
  readonly iterator = (): AsyncIterator<unknown> => this.queue[Symbol.asyncIterator]();

  push(...values: readonly unknown[]): this {
    for (const value of values) this.queue.push(value, 10);
    return this;
  }
}

/** Remembers what it is told. */
function listener() {
  const told: unknown[] = [];
  const observer = {
    next: (value: unknown) => void told.push(value),
    error: (error: unknown) => void told.push(['error', error]),
    complete: () => void told.push('complete'),
  };
  return { told, observer };
}

const TAKEN = expect.objectContaining({ code: 'invalid_argument' });
const done = { done: true, value: undefined };

describe('ItemQueue, iterated over', () => {
  it('gives items back in order, and their credit as each is read', async () => {
    const filled = new Filled().push(1, 2, 3);
    const iterator = filled.iterator();
    expect(filled.used).toBe(0);
    expect(await iterator.next()).toEqual({ done: false, value: 1 });
    expect(filled.used).toBe(10);
    filled.queue.end();
    expect(await iterator.next()).toEqual({ done: false, value: 2 });
    expect(await iterator.next()).toEqual({ done: false, value: 3 });
    expect(await iterator.next()).toEqual(done);
    expect(await iterator.next()).toEqual(done);
    expect([filled.used, filled.left]).toEqual([30, 0]);
  });

  it('lets readers wait, as many as there are, and ends all of them', async () => {
    const filled = new Filled();
    const iterator = filled.iterator();
    const reads = [iterator.next(), iterator.next(), iterator.next(), iterator.next()];
    filled.push('a', 'b');
    filled.queue.end();
    filled.push('late');
    expect(await Promise.all(reads)).toEqual([{ done: false, value: 'a' }, { done: false, value: 'b' }, done, done]);
    expect(filled.used).toBe(20);
  });

  it('tells an error once, behind the items', async () => {
    const error = new Error('of the stream');
    const filled = new Filled().push(1);
    filled.queue.fail(error);
    filled.queue.fail(new Error('second'));
    const iterator = filled.iterator();
    expect(await iterator.next()).toEqual({ done: false, value: 1 });
    await expect(iterator.next()).rejects.toBe(error);
    expect(await iterator.next()).toEqual(done);
  });

  it('tells an error to the first reader that waits only', async () => {
    const error = new Error('of the stream');
    const filled = new Filled();
    const iterator = filled.iterator();
    const reads = [iterator.next(), iterator.next()];
    filled.queue.fail(error);
    await expect(reads[0]).rejects.toBe(error);
    expect(await reads[1]).toEqual(done);
  });

  it('K-03 gives all credit back when its reader leaves, and takes no more', async () => {
    const filled = new Filled().push(1, 2, 3);
    const iterator = filled.iterator();
    await iterator.next();
    expect(await iterator.return?.()).toEqual(done);
    await iterator.return?.();
    filled.push(4);
    expect([filled.used, filled.left]).toEqual([30, 1]);
    expect(await iterator.next()).toEqual(done);
  });

  it('tells nobody that its reader left once it has ended', async () => {
    const filled = new Filled().push(1);
    filled.queue.end();
    await filled.iterator().return?.();
    expect([filled.used, filled.left]).toEqual([10, 0]);
  });

  it('is read once', async () => {
    const filled = new Filled().push(1);
    const iterator = filled.iterator();
    await expect(filled.iterator().next()).rejects.toEqual(TAKEN);
    const { told, observer } = listener();
    filled.queue.subscribe(observer);
    expect(told).toEqual([['error', TAKEN]]);
    expect(await iterator.next()).toEqual({ done: false, value: 1 });
  });
});

describe('ItemQueue, subscribed to', () => {
  it('tells what is there, what comes, and the end, and gives credit back at once', () => {
    const filled = new Filled().push(1, 2);
    const { told, observer } = listener();
    filled.queue.subscribe(observer);
    expect([told, filled.used]).toEqual([[1, 2], 20]);
    filled.push(3);
    filled.queue.end();
    filled.queue.end();
    filled.push(4);
    expect([told, filled.used, filled.left]).toEqual([[1, 2, 3, 'complete'], 30, 0]);
  });

  it('tells an end that was there before', () => {
    const error = new Error('of the stream');
    const filled = new Filled().push(1);
    filled.queue.fail(error);
    const { told, observer } = listener();
    filled.queue.subscribe(observer);
    expect(told).toEqual([1, ['error', error]]);
  });

  it('tells nothing after it was unsubscribed from', () => {
    const filled = new Filled();
    const { told, observer } = listener();
    const subscription = filled.queue.subscribe(observer);
    filled.push(1);
    subscription.unsubscribe();
    subscription.unsubscribe();
    filled.push(2);
    filled.queue.end();
    expect([told, filled.left]).toEqual([[1], 1]);
  });
});
