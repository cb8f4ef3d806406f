/** A reply of which one value is wanted: of several, the last. */
import type { ReplySink } from '../client/pending-calls.js';
import type { GenRpcError } from '../protocol/errors.js';

export abstract class SingleReply implements ReplySink {
  private last: unknown;

  item(value: unknown): void {
    this.last = value;
  }

  done(value: unknown): void {
    this.succeeded(value === undefined ? this.last : value);
  }

  abstract succeeded(value: unknown): void;

  abstract failed(error: GenRpcError): void;
}

/** One that goes to two callbacks, those of a promise for example. */
export class ReplyTo extends SingleReply {
  constructor(
    private readonly onValue: (value: unknown) => void,
    private readonly onError: (error: GenRpcError) => void,
  ) {
    super();
  }

  succeeded(value: unknown): void {
    this.onValue(value);
  }

  failed(error: GenRpcError): void {
    this.onError(error);
  }
}
