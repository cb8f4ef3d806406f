/** Serializers and deserializers of the user: what they are given, and what becomes of their promises and throws. */
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, type Observable, range, take } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcPacketOptions } from '../../lib/nest/gen-rpc.packets.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { StreamItems } from '../../lib/nest/gen-rpc.stream-items.js';
import { until } from '../support/door.js';
import { App, itemsOf, pairOf, type AppSettings } from './support.js';
import { collect, Counter, range as numbers, settled, upTo, type Item } from './streams-support.js';

@Controller()
class Echo {
  readonly events: unknown[] = [];
  readonly echoed: unknown[] = [];
  readonly counter = new Counter(200);

  @MessagePattern({ cmd: 'echo' })
  echo(@Payload() data: unknown): unknown {
    this.echoed.push(data);
    return data;
  }

  @MessagePattern('nothing')
  nothing(): void {}

  @MessagePattern('observable')
  observable(@Payload() count: number): Observable<number> {
    return range(0, count);
  }

  @MessagePattern('generator')
  generator(@Payload() count: number): AsyncGenerator<number> {
    return upTo(count);
  }

  @StreamItems()
  @MessagePattern('items')
  items(@Payload() count: number): AsyncGenerator<number> {
    return upTo(count);
  }

  @MessagePattern('endless')
  endless(@Payload() count: unknown): AsyncGenerator<Item> {
    return this.counter.generate(typeof count === 'number' ? count : Infinity);
  }

  @MessagePattern('total')
  async total(@Payload() items: AsyncIterable<number>): Promise<number> {
    return (await collect(items)).reduce((sum, n) => sum + n, 0);
  }

  @EventPattern('event')
  event(@Payload() data: unknown): void {
    this.events.push(data);
  }
}

@RpcModule('stock')
class Stock {
  @RpcFunction()
  swap(@Arg(0) first: unknown, @Arg(1) second: unknown): unknown {
    return [second, first];
  }

  @RpcFunction()
  async receive(@Arg(0) goods: string, @Arg(1) boxes: AsyncIterable<number>): Promise<unknown> {
    return { [goods]: await collect(boxes) };
  }
}

interface Packet {
  readonly pattern?: unknown;
  readonly data?: unknown;
  readonly response?: unknown;
}

type Timing = (packet: Packet) => unknown;

/** Later ones take less time than those before. */
function hurrying(): Timing {
  let ms = 40;
  return (packet) => new Promise((resolve) => setTimeout(() => resolve(packet), (ms = Math.max(0, ms - 8))));
}

/** Puts what leaves into boxes, and takes what arrives out of them. */
function boxing(when: Timing = (packet) => packet, seen: unknown[] = []): GenRpcPacketOptions {
  const through = (change: (value: unknown) => unknown) => (packet: Packet) => {
    seen.push(packet);
    return when('data' in packet ? { ...packet, data: change(packet.data) } : { response: change(packet.response) });
  };
  return {
    serializer: { serialize: through((value) => ({ boxed: value })) },
    deserializer: { deserialize: through((value) => (value as { boxed: unknown }).boxed) },
  };
}

const APP: AppSettings = { controllers: [Echo, Stock] };

