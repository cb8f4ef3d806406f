/** Serializers and deserializers of the user that never answer: who waits for them, and for how long. */
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, range, tap, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import type { GenRpcPacketOptions } from '../../lib/nest/gen-rpc.packets.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { StreamItems } from '../../lib/nest/gen-rpc.stream-items.js';
import { createNode } from '../../lib/node/create-node.js';
import { until } from '../support/door.js';
import { App, pairOf, SECRET, SERVER, type AppSettings, type Pair } from './support.js';
import { collect, Counter, type Item } from './streams-support.js';

/** For what is never answered; what is answered has to be so within it, on a slow machine too. */
const TIMEOUT = 400;

@Controller()
class Echo {
  readonly seen: unknown[] = [];
  readonly counter = new Counter(200);

  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    this.seen.push(data);
    return data;
  }

  @MessagePattern('left')
  left(@Ctx() context: GenRpcContext): number {
    return context.getRemainingTime();
  }

  @MessagePattern('observable')
  observable(@Payload() count: number): Observable<number> {
    return range(0, count);
  }

  @StreamItems()
  @MessagePattern('items')
  items(): AsyncGenerator<Item> {
    return this.counter.generate(Infinity);
  }

  @EventPattern('event')
  event(@Payload() data: unknown): void {
    this.seen.push(data);
  }
}

type Packet = { readonly pattern?: unknown; readonly data?: unknown; readonly response?: unknown };

/** Answers for all but what `isStuck` says; what is stuck goes on by `release`, if ever. */
class Sticky {
  private readonly stuck: (() => void)[] = [];

  constructor(private readonly isStuck: (value: unknown) => boolean = (value) => value === 'stuck') {}

  get waiting(): number {
    return this.stuck.length;
  }

  release(): void {
    for (const go of this.stuck.splice(0)) go();
  }

  readonly take = async (packet: Packet): Promise<Packet> => {
    if (!this.isStuck('data' in packet ? packet.data : packet.response)) return packet;
    return new Promise((resolve) => this.stuck.push(() => resolve(packet)));
  };
}

/** One of the two of a side, with `sticky` in it. */
function packetsOf(which: 'serializer' | 'deserializer', { take }: Sticky): GenRpcPacketOptions {
  return which === 'serializer' ? { serializer: { serialize: take } } : { deserializer: { deserialize: take } };
}

const APP: AppSettings = { controllers: [Echo] };

