/** Who is cut off when all connections together hold too much: whoever holds most, and nobody else. */
import { describe, expect, it } from 'vitest';
import { Buffers, type Buffered } from '../../lib/connection/buffers.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';

/** A connection as far as this is the buffers' business. */
class Holder implements Buffered {
  asked = 0;
  reason: GenRpcError | undefined;

  constructor(
    private readonly buffers: Buffers,
    private held = 0,
  ) {}

  get bufferedBytes(): number {
    this.asked += 1;
    return this.held;
  }

  hold(bytes: number): this {
    this.held = bytes;
    this.buffers.note(this);
    return this;
  }

  /** Its peer reads, which nobody notes. */
  drain(bytes = 0): void {
    this.held = bytes;
  }

  abort(reason: GenRpcError): void {
    this.reason = reason;
    this.held = 0;
    this.buffers.forget(this);
  }
}

describe('Buffers', () => {
  it('B-09 cuts the largest first, until the rest fits', () => {
    const buffers = new Buffers(1000);
    const holders = [100, 350, 200, 300].map((bytes) => new Holder(buffers).hold(bytes));
    expect(buffers.bytes).toBe(950);
    const last = new Holder(buffers).hold(700);
    expect(last.reason?.code).toBe('send_timeout');
    expect(last.reason?.details).toEqual({ buffered: 1650, limit: 1000 });
    expect(holders.map(({ reason }) => reason)).toEqual([undefined, undefined, undefined, undefined]);
    expect(buffers.bytes).toBe(950);
    holders[0]?.hold(320);
    expect(holders.map(({ reason }) => reason?.code)).toEqual([undefined, 'send_timeout', undefined, undefined]);
    expect(buffers.bytes).toBe(820);
  });

  it('is full at the limit, not above', () => {
    const buffers = new Buffers(1000);
    const holder = new Holder(buffers).hold(1000);
    expect(holder.reason).toBeUndefined();
    holder.hold(1001);
    expect(holder.reason?.code).toBe('send_timeout');
    expect(buffers.bytes).toBe(0);
  });

  it('cuts nobody for what has left meanwhile', () => {
    const buffers = new Buffers(1000);
    const drained = new Holder(buffers).hold(900);
    drained.drain(100);
    const other = new Holder(buffers).hold(850);
    expect([drained.reason, other.reason]).toEqual([undefined, undefined]);
    expect(buffers.bytes).toBe(950);
  });

  it('B-15 holds nothing once everything has left or ended', () => {
    const buffers = new Buffers(1000);
    const one = new Holder(buffers).hold(400);
    const other = new Holder(buffers).hold(500);
    one.drain();
    buffers.forget(other);
    buffers.forget(other);
    expect(buffers.bytes).toBe(0);
    one.hold(300);
    expect(buffers.bytes).toBe(300);
  });

  it('asks one connection at a time, as long as there is room', () => {
    const buffers = new Buffers(1_000_000);
    const holders = Array.from({ length: 1000 }, () => new Holder(buffers).hold(1));
    for (const holder of holders) holder.hold(2);
    for (const { asked } of holders) expect(asked).toBe(2);
    expect(buffers.bytes).toBe(2000);
  });
});
