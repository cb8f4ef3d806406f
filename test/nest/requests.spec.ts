import { Controller } from '@nestjs/common';
import { type ClientProxy, MessagePattern, Payload } from '@nestjs/microservices';
import { EMPTY, firstValueFrom, from, Observable, of, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { itemsOf, pairOf, signalOf } from './support.js';

interface Pair {
  a: number;
  b: number;
}

/** The values that a reply must not lose. */
const PLAIN: readonly unknown[] = [null, 0, -1, '', 'text', false, true, 1.5, [], {}, [null], { deep: [{ n: null }] }];

/** What the properties of an object are, to whoever asks them: a Buffer is more than its bytes. */
function kindsOf(value: object): unknown {
  const kindOf = (one: unknown): string =>
    Buffer.isBuffer(one) ? 'Buffer' : one instanceof Date ? 'Date' : one instanceof Uint8Array ? 'bytes' : typeof one;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, kindOf(one)]));
}

@Controller()
class RequestsController {
  runs = 0;
  readonly release = signalOf();

  @MessagePattern('value')
  value(@Payload() { a, b }: Pair): number {
    this.runs += 1;
    return a + b;
  }

  @MessagePattern('promise')
  async promise(@Payload() { a, b }: Pair): Promise<number> {
    return a + b;
  }

  @MessagePattern('observable.of.one')
  observable(@Payload() { a, b }: Pair): Observable<number> {
    return of(a + b);
  }

  @MessagePattern('promise.of.observable')
  async promiseOfObservable(@Payload() { a, b }: Pair): Promise<Observable<number>> {
    return of(a + b);
  }

  @MessagePattern('observable.of.many')
  many(@Payload() count: number): Observable<number> {
    return from(Array.from({ length: count }, (_, index) => index));
  }

  @MessagePattern('items.then.error')
  failing(): Observable<number> {
    return new Observable((observer) => {
      observer.next(1);
      observer.next(2);
      observer.error('enough');
    });
  }

  @MessagePattern('empty')
  empty(): Observable<never> {
    return EMPTY;
  }

  @MessagePattern('void')
  nothing(): void {}

  @MessagePattern('plain')
  plain(@Payload() index: number): unknown {
    return PLAIN[index];
  }

  @MessagePattern('plain.observable')
  plainObservable(@Payload() index: number): Observable<unknown> {
    return of(PLAIN[index]);
  }

  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('kinds')
  kinds(@Payload() value: object): unknown {
    return kindsOf(value);
  }

  @MessagePattern('slow')
  async slow(): Promise<string> {
    await this.release.promise;
    return 'slow';
  }
}

const APP = { controllers: [RequestsController] };

