/** Calls by number, where numbers count up and soon go again. */

interface Numbered {
  readonly id: number;
}

const FIRST_SIZE = 256;
const LARGEST_SIZE = 65_536;

/**
 * What a `Map` does, in slots of an array. A `Map` whose keys only rise is rebuilt over and over, and its dead tables
 * keep the calls of their time alive until a full collection: at 64 callers that was a third of all CPU time.
 * A peer chooses its numbers, so those that share a slot go to a `Map` instead of making the array grow.
 */
export class CallTable<T extends Numbered> {
  private slots: (T | undefined)[] = new Array<T | undefined>(FIRST_SIZE).fill(undefined);
  private readonly crowded = new Map<number, T>();
  private count = 0;

  get size(): number {
    return this.count;
  }

  get(id: number): T | undefined {
    const found = this.slots[id & (this.slots.length - 1)];
    if (found === undefined) return undefined;
    return found.id === id ? found : this.crowded.get(id);
  }

  /** `call.id` must not be taken. */
  add(call: T): void {
    if (this.count >= this.slots.length / 2 && this.slots.length < LARGEST_SIZE) this.grow();
    this.count += 1;
    this.place(call);
  }

  /** Safe to repeat. */
  delete(call: T): void {
    const slot = call.id & (this.slots.length - 1);
    if (this.slots[slot] !== call) {
      if (this.crowded.get(call.id) === call && this.crowded.delete(call.id)) this.count -= 1;
      return;
    }
    this.count -= 1;
    this.slots[slot] = undefined;
    if (this.crowded.size > 0) this.takeIn(slot);
  }

  /** A copy, so that what is done to one call may remove others. */
  values(): T[] {
    return [...this.slots.filter((call) => call !== undefined), ...this.crowded.values()];
  }

  private place(call: T): void {
    const slot = call.id & (this.slots.length - 1);
    if (this.slots[slot] === undefined) this.slots[slot] = call;
    else this.crowded.set(call.id, call);
  }

  /** `get` looks no further than an empty slot: whoever waits for this one moves in. */
  private takeIn(slot: number): void {
    for (const call of this.crowded.values()) {
      if ((call.id & (this.slots.length - 1)) !== slot) continue;
      this.crowded.delete(call.id);
      this.slots[slot] = call;
      return;
    }
  }

  private grow(): void {
    const calls = this.values();
    this.slots = new Array<T | undefined>(this.slots.length * 2).fill(undefined);
    this.crowded.clear();
    for (const call of calls) this.place(call);
  }
}
