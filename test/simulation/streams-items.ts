/** Items that tell whose they are and which, those who make them, and those who read them. */
import type { Clock, Timer } from '../../lib/ports/clock.js';
import type { ItemStream, Observer, Subscribable } from '../../lib/protocol/invocation.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';

export const MOST_BYTES = 200_000;

/** Every value is a part of these: one that has the wrong bytes, or the right ones in a wrong place, is seen. */
const BYTES = Buffer.from(new SeededRandom(1).bytes(2 * MOST_BYTES));

/** What a value is to be: bytes alone, bytes within an object, or hardly anything. */
export type Shape = 'raw' | 'object' | 'null';

export interface Item {
  readonly size: number;
  readonly shape: Shape;
  /** ms before it is made. */
  readonly pause: number;
}

/** @param stream tells values of one place in one call from all others */
export function valueOf({ size, shape }: Item, stream: number, at: number): unknown {
  if (shape === 'null') return null;
  const data = BYTES.subarray(offsetOf(stream, at), offsetOf(stream, at) + size);
  return shape === 'raw' ? data : { stream, at, data };
}

export function isValue(value: unknown, item: Item | undefined, stream: number, at: number): boolean {
  if (item === undefined) return false;
  if (item.shape === 'null') return value === null;
  const offset = offsetOf(stream, at);
  const named = value as { stream: number; at: number; data: Uint8Array };
  if (item.shape === 'object' && !(named.stream === stream && named.at === at)) return false;
  const data = item.shape === 'raw' ? (value as Uint8Array) : named.data;
  return data instanceof Uint8Array && BYTES.compare(data, 0, data.length, offset, offset + item.size) === 0;
}

function offsetOf(stream: number, at: number): number {
  return (stream * 7919 + at * 104_729) % MOST_BYTES;
}

export interface ProducerPlan {
  readonly items: readonly Item[];
  readonly as: 'pull' | 'push';
  /** Throws instead of making this one. */
  readonly failAt: number | undefined;
  /** Begins again at the end. */
  readonly endless: boolean;
}

/** The one who makes the items of a stream. */
export class Producer {
  made = 0;
  begun = false;
  /** Made all, and said so. */
  complete = false;
  failed = false;
  /** Has ended, or was told to. */
  over = false;
  private timer: Timer | undefined;

  constructor(
    readonly stream: number,
    readonly plan: ProducerPlan,
    private readonly clock: Clock,
  ) {}

  start(): ItemStream {
    return this.plan.as === 'pull' ? this.pull() : this.push();
  }

  itemAt(at: number): Item | undefined {
    const { items, endless } = this.plan;
    return items[endless ? at % items.length : at];
  }

  private async *pull(): AsyncGenerator<unknown> {
    this.begun = true;
    try {
      for (let item = this.itemAt(0); item !== undefined; item = this.itemAt(this.made)) {
        if (item.pause > 0) await pause(this.clock, item.pause);
        yield this.make(item);
      }
      this.end();
      this.complete = true;
    } finally {
      this.over = true;
    }
  }

  private push(): Subscribable {
    return {
      subscribe: (observer) => {
        this.begun = true;
        this.burst(observer);
        return { unsubscribe: () => this.stop() };
      },
    };
  }

  /** As many as need no pause in between. */
  private burst(observer: Observer): void {
    try {
      for (let item = this.itemAt(this.made); item !== undefined; item = this.itemAt(this.made)) {
        observer.next(this.make(item));
        if (this.over) return;
        const { pause: ms } = item;
        if (ms > 0) return void (this.timer = this.clock.after(ms, () => this.burst(observer)));
      }
      this.end();
    } catch (error) {
      this.over = true;
      return observer.error(error);
    }
    this.over = this.complete = true;
    observer.complete();
  }

  private make(item: Item): unknown {
    this.end();
    return valueOf(item, this.stream, this.made++);
  }

  private end(): void {
    if (this.made !== this.plan.failAt) return;
    this.failed = true;
    throw new Error('as planned');
  }

  private stop(): void {
    this.over = true;
    this.timer?.cancel();
  }
}

export interface ReaderPlan {
  /** ms before each, in turn. */
  readonly delays: readonly number[];
  /** Leaves after so many. */
  readonly leaveAfter: number | undefined;
  /** Leaves so many ms after the beginning, whatever it waits for. */
  readonly leaveAt: number | undefined;
}

/** Who reads a stream, and what became of it. */
export class Reader {
  got = 0;
  /** Of the values that came, were all the right ones? */
  wrong = 0;
  end: 'clean' | 'left' | 'error' | undefined;
  error: unknown;
  /** The longest that it waited beyond `dueAt`. */
  lateMs = 0;

  constructor(
    private readonly of: Pick<Producer, 'stream' | 'itemAt'>,
    private readonly plan: ReaderPlan,
    private readonly clock: Clock,
    private readonly dueAt: number,
  ) {}

  take(value: unknown): void {
    if (!isValue(value, this.of.itemAt(this.got), this.of.stream, this.got)) this.wrong += 1;
    this.got += 1;
  }

  /** How long the next one takes. */
  get delay(): number {
    const { delays } = this.plan;
    return delays.length === 0 ? 0 : (delays[this.got % delays.length] ?? 0);
  }

  async read(items: AsyncIterable<unknown>, onItem: () => void = () => {}): Promise<void> {
    for await (const _ of this.each(items)) onItem();
  }

  /** As iterated over; tells its own end by `end`, and never throws. */
  async *each(items: AsyncIterable<unknown>): AsyncGenerator<void> {
    const { leaveAfter, leaveAt } = this.plan;
    const iterator = items[Symbol.asyncIterator]();
    let left = false;
    const leave = (): void => {
      left = true;
      void iterator.return?.();
    };
    const timer = leaveAt === undefined ? undefined : this.clock.after(leaveAt, leave);
    try {
      while (!left && this.got !== leaveAfter) {
        const due = Math.max(this.clock.now(), this.dueAt);
        const { done, value } = await iterator.next().finally(() => {
          this.lateMs = Math.max(this.lateMs, this.clock.now() - due);
        });
        if (done === true) break;
        this.take(value);
        if (this.delay > 0) await pause(this.clock, this.delay);
        yield;
      }
      if (!left && this.got === leaveAfter) leave();
      this.end = left ? 'left' : 'clean';
    } catch (error) {
      this.end = 'error';
      this.error = error;
    } finally {
      timer?.cancel();
      if (this.end === undefined) {
        // Whoever iterates over this has left.
        this.end = 'left';
        void iterator.return?.();
      }
    }
  }

  /** Subscribes; resolves at the end, or when it has left. */
  subscribe(items: Subscribable): Promise<void> {
    return new Promise((resolve) => {
      const over = (end: 'clean' | 'left' | 'error', error?: unknown): void => {
        this.end ??= end;
        this.error ??= error;
        resolve();
      };
      const held: { subscription?: { unsubscribe(): void } } = {};
      held.subscription = items.subscribe({
        next: (value) => {
          // Before it has subscribed, it cannot leave.
          if (this.end !== undefined) return void (this.wrong += held.subscription === undefined ? 0 : 1);
          this.take(value);
          if (this.got !== this.plan.leaveAfter) return;
          over('left');
          held.subscription?.unsubscribe();
        },
        error: (error) => over('error', error),
        complete: () => over('clean'),
      });
      if (this.end === 'left') held.subscription.unsubscribe();
    });
  }
}

export function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}
