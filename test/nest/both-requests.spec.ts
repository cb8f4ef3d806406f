/** Requests, over this library and over Nest's own TCP: nobody who swaps the one for the other may notice. */
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { concat, defer, EMPTY, firstValueFrom, from, of, range, throwError, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GEN_RPC_TRANSPORT } from '../../lib/nest/gen-rpc.tokens.js';
import { BOTH, Side } from './both.js';
import { itemsOf, signalOf } from './support.js';

const later = (): Promise<void> => new Promise(setImmediate);

const FALSY: readonly unknown[] = [null, 0, '', false];

@Controller()
class Requests {
  runs = 0;
  readonly release = signalOf();

  @MessagePattern('value')
  value(@Payload() data: number): number {
    this.runs += 1;
    return data + 1;
  }

  @MessagePattern('promise')
  async promise(@Payload() data: number): Promise<number> {
    return data + 1;
  }

  @MessagePattern('observable')
  observable(@Payload() data: number): Observable<number> {
    return of(data + 1);
  }

  @MessagePattern('promise.of.observable')
  async promiseOfObservable(@Payload() data: number): Promise<Observable<number>> {
    return of(data + 1);
  }

  @MessagePattern('list')
  list(@Payload() data: number): number[] {
    return [data, data + 1];
  }

  @MessagePattern('falsy')
  falsy(@Payload() index: number): unknown {
    return FALSY[index];
  }

  @MessagePattern('falsy.promise')
  async falsyPromise(@Payload() index: number): Promise<unknown> {
    return FALSY[index];
  }

  @MessagePattern('falsy.items')
  falsyItems(): Observable<unknown> {
    return from(FALSY);
  }

  @MessagePattern('void')
  nothing(): void {}

  @MessagePattern('void.promise')
  async nothingLater(): Promise<void> {}

  @MessagePattern('many')
  many(@Payload() count: number): Observable<number> {
    return from(Array.from({ length: count }, (_, index) => index));
  }

  @MessagePattern('items.then.error')
  itemsThenError(@Payload() count: number): Observable<number> {
    return concat(
      range(1, count),
      throwError(() => new RpcException('enough')),
    );
  }

  @MessagePattern('items.then.error.later')
  itemsThenErrorLater(@Payload() count: number): Observable<number> {
    return concat(
      range(1, count),
      defer(() => later().then(() => Promise.reject(new RpcException('enough')))),
    );
  }

  @MessagePattern('empty')
  empty(): Observable<never> {
    return EMPTY;
  }

  @MessagePattern('empty.promise')
  async emptyLater(): Promise<Observable<never>> {
    return EMPTY;
  }

  @MessagePattern('slow')
  async slow(): Promise<string> {
    await this.release.promise;
    return 'slow';
  }

  @MessagePattern({ cmd: 'sum', of: { b: 2, a: 1 } })
  object(): string {
    return 'object';
  }

  @MessagePattern(42)
  number(): string {
    return 'number';
  }

  @MessagePattern(['one', { of: 'several' }, 7])
  several(): string {
    return 'several';
  }

  @MessagePattern('twice')
  first(): string {
    return 'first';
  }

  @MessagePattern('twice')
  second(): string {
    return 'second';
  }
}

const APP = { controllers: [Requests] };

/** What an observer is told, in order. */
function told(reply: Observable<unknown>): Promise<unknown[]> {
  const seen: unknown[] = [];
  return new Promise((resolve) => {
    reply.subscribe({
      next: (item) => seen.push(item),
      error: (error) => resolve([...seen, { error: error as unknown }]),
      complete: () => resolve([...seen, 'complete']),
    });
  });
}

