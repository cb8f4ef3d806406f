/** A clock and a driver in a test's hand: deadlines pass and bytes arrive between two lines of it. */
import type { Channel, ChannelEvents, Driver } from '../../lib/driver/driver.js';
import type { Clock, Timer } from '../../lib/ports/clock.js';

/** A clock whose timers run while the test calls it: a deadline can pass between two lines. */
export class HandClock implements Clock {
  private time = 0;
  private readonly waiting = new Set<{ readonly at: number; readonly run: () => void }>();

  get pending(): number {
    return this.waiting.size;
  }

  now(): number {
    return this.time;
  }

  after(ms: number, run: () => void): Timer {
    const timer = { at: this.time + ms, run };
    this.waiting.add(timer);
    return { cancel: () => void this.waiting.delete(timer) };
  }

  soon(run: () => void): void {
    process.nextTick(run);
  }

  /** Runs what is due. */
  pass(ms: number): void {
    this.time += ms;
    for (const timer of this.waiting) {
      if (timer.at <= this.time && this.waiting.delete(timer)) timer.run();
    }
  }
}

/** Lets the network go on by itself, or keeps what arrives until the test hands it over, between two lines. */
export class HandDriver implements Driver {
  readonly name = 'memory';
  holding = false;
  private held: (() => void)[] = [];

  constructor(private readonly inner: Driver) {}

  async connect(...given: Parameters<Driver['connect']>): Promise<Channel> {
    return this.handled(await this.inner.connect(...given));
  }

  listen(
    endpoint: Parameters<Driver['listen']>[0],
    onChannel: (channel: Channel) => void,
  ): ReturnType<Driver['listen']> {
    return this.inner.listen(
      endpoint,
      (channel) => onChannel(this.handled(channel)),
      () => {},
    );
  }

  handOver(): void {
    for (const deliver of this.held.splice(0)) deliver();
  }

  private handled(channel: Channel): Channel {
    const open = channel.open.bind(channel);
    channel.open = (events: ChannelEvents) => {
      const data = (bytes: Buffer): void => {
        if (this.holding) {
          const kept = Buffer.from(bytes);
          this.held.push(() => events.data(kept));
        } else events.data(bytes);
      };
      open({ data, drain: () => events.drain(), closed: (reason) => events.closed(reason) });
    };
    return channel;
  }
}
