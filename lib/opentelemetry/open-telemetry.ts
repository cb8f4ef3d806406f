/** Calls as spans of OpenTelemetry, by its API alone: whatever the application has registered takes them. */
import {
  context,
  isSpanContextValid,
  propagation,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  SpanKind,
  trace,
  type Context,
  type TextMapGetter,
  type TextMapSetter,
  type Tracer,
  type TracerProvider,
} from '@opentelemetry/api';
import type { IncomingCall, IncomingTrace, OutgoingCall, OutgoingTrace, Tracing } from '../ports/tracing.js';
import { clientAttributes, serverAttributes, spanNameOf } from './attributes.js';
import { ClientSpan, ServerSpan } from './spans.js';

export interface OpenTelemetryOptions {
  /**
   * Send the baggage of whoever calls to the node that is called, where it is that of the function. Default false: it may
   * hold what is meant for nobody else.
   */
  readonly baggage?: boolean;
  /** Where spans come from. Default: the provider that the application has registered. */
  readonly tracerProvider?: TracerProvider;
}

type Carrier = Map<string, string>;

const SCOPE = 'nestjs-gen-rpc';
const BAGGAGE = 'baggage';
const setter: TextMapSetter<Carrier> = { set: (carrier, name, value) => void carrier.set(name, value) };
const getter: TextMapGetter<ReadonlyMap<string, string>> = {
  get: (carrier, name) => carrier.get(name),
  keys: (carrier) => [...carrier.keys()],
};

/** For the option `tracing` of a node. Without an SDK in the process it does nothing. */
export function openTelemetry(options: OpenTelemetryOptions = {}): Tracing {
  return new OpenTelemetryTracing(options);
}

class OpenTelemetryTracing implements Tracing {
  private readonly tracer: Tracer;
  private readonly baggage: boolean;
  /** Is there a provider? An application may register one at any time. */
  private provided: boolean;

  constructor({ baggage = false, tracerProvider }: OpenTelemetryOptions) {
    this.tracer = tracerProvider?.getTracer(SCOPE) ?? trace.getTracer(SCOPE);
    this.baggage = baggage;
    this.provided = tracerProvider !== undefined;
  }

  outgoing(call: OutgoingCall): OutgoingTrace | undefined {
    if (!this.isProvided()) return undefined;
    const here = context.active();
    const attributes = clientAttributes(call);
    const span = this.tracer.startSpan(spanNameOf(call), { kind: SpanKind.CLIENT, attributes }, here);
    if (!isSpanContextValid(span.spanContext())) return undefined;
    const carrier: Carrier = new Map();
    propagation.inject(this.allowed(trace.setSpan(here, span)), carrier, setter);
    return new ClientSpan(span, headersWith(carrier, call.headers), call.node);
  }

  incoming(call: IncomingCall): IncomingTrace | undefined {
    if (!this.isProvided()) return undefined;
    const { headers, kind } = call;
    // Not the context that this runs in: it may be that of whoever made the connection, or of the cast before.
    const sent = headers === undefined ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, headers, getter);
    const told = this.allowed(sent);
    const caller = trace.getSpanContext(told);
    // The span that sent a cast has ended by now: what comes of it is no part of that, but goes back to it.
    const isLinked = kind === 'cast' && caller !== undefined && isSpanContextValid(caller);
    const parent = isLinked ? trace.deleteSpan(told) : told;
    const links = isLinked ? [{ context: caller }] : [];
    const name = call.known ? spanNameOf(call) : 'gen_rpc';
    const attributes = serverAttributes(call);
    const span = this.tracer.startSpan(name, { kind: SpanKind.SERVER, attributes, links }, parent);
    return isSpanContextValid(span.spanContext()) ? new ServerSpan(span, trace.setSpan(parent, span)) : undefined;
  }

  /** Costs less than a span that goes nowhere. */
  private isProvided(): boolean {
    if (this.provided) return true;
    const provider = trace.getTracerProvider();
    this.provided = !(provider instanceof ProxyTracerProvider) || provider.getDelegateTracer(SCOPE) !== undefined;
    return this.provided;
  }

  private allowed(given: Context): Context {
    return this.baggage ? given : propagation.deleteBaggage(given);
  }
}

/**
 * The headers of a call, and those of its span. What a function passes on of the headers that it was called with must
 * not stand beside them: that is said of another span.
 */
function headersWith(carrier: Carrier, own: ReadonlyMap<string, string> | undefined): OutgoingTrace['headers'] {
  if (own === undefined || own.size === 0 || carrier.size === 0) return carrier.size === 0 ? own : carrier;
  const ours = new Set([...propagation.fields().filter((field) => field !== BAGGAGE), ...carrier.keys()]);
  const others = [...own].filter(([name]) => !ours.has(name.toLowerCase()));
  return new Map([...others, ...carrier]);
}