describe.each([
  ['at once', undefined],
  ['by promises', hurrying],
])('serializers and deserializers that answer %s', (_, timing) => {
  const boxes = (seen?: unknown[]) => boxing(timing?.(), seen);

  it('N-74 make what leaves and what arrives, on both sides', async () => {
    const seen: Record<'server' | 'client', unknown[]> = { server: [], client: [] };
    await using pair = await pairOf({ ...APP, packets: boxes(seen.server) }, boxes(seen.client));
    const answer = { n: 7 };
    await expect(firstValueFrom(pair.caller.send({ cmd: 'echo' }, answer))).resolves.toEqual(answer);
    expect(seen.client).toEqual([
      { pattern: { cmd: 'echo' }, data: answer },
      { response: { boxed: answer }, isDisposed: true },
    ]);
    expect(seen.server).toEqual([{ pattern: '{"cmd":"echo"}', data: { boxed: answer } }, { response: answer }]);
    await expect(itemsOf(pair.caller.send('nothing', {}))).resolves.toEqual([]);
  });

  it.each(['observable', 'generator', 'items'])(
    'N-74 make each item of a stream, in its place: %s',
    async (pattern) => {
      await using pair = await pairOf({ ...APP, packets: boxes() }, boxes());
      await expect(itemsOf(pair.caller.send(pattern, 9))).resolves.toEqual(numbers(9));
      await expect(collect(pair.caller.stream(pattern, 9))).resolves.toEqual(numbers(9));
    },
  );

  it('N-74 let a stream go on for longer than what may be on its way', async () => {
    const { deserializer = expect.fail() } = boxes();
    await using pair = await pairOf(
      { ...APP, packets: { serializer: boxing().serializer ?? expect.fail() } },
      { deserializer },
    );
    await expect(itemsOf(pair.caller.send('endless', 6000))).resolves.toHaveLength(6000);
  });

  it('N-74 make events, which keep their order', async () => {
    await using pair = await pairOf(APP, boxes());
    await pair.caller.connect();
    const accepted = numbers(5).map((n) => lastValueFrom(pair.caller.emit('event', n), { defaultValue: 'accepted' }));
    await Promise.all(accepted);
    const { events } = pair.app.get(Echo);
    await until(() => events.length === 5);
    expect(events).toEqual(numbers(5).map((n) => ({ boxed: n })));
    const unpacked = await App.start({ ...APP, packets: boxes() });
    unpacked.client().emit('event', { boxed: 'tea' });
    await until(() => unpacked.app.get(Echo).events.length === 1);
    expect(unpacked.app.get(Echo).events).toEqual(['tea']);
    await unpacked[Symbol.asyncDispose]();
  });

  it('N-74 see the data of a record, and leave its directions and streams alone', async () => {
    const seen: unknown[] = [];
    await using pair = await pairOf({ ...APP, packets: boxes() }, boxes(seen));
    const record = new GenRpcRecordBuilder(7).setKey('apart').build();
    await expect(firstValueFrom(pair.caller.send({ cmd: 'echo' }, record))).resolves.toBe(7);
    expect(seen[0]).toEqual({ pattern: { cmd: 'echo' }, data: 7 });
    expect(pair.caller.unwrap().stats().openConnections).toBe(1);
    await expect(firstValueFrom(pair.caller.send('total', upTo(4)))).resolves.toBe(6);
    expect(pair.caller.unwrap().stats().openConnections).toBe(2);
  });

  it('N-74 make the arguments of an @RpcModule, unless one is a stream', async () => {
    const seen: unknown[] = [];
    await using pair = await pairOf({ ...APP, packets: boxes(seen) }, boxes());
    await expect(firstValueFrom(pair.caller.send('stock.swap', [1, 2]))).resolves.toEqual([2, 1]);
    await expect(firstValueFrom(pair.caller.send('stock.swap', 1))).resolves.toEqual([undefined, 1]);
    await expect(firstValueFrom(pair.caller.send('stock.receive', ['tea', upTo(3)]))).resolves.toEqual({
      tea: [0, 1, 2],
    });
    expect(seen.filter((packet) => 'data' in (packet as Packet))).toEqual([
      { pattern: 'stock.swap', data: { boxed: [1, 2] } },
      { pattern: 'stock.swap', data: { boxed: 1 } },
    ]);
  });

  it('N-74 hold up a stream whose reader is slow, and are left with it', async () => {
    await using pair = await pairOf({ ...APP, packets: boxes() }, boxes());
    const { counter } = pair.app.get(Echo);
    const iterator = pair.caller.stream<Item>('endless', {})[Symbol.asyncIterator]();
    await iterator.next();
    const made = await settled(() => counter.made);
    expect(made).toBeLessThan(4000);
    for (let n = 1; n < made + 10; n += 1) expect((await iterator.next()).value?.n).toBe(n);
    await iterator.return?.();
    await until(() => counter.stopped === 1);
    await expect(firstValueFrom(pair.caller.send<Item>('endless', {}).pipe(take(1)))).resolves.toMatchObject({ n: 0 });
    await until(() => counter.stopped === 2);
  });

  it.each<[string, GenRpcPacketOptions, GenRpcPacketOptions, unknown]>([
    ["the client's serializer", {}, { serializer: { serialize: failing(timing) } }, { message: 'not readable' }],
    ["the server's deserializer", { deserializer: { deserialize: failing(timing) } }, {}, { status: 'error' }],
    ["the server's serializer", { serializer: { serialize: failing(timing) } }, {}, { status: 'error' }],
    ["the client's deserializer", {}, { deserializer: { deserialize: failing(timing) } }, { message: 'not readable' }],
  ])('N-74 fail the message that they throw for: %s', async (whose, packets, client, expected) => {
    await using pair = await pairOf({ ...APP, packets }, client);
    for (const pattern of [{ cmd: 'echo' }, 'observable']) {
      await expect(lastValueFrom(pair.caller.send(pattern, 3))).rejects.toMatchObject(expected as object);
    }
    if (whose === "the client's serializer") {
      await expect(lastValueFrom(pair.caller.emit('event', 3))).rejects.toMatchObject(expected as object);
    }
    await expect(lastValueFrom(pair.caller.send('endless', {}))).rejects.toMatchObject(expected as object);
    await expect(collect(pair.caller.stream('endless', {}))).rejects.toMatchObject(expected as object);
    await until(() => pair.node.stats().runningCalls === 0);
    expect(pair.caller.unwrap().stats().pendingCalls).toBe(0);
    const plain = pair.client();
    if (whose.includes('client')) await expect(firstValueFrom(plain.send({ cmd: 'echo' }, 3))).resolves.toBe(3);
  });
});

