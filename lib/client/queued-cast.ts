/** A cast that waits for its connection to be made. */
import type { Journal } from '../connection/journal.js';
import type { GenRpcError } from '../protocol/errors.js';
import type { CastOrder } from '../protocol/frame.js';
import type { Invocation } from '../protocol/invocation.js';
import type { Session } from './session.js';

/** Told once what became of a cast that was accepted. */
export interface CastOutcome {
  /** It stands in the connection's stream. */
  written(): void;
  /** The connection that it waited for was not made, or would not take it. */
  dropped(error: GenRpcError): void;
}

export class QueuedCast {
  readonly settled = false;

  constructor(
    private readonly node: string,
    private readonly invocation: Invocation,
    private readonly order: CastOrder | undefined,
    private readonly outcome: CastOutcome | undefined,
    private readonly journal: Journal,
  ) {}

  ready(session: Session): void {
    try {
      session.cast(this.invocation, this.order);
    } catch (error) {
      return this.fail(error as GenRpcError);
    }
    this.outcome?.written();
  }

  fail(error: GenRpcError): void {
    this.journal.note('cast_dropped', () => `A cast to ${this.node} was dropped: ${error.message}`);
    this.outcome?.dropped(error);
  }
}
