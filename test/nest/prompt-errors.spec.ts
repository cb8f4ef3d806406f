/** What cannot be said, or cannot be understood, fails its own call, at once; Nest's own TCP leaves the caller waiting. */
import { Catch, Controller, type ExceptionFilter } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { concat, firstValueFrom, lastValueFrom, Observable, of, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { MsgpackrCodec } from '../../lib/protocol/msgpack/msgpackr.codec.js';
import type { Codec } from '../../lib/protocol/payload.js';
import { until } from '../support/door.js';
import { App, itemsOf, pairOf, SECRET, SERVER, signalOf, type Pair } from './support.js';

const circular: Record<string, unknown> = {};
circular['self'] = circular;

const UNSAYABLE: Readonly<Record<string, () => unknown>> = {
  'a function': () => () => {},
  'a function inside': () => ({ deep: [{ fn: (): void => {} }] }),
  'a symbol': () => Symbol('symbol'),
  'a circle': () => circular,
  'a bigint of more than 64 bits': () => 2n ** 100n,
  'a getter that throws': () => ({
    get broken(): never {
      throw new Error('the getter failed');
    },
  }),
  'a Proxy that throws': () =>
    new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error('the proxy failed');
        },
      },
    ),
};

@Catch()
class Broken implements ExceptionFilter {
  catch(): never {
    throw new TypeError('the filter failed');
  }
}

@Controller()
class Unsayable {
  readonly events: unknown[] = [];

  @MessagePattern('value')
  value(@Payload() what: string): unknown {
    return UNSAYABLE[what]?.();
  }

  @MessagePattern('promise')
  async promise(@Payload() what: string): Promise<unknown> {
    return UNSAYABLE[what]?.();
  }

  @MessagePattern('item')
  item(@Payload() what: string): Observable<unknown> {
    return concat(of(1, 2), of(UNSAYABLE[what]?.()), of(3));
  }

  @MessagePattern('error')
  error(@Payload() what: string): never {
    throw new RpcException({ what: UNSAYABLE[what]?.() });
  }

  @MessagePattern('fails')
  fails(): never {
    throw new Error('hidden');
  }

  @MessagePattern('fails.items')
  failsItems(): Observable<number> {
    return concat(
      of(1),
      throwError(() => new Error('hidden')),
    );
  }

  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @EventPattern('event')
  event(@Payload() data: unknown): void {
    this.events.push(data);
  }
}

const APP = { controllers: [Unsayable] };

async function expectAlive(pair: Pair): Promise<void> {
  await expect(firstValueFrom(pair.caller.send('echo', 'still here'))).resolves.toBe('still here');
  expect(pair.caller.unwrap().stats().counts.connected).toBe(1);
}

describe('a reply that cannot be encoded', () => {
  it.each(Object.keys(UNSAYABLE))(
    'N-24 a reply that cannot be encoded is an error at once, as a value, a promise or an item: %s',
    async (what) => {
      await using pair = await pairOf(APP);
      for (const pattern of ['value', 'promise']) {
        const reply = firstValueFrom(pair.caller.send(pattern, what));
        await expect(reply).rejects.toMatchObject({ code: 'encode_error' });
      }
      const items: unknown[] = [];
      const reply = new Promise<void>((resolve, reject) => {
        pair.caller
          .send('item', what)
          .subscribe({ next: (item) => items.push(item), error: reject, complete: resolve });
      });
      await expect(reply).rejects.toMatchObject({ code: 'encode_error' });
      expect(items).toEqual([1, 2]);
      await expectAlive(pair);
    },
  );

  it.each(Object.keys(UNSAYABLE))(
    'N-24 details of an error that cannot be encoded are an error at once all the same: %s',
    async (what) => {
      await using pair = await pairOf(APP);
      await expect(firstValueFrom(pair.caller.send('error', what))).rejects.toBeDefined();
      await expectAlive(pair);
    },
  );

  it.each(Object.keys(UNSAYABLE))('N-24 a message that cannot be is one before it is sent: %s', async (what) => {
    await using pair = await pairOf(APP);
    const data = UNSAYABLE[what]?.();
    const refused = { code: 'encode_error', maybeExecuted: false };
    await expect(firstValueFrom(pair.caller.send('echo', data))).rejects.toMatchObject(refused);
    await expect(lastValueFrom(pair.caller.emit('event', data))).rejects.toMatchObject(refused);
    await expectAlive(pair);
  });
});

describe('a filter that throws', () => {
  it.each(['fails', 'fails.items'])('N-24 a filter that throws ends the call at once: %s', async (pattern) => {
    await using pair = await pairOf({ ...APP, configure: (app) => app.useGlobalFilters(new Broken()) });
    const reply = itemsOf(pair.caller.send(pattern, {}));
    await expect(reply).rejects.toEqual({ status: 'error', message: `${pattern} failed.` });
    expect(pair.log.said('error', 'the filter failed')).toHaveLength(1);
    await expectAlive(pair);
  });
});

/** Cannot read some values. */
class FussyCodec implements Codec {
  readonly id = 'fussy';
  private readonly inner = new MsgpackrCodec();

