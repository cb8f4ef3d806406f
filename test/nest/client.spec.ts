import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, Observable, take, timeout, toArray } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { createNode } from '../../lib/node/create-node.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { FrameType } from '../../lib/protocol/frame.js';
import { NO_PAYLOAD } from '../../lib/protocol/payload.js';
import { until } from '../support/door.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';
import { App, itemsOf, pairOf, SECRET, SERVER, signalOf, type Pair } from './support.js';

/** What the handlers of a test tell it. */
class Stage {
  readonly started = signalOf();
  readonly release = signalOf();
  readonly producing = signalOf();
  readonly stopped = signalOf();
  produced = 0;

  /** Produces for ever, until nobody listens. */
  readonly naturals = new Observable<number>((observer) => {
    this.producing.resolve();
    const timer = setInterval(() => observer.next(this.produced++), 1);
    return () => {
      clearInterval(timer);
      this.stopped.resolve();
    };
  });
}

let stage = new Stage();
beforeEach(() => (stage = new Stage()));

@Controller()
class ClientController {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('slow')
  async slow(@Payload() value: unknown): Promise<unknown> {
    stage.started.resolve();
    await stage.release.promise;
    return value;
  }

  @MessagePattern('naturals')
  naturals(): Observable<number> {
    return stage.naturals;
  }

  @MessagePattern('late.naturals')
  async lateNaturals(): Promise<Observable<number>> {
    stage.started.resolve();
    await stage.release.promise;
    return stage.naturals;
  }

  @EventPattern('event')
  event(@Payload() _data: unknown): void {}
}

const APP = { controllers: [ClientController] };

function echo(client: GenRpcClient, value: unknown = 'x'): Promise<unknown> {
  return firstValueFrom(client.send('echo', value));
}

/** The same application again, on the port where the first was. */
async function restarted(app: App): Promise<App> {
  return App.start({ ...APP, options: { listen: { port: app.address.port } } });
}

