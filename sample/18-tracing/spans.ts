/** OpenTelemetry, as any application registers it; what it has seen is kept here, and printed as trees. */
import { context, propagation, SpanKind, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-base';

const exporter = new InMemorySpanExporter();

/** An application has one line for it: `new NodeSDK().start()`, of @opentelemetry/sdk-node. */
export function register(): void {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
}

/** Every trace, a line for each span, further to the right the deeper it is. */
export function trees(): string[] {
  const spans = exporter.getFinishedSpans().toSorted((one, other) => Number(startOf(one) - startOf(other)));
  const below = (parent: string | undefined, depth: number): string[] =>
    spans
      .filter(({ parentSpanContext }) => parentSpanContext?.spanId === parent)
      .flatMap((span) => [lineOf(span, depth, spans), ...below(span.spanContext().spanId, depth + 1)]);
  return below(undefined, 0);
}

function lineOf({ name, kind, attributes, links }: ReadableSpan, depth: number, all: readonly ReadableSpan[]): string {
  const isCall = kind !== SpanKind.INTERNAL;
  const way = kind === SpanKind.CLIENT ? 'to' : 'from';
  const peer = isCall
    ? ` ${way} ${String(attributes['gen_rpc.peer.node'])}: ${String(attributes['rpc.status_code'])}`
    : '';
  const linked = links.map(({ context: to }) => all.find((span) => span.spanContext().spanId === to.spanId)?.name);
  const goesBack = linked.length === 0 ? '' : `, linked to ${linked.join(', ')}`;
  return `${'  '.repeat(depth)}${SpanKind[kind]} ${name}${peer}${goesBack}`;
}

/** Exact, and not as a sum of seconds and nanoseconds that a number cannot hold. */
function startOf({ startTime: [seconds, nanos] }: ReadableSpan): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanos);
}
