/** Keeps whoever follows calls from harming them: what it throws is noted, and what it was to run is run all the same. */
import { encodeHeaders } from '../protocol/headers.js';
import type { Headers } from '../protocol/invocation.js';
import type {
  IncomingCall,
  IncomingTrace,
  OutgoingCall,
  OutgoingTrace,
  TracedPlace,
  Tracing,
} from '../ports/tracing.js';
import type { Journal } from './journal.js';

export class GuardedTracing implements Tracing {
  constructor(
    private readonly tracing: Tracing,
    private readonly journal: Journal,
  ) {}

  outgoing(call: OutgoingCall): OutgoingTrace | undefined {
    const trace = this.attempt(() => this.tracing.outgoing(call));
    return trace === undefined ? undefined : new GuardedOutgoing(trace, call.headers, this);
  }

  incoming(call: IncomingCall): IncomingTrace | undefined {
    const trace = this.attempt(() => this.tracing.incoming(call));
    return trace === undefined ? undefined : new GuardedIncoming(trace, this);
  }

  /** `undefined` where it throws. */
  attempt<T>(ask: () => T): T | undefined {
    try {
      return ask();
    } catch (error) {
      this.journal.note('tracing_failed', () => 'What follows calls (tracing) threw.', error);
      return undefined;
    }
  }

  /** Those of the call itself, where what was made of them cannot travel. */
  headersOf(trace: OutgoingTrace, own: Headers | undefined): Headers | undefined {
    const headers = this.attempt(() => trace.headers);
    if (headers === undefined || headers === own || fits(headers)) return headers ?? own;
    this.journal.note('tracing_failed', () => 'The headers of what follows calls (tracing) were left out: too large.');
    return own;
  }
}

class GuardedOutgoing implements OutgoingTrace {
  readonly headers: Headers | undefined;
  private open = true;

  constructor(
    private readonly trace: OutgoingTrace,
    own: Headers | undefined,
    private readonly guard: GuardedTracing,
  ) {
    this.headers = guard.headersOf(trace, own);
  }

  attempt(node: string): void {
    if (this.open) this.guard.attempt(() => this.trace.attempt(node));
  }

  ended(code: string | undefined, place: TracedPlace | undefined): void {
    if (!this.open) return;
    this.open = false;
    this.guard.attempt(() => this.trace.ended(code, place));
  }
}

class GuardedIncoming implements IncomingTrace {
  private open = true;

  constructor(
    private readonly trace: IncomingTrace,
    private readonly guard: GuardedTracing,
  ) {}

  run(body: () => void): void {
    let begun = false;
    const once = (): void => {
      if (begun) return;
      begun = true;
      body();
    };
    this.guard.attempt(() => this.trace.run(once));
    once();
  }

  ended(code: string | undefined): void {
    if (!this.open) return;
    this.open = false;
    this.guard.attempt(() => this.trace.ended(code));
  }
}

/** Whoever called must not be refused for what was added to the headers. */
function fits(headers: Headers): boolean {
  try {
    encodeHeaders(headers);
    return true;
  } catch {
    return false;
  }
}
