/** A reply comes in the context of whatever brought it; what is done about it belongs where the call was asked for. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { ItemSource, ReplySink } from '../client/pending-calls.js';
import type { GenRpcError } from '../protocol/errors.js';
import type { Tracing } from '../ports/tracing.js';
import { currentCalls, type Context } from '../server/current-call.js';

/**
 * For sinks that call back. Those of promises need it not: who awaits one goes on in a context of his own.
 * @param tracing keeps contexts of its own: then all of them are kept
 */
export function inItsContext(sink: ReplySink, tracing: Tracing | undefined): ReplySink {
  const context = tracing === undefined ? currentCalls.snapshot() : (AsyncLocalStorage.snapshot() as Context);
  return context === undefined ? sink : new SinkInContext(sink, context);
}

class SinkInContext implements ReplySink {
  constructor(
    private readonly sink: ReplySink,
    private readonly run: Context,
  ) {}

  item(value: unknown, cost: number, from: ItemSource): 'kept' | void {
    let kept: 'kept' | void = undefined;
    this.run(() => (kept = this.sink.item(value, cost, from)));
    return kept;
  }

  done(value: unknown): void {
    this.run(() => this.sink.done(value));
  }

  failed(error: GenRpcError): void {
    this.run(() => this.sink.failed(error));
  }
}
