/** A stream between a caller and a function of the same node: as fast as it is read, as if it had travelled. */
import type { PendingCall } from '../client/pending-calls.js';
import { StreamArgument } from '../client/request-items.js';
import { ItemQueue } from '../connection/item-queue.js';
import { follow } from '../connection/item-stream.js';
import type { Journal } from '../connection/journal.js';
import type { GenRpcError } from '../protocol/errors.js';
import { STREAM_CREDIT } from '../protocol/frame.js';
import type { ItemStream } from '../protocol/invocation.js';

/** How much of a stream waits for its reader. */
export class LocalFlow {
  private waiting = 0;
  private onReady: (() => void) | undefined;

  get ready(): boolean {
    return this.waiting < STREAM_CREDIT;
  }

  whenReady(then: () => void): void {
    this.onReady = then;
  }

  sent(cost: number): void {
    this.waiting += cost;
  }

  used(cost: number): void {
    this.waiting -= cost;
    const { onReady } = this;
    if (onReady === undefined || !this.ready) return;
    this.onReady = undefined;
    onReady();
  }
}

/** What a value is to who gets it, and what it costs while it waits. @throws GenRpcError `encode_error`. */
export type Travel = (value: unknown) => { readonly value: unknown; readonly cost: number };

/** The argument of a local call that is a stream: what the function gets instead. */
export function localArgument(call: PendingCall, source: ItemStream, travel: Travel, journal: Journal): ItemQueue {
  const outlet = new LocalArgument(call, travel, journal);
  const stop = follow(source, outlet);
  if (call.settled) void stop();
  else call.stopStream = stop;
  return outlet.queue;
}

class LocalArgument extends StreamArgument {
  private readonly flow = new LocalFlow();
  readonly queue = new ItemQueue({ used: (cost) => this.flow.used(cost), left() {} });

  constructor(
    call: PendingCall,
    private readonly travel: Travel,
    journal: Journal,
  ) {
    super(call, journal);
  }

  whenReady(then: () => void): void {
    this.flow.whenReady(then);
  }

  protected hasRoom(): boolean {
    return this.flow.ready;
  }

  protected send(given: unknown): void {
    const { value, cost } = this.travel(given);
    this.flow.sent(cost);
    this.queue.push(value, cost);
  }

  protected finish(): void {
    this.queue.end();
  }

  protected failed(failure: GenRpcError): void {
    this.queue.fail(failure);
  }
}
