/** How large windows become, on lines that are simulated: as large as the line needs, and no larger than allowed. */
import { describe, expect, it } from 'vitest';
import { Bandwidth } from '../../lib/connection/bandwidth.js';
import { CONNECTION_CREDIT } from '../../lib/protocol/frame.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';

const MAX = 16 * 1024 * 1024;

/** A line that is kept as busy as the window allows: each round trip brings a window, or what the line carries. */
class Line {
  readonly clock = new VirtualClock();
  readonly bandwidth: Bandwidth;
  window = CONNECTION_CREDIT;

  constructor(
    private readonly bitsPerSecond: number,
    private readonly rttMs: number,
    max = MAX,
  ) {
    this.bandwidth = new Bandwidth(this.clock, rttMs, max);
  }

  /** What is on the way when the line is full. */
  get need(): number {
    return (this.bitsPerSecond / 8 / 1000) * this.rttMs;
  }

  /** Bytes arrive half a window at a time, as they are counted, at the pace that line and window allow. */
  async run(ms: number): Promise<void> {
    for (const end = this.clock.now() + ms; this.clock.now() < end;) {
      const half = this.window / 2;
      const pace = Math.min(this.bitsPerSecond / 8 / 1000, this.window / this.rttMs);
      await this.clock.advance(half / pace);
      this.bandwidth.arrived(half);
      this.window = Math.max(this.window, this.bandwidth.target());
    }
  }
}

describe('Bandwidth', () => {
  it('leaves a slow near line at the least window: 10 Mbit/s and 0.5 ms', async () => {
    const line = new Line(10e6, 0.5);
    await line.run(20_000);
    expect(line.window).toBe(CONNECTION_CREDIT);
    // However short the line is, its ends may take 5 ms to answer.
    expect(line.bandwidth.target()).toBeLessThan(CONNECTION_CREDIT / 10);
  });

  it('grows to what a fast far line needs within some round trips: 1 Gbit/s and 100 ms', async () => {
    const line = new Line(1e9, 100, 64 * 1024 * 1024);
    await line.run(15 * 100);
    expect(line.need).toBe(12_500_000);
    expect(line.window).toBeGreaterThan(line.need);
    await line.run(60_000);
    expect(line.window).toBeLessThanOrEqual(2 * line.need * 1.01);
  });

  it('never passes the limit', async () => {
    const line = new Line(10e9, 200);
    await line.run(20_000);
    expect(line.bandwidth.target()).toBe(MAX);
  });

  it('never shrinks, when the line is idle or slow for a while', async () => {
    const line = new Line(1e9, 50);
    await line.run(3000);
    const target = line.bandwidth.target();
    expect(target).toBeGreaterThan(1_000_000);
    await line.clock.advance(60_000);
    line.bandwidth.arrived(1);
    line.bandwidth.target();
    await line.clock.advance(60_000);
    line.bandwidth.arrived(1000);
    expect(line.bandwidth.target()).toBe(target);
  });

  it('does not take what had gathered for the speed of the line', async () => {
    const line = new Line(10e6, 0.5);
    // Read in one turn, after a pause of this process.
    for (let n = 0; n < 100; n += 1) {
      line.bandwidth.arrived(64 * 1024);
      expect(line.bandwidth.target()).toBe(0);
    }
  });

  it('believes the shortest round trip: what waits in front of an answer is not the line', async () => {
    const line = new Line(10e6, 1000);
    line.bandwidth.roundTrip(2);
    line.bandwidth.roundTrip(900);
    await line.run(20_000);
    // 10 Mbit/s × 2 ms, not × 1 s.
    expect(line.bandwidth.target()).toBeLessThan(10_000);
  });
});
