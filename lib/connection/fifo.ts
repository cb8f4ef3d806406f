/** A line: whoever came first leaves first. To `shift` an array would move all others each time. */
export class Fifo<T> {
  private items: (T | undefined)[] = [];
  private head = 0;

  get length(): number {
    return this.items.length - this.head;
  }

  get first(): T | undefined {
    return this.items[this.head];
  }

  get last(): T | undefined {
    return this.items.length > this.head ? this.items[this.items.length - 1] : undefined;
  }

  push(item: T): void {
    this.items.push(item);
  }

  shift(): T | undefined {
    const { items, head } = this;
    const item = items[head];
    if (head >= items.length) return undefined;
    items[head] = undefined;
    this.head += 1;
    if (this.head * 2 >= items.length && (this.head >= KEEP || this.head === items.length)) this.compact();
    return item;
  }

  /** Takes everyone out. */
  clear(): T[] {
    const left = this.items.slice(this.head) as T[];
    this.items = [];
    this.head = 0;
    return left;
  }

  private compact(): void {
    this.items.splice(0, this.head);
    this.head = 0;
  }
}

/** Fewer than this are not worth moving the others for. */
const KEEP = 64;
