/** OpenTelemetry as an application registers it, with an exporter that a test can read; taken away at the end. */
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-base';
import { until } from './door.js';

class Exported {
  private readonly exporter = new InMemorySpanExporter();
  readonly provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(this.exporter)] });

  /** Those that have ended. */
  get ended(): readonly ReadableSpan[] {
    return this.exporter.getFinishedSpans();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.provider.shutdown();
  }
}

export class Spans extends Exported {
  constructor() {
    super();
    const propagators = [new W3CTraceContextPropagator(), new W3CBaggagePropagator()];
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new CompositePropagator({ propagators }));
    trace.setGlobalTracerProvider(this.provider);
  }

  /** Runs `body` in a span of the test's own. */
  inside<T>(name: string, body: () => Promise<T> | T): Promise<T> {
    return trace.getTracer('test').startActiveSpan(name, async (span) => {
      try {
        return await body();
      } finally {
        span.end();
      }
    });
  }

  /** Of a provider that is not registered. */
  another(): Exported {
    return new Exported();
  }

  /** Once so many have ended. */
  async all(count: number): Promise<readonly ReadableSpan[]> {
    await until(() => this.ended.length >= count);
    return this.ended;
  }

  /** The only one of a kind and name, once it has ended. */
  async one(kind: 'CLIENT' | 'SERVER' | 'INTERNAL', name: string): Promise<ReadableSpan> {
    const found = (): ReadableSpan[] => this.ended.filter((span) => span.kind === SpanKind[kind] && span.name === name);
    await until(() => found().length > 0);
    const [span, ...more] = found();
    if (span === undefined || more.length > 0) throw new Error(`${more.length + 1} spans ${kind} ${name}`);
    return span;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    trace.disable();
    propagation.disable();
    context.disable();
  }
}

/** What a span says of how its call ended. */
export function statusOf({ attributes, status }: ReadableSpan): unknown {
  const said = attributes['rpc.status_code'];
  return status.code === SpanStatusCode.ERROR ? { failed: said, type: attributes['error.type'] } : said;
}

export function isChildOf(child: ReadableSpan, parent: ReadableSpan): boolean {
  const { traceId, spanId } = parent.spanContext();
  return child.spanContext().traceId === traceId && child.parentSpanContext?.spanId === spanId;
}
