/** What subclasses of a client override is asked for each message, over this library as over Nest's own TCP. */
import { Controller, Inject } from '@nestjs/common';
import {
  ClientTCP,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  type ReadPacket,
  type WritePacket,
} from '@nestjs/microservices';
import { concat, EMPTY, firstValueFrom, lastValueFrom, of, throwError, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { until } from '../support/door.js';
import { BOTH, Entries, Side, type AnyClient } from './both.js';
import { itemsOf, SECRET, SERVER } from './support.js';

/** What the clients of a test were asked. */
const asked: string[] = [];

const note = (what: string, { pattern, data }: ReadPacket): void => {
  asked.push(`${what} ${String(pattern)} ${String(data)}`);
};

class OwnGenRpcClient extends GenRpcClient {
  protected override publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    note('publish', packet);
    const teardown = super.publish(packet, callback);
    return () => {
      note('teardown', packet);
      teardown();
    };
  }

  protected override dispatchEvent<T>(packet: ReadPacket): Promise<T> {
    note('dispatchEvent', packet);
    return super.dispatchEvent(packet);
  }

  protected override serializeError(error: unknown): unknown {
    return { own: error };
  }

  protected override serializeResponse(response: unknown): unknown {
    return { own: response };
  }
}

class OwnTcpClient extends ClientTCP {
  protected override publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    note('publish', packet);
    const teardown = super.publish(packet, callback);
    return () => {
      note('teardown', packet);
      teardown();
    };
  }

  protected override dispatchEvent<T>(packet: ReadPacket): Promise<T> {
    note('dispatchEvent', packet);
    return super.dispatchEvent(packet) as Promise<T>;
  }

  protected override serializeError(error: unknown): unknown {
    return { own: error };
  }

  protected override serializeResponse(response: unknown): unknown {
    return { own: response };
  }
}

@Controller()
class Handlers {
  constructor(@Inject(Entries) private readonly entries: Entries) {}

  @MessagePattern('value')
  value(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern('items')
  items(): Observable<unknown> {
    return concat(
      of(1, null),
      throwError(() => new RpcException('enough')),
    );
  }

  @MessagePattern('empty')
  empty(): Observable<never> {
    return EMPTY;
  }

  @EventPattern('event')
  event(@Payload() data: unknown): void {
    this.entries.add(String(data));
  }
}

describe.each(BOTH)('over $name', (transport) => {
  const ownClientOf = (port: number): AnyClient =>
    transport === BOTH[0]
      ? new OwnGenRpcClient({ target: SERVER, secret: SECRET, clientPort: port })
      : new OwnTcpClient({ host: '127.0.0.1', port });

  it(`N-44 publish and dispatchEvent of a subclass are asked for each message, over ${transport.name}`, async () => {
    asked.length = 0;
    await using side = await Side.start(transport, { controllers: [Handlers], providers: [Entries] });
    const client = ownClientOf(side.port);
    await expect(itemsOf(client.send('value', 'x'))).resolves.toEqual([{ own: 'x' }]);
    await expect(itemsOf(client.send('empty', 'x'))).resolves.toEqual([]);
    const seen: unknown[] = [];
    const error = await new Promise((resolve) => {
      client.send('items', 'x').subscribe({ next: (item) => seen.push(item), error: resolve });
    });
    expect([seen, error]).toEqual([[{ own: 1 }, { own: null }], { own: { status: 'error', message: 'enough' } }]);
    // The one finds the connection there is, the other has to make one.
    await lastValueFrom(client.emit('event', 'one'), { defaultValue: undefined });
    await client.close();
    await lastValueFrom(client.emit('event', 'two'), { defaultValue: undefined });
    await expect(side.app.get(Entries).of(2)).resolves.toEqual(['one', 'two']);
    await client.close();
    const messages = ['value x', 'empty x', 'items x'];
    expect(asked.filter((what) => what.startsWith('publish'))).toEqual(messages.map((what) => `publish ${what}`));
    expect(asked.filter((what) => what.startsWith('teardown'))).toEqual(messages.map((what) => `teardown ${what}`));
    expect(asked.filter((what) => what.startsWith('dispatch'))).toEqual([
      'dispatchEvent event one',
      'dispatchEvent event two',
    ]);
  });
});

it('N-44 the teardown that a subclass gets of publish cancels the call', async () => {
  asked.length = 0;
  let running = 0;
  @Controller()
  class Endless {
    @MessagePattern('endless')
    endless(): Observable<number> {
      running += 1;
      return concat(of(1), new Promise<never>(() => {}));
    }
  }
  const [ours] = BOTH;
  if (ours === undefined) return expect.fail();
  await using side = await Side.start(ours, { controllers: [Endless] });
  const client = new OwnGenRpcClient({ target: SERVER, secret: SECRET, clientPort: side.port });
  await expect(firstValueFrom(client.send('endless', 'x'))).resolves.toEqual({ own: 1 });
  expect([running, asked]).toEqual([1, ['publish endless x', 'teardown endless x']]);
  const node = client.unwrap();
  expect(node.stats().pendingCalls).toBe(0);
  await until(() => side.server.unwrap<typeof node>().stats().runningCalls === 0);
  await client.close();
});
