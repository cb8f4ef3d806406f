import { createServer, type AddressInfo } from 'node:net';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, Observable, of } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { until } from '../support/door.js';
import { NEST } from '../support/nest-version.js';
import { App, itemsOf, pairOf, SECRET, SERVER, signalOf } from './support.js';

/** What ran, in order; a test waits for the next entries. */
class Journal {
  readonly entries: unknown[] = [];
  private readonly waiters = new Set<() => void>();

  add(entry: unknown): void {
    this.entries.push(entry);
    for (const waiter of this.waiters) waiter();
  }

  async of(count: number): Promise<unknown[]> {
    while (this.entries.length < count) {
      await new Promise<void>((resolve) => this.waiters.add(resolve));
    }
    return this.entries;
  }
}

let journal = new Journal();
beforeEach(() => (journal = new Journal()));

@Controller()
class EventsController {
  @EventPattern('happened')
  first(@Payload() data: unknown): void {
    journal.add(['first', data]);
  }

  @EventPattern('shared')
  failing(@Payload() _data: unknown): void {
    journal.add('failing');
    throw new Error('one of several');
  }

  @EventPattern('shared')
  rejecting(@Payload() _data: unknown): Promise<void> {
    journal.add('rejecting');
    return Promise.reject(new Error('another of several'));
  }

  @EventPattern('shared')
  fine(@Payload() data: unknown): void {
    journal.add(['fine', data]);
  }

  @EventPattern('streaming')
  streaming(@Payload() count: number): Observable<number> {
    return new Observable((observer) => {
      for (let n = 0; n < count; n += 1) observer.next(n);
      journal.add('subscribed');
      observer.complete();
    });
  }

  @EventPattern('rpc.exception')
  exception(@Payload() _data: unknown): void {
    throw new RpcException('said once');
  }

  @EventPattern({ event: 'object' })
  object(@Payload() data: unknown): void {
    journal.add(['object', data]);
  }

  @EventPattern<string>('context')
  context(@Payload() data: unknown, @Ctx() context: GenRpcContext): void {
    journal.add([
      data,
      context.getPattern(),
      context.getMetadata(),
      context.getRemainingTime(),
      context.getSignal().aborted,
    ]);
  }

  @MessagePattern('message')
  message(@Payload() data: unknown): Observable<unknown> {
    journal.add(['message', data]);
    return of('reply');
  }

  @EventPattern('event.called')
  called(@Payload() data: unknown): unknown {
    journal.add(['event.called', data]);
    return data;
  }
}

/** Handlers of one pattern on two controllers. */
@Controller()
class OtherController {
  @EventPattern('happened')
  second(@Payload() data: unknown): void {
    journal.add(['second', data]);
  }
}

const APP = { controllers: [EventsController, OtherController] };

