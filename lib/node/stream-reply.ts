/** A reply that is iterated over: what is not read yet waits at its sender, all but a window of it. */
import type { Cancel, ItemSource, ReplySink } from '../client/pending-calls.js';
import { ItemQueue } from '../connection/item-queue.js';
import type { GenRpcError } from '../protocol/errors.js';

/** Each iteration is a call of its own, made when it begins and cancelled when it is left early. */
export class StreamReply<T> implements AsyncIterable<T> {
  /** @param request makes the call: the sink hears of the reply, the result cancels */
  constructor(
    private readonly request: (sink: ReplySink) => Cancel,
    private readonly errorOf: (error: GenRpcError) => unknown = (error) => error,
  ) {}

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    const sink = new QueueSink(this.errorOf);
    sink.cancel = this.request(sink);
    return sink.queue[Symbol.asyncIterator]() as AsyncIterator<T, undefined>;
  }
}

class QueueSink implements ReplySink {
  cancel: Cancel | undefined;
  readonly queue = new ItemQueue({ used: (cost) => this.from?.used(cost), left: () => void this.cancel?.() });
  private from: ItemSource | undefined;

  constructor(private readonly errorOf: (error: GenRpcError) => unknown) {}

  item(value: unknown, cost: number, from: ItemSource): 'kept' {
    this.from = from;
    this.queue.push(value, cost);
    return 'kept';
  }

  done(value: unknown): void {
    if (value !== undefined) this.queue.push(value, 0);
    this.queue.end();
  }

  failed(error: GenRpcError): void {
    this.queue.fail(this.errorOf(error));
  }
}
