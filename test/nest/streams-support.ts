/** Endless producers that tell how much they made and whether they were stopped, and readers of what they make. */
import { Observable } from 'rxjs';

/** Counts up from 0, and says what has become of it. */
export class Counter {
  made = 0;
  stopped = 0;

  /** Each item of it weighs about this much on the wire. */
  constructor(private readonly bytes = 0) {}

  async *generate(count = Infinity): AsyncGenerator<Item> {
    try {
      for (let n = 0; n < count; n += 1) yield this.make(n);
    } finally {
      this.stopped += 1;
    }
  }

  /** One item a turn of the event loop, whoever reads. */
  observe(): Observable<Item> {
    return new Observable((observer) => {
      let immediate: NodeJS.Immediate;
      let n = 0;
      const next = (): void => {
        immediate = setImmediate(next);
        observer.next(this.make(n));
        n += 1;
      };
      immediate = setImmediate(next);
      return () => {
        clearImmediate(immediate);
        this.stopped += 1;
      };
    });
  }

  private make(n: number): Item {
    this.made += 1;
    return this.bytes === 0 ? { n } : { n, text: 'x'.repeat(this.bytes) };
  }
}

export interface Item {
  readonly n: number;
  readonly text?: string;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function* upTo(count: number): AsyncGenerator<number> {
  for (let n = 0; n < count; n += 1) yield n;
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}

/** Resolves once `value` has stayed the same for a hundred turns of the event loop, on a network that is idle then. */
export async function settled(value: () => number): Promise<number> {
  let before = Number.NaN;
  while (before !== value()) {
    before = value();
    for (let turn = 0; turn < 100; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return before;
}