describe('a request over two applications', () => {
  it.each(['value', 'promise', 'observable.of.one', 'promise.of.observable'])(
    'N-11 a request is answered by a %s',
    async (pattern) => {
      await using pair = await pairOf(APP);
      await expect(itemsOf(pair.caller.send(pattern, { a: 1, b: 2 }))).resolves.toEqual([3]);
    },
  );

  it.each([2, 3, 17, 1000])('N-13 a request is answered by an Observable of %i values, in order', async (count) => {
    await using pair = await pairOf(APP);
    const items = await itemsOf(pair.caller.send('observable.of.many', count));
    expect(items).toEqual(Array.from({ length: count }, (_, index) => index));
  });

  it('N-13 a reply brings the items that came before an error first', async () => {
    await using pair = await pairOf(APP);
    const seen: unknown[] = [];
    await new Promise<void>((resolve) => {
      const observer = {
        next: (item: unknown) => seen.push(item),
        error: (error: unknown) => resolve(void seen.push(error)),
      };
      pair.caller.send('items.then.error', {}).subscribe(observer);
    });
    expect(seen).toEqual([1, 2, { status: 'error', message: 'Internal server error' }]);
  });

  it.each(['empty', 'void'])('N-14 a reply completes without a value: %s', async (pattern) => {
    await using pair = await pairOf(APP);
    await expect(itemsOf(pair.caller.send(pattern, {}))).resolves.toEqual([]);
  });

  it.each(PLAIN.map((value, index) => ({ value, index })))('N-12 a reply brings $value', async ({ value, index }) => {
    await using pair = await pairOf(APP);
    await expect(itemsOf(pair.caller.send('plain', index))).resolves.toEqual([value]);
    await expect(itemsOf(pair.caller.send('plain.observable', index))).resolves.toEqual([value]);
  });

  it.each([
    ['Buffer', Buffer.from([0, 255, 128])],
    ['Buffer inside an object', { bytes: Buffer.from('inside') }],
    ['Date', new Date('2024-02-29T12:34:56.789Z')],
    ['bigint', 2n ** 63n - 1n],
    ['negative bigint', -(2n ** 63n)],
    ['Date and bigint inside an object', { at: new Date(0), big: 12345678901234567890n }],
  ])('N-23 a %s survives both ways', async (_, value) => {
    await using pair = await pairOf(APP);
    await expect(firstValueFrom(pair.caller.send('echo', value))).resolves.toEqual(value);
  });

  it('N-23 a Buffer, a Date and a bigint are such to handlers, and to whoever is answered', async () => {
    const value = { buffer: Buffer.from('tea'), date: new Date(0), bigint: 2n ** 60n, long: Buffer.alloc(20_000) };
    const kinds = { buffer: 'Buffer', date: 'Date', bigint: 'bigint', long: 'Buffer' };
    await using pair = await pairOf(APP);
    await expect(firstValueFrom(pair.caller.send('kinds', value))).resolves.toEqual(kinds);
    expect(kindsOf(await firstValueFrom(pair.caller.send('echo', value)))).toEqual(kinds);
  });

  it('N-15 a client runs 200 requests at once, and a slow one blocks none', async () => {
    await using pair = await pairOf(APP);
    const slow = firstValueFrom(pair.caller.send('slow', {}));
    const fast = Array.from({ length: 200 }, (_, a) => firstValueFrom(pair.caller.send('value', { a, b: 1 })));
    await expect(Promise.all(fast)).resolves.toEqual(fast.map((__, a) => a + 1));
    expect(pair.node.stats().runningCalls).toBe(1);
    pair.app.get(RequestsController).release.resolve();
    await expect(slow).resolves.toBe('slow');
  });

  it('N-20 a request is cold: every subscription is a call, and none is no call', async () => {
    await using pair = await pairOf(APP);
    const controller = pair.app.get(RequestsController);
    const reply = pair.caller.send('value', { a: 1, b: 2 });
    await firstValueFrom(pair.caller.send('promise', { a: 1, b: 2 }));
    expect(controller.runs).toBe(0);
    await Promise.all([firstValueFrom(reply), firstValueFrom(reply)]);
    expect(controller.runs).toBe(2);
  });
});

describe('a message that cannot be sent', () => {
  it.each([
    ['an undefined pattern', undefined, {}],
    ['a null pattern', null, {}],
    ['undefined data', 'echo', undefined],
    ['null data', 'echo', null],
  ])('N-19 a message is refused as InvalidMessageException: %s', async (_, pattern, data) => {
    await using pair = await pairOf(APP);
    const proxy: ClientProxy = pair.caller;
    const refusal = 'The invalid data or message pattern (undefined/null)';
    await expect(firstValueFrom(proxy.send(pattern, data))).rejects.toThrow(refusal);
    await expect(firstValueFrom(proxy.emit(pattern, data))).rejects.toThrow(refusal);
    expect(pair.caller.unwrap().stats().counts.dialled).toBeUndefined();
  });

  it('N-22 a message fails alone when it is too large, before anything of it is sent', async () => {
    await using pair = await pairOf(APP, { maxMessageBytes: 2048 });
    const tooLarge = firstValueFrom(pair.caller.send('echo', Buffer.alloc(4096)));
    await expect(tooLarge).rejects.toMatchObject({ code: 'message_too_large', maybeExecuted: false });
    await expect(firstValueFrom(pair.caller.send('echo', Buffer.alloc(1024)))).resolves.toHaveLength(1024);
    expect(pair.caller.unwrap().stats().counts.connected).toBe(1);
  });

  it('of 16 MiB passes beside small ones where the limit is raised', async () => {
    const maxMessageBytes = 20 * 1024 * 1024;
    await using pair = await pairOf({ ...APP, options: { maxMessageBytes } }, { maxMessageBytes });
    const large = firstValueFrom(pair.caller.send<Buffer>('echo', Buffer.alloc(16 * 1024 * 1024, 7)));
    await expect(firstValueFrom(pair.caller.send('value', { a: 1, b: 2 }))).resolves.toBe(3);
    const bytes = await large;
    expect(bytes.length).toBe(16 * 1024 * 1024);
    expect(bytes.every((byte) => byte === 7)).toBe(true);
  });
});

describe('a handler that fails', () => {
  it('after a first item still fails its reply', async () => {
    @Controller()
    class Late {
      @MessagePattern('late')
      late(): Observable<unknown> {
        return throwError(() => new Error('hidden'));
      }
    }
    await using pair = await pairOf({ controllers: [Late] });
    const reply = itemsOf(pair.caller.send('late', {}));
    await expect(reply).rejects.toEqual({ status: 'error', message: 'Internal server error' });
  });
});