describe.each(BOTH)('over $name', (transport) => {
  it.each(['value', 'promise', 'observable', 'promise.of.observable'])(
    `N-11 a request is answered by a handler's %s, over ${transport.name}`,
    async (pattern) => {
      await using side = await Side.start(transport, APP);
      await expect(told(side.client.send(pattern, 1))).resolves.toEqual([2, 'complete']);
    },
  );

  it(`N-11 a list is one value, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    await expect(told(side.client.send('list', 1))).resolves.toEqual([[1, 2], 'complete']);
  });

  it.each(['falsy', 'falsy.promise'])(
    `N-12 null, 0, '' and false arrive: %s, over ${transport.name}`,
    async (pattern) => {
      await using side = await Side.start(transport, APP);
      for (const [index, value] of FALSY.entries()) {
        await expect(told(side.client.send(pattern, index))).resolves.toEqual([value, 'complete']);
      }
    },
  );

  it(`N-12 null, 0, '' and false arrive as items, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    await expect(told(side.client.send('falsy.items', {}))).resolves.toEqual([...FALSY, 'complete']);
  });

  it.each(['void', 'void.promise'])(`N-12 no value completes empty: %s, over ${transport.name}`, async (pattern) => {
    await using side = await Side.start(transport, APP);
    await expect(told(side.client.send(pattern, {}))).resolves.toEqual(['complete']);
  });

  it(`N-13 items come in order, all of them, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    for (const count of [1, 2, 500]) {
      const items = await itemsOf(side.client.send('many', count));
      expect(items).toEqual(Array.from({ length: count }, (_, index) => index));
    }
  });

  it.each(['items.then.error', 'items.then.error.later'])(
    `N-13 items before an error come first, be it none, one or several: %s, over ${transport.name}`,
    async (pattern) => {
      await using side = await Side.start(transport, APP);
      const error = { status: 'error', message: 'enough' };
      await expect(told(side.client.send(pattern, 0))).resolves.toEqual([{ error }]);
      await expect(told(side.client.send(pattern, 1))).resolves.toEqual([1, { error }]);
      await expect(told(side.client.send(pattern, 3))).resolves.toEqual([1, 2, 3, { error }]);
    },
  );

  it.each(['empty', 'empty.promise'])(
    `N-14 EMPTY completes without a value: %s, over ${transport.name}`,
    async (pattern) => {
      await using side = await Side.start(transport, APP);
      await expect(told(side.client.send(pattern, {}))).resolves.toEqual(['complete']);
    },
  );

  it(`N-15 150 requests run at once, and a slow one blocks none, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const slow = firstValueFrom(side.client.send('slow', {}));
    const fast = Array.from({ length: 150 }, (_, index) => firstValueFrom(side.client.send('value', index)));
    await expect(Promise.all(fast)).resolves.toEqual(Array.from({ length: 150 }, (_, index) => index + 1));
    side.app.get(Requests).release.resolve();
    await expect(slow).resolves.toBe('slow');
  });

  it.each([
    ['an object whose keys come in another order', { of: { a: 1, b: 2 }, cmd: 'sum' }, 'object'],
    ['a number', 42, 'number'],
    ['a number as text', '42', 'number'],
    ['the first of several patterns', 'one', 'several'],
    ['the second of several, an object', { of: 'several' }, 'several'],
    ['the third of several, a number', '7', 'several'],
  ])(`N-16 %s finds its handler, over ${transport.name}`, async (_, pattern, answer) => {
    await using side = await Side.start(transport, APP);
    await expect(firstValueFrom(side.client.send(pattern, {}))).resolves.toBe(answer);
  });

  it.each([['nobody'], [{ cmd: 'sum' }], [43], ['toString']])(
    `N-18 an unknown pattern is an error at once, in Nest's words: %s, over ${transport.name}`,
    async (pattern) => {
      await using side = await Side.start(transport, APP);
      const error = 'There is no matching message handler defined in the remote service.';
      await expect(told(side.client.send(pattern, {}))).resolves.toEqual([{ error }]);
    },
  );

  it.each([
    ['an undefined pattern', undefined, {}],
    ['a null pattern', null, {}],
    ['undefined data', 'value', undefined],
    ['null data', 'value', null],
  ])(`N-19 %s is refused, and nobody is dialled for it, over ${transport.name}`, async (_, pattern, data) => {
    // Nobody listens there: whoever dialled would hear of that instead.
    const client = transport.client(1);
    const refused = 'The invalid data or message pattern (undefined/null)';
    await expect(firstValueFrom(client.send(pattern, data))).rejects.toThrow(refused);
    await expect(firstValueFrom(client.emit(pattern, data))).rejects.toThrow(refused);
    await client.close();
  });

  it(`N-20 send is cold: a call for each subscription, and none without, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const controller = side.app.get(Requests);
    const reply = side.client.send('value', 1);
    await firstValueFrom(side.client.send('promise', 1));
    expect(controller.runs).toBe(0);
    await Promise.all([firstValueFrom(reply), firstValueFrom(reply)]);
    expect(controller.runs).toBe(2);
  });

  it(`N-21 of two handlers for a pattern the last one answers, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    await expect(told(side.client.send('twice', {}))).resolves.toEqual(['second', 'complete']);
  });

  it(`N-21 where one handler is for messages and one for events, that for messages runs, over ${transport.name}`, async () => {
    const ran: string[] = [];
    @Controller()
    class MessageFirst {
      @MessagePattern('message.first')
      message(): string {
        ran.push('message');
        return 'answered';
      }

      @EventPattern('message.first')
      event(_data: unknown): void {
        ran.push('event');
      }
    }
    @Controller()
    class EventFirst {
      @EventPattern('event.first')
      event(_data: unknown): void {
        ran.push('event');
      }

      @MessagePattern('event.first')
      message(): string {
        ran.push('message');
        return 'answered';
      }
    }
    await using side = await Side.start(transport, { controllers: [MessageFirst, EventFirst] });
    for (const pattern of ['message.first', 'event.first']) {
      side.client.emit(pattern, {});
      await expect(firstValueFrom(side.client.send(pattern, {}))).resolves.toBe('answered');
    }
    expect(ran).toEqual(['message', 'message', 'message', 'message']);
    // Silently, but for ours.
    expect(side.log.said('warn', 'Two handlers for')).toHaveLength(transport.id === GEN_RPC_TRANSPORT ? 2 : 0);
  });
});
