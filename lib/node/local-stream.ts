/** A stream between a caller and a function of the same node: as fast as it is read, as if it had travelled. */
import type { PendingCall } from '../client/pending-calls.js';
import { StreamArgument } from '../client/request-items.js';
import { Breather } from '../connection/breather.js';
import { ItemQueue } from '../connection/item-queue.js';
import { follow } from '../connection/item-stream.js';
import type { Journal } from '../connection/journal.js';
import type { Clock } from '../ports/clock.js';
import type { GenRpcError } from '../protocol/errors.js';
import { STREAM_CREDIT } from '../protocol/frame.js';
import type { ItemStream } from '../protocol/invocation.js';

/** How much of a stream waits for its reader. */
export class LocalFlow {
  private waiting = 0;
  private onReady: (() => void) | undefined;
  private readonly breather: Breather;

  constructor(clock: Clock) {
    this.breather = new Breather(clock);
  }

  get ready(): boolean {
    return this.waiting < STREAM_CREDIT && !this.breather.due;
  }

  whenReady(then: () => void): void {
    this.onReady = then;
    this.tellReady();
  }

  sent(cost: number): void {
    this.waiting += cost;
    this.breather.passed();
  }

  used(cost: number): void {
    this.waiting -= cost;
    this.tellReady();
  }

  private tellReady(): void {
    const { onReady } = this;
    if (onReady === undefined || this.waiting >= STREAM_CREDIT) return;
    if (this.breather.due) return this.breather.breathe(() => this.tellReady());
    this.onReady = undefined;
    onReady();
  }
}

/** What a value is to who gets it, and what it costs while it waits. @throws GenRpcError `encode_error`. */
export type Travel = (value: unknown) => { readonly value: unknown; readonly cost: number };

export interface ArgumentPorts {
  readonly clock: Clock;
  readonly journal: Journal;
  readonly travel: Travel;
  /** The function, as its reader, threw at what it was told. */
  readonly onThrow: (error: unknown) => void;
}

/** The argument of a local call that is a stream: what the function gets instead. */
export function localArgument(call: PendingCall, source: ItemStream, ports: ArgumentPorts): ItemQueue {
  const outlet = new LocalArgument(call, ports);
  const stop = follow(source, outlet);
  if (call.settled) void stop();
  else call.stopStream = stop;
  return outlet.queue;
}

class LocalArgument extends StreamArgument {
  readonly queue: ItemQueue;
  private readonly flow: LocalFlow;

  constructor(
    call: PendingCall,
    private readonly ports: ArgumentPorts,
  ) {
    super(call, ports.journal);
    this.flow = new LocalFlow(ports.clock);
    const used = (cost: number): void => this.flow.used(cost);
    const left = (): void => void call.stopStream?.();
    this.queue = new ItemQueue({ used, left, threw: ports.onThrow });
  }

  whenReady(then: () => void): void {
    this.flow.whenReady(then);
  }

  protected hasRoom(): boolean {
    return this.flow.ready;
  }

  protected send(given: unknown): void {
    const { value, cost } = this.ports.travel(given);
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
