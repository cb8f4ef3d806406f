import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { firstValueFrom, forkJoin, lastValueFrom, of, Subject, switchMap, toArray, type Observable } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { GenRpcAsyncCall } from '../../lib/nest/gen-rpc.async-call.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { until } from '../support/door.js';
import { pairOf, SECRET, SERVER } from './support.js';

/** What the handlers of a test tell it. */
class Stage {
  readonly ran: unknown[] = [];
  readonly signals: AbortSignal[] = [];
  readonly release = new Subject<unknown>();
}

let stage = new Stage();
beforeEach(() => (stage = new Stage()));

@Controller()
class AsyncController {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    stage.ran.push(value);
    return value;
  }

  @MessagePattern('slow')
  slow(@Payload() value: unknown, @Ctx() context: GenRpcContext): Promise<unknown> {
    stage.ran.push(value);
    stage.signals.push(context.getSignal());
    return firstValueFrom(stage.release);
  }

  @MessagePattern('many')
  many(): Observable<number> {
    return of(1, 2, 3);
  }

  @MessagePattern('nothing')
  nothing(): void {}

  @MessagePattern('fails')
  fails(): never {
    throw new RpcException({ status: 'error', message: 'out of stock', left: 0 });
  }

  @MessagePattern('crashes')
  crashes(): never {
    throw new Error('secret detail');
  }
}

const APP = { controllers: [AsyncController] };
const FETCHED = { code: 'invalid_argument', message: expect.stringContaining('fetched once') };

/** What a subscriber hears. */
function heardOf(call: Observable<unknown>) {
  const heard: unknown[] = [];
  const subscription = call.subscribe({
    next: (value) => heard.push(value),
    error: (error: unknown) => heard.push({ error }),
    complete: () => heard.push('end'),
  });
  return { heard, subscription };
}

describe('asyncSend', () => {
  it('is hot: it runs before anybody subscribes, and once', async () => {
    await using pair = await pairOf(APP);
    const call = pair.caller.asyncSend<string>('echo', 'tea');
    expect(call).toBeInstanceOf(GenRpcAsyncCall);
    await until(() => stage.ran.length === 1);
    await expect(firstValueFrom(call)).resolves.toBe('tea');
    expect(stage.ran).toEqual(['tea']);
  });

  it('has its result for one: later subscribers, and yields, are refused', async () => {
    await using pair = await pairOf(APP);
    const call = pair.caller.asyncSend('echo', 'tea');
    const first = heardOf(call);
    const second = heardOf(call);
    await until(() => first.heard.length === 2 && second.heard.length === 1);
    expect(first.heard).toEqual(['tea', 'end']);
    expect(second.heard).toMatchObject([{ error: FETCHED }]);
    await expect(call.yield()).rejects.toMatchObject(FETCHED);
    await expect(call.nbYield()).resolves.toBe('timeout');
    expect(stage.ran).toEqual(['tea']);
  });

  it('refuses a subscriber where somebody yields, and the other way round', async () => {
    await using pair = await pairOf(APP);
    const yielded = pair.caller.asyncSend('slow', 'one');
    const value = yielded.yield();
    const { heard, subscription } = heardOf(yielded);
    await until(() => heard.length === 1 && stage.signals.length === 1);
    expect(heard).toMatchObject([{ error: FETCHED }]);
    subscription.unsubscribe();
    stage.release.next('done');
    await expect(value).resolves.toBe('done');
  });

  it('nbYield asks without taking, until there is something to take', async () => {
    await using pair = await pairOf(APP);
    const call = pair.caller.asyncSend('slow', 'one');
    await until(() => stage.signals.length === 1);
    await expect(call.nbYield()).resolves.toBe('timeout');
    await expect(call.nbYield(5)).resolves.toBe('timeout');
    const asked = call.nbYield(Infinity);
    stage.release.next('done');
    await expect(asked).resolves.toEqual({ value: 'done' });
    await expect(call.nbYield()).resolves.toBe('timeout');
  });

  it('gives the last of several values, and undefined for none', async () => {
    await using pair = await pairOf(APP);
    await expect(lastValueFrom(pair.caller.asyncSend('many', 0).pipe(toArray()))).resolves.toEqual([3]);
    await expect(pair.caller.asyncSend('many', 0).yield()).resolves.toBe(3);
    await expect(pair.caller.asyncSend('nothing', 0).yield()).resolves.toBeUndefined();
  });

  it('takes a record with directions', async () => {
    await using pair = await pairOf(APP);
    const record = new GenRpcRecordBuilder('late').setTimeout(50).setKey('k').build();
    const call = pair.caller.asyncSend('slow', record);
    await expect(call.yield()).rejects.toMatchObject({ code: 'timeout', maybeExecuted: true });
    expect(stage.ran).toEqual(['late']);
  });
});

