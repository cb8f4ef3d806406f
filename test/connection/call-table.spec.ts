import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CallTable } from '../../lib/connection/call-table.js';

interface Call {
  readonly id: number;
}

/** Few numbers that share slots at every size of the table, and some that do not. */
const id = fc.oneof(
  fc.integer({ min: 1, max: 40 }),
  fc.integer({ min: 0, max: 6 }).map((lap) => 7 + lap * 65_536),
  fc.integer({ min: 2 ** 31 - 4, max: 2 ** 32 - 1 }),
);

describe('a table of calls', () => {
  it('finds what a Map would find, whatever numbers a peer chooses', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), id), { maxLength: 200 }), (steps) => {
        const table = new CallTable<Call>();
        const model = new Map<number, Call>();
        for (const [add, number] of steps) {
          const known = model.get(number);
          if (add && known === undefined) {
            const call = { id: number };
            table.add(call);
            model.set(number, call);
          } else if (!add && known !== undefined) {
            table.delete(known);
            table.delete(known);
            model.delete(number);
          }
          expect(table.size).toBe(model.size);
          for (const [, number] of steps) expect(table.get(number)).toBe(model.get(number));
        }
        expect(new Set(table.values())).toEqual(new Set(model.values()));
      }),
    );
  });

  it('keeps every call while it grows, and does not grow for numbers that share a slot', () => {
    const table = new CallTable<Call>();
    const calls = Array.from({ length: 200_000 }, (_, index) => ({ id: index + 1 }));
    for (const call of calls) table.add(call);
    expect(table.size).toBe(calls.length);
    expect(calls.every((call) => table.get(call.id) === call)).toBe(true);
    for (const call of calls) table.delete(call);
    expect(table.size).toBe(0);
    expect(table.values()).toEqual([]);
  });

  it('ignores a call that was never added, also one with the number of another', () => {
    const table = new CallTable<Call>();
    const call = { id: 3 };
    table.add(call);
    table.delete({ id: 3 });
    table.delete({ id: 4 });
    expect(table.get(3)).toBe(call);
    expect(table.size).toBe(1);
  });
});
