/** What a test does with streams: makes them, well behaved and not, and says what came of one. */
import { isGenRpcError } from '../../lib/protocol/errors.js';

/** Something to subscribe to without the manners of an Observable: it says what a test makes it say. */
export interface Rude {
  subscribe(observer: { next(value: unknown): void; error(error: unknown): void; complete(): void }): {
    unsubscribe(): void;
  };
}

/** What was read of a stream: its items, and the code of the error behind them, if one came. */
export interface Read {
  readonly items: unknown[];
  error?: string;
}

/** Reads to the end, or so many. Never rejects. */
export async function readOf(stream: AsyncIterable<unknown>, most = Infinity): Promise<Read> {
  const read: Read = { items: [] };
  try {
    for await (const item of stream) {
      read.items.push(item);
      if (read.items.length >= most) break;
    }
  } catch (error) {
    read.error = isGenRpcError(error) ? error.code : String(error);
  }
  return read;
}

export async function* upTo(count: number): AsyncGenerator<number> {
  for (let n = 0; n < count; n += 1) yield n;
}

/** 0 up to `count`, without it. */
export function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}