describe('unsubscribing from an async call', () => {
  it('cancels it, where the subscriber was the one to get the result', async () => {
    await using pair = await pairOf(APP);
    const call = pair.caller.asyncSend('slow', 'one');
    const { heard, subscription } = heardOf(call);
    await until(() => stage.signals.length === 1);
    subscription.unsubscribe();
    await until(() => stage.signals[0]?.aborted === true);
    expect(pair.caller.unwrap().stats().pendingCalls).toBe(0);
    await expect(call.yield()).rejects.toMatchObject(FETCHED);
    expect(heard).toEqual([]);
    stage.release.next(1);
  });

  it('cancels nothing that somebody else waits for', async () => {
    await using pair = await pairOf(APP);
    const call = pair.caller.asyncSend('slow', 'one');
    const value = call.yield();
    heardOf(call).subscription.unsubscribe();
    await until(() => stage.signals.length === 1);
    await new Promise(setImmediate);
    expect(stage.signals[0]?.aborted).toBe(false);
    stage.release.next('done');
    await expect(value).resolves.toBe('done');
  });

  it('cancels nothing where nobody has subscribed', async () => {
    await using pair = await pairOf(APP);
    const call = pair.caller.asyncSend('slow', 'one');
    await until(() => stage.signals.length === 1);
    await call.nbYield(1);
    expect(stage.signals[0]?.aborted).toBe(false);
    stage.release.next('done');
    await expect(firstValueFrom(call)).resolves.toBe('done');
  });

  it('after the result changes nothing', async () => {
    await using pair = await pairOf(APP);
    const call = pair.caller.asyncSend('echo', 'tea');
    const { heard, subscription } = heardOf(call);
    await until(() => heard.length === 2);
    subscription.unsubscribe();
    call.cancel();
    expect(heard).toEqual(['tea', 'end']);
  });

  it('is what cancel does, for whoever waits', async () => {
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    const call = pair.caller.asyncSend('slow', 'one');
    const { heard } = heardOf(call);
    await until(() => stage.signals.length === 1);
    call.cancel();
    await until(() => heard.length === 1 && stage.signals[0]?.aborted === true);
    expect(heard).toMatchObject([{ error: { code: 'cancelled', maybeExecuted: true } }]);
    stage.release.next(1);
  });
});