describe('an event', () => {
  it('N-25 an event is hot: sent at once, and once, however many subscribe', async () => {
    await using pair = await pairOf({ controllers: [EventsController] });
    const emitted = pair.caller.emit('happened', 1);
    await journal.of(1);
    await Promise.all([itemsOf(emitted), itemsOf(emitted), itemsOf(emitted)]);
    pair.caller.emit('happened', 2);
    await expect(journal.of(2)).resolves.toEqual([
      ['first', 1],
      ['first', 2],
    ]);
  });

  it('N-30 an event completes when it was accepted', async () => {
    await using pair = await pairOf(APP);
    await expect(lastValueFrom(pair.caller.emit('happened', 1))).resolves.toBeUndefined();
    await expect(lastValueFrom(pair.caller.emit('happened', 2))).resolves.toBeUndefined();
    await journal.of(4);
  });

  it('N-30 an event keeps its place: the order of those before the connection and after', async () => {
    await using pair = await pairOf({ controllers: [EventsController] });
    const sent = Array.from({ length: 100 }, (_, n) => ['first', n]);
    for (let n = 0; n < 50; n += 1) pair.caller.emit('happened', n);
    await pair.caller.connect();
    for (let n = 50; n < 100; n += 1) pair.caller.emit('happened', n);
    await expect(journal.of(100)).resolves.toEqual(sent);
  });

  it('N-26 an event reaches all handlers of its pattern', async () => {
    await using pair = await pairOf(APP);
    pair.caller.emit('happened', { id: 7 });
    const ran = await journal.of(2);
    expect(ran).toContainEqual(['first', { id: 7 }]);
    expect(ran).toContainEqual(['second', { id: 7 }]);
  });

  it('N-26 an event reaches the other handlers when some of them fail', async () => {
    await using pair = await pairOf(APP);
    pair.caller.emit('shared', 1);
    await expect(journal.of(3)).resolves.toEqual(expect.arrayContaining(['failing', 'rejecting', ['fine', 1]]));
    await firstValueFrom(pair.caller.send('message', 1));
    expect(pair.log.said('error', 'one of several')).toHaveLength(1);
    expect(pair.log.said('error', 'another of several')).toHaveLength(1);
  });

  it('N-27 an event has the Observable that its handler returns subscribed', async () => {
    await using pair = await pairOf(APP);
    pair.caller.emit('streaming', 3);
    await expect(journal.of(1)).resolves.toEqual(['subscribed']);
  });

  it('is finished when its sender is gone', async () => {
    const [started, release, subscribed] = [signalOf(), signalOf(), signalOf()];
    @Controller()
    class Working {
      @EventPattern<string>('work')
      async work(@Payload() _data: unknown, @Ctx() context: GenRpcContext): Promise<Observable<number>> {
        started.resolve();
        await release.promise;
        return new Observable((observer) => {
          subscribed.resolve();
          journal.add(context.getSignal().aborted);
          observer.complete();
          return () => journal.add('finished');
        });
      }
    }
    await using pair = await pairOf({ controllers: [Working] });
    pair.caller.emit('work', 1);
    await started.promise;
    await pair.caller.close();
    while (pair.node.stats().acceptedConnections > 0) await new Promise(setImmediate);
    expect(pair.node.stats().runningCalls).toBe(1);
    release.resolve();
    await subscribed.promise;
    await expect(journal.of(2)).resolves.toEqual([false, 'finished']);
    expect(pair.node.stats().runningCalls).toBe(0);
  });

  it('is finished before the application closes', async () => {
    const [started, release] = [signalOf(), signalOf()];
    @Controller()
    class Working {
      @EventPattern('work')
      async work(@Payload() _data: unknown): Promise<void> {
        started.resolve();
        await release.promise;
        journal.add('finished');
      }
    }
    const app = await App.start({ controllers: [Working] });
    const client = app.client();
    client.emit('work', 1);
    await started.promise;
    const closed = app.app.close().then(() => journal.add('closed'));
    await client.close();
    release.resolve();
    await closed;
    expect(journal.entries).toEqual(['finished', 'closed']);
  });

  it('whose handler never ends is told when the grace period is over', async () => {
    const [started, aborted] = [signalOf(), signalOf()];
    @Controller()
    class Working {
      @EventPattern<string>('work')
      work(@Payload() _data: unknown, @Ctx() context: GenRpcContext): Promise<never> {
        context.getSignal().addEventListener('abort', () => aborted.resolve());
        started.resolve();
        return new Promise(() => {});
      }
    }
    const app = await App.start({ controllers: [Working], options: { gracePeriod: 30 } });
    const client = app.client();
    client.emit('work', 1);
    await started.promise;
    await client.close();
    await app.app.close();
    await aborted.promise;
    expect(app.node.stats().runningCalls).toBe(0);
  });

  it('N-28 an event that nobody handles is logged there, and is no error here', async () => {
    await using pair = await pairOf(APP);
    await expect(lastValueFrom(pair.caller.emit('nobody.cares', 1))).resolves.toBeUndefined();
    await firstValueFrom(pair.caller.send('message', 1));
    expect(pair.log.said('warn', 'nobody.cares')).toHaveLength(1);
  });

  it('N-29 an event whose handler throws an RpcException has that logged once', async () => {
    await using pair = await pairOf(APP);
    pair.caller.emit('rpc.exception', 1);
    await firstValueFrom(pair.caller.send('message', 1));
    expect(pair.log.lines.filter((line) => line.includes('said once'))).toHaveLength(1);
  });

  it('finds handlers of object patterns', async () => {
    await using pair = await pairOf(APP);
    pair.caller.emit({ event: 'object' }, 1);
    await expect(journal.of(1)).resolves.toEqual([['object', 1]]);
  });

  it('has a context: no deadline, headers where it brings some', async () => {
    await using pair = await pairOf(APP);
    pair.caller.emit('context', 1);
    pair.caller.emit('context', new GenRpcRecordBuilder(2).setHeaders({ trace: 'abc' }).build());
    await expect(journal.of(2)).resolves.toEqual([
      [1, 'context', undefined, Infinity, false],
      [2, 'context', { trace: 'abc' }, Infinity, false],
    ]);
  });

  it('runs a message handler, as a request runs an event handler', async () => {
    await using pair = await pairOf(APP);
    pair.caller.emit('message', 1);
    await expect(firstValueFrom(pair.caller.send('event.called', 2))).resolves.toBe(2);
    await expect(journal.of(2)).resolves.toEqual([
      ['message', 1],
      ['event.called', 2],
    ]);
  });

  it('N-30 an event is an error, not a silence, when nobody can be reached', async () => {
    await using pair = await pairOf(APP);
    const away = pair.client({ target: 'away@127.0.0.1', clientPort: 1 });
    await expect(lastValueFrom(away.emit('happened', 1))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const elsewhere = new GenRpcRecordBuilder(1).setTarget('nowhere@127.0.0.1').build();
    await expect(lastValueFrom(away.emit('happened', elsewhere))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('N-30 an event for another node than the client names is an error too when that cannot be reached', async () => {
    await using pair = await pairOf(APP);
    await pair.caller.connect();
    const caller = pair.client({ nodes: { 'dead@127.0.0.1': { port: 1 } } });
    await caller.connect();
    const event = new GenRpcRecordBuilder(1).setTarget('dead@127.0.0.1').build();
    await expect(lastValueFrom(caller.emit('happened', event))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('N-30 an event waits for a connection, with so many others and for so long, and then fails', async () => {
    const silent = createServer((socket) => void socket.on('error', () => {}).resume());
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    await using pair = await pairOf(APP);
    const away = pair.client({ target: 'away@127.0.0.1', clientPort: port, handshakeTimeout: 200, maxQueuedCasts: 3 });
    const outcomes = Array.from({ length: 5 }, (_, n) =>
      lastValueFrom(away.emit('happened', n)).catch((error: unknown) => (error as { code: unknown }).code),
    );
    expect(await Promise.race([outcomes[0], outcomes[4]])).toBe('refused');
    await expect(Promise.all(outcomes)).resolves.toEqual(['node_down', 'node_down', 'node_down', 'refused', 'refused']);
    await away.close();
    await new Promise((resolve) => silent.close(resolve));
  });

  it('N-30 an event that is dropped while nobody watches is in the log', async () => {
    await using pair = await pairOf(APP);
    const away = pair.client({ target: 'away@127.0.0.1', clientPort: 1 });
    away.emit('happened', 1);
    await until(() => pair.log.said('warn', 'away@127.0.0.1').length > 0);
    expect(away.unwrap().stats().counts.cast_dropped).toBe(1);
  });

  it('N-30 an event either fails or arrives, while its server is restarted', async () => {
    const app = await App.start({ controllers: [EventsController] });
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    const accepted: unknown[] = [];
    const emit = async (n: number): Promise<void> => {
      const sent = lastValueFrom(client.emit('happened', n));
      await sent.then(
        () => accepted.push(['first', n]),
        () => {},
      );
    };
    let n = 0;
    for (; n < 20; n += 1) await emit(n);
    const closed = app[Symbol.asyncDispose]();
    let closing = true;
    void closed.finally(() => (closing = false));
    for (; closing || n < 40; n += 1) {
      await emit(n);
      await new Promise(setImmediate);
    }
    await closed;
    const before = accepted.length;
    expect(before).toBeGreaterThanOrEqual(20);
    expect(before).toBeLessThan(n);
    await using again = await App.start({
      controllers: [EventsController],
      options: { listen: { port: app.address.port } },
    });
    for (; accepted.length < before + 20; n += 1) {
      await emit(n);
      await new Promise(setImmediate);
    }
    await client.close();
    await until(() => again.node.stats().runningCalls === 0);
    await expect(journal.of(accepted.length)).resolves.toEqual(accepted);
  });

  it.runIf(NEST >= 12)('whose dispatch hook throws is an error of the Observable, as with Nest', async () => {
    await using pair = await pairOf(APP);
    pair.caller.setOnDispatchHook(() => {
      throw new Error('the hook failed');
    });
    await expect(lastValueFrom(pair.caller.emit('happened', 1))).rejects.toThrow('the hook failed');
    await expect(firstValueFrom(pair.caller.send('message', 1))).rejects.toThrow('the hook failed');
  });
});
