/** Every deadline of a node on one timer: entering and leaving cost a few pointer writes, however many wait. */
import type { Clock, Timer } from '../ports/clock.js';

/** Deadlines within one slot expire together, at its end: never early, at most this many ms late. */
const SLOT_MS = 16;
/** When this many ms of a turn have gone to those that are up, the others have theirs in the next. */
const TURN_MS = 20;
/** Looking at the clock costs more than most of them. */
const LOOK_EVERY = 64;

/** What waits. Kept in a list of its slot, so that leaving needs no search. */
export abstract class Deadline {
  /** @internal */ slot: Slot | undefined;
  /** @internal */ before: Deadline | undefined;
  /** @internal */ after: Deadline | undefined;
  /** The time is up. Called once, unless `Deadlines.remove` came first. */
  abstract expire(): void;
}

interface Slot {
  readonly number: number;
  first: Deadline | undefined;
}

export class Deadlines {
  private readonly slots = new Map<number, Slot>();
  private timer: Timer | undefined;
  private timerSlot = Infinity;
  private closed = false;

  constructor(private readonly clock: Clock) {}

  /** How many slots have someone waiting; 0 when nothing is pending. */
  get size(): number {
    return this.slots.size;
  }

  /** @param at moment on the clock that was handed in. */
  add(deadline: Deadline, at: number): void {
    if (this.closed) return;
    const number = Math.ceil(at / SLOT_MS);
    let slot = this.slots.get(number);
    if (slot === undefined) this.slots.set(number, (slot = { number, first: undefined }));
    deadline.slot = slot;
    deadline.after = slot.first;
    if (slot.first !== undefined) slot.first.before = deadline;
    slot.first = deadline;
    if (number < this.timerSlot) this.arm(number);
  }

  /** Safe to repeat, and after the time was up. */
  remove(deadline: Deadline): void {
    const { slot, before, after } = deadline;
    if (slot === undefined) return;
    if (before === undefined) slot.first = after;
    else before.after = after;
    if (after !== undefined) after.before = before;
    deadline.slot = deadline.before = deadline.after = undefined;
    if (slot.first === undefined) this.slots.delete(slot.number);
  }

  /** Forgets everyone who waits, without a word, and whoever comes after this. */
  close(): void {
    this.closed = true;
    for (const slot of this.slots.values()) {
      for (let deadline = slot.first; deadline !== undefined; deadline = slot.first) this.remove(deadline);
    }
    this.timer?.cancel();
    this.timerSlot = Infinity;
  }

  private arm(number: number): void {
    this.timer?.cancel();
    this.timerSlot = number;
    this.timer = this.clock.after(number * SLOT_MS - this.clock.now(), () => this.onTimer());
  }

  private onTimer(): void {
    this.timerSlot = Infinity;
    const now = this.clock.now();
    let next = Infinity;
    let isTurnOver = false;
    for (const slot of [...this.slots.values()]) {
      if (!isTurnOver && slot.number * SLOT_MS <= now) isTurnOver = !this.expire(slot, now + TURN_MS);
      if (slot.first !== undefined && slot.number < next) next = slot.number;
    }
    if (next < this.timerSlot) this.arm(next);
  }

  /** Returns whether it got through all of them before the turn was over. */
  private expire(slot: Slot, turnEnd: number): boolean {
    let count = 0;
    for (let deadline = slot.first; deadline !== undefined; deadline = slot.first) {
      count += 1;
      if (count % LOOK_EVERY === 0 && this.clock.now() >= turnEnd) return false;
      this.remove(deadline);
      deadline.expire();
    }
    return true;
  }
}
