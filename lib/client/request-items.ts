/** An argument that is a stream, on its way: its items follow the call, as fast as the function reads them. */
import { follow, type Outlet } from '../connection/item-stream.js';
import type { ItemWriter } from '../connection/item-writer.js';
import type { Journal } from '../connection/journal.js';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { joinRoute, type ItemStream } from '../protocol/invocation.js';
import type { PendingCall } from './pending-calls.js';

/** Sends the items of `source` until it ends or the call has settled. What is wrong with them fails the call. */
export function sendItems(call: PendingCall, source: ItemStream, writer: ItemWriter, journal: Journal): void {
  const stop = follow(source, new RequestItems(call, writer, journal));
  if (call.settled) void stop();
  else call.stopStream = stop;
}

/** Takes the items of an argument. What is wrong with them fails the call; once that has settled they are of no use. */
export abstract class StreamArgument implements Outlet {
  private ended = false;

  constructor(
    private readonly call: PendingCall,
    private readonly journal: Journal,
  ) {}

  get ready(): boolean {
    return this.call.settled || this.hasRoom();
  }

  abstract whenReady(then: () => void): void;

  next(value: unknown): void {
    if (this.call.settled || this.ended) return;
    try {
      this.send(value);
    } catch (error) {
      this.fail(error, 'cannot be sent');
    }
  }

  error(cause: unknown): void {
    this.fail(cause, 'failed');
  }

  complete(): void {
    if (!this.call.settled && !this.ended) this.finish();
    this.ended = true;
  }

  stuck(error: unknown): void {
    const message = (): string => `The stream that ${joinRoute(this.call.invocation.name)} was given threw at its end.`;
    this.journal.note('listener_failed', message, error);
  }

  protected abstract hasRoom(): boolean;

  /** @throws GenRpcError for an item that cannot be sent. */
  protected abstract send(value: unknown): void;

  protected abstract finish(): void;

  /** The call has been told. */
  protected abstract failed(failure: GenRpcError): void;

  private fail(cause: unknown, what: string): void {
    if (this.ended) return;
    this.ended = true;
    const failure = streamFailure(this.call, cause, what);
    this.call.giveUp(failure);
    this.failed(failure);
  }
}

class RequestItems extends StreamArgument {
  constructor(
    call: PendingCall,
    private readonly writer: ItemWriter,
    journal: Journal,
  ) {
    super(call, journal);
  }

  whenReady(then: () => void): void {
    this.writer.whenReady(then);
  }

  protected hasRoom(): boolean {
    return this.writer.ready;
  }

  protected send(value: unknown): void {
    this.writer.item(value);
  }

  protected finish(): void {
    this.writer.end();
  }

  /** The peer hears it from the call. */
  protected failed(): void {}
}

/** The function may have read some of it. */
function streamFailure({ invocation }: PendingCall, cause: unknown, what: string): GenRpcError {
  const code = isGenRpcError(cause) ? cause.code : 'cancelled';
  const said = cause instanceof Error ? cause.message : String(cause);
  const message = `The stream that ${joinRoute(invocation.name)} was given ${what}: ${said}`;
  return new GenRpcError(code, message, { maybeExecuted: true, cause });
}