describe('the connection of a client', () => {
  it('N-46 is one, whoever comes first and however many', async () => {
    await using pair = await pairOf(APP);
    const sends = Array.from({ length: 50 }, (_, index) => echo(pair.caller, index));
    await expect(Promise.all(sends)).resolves.toEqual(Array.from({ length: 50 }, (_, index) => index));
    await Promise.all([pair.caller.connect(), pair.caller.connect()]);
    expect(pair.caller.unwrap().stats().counts).toMatchObject({ dialled: 1, connected: 1 });
    expect(pair.node.stats().counts.accepted).toBe(1);
  });

  it('is one for events and calls alike', async () => {
    await using pair = await pairOf(APP);
    for (let n = 0; n < 50; n += 1) pair.caller.emit('event', n);
    await echo(pair.caller);
    expect(pair.node.stats().counts.accepted).toBe(1);
  });

  it('N-51 has a status: connected, lost, connected again, closed; replayed, and nothing twice', async () => {
    const app = await App.start(APP);
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    const seen: string[] = [];
    client.status.subscribe((status) => seen.push(status));
    client.on('connect', () => seen.push('on connect'));
    client.on('disconnect', () => seen.push('on disconnect'));
    await echo(client);
    expect(seen).toEqual(['connected', 'on connect']);
    await expect(firstValueFrom(client.status)).resolves.toBe('connected');
    const lost = firstValueFrom(new Observable<void>((observer) => client.on('disconnect', () => observer.next())));
    await app[Symbol.asyncDispose]();
    await lost;
    await using again = await restarted(app);
    await echo(client);
    expect(again.node.stats().acceptedConnections).toBe(1);
    await client.close();
    await client.close();
    expect(seen).toEqual([
      ...['connected', 'on connect', 'disconnected', 'on disconnect'],
      ...['connected', 'on connect', 'disconnected', 'on disconnect'],
    ]);
    await expect(firstValueFrom(client.status)).resolves.toBe('disconnected');
  });

  it('N-50 may be closed and made again', async () => {
    await using pair = await pairOf(APP);
    await echo(pair.caller);
    const first = pair.caller.unwrap();
    await pair.caller.close();
    expect(first.stats()).toMatchObject({ connectedNodes: 0, pendingCalls: 0 });
    await pair.caller.connect();
    await expect(echo(pair.caller)).resolves.toBe('x');
    await pair.caller.close();
    await expect(echo(pair.caller)).resolves.toBe('x');
    expect(pair.caller.unwrap()).toBeInstanceOf(GenRpcNode);
  });

  it('N-50 is not harmed by what the old one does late', async () => {
    await using pair = await pairOf(APP);
    await echo(pair.caller);
    const closing = pair.caller.close();
    await expect(echo(pair.caller)).resolves.toBe('x');
    await closing;
    await expect(echo(pair.caller)).resolves.toBe('x');
    await expect(firstValueFrom(pair.caller.status)).resolves.toBe('connected');
  });

  it('N-51 has a status of its own on the node of others: closed, it hears no more of that until it connects', async () => {
    await using app = await App.start(APP);
    const options = { name: 'web@127.0.0.1', secret: SECRET, listen: false, clientPort: app.address.port } as const;
    const node = createNode(options);
    const client = new GenRpcClient({ target: SERVER, node });
    const seen: string[] = [];
    client.status.subscribe((status) => seen.push(status));
    client.on('disconnect', () => seen.push('on disconnect'));
    await echo(client);
    await client.close();
    expect(seen).toEqual(['connected', 'disconnected', 'on disconnect']);
    expect(node.isConnected(SERVER)).toBe(true);
    await client.close();
    app.node.abort();
    await until(() => !node.isConnected(SERVER));
    await app.app.close();
    await using again = await restarted(app);
    await node.connect(SERVER);
    expect(seen).toEqual(['connected', 'disconnected', 'on disconnect']);
    await client.connect();
    expect(seen).toEqual(['connected', 'disconnected', 'on disconnect', 'connected']);
    expect(again.node.stats().acceptedConnections).toBe(1);
    await node.close();
    expect(seen.slice(-2)).toEqual(['disconnected', 'on disconnect']);
  });

  it('N-52 closes without ever having been made, and as often as one likes', async () => {
    const client = new GenRpcClient({ target: SERVER, secret: SECRET });
    await Promise.all([client.close(), client.close()]);
    await client.close();
  });

  it('fails what is pending when it closes', async () => {
    await using pair = await pairOf(APP);
    const reply = firstValueFrom(pair.caller.send('slow', 1));
    const failed = expect(reply).rejects.toMatchObject({ code: 'cancelled', maybeExecuted: true });
    await stage.started.promise;
    await pair.caller.close();
    await failed;
    stage.release.resolve();
  });

  it('N-48 fails what is pending at once when the server is killed, and the next send connects again', async () => {
    const app = await App.start(APP);
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    await echo(client);
    const replies = Array.from({ length: 20 }, () => firstValueFrom(client.send('slow', 1)));
    const failed = replies.map((reply) =>
      expect(reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true }),
    );
    await stage.started.promise;
    app.node.abort();
    await Promise.all(failed);
    expect(client.unwrap().stats().pendingCalls).toBe(0);
    stage.release.resolve();
    await app.app.close();
    await using again = await restarted(app);
    await expect(echo(client)).resolves.toBe('x');
    expect(again.node.stats().acceptedConnections).toBe(1);
    await client.close();
  });
});