  constructor(private readonly unreadable: string) {}

  encode(value: unknown, maxBytes?: number): Uint8Array {
    return this.inner.encode(value, maxBytes);
  }

  decode(bytes: Uint8Array): unknown {
    if (Buffer.from(bytes).includes(this.unreadable)) throw new TypeError('the codec failed');
    return this.inner.decode(bytes);
  }
}

describe('a deserializer that throws', () => {
  it('N-24 a deserializer that throws at the server fails that message alone, at once', async () => {
    const options = { codec: new FussyCodec('unreadable') };
    await using pair = await pairOf({ ...APP, options }, { codec: new FussyCodec('nothing') });
    const reply = firstValueFrom(pair.caller.send('echo', 'unreadable'));
    await expect(reply).rejects.toMatchObject({ code: expect.any(String) });
    await lastValueFrom(pair.caller.emit('event', 'unreadable'));
    await lastValueFrom(pair.caller.emit('event', 'readable'));
    const { events } = pair.app.get(Unsayable);
    await until(() => events.length > 0);
    expect(events).toEqual(['readable']);
    await expectAlive(pair);
  });

  it('N-24 a deserializer that throws at the client fails that reply alone, at once', async () => {
    const options = { codec: new FussyCodec('nothing') };
    await using pair = await pairOf({ ...APP, options }, { codec: new FussyCodec('unreadable') });
    const reply = firstValueFrom(pair.caller.send('echo', 'unreadable'));
    await expect(reply).rejects.toMatchObject({ code: expect.any(String) });
    await expectAlive(pair);
  });

  it('N-24 a serializeResponse that throws fails that reply alone, and ends what would have followed', async () => {
    class Fussy extends GenRpcClient {
      protected override serializeResponse(response: unknown): unknown {
        if (response === 2) throw new TypeError('the client failed');
        return response;
      }
    }
    await using app = await App.start(APP);
    const client = new Fussy({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    await expect(firstValueFrom(client.send('echo', 2))).rejects.toThrow('the client failed');
    await expect(itemsOf(client.send('item', 'nothing'))).rejects.toThrow('the client failed');
    await expect(firstValueFrom(client.send('echo', 1))).resolves.toBe(1);
    expect(client.unwrap().stats()).toMatchObject({ pendingCalls: 0, counts: { connected: 1 } });
    await client.close();
  });
});

const MiB = 1024 * 1024;

@Controller()
class Large {
  readonly release = signalOf();

  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern('bytes')
  bytes(@Payload() count: number): Buffer {
    return Buffer.alloc(count, 7);
  }

  @MessagePattern('items')
  items(@Payload() count: number): Observable<unknown> {
    return of(1, Buffer.alloc(count, 7), 2);
  }
}

describe('a message that is large', () => {
  it('N-22 a message of 50 MiB goes there and back where the limit is raised, and small calls do not wait for it', async () => {
    const maxMessageBytes = 60 * MiB;
    const large = Buffer.alloc(50 * MiB, 'large ');
    await using pair = await pairOf(
      // Two nodes and their 100 MiB share one event loop here, which is late then.
      { controllers: [Large], options: { maxMessageBytes, concurrency: { loopDelay: 60_000 } } },
      { maxMessageBytes, callTimeout: 20_000 },
    );
    await pair.caller.connect();
    let done = false;
    const reply = firstValueFrom(pair.caller.send<Buffer>('echo', large)).finally(() => (done = true));
    let meanwhile = 0;
    while (!done) {
      await expect(firstValueFrom(pair.caller.send('echo', 'small'))).resolves.toBe('small');
      if (!done) meanwhile += 1;
    }
    expect(large.equals(await reply)).toBe(true);
    expect(meanwhile).toBeGreaterThan(3);
  });

  it.each([
    ['the limit of the server', { maxMessageBytes: 2048 }, {}],
    ['the limit of the client', {}, { maxMessageBytes: 2048 }],
  ])('N-22 a message over %s fails its call alone, there and back', async (_, ofServer, ofClient) => {
    await using pair = await pairOf({ controllers: [Large], options: ofServer }, ofClient);
    await pair.caller.connect();
    const beside = Array.from({ length: 20 }, (__, n) => firstValueFrom(pair.caller.send('echo', n)));
    const there = firstValueFrom(pair.caller.send('echo', Buffer.alloc(4096)));
    await expect(there).rejects.toMatchObject({ code: 'message_too_large', maybeExecuted: false });
    const back = firstValueFrom(pair.caller.send('bytes', 4096));
    await expect(back).rejects.toMatchObject({ code: 'message_too_large', maybeExecuted: true });
    await expect(itemsOf(pair.caller.send('items', 4096))).rejects.toMatchObject({ code: 'message_too_large' });
    await expect(Promise.all(beside)).resolves.toEqual(Array.from({ length: 20 }, (__, n) => n));
    await expect(firstValueFrom(pair.caller.send('bytes', 1024))).resolves.toHaveLength(1024);
    expect(pair.caller.unwrap().stats().counts.connected).toBe(1);
  });
});
