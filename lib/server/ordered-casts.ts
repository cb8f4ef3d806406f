/** Casts that must not overtake each other: of one caller's lane, each begins when the one before has ended. */
import { Fifo } from '../connection/fifo.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError } from '../protocol/errors.js';
import type { CastOrder } from '../protocol/frame.js';
import type { Casts, IncomingCast } from './casts.js';
import { leaving } from './unanswered.js';

export interface OrderedCastPorts {
  readonly casts: Casts;
  readonly journal: Journal;
  /** Most casts of one lane that wait for the one that runs. */
  readonly maxQueuedCasts: number;
  /** Most bytes of theirs. */
  readonly maxQueuedBytes: number;
}

interface Line {
  /** Number of the last cast that arrived; `undefined`: none yet. */
  last: number | undefined;
  readonly waiting: Fifo<IncomingCast>;
  waitingBytes: number;
  running: boolean;
}

/** Lines without a cast that are remembered, for what may still come of an older connection. */
const MAX_LINES = 10_000;

export class OrderedCasts {
  private readonly lines = new Map<string, Line>();

  constructor(private readonly ports: OrderedCastPorts) {}

  /** Casts that wait for their turn. */
  get waiting(): number {
    let waiting = 0;
    for (const line of this.lines.values()) waiting += line.waiting.length;
    return waiting;
  }

  /** @param from tells the processes that cast apart, across their connections. */
  run(from: string, order: CastOrder, cast: IncomingCast): void {
    const line = this.lineOf(`${from} ${order.lane}`);
    if (!this.inOrder(line, order.sequence)) {
      this.drop(cast, 'Ordered casts behind it have come before it: it was not started.');
      return this.ports.journal.count('ordered_cast_late');
    }
    const { maxQueuedCasts, maxQueuedBytes, journal } = this.ports;
    const full = line.waiting.length >= maxQueuedCasts || line.waitingBytes + cast.bytes > maxQueuedBytes;
    if (line.running && full) {
      const message = `Too many ordered casts of ${cast.caller.node} wait their turn.`;
      this.drop(cast, message);
      return journal.note('ordered_cast_dropped', () => message);
    }
    line.waiting.push(cast);
    line.waitingBytes += cast.bytes;
    if (!line.running) this.advance(line);
  }

  /** Those that wait will not run. */
  clear(): void {
    for (const line of this.lines.values()) {
      if (line.waiting.length === 0) continue;
      this.ports.journal.count('ordered_cast_dropped', line.waiting.length);
      for (const cast of line.waiting.clear()) this.ports.casts.turnAway(cast, leaving());
      line.waitingBytes = 0;
    }
    this.lines.clear();
  }

  private drop(cast: IncomingCast, message: string): void {
    this.ports.casts.turnAway(cast, new GenRpcError('refused', message));
    cast.source?.castEnded(cast.bytes);
  }

  /** Counts those that should have come before and have not: their connection was lost with them. */
  private inOrder(line: Line, sequence: number): boolean {
    const ahead = line.last === undefined ? 1 : (sequence - line.last) | 0;
    if (ahead <= 0) return false;
    if (ahead > 1) this.ports.journal.count('ordered_cast_missing', ahead - 1);
    line.last = sequence;
    return true;
  }

  /** Runs what waits, one after the other. In a loop: casts that end at once would nest without end. */
  private advance(line: Line): void {
    let looping = true;
    while (!line.running) {
      const cast = line.waiting.shift();
      if (cast === undefined) break;
      line.waitingBytes -= cast.bytes;
      line.running = true;
      const onEnd = (): void => {
        line.running = false;
        if (!looping) this.advance(line);
      };
      this.ports.casts.run({ ...cast, onEnd });
    }
    looping = false;
  }

  private lineOf(name: string): Line {
    const known = this.lines.get(name);
    if (known !== undefined) {
      this.lines.delete(name);
      this.lines.set(name, known);
      return known;
    }
    if (this.lines.size >= MAX_LINES) this.forgetOldest();
    const line: Line = { last: undefined, waiting: new Fifo(), waitingBytes: 0, running: false };
    this.lines.set(name, line);
    return line;
  }

  private forgetOldest(): void {
    for (const [name, line] of this.lines) {
      if (line.running || line.waiting.length > 0) continue;
      this.lines.delete(name);
      return;
    }
  }
}
