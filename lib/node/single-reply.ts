/** A reply of which one value is wanted: of several, the last. */
import type { ReplySink } from '../client/pending-calls.js';
import type { GenRpcError } from '../protocol/errors.js';

export class SingleReply implements ReplySink {
  private last: unknown;

  constructor(
    private readonly succeeded: (value: unknown) => void,
    readonly failed: (error: GenRpcError) => void,
  ) {}

  item(value: unknown): void {
    this.last = value;
  }

  done(value: unknown): void {
    this.succeeded(value === undefined ? this.last : value);
  }
}