function failing(timing: typeof hurrying | undefined) {
  const error = new Error('not readable');
  return (): unknown => {
    if (timing === undefined) throw error;
    return Promise.reject(error);
  };
}

describe('a message that is given up', () => {
  it.each([false, true])('N-74 while it waits for its serializer is not sent; connected: %s', async (connected) => {
    let go = (): void => {};
    const serialize = (packet: Packet): Promise<Packet> => new Promise((resolve) => (go = () => resolve(packet)));
    await using app = await App.start(APP);
    const client = app.client({ serializer: { serialize } });
    if (connected) await client.connect();
    const subscription = client.send({ cmd: 'echo' }, 1).subscribe();
    subscription.unsubscribe();
    go();
    await client.connect();
    await expect(firstValueFrom(app.client().send({ cmd: 'echo' }, 2))).resolves.toBe(2);
    expect(app.app.get(Echo).echoed).toEqual([2]);
    expect(app.node.stats().counts.accepted).toBe(2);
    expect(client.unwrap().stats().pendingCalls).toBe(0);
  });

  it.each(['send', 'emit'] as const)('N-74 by closing the client meanwhile is not sent either: %s', async (verb) => {
    let go = (): void => {};
    const serialize = (packet: Packet): Promise<Packet> => new Promise((resolve) => (go = () => resolve(packet)));
    await using app = await App.start(APP);
    const client = app.client({ serializer: { serialize } });
    await client.connect();
    const lost = expect(lastValueFrom(client[verb]({ cmd: 'echo' }, 1))).rejects.toMatchObject({ code: 'cancelled' });
    await client.close();
    go();
    await lost;
    expect(app.node.stats().counts.accepted).toBe(1);
    expect(app.app.get(Echo).echoed).toEqual([]);
  });
});
