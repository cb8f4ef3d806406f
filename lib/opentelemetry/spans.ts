/** Spans, from the beginning of a call to its one end. */
import { context, SpanStatusCode, type Context, type Span } from '@opentelemetry/api';
import type { IncomingTrace, OutgoingTrace, TracedPlace } from '../ports/tracing.js';
import { nodeAttributes, placeAttributes } from './attributes.js';

/** Whoever gives a call up has it end as it was meant to. */
const NO_FAILURE: ReadonlySet<string> = new Set(['cancelled']);
/** Codes that tell of a fault of the caller: the node that answers so has done what it should. */
const CALLERS_FAULT: ReadonlySet<string> = new Set(['cancelled', 'unauthorized', 'incompatible']);

/** One for a call, over all attempts to make it. */
export class ClientSpan implements OutgoingTrace {
  private attempts = 0;

  constructor(
    private readonly span: Span,
    readonly headers: OutgoingTrace['headers'],
    private node: string | undefined,
  ) {}

  attempt(node: string): void {
    this.attempts += 1;
    if (!this.span.isRecording()) return;
    if (node !== this.node) this.span.setAttributes(nodeAttributes(node));
    this.node = node;
    if (this.attempts > 1) this.span.addEvent('gen_rpc.attempt', { ...nodeAttributes(node), attempt: this.attempts });
  }

  ended(code: string | undefined, place: TracedPlace | undefined): void {
    if (place !== undefined) this.span.setAttributes(placeAttributes(place));
    end(this.span, code, NO_FAILURE);
  }
}

export class ServerSpan implements IncomingTrace {
  constructor(
    private readonly span: Span,
    private readonly inside: Context,
  ) {}

  run(body: () => void): void {
    context.with(this.inside, body);
  }

  ended(code: string | undefined): void {
    end(this.span, code, CALLERS_FAULT);
  }
}

function end(span: Span, code: string | undefined, harmless: ReadonlySet<string>): void {
  span.setAttribute('rpc.status_code', code ?? 'ok');
  if (code !== undefined && !harmless.has(code)) {
    span.setAttribute('error.type', code);
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}
