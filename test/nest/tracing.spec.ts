/** A trace through Nest applications: guards, interceptors and handlers are inside of the span, and so is what they send. */
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { SpanKind, trace } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { defer, delay, lastValueFrom, mergeMap, of, tap, throwError, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { openTelemetry } from '../../lib/opentelemetry.js';
import { until } from '../support/door.js';
import { isChildOf, Spans, statusOf } from '../support/spans.js';
import { SlowEnhancers } from './slow-enhancers.js';
import { App, itemsOf, pairOf } from './support.js';

/** Which span was active, by the part of the application that asked. */
const seen = new Map<string, string | undefined>();
const look = (who: string): void => void seen.set(who, trace.getActiveSpan()?.spanContext().spanId);

class Middle {
  static client: GenRpcClient;
}

@Controller()
@SlowEnhancers(look)
class MiddleController {
  @MessagePattern('middle.promise')
  async promise(): Promise<unknown> {
    await new Promise((resolve) => setImmediate(resolve));
    look('handler');
    return lastValueFrom(Middle.client.send('last.echo', 1));
  }

  @MessagePattern('middle.cold')
  cold(): Observable<unknown> {
    return defer(() => {
      look('handler');
      return Middle.client.send('last.echo', 2);
    });
  }

  @MessagePattern('middle.second')
  second(): Observable<unknown> {
    const first = Middle.client.send('last.headers', {});
    return first.pipe(
      tap(() => look('handler')),
      mergeMap(() => Middle.client.send('last.echo', 3)),
    );
  }

  @MessagePattern('middle.generator')
  async *generator(): AsyncGenerator<unknown> {
    await new Promise((resolve) => setImmediate(resolve));
    look('handler');
    yield await lastValueFrom(Middle.client.send('last.echo', 4));
  }

  @MessagePattern('middle.async')
  async async(): Promise<unknown> {
    look('handler');
    return Middle.client.asyncSend('last.echo', 5).yield();
  }

  @EventPattern('middle.event')
  event(@Payload() data: unknown): Observable<unknown> {
    return of(data).pipe(
      delay(1),
      tap(() => look('handler')),
      mergeMap(() => Middle.client.send('last.echo', 6)),
    );
  }
}

@Controller()
class LastController {
  @MessagePattern('last.echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern('last.headers')
  headers(@Ctx() context: GenRpcContext): unknown {
    return [context.getMetadata()];
  }

  @MessagePattern('last.fail')
  fail(): Observable<never> {
    return throwError(() => new Error('secret')).pipe(delay(1));
  }
}

/** A client, an application that it calls, and one that this calls. */
class Chain {
  private constructor(
    private readonly last: App,
    private readonly middle: App,
    readonly client: GenRpcClient,
  ) {}

  static async start(): Promise<Chain> {
    const options = { tracing: openTelemetry() };
    seen.clear();
    const last = await App.start({ controllers: [LastController], options });
    const middle = await App.start({ controllers: [MiddleController], options });
    Middle.client = last.client(options);
    const client = middle.client(options);
    // What is called back by a connection is not in the context of whoever has opened it.
    await Promise.all([client.connect(), Middle.client.connect()]);
    return new Chain(last, middle, client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.middle[Symbol.asyncDispose]();
    await this.last[Symbol.asyncDispose]();
  }
}

/** Whatever was looked at was inside of `span`. */
function expectInside(span: ReadableSpan, ...who: readonly string[]): void {
  const { spanId } = span.spanContext();
  expect(Object.fromEntries(seen)).toEqual(Object.fromEntries(who.map((one) => [one, spanId])));
}

const EVERYONE = ['guard', 'interceptor', 'handler', 'behind the interceptor'];

describe('a trace through Nest applications', () => {
  it.each([
    ['promise', 1],
    ['cold', 2],
    ['second', 3],
    ['generator', 4],
    ['async', 5],
  ])('N-63 traceparent goes from a client through handlers to whom they send to: %s', async (how, value) => {
    await using spans = new Spans();
    await using chain = await Chain.start();
    await spans.inside('request', () =>
      expect(itemsOf(chain.client.send(`middle.${how}`, {}))).resolves.toEqual([value]),
    );
    const middle = await spans.one('SERVER', `middle/${how}`);
    const sent = await spans.one('CLIENT', 'last/echo');
    expect(isChildOf(await spans.one('CLIENT', `middle/${how}`), await spans.one('INTERNAL', 'request'))).toBe(true);
    expect(isChildOf(middle, await spans.one('CLIENT', `middle/${how}`))).toBe(true);
    expect(isChildOf(sent, middle)).toBe(true);
    expect(isChildOf(await spans.one('SERVER', 'last/echo'), sent)).toBe(true);
    expectInside(middle, ...EVERYONE);
    expect(new Set(spans.ended.map((span) => span.spanContext().traceId)).size).toBe(1);
  });

  it('N-63 traceparent stands in the headers of a message, beside those of its record', async () => {
    await using spans = new Spans();
    await using pair = await pairOf(
      { controllers: [LastController], options: { tracing: openTelemetry() } },
      { tracing: openTelemetry() },
    );
    const record = new GenRpcRecordBuilder({}).setHeaders({ tenant: 'blue', traceparent: 'stale' }).build();
    const [headers] = (await lastValueFrom(pair.caller.send('last.headers', record))) as [object];
    const { traceId, spanId } = (await spans.one('CLIENT', 'last/headers')).spanContext();
    expect(headers).toEqual({ tenant: 'blue', traceparent: `00-${traceId}-${spanId}-01` });
  });

  it('N-63 nothing is added without the option, with and without OpenTelemetry in the process', async () => {
    const none = async (): Promise<void> => {
      await using pair = await pairOf({ controllers: [LastController] });
      await expect(lastValueFrom(pair.caller.send('last.headers', {}))).resolves.toEqual([undefined]);
      const record = new GenRpcRecordBuilder({}).setHeaders({ traceparent: 'mine' }).build();
      await expect(lastValueFrom(pair.caller.send('last.headers', record))).resolves.toEqual([{ traceparent: 'mine' }]);
    };
    await none();
    await using spans = new Spans();
    await spans.inside('request', none);
    expect(spans.ended.map(({ name }) => name)).toEqual(['request']);
  });

  it('is begun anew by an event, which links to where it was emitted', async () => {
    await using spans = new Spans();
    await using chain = await Chain.start();
    await spans.inside('request', () => lastValueFrom(chain.client.emit('middle.event', {}), { defaultValue: 0 }));
    const emitted = await spans.one('CLIENT', 'middle/event');
    const event = await spans.one('SERVER', 'middle/event');
    expect(isChildOf(emitted, await spans.one('INTERNAL', 'request'))).toBe(true);
    expect(event.parentSpanContext).toBeUndefined();
    expect(event.links.map((link) => link.context.spanId)).toEqual([emitted.spanContext().spanId]);
    expectInside(event, ...EVERYONE);
    expect(isChildOf(await spans.one('CLIENT', 'last/echo'), event)).toBe(true);
  });

  it('has a span for each subscription, and none for a message that nobody subscribes to', async () => {
    await using spans = new Spans();
    await using chain = await Chain.start();
    const cold = chain.client.send('middle.promise', {});
    expect(spans.ended).toEqual([]);
    await Promise.all([lastValueFrom(cold), lastValueFrom(cold)]);
    await until(() => spans.ended.length === 8);
    expect(new Set(spans.ended.map((span) => span.spanContext().traceId)).size).toBe(2);
  });

  it('tells how a message ended: failed, or left', async () => {
    await using spans = new Spans();
    await using pair = await pairOf(
      { controllers: [LastController], options: { tracing: openTelemetry() } },
      { tracing: openTelemetry() },
    );
    await expect(lastValueFrom(pair.caller.send('last.fail', {}))).rejects.toBeDefined();
    const failed = { failed: 'handler_failed', type: 'handler_failed' };
    expect((await spans.all(2)).map(statusOf)).toEqual([failed, failed]);
    await expect(lastValueFrom(pair.caller.send('nobody.there', {}))).rejects.toBeDefined();
    expect(statusOf(await spans.one('CLIENT', 'nobody/there'))).toMatchObject({ type: 'undefined_function' });
    const subscription = pair.caller.send('last.fail', {}).subscribe();
    subscription.unsubscribe();
    await until(() => spans.ended.filter(({ name }) => name === 'last/fail').length >= 3);
    expect(spans.ended.filter(({ kind }) => kind === SpanKind.CLIENT).map(statusOf)).toContain('cancelled');
  });
});