describe('errors of an async call', () => {
  const CASES: readonly (readonly [string, object | string, object])[] = [
    [
      'fails',
      { status: 'error', message: 'out of stock', left: 0 },
      { code: 'handler_failed', message: 'out of stock', maybeExecuted: true, details: { left: 0 } },
    ],
    [
      'crashes',
      { status: 'error', message: 'Internal server error' },
      { code: 'handler_failed', message: 'Internal server error', maybeExecuted: true },
    ],
    [
      'unheard',
      'There is no matching message handler defined in the remote service.',
      { code: 'undefined_function', maybeExecuted: false },
    ],
  ];

  it.each(CASES)("look as Nest's own, on every way to fetch them: %s", async (pattern, expected) => {
    await using pair = await pairOf(APP);
    const errorOf = (reply: Promise<unknown>): Promise<unknown> =>
      reply.then(
        () => expect.fail('it did not fail'),
        (error: unknown) => error,
      );
    const sent = await errorOf(firstValueFrom(pair.caller.send(pattern, 1)));
    expect(sent).toEqual(expected);
    await expect(errorOf(firstValueFrom(pair.caller.asyncSend(pattern, 1)))).resolves.toEqual(sent);
    await expect(errorOf(pair.caller.asyncSend(pattern, 1).yield())).resolves.toEqual(sent);
    await expect(errorOf(pair.caller.asyncSend(pattern, 1).nbYield(Infinity))).resolves.toEqual(sent);
  });

  it.each(CASES)("are GenRpcErrors with errors: 'gen_rpc': %s", async (pattern, _, expected) => {
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    await expect(pair.caller.asyncSend(pattern, 1).yield()).rejects.toMatchObject(expected);
    await expect(firstValueFrom(pair.caller.asyncSend(pattern, 1))).rejects.toMatchObject(expected);
  });

  it('of a node that is down has the code of the system, as with Nest', async () => {
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: 1 });
    const call = client.asyncSend('echo', 1);
    await expect(call.yield()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await client.close();
  });

  it('of a message that cannot travel comes by the call', async () => {
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    await expect(pair.caller.asyncSend('echo', () => 1).yield()).rejects.toMatchObject({ code: 'encode_error' });
    const far = new GenRpcRecordBuilder('x').setTarget('no node').build();
    await expect(pair.caller.asyncSend('echo', far).yield()).rejects.toMatchObject({ code: 'invalid_argument' });
    const never = new GenRpcRecordBuilder('x').setTimeout(0).build();
    await expect(pair.caller.asyncSend('echo', never).yield()).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('that nobody fetches disturbs nobody', async () => {
    await using pair = await pairOf(APP);
    pair.caller.asyncSend('crashes', 1);
    await until(() => pair.caller.unwrap().stats().pendingCalls === 0);
    await expect(pair.caller.asyncSend('echo', 'fine').yield()).resolves.toBe('fine');
  });

  it('of one that nobody fetched in time says so', async () => {
    await using pair = await pairOf(APP, { asyncCallInactivityTimeout: 20 });
    const call = pair.caller.unwrap().asyncCall(SERVER, '', 'echo', ['tea']);
    await until(() => call.taken);
    await expect(firstValueFrom(new GenRpcAsyncCall(call))).rejects.toMatchObject({
      code: 'timeout',
      maybeExecuted: true,
    });
  });
});

describe('an async call among operators of RxJS', () => {
  it('forkJoin waits for several that run beside each other', async () => {
    await using pair = await pairOf(APP);
    const calls = ['a', 'b', 'c'].map((value) => pair.caller.asyncSend<string>('echo', value));
    await expect(firstValueFrom(forkJoin(calls))).resolves.toEqual(['a', 'b', 'c']);
  });

  it('switchMap cancels the one that is no longer wanted', async () => {
    await using pair = await pairOf(APP);
    const wanted = new Subject<string>();
    const { heard } = heardOf(wanted.pipe(switchMap((value) => pair.caller.asyncSend('slow', value))));
    wanted.next('first');
    await until(() => stage.signals.length === 1);
    wanted.next('second');
    wanted.complete();
    await until(() => stage.signals.length === 2);
    expect(stage.signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    stage.release.next('done');
    await until(() => heard.length === 2);
    expect(heard).toEqual(['done', 'end']);
  });

  it('wraps a call of a node as well', async () => {
    await using pair = await pairOf(APP);
    const node = pair.caller.unwrap();
    const call = new GenRpcAsyncCall<string>(node.asyncCall<string>(SERVER, '', 'echo', ['tea']));
    await expect(firstValueFrom(call)).resolves.toBe('tea');
    await expect(call.yield()).rejects.toMatchObject(FETCHED);
  });
});