describe.each(['serializer', 'deserializer'] as const)('a %s of a client that never answers', (which) => {
  const packets = (sticky = new Sticky()) => ({ ...packetsOf(which, sticky), callTimeout: TIMEOUT });
  const timeout = { code: 'timeout', message: `The client's ${which} did not answer within ${TIMEOUT} ms.` };

  it('N-74 is a timeout of its message, and of no other', async () => {
    await using pair = await pairOf(APP, packets());
    const { caller } = pair;
    const fine = new GenRpcRecordBuilder('fine').setTimeout(60_000).build();
    await firstValueFrom(caller.send('echo', fine));
    const lost = [
      firstValueFrom(caller.send('echo', 'stuck')),
      caller.asyncSend('echo', 'stuck').yield(),
      collect(caller.stream('echo', 'stuck')),
    ];
    await expect(firstValueFrom(caller.send('echo', fine))).resolves.toBe('fine');
    const maybeExecuted = which === 'deserializer';
    for (const one of lost) await expect(one).rejects.toMatchObject({ ...timeout, maybeExecuted });
    expect(pair.app.get(Echo).seen.includes('stuck')).toBe(maybeExecuted);
    expect(caller.unwrap().stats().pendingCalls).toBe(0);
  });

  it('N-74 has as long as the record says', async () => {
    await using pair = await pairOf(APP, { ...packets(), callTimeout: 600_000 });
    const record = new GenRpcRecordBuilder('stuck').setTimeout(TIMEOUT).build();
    const message = `The client's ${which} did not answer within ${TIMEOUT} ms.`;
    await pair.caller.connect();
    await expect(firstValueFrom(pair.caller.send('echo', record))).rejects.toMatchObject({ code: 'timeout', message });
    const wrong = new GenRpcRecordBuilder('stuck').setTimeout(-1).build();
    await expect(firstValueFrom(pair.caller.send('echo', wrong))).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('N-74 is left with the client, at once', async () => {
    const sticky = new Sticky();
    await using pair = await pairOf(APP, { ...packets(sticky), callTimeout: 600_000 });
    const lost = expect(firstValueFrom(pair.caller.send('echo', 'stuck'))).rejects.toMatchObject({ code: 'cancelled' });
    await until(() => sticky.waiting === 1);
    await pair.caller.close();
    await lost;
  });

  it('N-74 is left with its subscriber', async () => {
    const sticky = new Sticky();
    await using pair = await pairOf(APP, { ...packets(sticky), callTimeout: 600_000 });
    const seen: unknown[] = [];
    const subscription = pair.caller.send('echo', 'stuck').subscribe({ next: (value) => seen.push(value) });
    await until(() => sticky.waiting === 1);
    subscription.unsubscribe();
    expect(pair.caller.unwrap().stats().pendingCalls).toBe(0);
    sticky.release();
    await expect(firstValueFrom(pair.caller.send('echo', 'next'))).resolves.toBe('next');
    expect(seen).toEqual([]);
  });

  it('N-74 is waited for no longer than the call of the handler that sends', async () => {
    await using backend = await App.start(APP);
    const client = backend.client({ ...packets(), callTimeout: 600_000, name: 'middle@127.0.0.1' });
    const errors: unknown[] = [];

    @Controller()
    class Front {
      @MessagePattern('ask')
      async ask(): Promise<unknown> {
        return firstValueFrom(client.send('echo', 'stuck').pipe(tap({ error: (error) => errors.push(error) })));
      }
    }
    await using front = await pairOf({ controllers: [Front], options: { name: 'front@127.0.0.1' } });
    const caller = front.client({ target: 'front@127.0.0.1', callTimeout: TIMEOUT });
    // By its own deadline, or by what the handler says of the same one: both are due at once.
    await expect(firstValueFrom(caller.send('ask', {}))).rejects.toBeDefined();
    await until(() => errors.length === 1);
    expect(errors).toMatchObject([{ code: 'timeout' }]);
    await until(() => front.node.stats().runningCalls === 0);
  });

  it('N-74 is waited for by a node that drains', async () => {
    const sticky = new Sticky();
    await using app = await App.start(APP);
    const options = { name: 'drains@127.0.0.1', secret: SECRET, listen: false, clientPort: app.address.port } as const;
    const node = createNode(options);
    const client = new GenRpcClient({ node, target: SERVER, ...packetsOf(which, sticky) });
    const answer = firstValueFrom(client.send('echo', 'stuck'));
    await until(() => sticky.waiting === 1);
    const drained = node.drain();
    await until(() => node.stats().phase === 'draining');
    sticky.release();
    await expect(answer).resolves.toBe('stuck');
    await drained;
  });
});

describe('what a client reads and writes', () => {
  it('N-74 brings the items before the one that is never read, then a timeout', async () => {
    const sticky = new Sticky((value) => value === 3);
    await using pair = await pairOf(APP, { ...packetsOf('deserializer', sticky), callTimeout: TIMEOUT });
    const items: unknown[] = [];
    const reply = pair.caller.send('observable', 9).pipe(tap((item) => items.push(item)));
    await expect(lastValueFrom(reply)).rejects.toMatchObject({ code: 'timeout' });
    expect(items).toEqual([0, 1, 2]);
    expect(pair.caller.unwrap().stats().pendingCalls).toBe(0);
  });

  it('N-74 stops a stream of which an item is never read', async () => {
    const sticky = new Sticky((value) => (value as Item).n === 3);
    await using pair = await pairOf(APP, { ...packetsOf('deserializer', sticky), callTimeout: TIMEOUT });
    await expect(collect(pair.caller.stream('items', {}))).rejects.toMatchObject({ code: 'timeout' });
    await until(() => pair.app.get(Echo).counter.stopped === 1);
  });

  describe.each(['another node', 'its own node'] as const)('N-74 of %s, in the count of pending calls', (whose) => {
    async function pairWith(sticky: Sticky) {
      const pair = await pairOf(APP, { ...packetsOf('deserializer', sticky), callTimeout: 600_000 });
      if (whose === 'another node') return Object.assign(pair, { asked: pair.caller });
      const own = { node: pair.node, target: SERVER, ...packetsOf('deserializer', sticky) };
      return Object.assign(pair, { asked: new GenRpcClient(own) });
    }

    it('N-74 is one call while items of its stream are read, however many', async () => {
      const sticky = new Sticky((value) => (value as Item).n >= 3);
      await using pair = await pairWith(sticky);
      const node = pair.asked.unwrap();
      const reading = pair.asked.stream<Item>('items', {})[Symbol.asyncIterator]();
      for (let n = 0; n < 3; n += 1) await reading.next();
      await until(() => sticky.waiting > 1);
      expect(node.stats().pendingCalls).toBe(1);
      await reading.return?.();
      expect(node.stats().pendingCalls).toBe(0);
    });

    it('N-74 is one call while its last items are read, when all of the reply has come', async () => {
      const sticky = new Sticky((value) => value === 3);
      await using pair = await pairWith(sticky);
      const node = pair.asked.unwrap();
      const items = collect(pair.asked.stream('observable', 9));
      await until(() => sticky.waiting === 1 && pair.node.stats().runningCalls === 0);
      expect(node.stats().pendingCalls).toBe(1);
      sticky.release();
      await expect(items).resolves.toHaveLength(9);
      expect(node.stats().pendingCalls).toBe(0);
    });

    it('N-74 is one call while its only value is read', async () => {
      const sticky = new Sticky();
      await using pair = await pairWith(sticky);
      const node = pair.asked.unwrap();
      const values = ['stuck', 'stuck'].map((data) => firstValueFrom(pair.asked.send('echo', data)));
      await until(() => sticky.waiting === 2);
      expect(node.stats().pendingCalls).toBe(2);
      sticky.release();
      await Promise.all(values);
      expect(node.stats().pendingCalls).toBe(0);
    });
  });

  it('N-74 counts as one call while an item is read of a reply that has failed', async () => {
    const sticky = new Sticky((value) => (value as Item).n === 3);
    await using pair = await pairOf(APP, { ...packetsOf('deserializer', sticky), callTimeout: 600_000 });
    const node = pair.caller.unwrap();
    const lost = expect(collect(pair.caller.stream('items', {}))).rejects.toMatchObject({ code: 'shutting_down' });
    await until(() => sticky.waiting === 1);
    await pair.node.close();
    await until(() => node.stats().openConnections === 0);
    expect(node.stats().pendingCalls).toBe(1);
    sticky.release();
    await lost;
    expect(node.stats().pendingCalls).toBe(0);
  });

  it('N-74 leaves a handler the time that the serializer did not take', async () => {
    const serialize = (packet: Packet) => new Promise((resolve) => setTimeout(() => resolve(packet), 50));
    await using pair = await pairOf(APP, { serializer: { serialize }, callTimeout: 600_000 });
    const left = await firstValueFrom(pair.caller.send<number>('left', {}));
    expect(left).toBeLessThanOrEqual(600_000 - 45);
    expect(left).toBeGreaterThan(500_000);
  });

  it('N-74 is a timeout of an event too, and those behind it go on', async () => {
    await using pair = await pairOf(APP, { ...packetsOf('serializer', new Sticky()), callTimeout: TIMEOUT });
    await pair.caller.connect();
    const lost = lastValueFrom(pair.caller.emit('event', 'stuck'));
    const next = lastValueFrom(pair.caller.emit('event', 'next'));
    await expect(lost).rejects.toMatchObject({ code: 'timeout', maybeExecuted: false });
    await next;
    await until(() => pair.app.get(Echo).seen.length === 1);
    expect(pair.app.get(Echo).seen).toEqual(['next']);
  });
});

describe.each([
  ['deserializer', 'echo'],
  ['serializer', 'echo'],
  ['serializer', 'observable'],
  ['serializer', 'items'],
] as const)('a %s of a server that never answers, for %s', (which, pattern) => {
  const isStuck = (value: unknown): boolean => value === 'stuck' || value === 3 || (value as Item).n === 3;
  const data = pattern === 'echo' ? 'stuck' : 9;
  /** One place for calls: whoever keeps it keeps everybody else out. */
  const settings = (sticky: Sticky): AppSettings => {
    const options = { concurrency: { callsPerConnection: 1, calls: 1 } };
    return { ...APP, options, packets: packetsOf(which, sticky) };
  };

  /** The next call finds a place. */
  async function expectFree({ node, caller }: Pair): Promise<void> {
    await until(() => node.stats().runningCalls + node.stats().stuckCalls === 0);
    await expect(firstValueFrom(caller.send('echo', 'fine'))).resolves.toBe('fine');
  }

  it('N-74 is waited for until the deadline of the caller; then its place is free', async () => {
    const sticky = new Sticky(isStuck);
    await using pair = await pairOf(settings(sticky));
    const record = new GenRpcRecordBuilder(data).setTimeout(TIMEOUT).build();
    await expect(lastValueFrom(pair.caller.send(pattern, record))).rejects.toMatchObject({ code: 'timeout' });
    await expectFree(pair);
    const { seen, counter } = pair.app.get(Echo);
    sticky.release();
    await new Promise(setImmediate);
    // What was not read by the deadline is not handled later.
    expect(seen).toEqual(which === 'serializer' && pattern === 'echo' ? ['stuck', 'fine'] : ['fine']);
    // One that can wait makes no more than are serialized.
    expect(counter).toMatchObject(pattern === 'items' ? { made: 4, stopped: 1 } : { made: 0 });
    expect(pair.node.stats().counts.handler_failed).toBeUndefined();
  });

  it('N-74 is left with the caller', async () => {
    const sticky = new Sticky(isStuck);
    await using pair = await pairOf(settings(sticky));
    const subscription = pair.caller.send(pattern, data).subscribe();
    await until(() => sticky.waiting === 1);
    subscription.unsubscribe();
    await expectFree(pair);
  });
});

describe('the processing hooks of a message', () => {
  it.each(['serializer', 'deserializer'] as const)('N-40 end where its %s never answers', async (which) => {
    const sticky = new Sticky();
    const hooks: string[] = [];
    await using pair = await pairOf({
      ...APP,
      packets: packetsOf(which, sticky),
      configure: (_, server) => {
        server.setOnProcessingStartHook((__, ___, done) => {
          hooks.push('start');
          void done();
        });
        server.setOnProcessingEndHook(() => hooks.push('end'));
      },
    });
    const subscription = pair.caller.send('echo', 'stuck').subscribe();
    await until(() => sticky.waiting === 1);
    subscription.unsubscribe();
    await until(() => hooks.length === 2);
    expect(hooks).toEqual(['start', 'end']);
  });
});