describe('a producer stops when nobody waits for it', () => {
  it('N-55 because the caller unsubscribes', async () => {
    await using pair = await pairOf(APP);
    const subscription = pair.caller.send('naturals', {}).subscribe();
    await stage.producing.promise;
    subscription.unsubscribe();
    await stage.stopped.promise;
    expect(pair.caller.unwrap().stats().pendingCalls).toBe(0);
  });

  it('N-55 because the caller takes only the first', async () => {
    await using pair = await pairOf(APP);
    await expect(firstValueFrom(pair.caller.send('naturals', {}).pipe(take(1)))).resolves.toBe(0);
    await stage.stopped.promise;
    await expect(lastValueFrom(pair.caller.send('naturals', {}).pipe(take(3), toArray()))).resolves.toHaveLength(3);
  });

  it("N-55 because of the caller's timeout() operator", async () => {
    await using pair = await pairOf(APP);
    const reply = lastValueFrom(pair.caller.send('naturals', {}).pipe(timeout({ first: 1000, each: 1000 }), take(2)));
    await reply;
    await stage.stopped.promise;
    const slow = firstValueFrom(pair.caller.send('slow', {}).pipe(timeout(20)));
    await expect(slow).rejects.toThrow('Timeout has occurred');
    expect(pair.caller.unwrap().stats().pendingCalls).toBe(0);
    stage.release.resolve();
  });

  it('N-58 because the deadline passes', async () => {
    await using pair = await pairOf(APP, { callTimeout: 40 });
    // Within the deadline it has only to arrive.
    await pair.caller.connect();
    await expect(itemsOf(pair.caller.send('naturals', {}))).rejects.toMatchObject({
      code: 'timeout',
      maybeExecuted: true,
    });
    await stage.stopped.promise;
  });

  it('N-58 because the deadline passes, also where the caller does not say that it gives up', async () => {
    await using app = await App.start(APP);
    const peer = await (await RawPeer.dial('tcp', app.address.port)).login('raw@127.0.0.1', SERVER);
    const name = { module: '', fn: 'naturals', version: '' };
    const call = { type: FrameType.Call, id: 1, name, timeoutMs: 50, single: true, headers: undefined } as const;
    peer.send(bytesOf({ ...call, payload: NO_PAYLOAD }));
    await stage.producing.promise;
    await stage.stopped.promise;
    await until(() => app.node.stats().runningCalls === 0);
    expect(app.node.stats().acceptedConnections).toBe(1);
    peer.destroy();
  });

  it('N-56 because the caller is gone', async () => {
    await using pair = await pairOf(APP);
    const reply = itemsOf(pair.caller.send('naturals', {}));
    const failed = expect(reply).rejects.toMatchObject({ code: 'connection_lost' });
    await stage.producing.promise;
    pair.caller.unwrap().abort();
    await failed;
    await stage.stopped.promise;
  });

  it('N-56 or does not even begin, when the caller is gone before the handler returns it', async () => {
    await using pair = await pairOf(APP);
    const lost = expect(itemsOf(pair.caller.send('late.naturals', {}))).rejects.toMatchObject({
      code: 'connection_lost',
    });
    await stage.started.promise;
    pair.caller.unwrap().abort();
    await lost;
    await until(() => pair.node.stats().acceptedConnections === 0);
    stage.release.resolve();
    await echo(pair.client());
    await idle(pair);
    expect(stage.produced).toBe(0);
    expect(pair.node.stats().runningCalls).toBe(0);
  });
});

describe('an application that closes', () => {
  it('N-64 lets calls in flight finish, and takes no new ones', async () => {
    const app = await App.start(APP);
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    await echo(client);
    const replies = Array.from({ length: 20 }, (_, index) => firstValueFrom(client.send('slow', index)));
    await stage.started.promise;
    const closed = app.app.close();
    stage.release.resolve();
    await expect(Promise.all(replies)).resolves.toEqual(Array.from({ length: 20 }, (_, index) => index));
    await closed;
    expect(app.node.stats()).toMatchObject({ runningCalls: 0, acceptedConnections: 0 });
    await expect(echo(client)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await client.close();
  });

  it('N-64 waits for them no longer than the grace period', async () => {
    const app = await App.start({ ...APP, options: { gracePeriod: 50 } });
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    const reply = firstValueFrom(client.send('slow', 1));
    const failed = expect(reply).rejects.toMatchObject({ code: 'shutting_down', maybeExecuted: true });
    await stage.started.promise;
    await app.app.close();
    await failed;
    stage.release.resolve();
    await client.close();
  });

  it('N-65 runs nothing any more afterwards', async () => {
    const app = await App.start(APP);
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    await echo(client);
    const disconnected = new Promise<void>((resolve) => client.on('disconnect', resolve));
    await app.app.close();
    await disconnected;
    await expect(firstValueFrom(client.send('slow', 1))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(lastValueFrom(client.emit('event', 1))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await client.close();
  });
});

/** Resolves when no call runs any more. */
async function idle(pair: Pair): Promise<void> {
  while (pair.node.stats().runningCalls > 0) await new Promise(setImmediate);
}
