/** How much one side may send before the other says that there is room again: bytes, never a pause of the channel. */
import { ITEM_OVERHEAD, MAX_CREDIT } from '../protocol/frame.js';
import { violation } from '../protocol/violation.js';

/** What an item or a cast takes of the credit of its stream: see `ITEM_OVERHEAD`. */
export function costOf(payloadBytes: number): number {
  return payloadBytes + ITEM_OVERHEAD;
}

/** What this side may still send. Below 0: the last item was larger than what was left. */
export class Credit {
  constructor(private balance: number) {}

  get left(): number {
    return this.balance;
  }

  spend(bytes: number): void {
    this.balance -= bytes;
  }

  /** @throws GenRpcError `protocol_error` for more than anybody may hold. */
  grant(bytes: number): void {
    if (bytes > MAX_CREDIT - this.balance)
      throw violation('fc_violation', 'More credit was granted than a sender may hold.');
    this.balance += bytes;
  }
}

/** What the peer may still send, and what it is to be granted anew. */
export class Window {
  private left: number;
  private owed = 0;

  constructor(private size: number) {
    this.left = size;
  }

  /** Takes the price of what has arrived. Returns whether the peer had so much. */
  take(bytes: number): boolean {
    this.left -= bytes;
    return this.left >= 0;
  }

  /** As `take`, where the last one may be larger than what was left. */
  takeItem(bytes: number): boolean {
    const had = this.left > 0;
    this.left -= bytes;
    return had;
  }

  /** There is room for so much again. Returns whether it is time to say so: a grant for each would be a flood. */
  free(bytes: number): boolean {
    this.owed += bytes;
    return this.owed * 2 >= this.size;
  }

  /** From now on the peer may have this much on the way; never less than before. */
  grow(size: number): void {
    if (size <= this.size) return;
    this.owed += size - this.size;
    this.size = size;
  }

  /** What is to be granted now. */
  claim(): number {
    const { owed } = this;
    this.owed = 0;
    this.left += owed;
    return owed;
  }
}
