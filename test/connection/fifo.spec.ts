/** A line, beside an array that does the same slowly. */
import { describe, expect, it } from 'vitest';
import { Fifo } from '../../lib/connection/fifo.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { collectGarbage } from '../support/heap.js';

describe('Fifo', () => {
  it('is an array of which only the ends are touched', () => {
    const random = new SeededRandom(7);
    const fifo = new Fifo<number>();
    const array: number[] = [];
    for (let n = 0; n < 20_000; n += 1) {
      const grows = random.fraction() < (Math.floor(n / 1000) % 2 === 0 ? 0.7 : 0.3);
      if (grows) {
        fifo.push(n);
        array.push(n);
      } else {
        expect(fifo.shift()).toBe(array.shift());
      }
      expect(fifo.length).toBe(array.length);
      expect(fifo.first).toBe(array[0]);
      if (n % 5000 === 4999) expect(fifo.clear()).toEqual(array.splice(0));
    }
  });

  it('is empty when it is empty', () => {
    const fifo = new Fifo<string>();
    expect([fifo.shift(), fifo.first, fifo.length, fifo.clear()]).toEqual([undefined, undefined, 0, []]);
    fifo.push('a');
    expect([fifo.shift(), fifo.shift(), fifo.length]).toEqual(['a', undefined, 0]);
    fifo.push('b');
    expect(fifo.clear()).toEqual(['b']);
    expect(fifo.length).toBe(0);
  });

  it('keeps nothing of whoever left', async () => {
    const fifo = new Fifo<object>();
    const left = ((): WeakRef<object> => {
      const item = { large: true };
      fifo.push(item);
      for (let n = 0; n < 10; n += 1) fifo.push({});
      fifo.shift();
      return new WeakRef(item);
    })();
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    expect(left.deref()).toBeUndefined();
    expect(fifo.length).toBe(10);
  });

  it('costs the same for each, however many wait', () => {
    const fifo = new Fifo<number>();
    for (let n = 0; n < 1_000_000; n += 1) fifo.push(n);
    let sum = 0;
    for (let n = fifo.shift(); n !== undefined; n = fifo.shift()) sum += n;
    expect(sum).toBe(499_999_500_000);
  });
});
