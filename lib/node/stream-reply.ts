/** A reply that is iterated over: what is not read yet waits at its sender, all but a window of it. */
import type { Cancel, ItemSource, ReplySink } from '../client/pending-calls.js';
import { ItemQueue } from '../connection/item-queue.js';
import type { GenRpcError } from '../protocol/errors.js';

/** What becomes of a reply on its way to the reader. */
export interface ReplyShape {
  readonly value: (value: unknown) => unknown;
  readonly error: (error: GenRpcError) => unknown;
}

const AS_IT_IS: ReplyShape = { value: (value) => value, error: (error) => error };

/** Each iteration is a call of its own, made when it begins and cancelled when it is left early. */
export class StreamReply<T> implements AsyncIterable<T> {
  /** @param request makes the call: the sink hears of the reply, the result cancels */
  constructor(
    private readonly request: (sink: ReplySink) => Cancel,
    private readonly shape = AS_IT_IS,
  ) {}

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    const sink = new QueueSink(this.shape);
    sink.cancel = this.request(sink);
    // A call of the own node may have brought items by now.
    if (sink.broken) sink.cancel();
    return sink.queue[Symbol.asyncIterator]() as AsyncIterator<T, undefined>;
  }
}

class QueueSink implements ReplySink {
  cancel: Cancel | undefined;
  /** Could an item not be given its shape? */
  broken = false;
  readonly queue = new ItemQueue({
    used: (cost) => this.from?.used(cost),
    left: () => void this.cancel?.(),
    threw() {},
  });
  private from: ItemSource | undefined;

  constructor(private readonly shape: ReplyShape) {}

  item(value: unknown, cost: number, from: ItemSource): 'kept' {
    this.from = from;
    this.push(value, cost);
    return 'kept';
  }

  done(value: unknown): void {
    if (value !== undefined) this.push(value, 0);
    this.queue.end();
  }

  failed(error: GenRpcError): void {
    this.queue.fail(attempt(() => this.shape.error(error)).value);
  }

  private push(value: unknown, cost: number): void {
    const shaped = attempt(() => this.shape.value(value));
    if (!shaped.failed) return this.queue.push(shaped.value, cost);
    this.broken = true;
    this.queue.fail(shaped.value);
    this.cancel?.();
  }
}

function attempt(body: () => unknown): { readonly failed: boolean; readonly value: unknown } {
  try {
    return { failed: false, value: body() };
  } catch (thrown) {
    return { failed: true, value: thrown };
  }
}
