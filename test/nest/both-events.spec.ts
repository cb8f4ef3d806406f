/** Events, over this library and over Nest's own TCP: nobody who swaps the one for the other may notice. */
import { Controller, Inject } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { firstValueFrom, Observable, type Subscriber } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { BOTH, Entries, isTcpOfNest11, Side } from './both.js';
import { itemsOf } from './support.js';

@Controller()
class Events {
  constructor(@Inject(Entries) private readonly entries: Entries) {}

  @EventPattern('happened')
  happened(@Payload() data: unknown): void {
    this.entries.add(`happened ${String(data)}`);
  }

  @EventPattern('shared')
  failing(@Payload() _data: unknown): Observable<never> {
    return new Observable((observer) => {
      this.entries.add('failing');
      observer.error(new Error('thrown by the third'));
    });
  }

  @EventPattern('shared')
  throwing(@Payload() _data: unknown): void {
    this.entries.add('throwing');
    throw new Error('thrown by the first');
  }

  @EventPattern('shared')
  async rejecting(@Payload() _data: unknown): Promise<never> {
    this.entries.add('rejecting');
    throw new Error('thrown by the second');
  }

  @EventPattern('shared')
  fine(@Payload() data: unknown): void {
    this.entries.add(`fine ${String(data)}`);
  }

  @EventPattern('observable')
  observable(@Payload() _data: unknown): Observable<number> {
    return new Observable((observer) => this.work(observer, 'one'));
  }

  @EventPattern('observables')
  first(@Payload() _data: unknown): Observable<number> {
    return new Observable((observer) => this.work(observer, 'one'));
  }

  @EventPattern('observables')
  async second(@Payload() _data: unknown): Promise<Observable<number>> {
    return new Observable((observer) => this.work(observer, 'two'));
  }

  @EventPattern('exception')
  exception(@Payload() _data: unknown): void {
    throw new RpcException('said once');
  }

  @EventPattern('exception.later')
  async exceptionLater(@Payload() _data: unknown): Promise<never> {
    throw new RpcException('said once');
  }

  @MessagePattern('ping')
  ping(): string {
    return 'pong';
  }

  private work(observer: Subscriber<number>, name: string): void {
    observer.next(1);
    observer.next(2);
    observer.complete();
    this.entries.add(`subscribed ${name}`);
  }
}

@Controller()
class Others {
  constructor(@Inject(Entries) private readonly entries: Entries) {}

  @EventPattern('happened')
  happened(@Payload() data: unknown): void {
    this.entries.add(`happened elsewhere ${String(data)}`);
  }
}

const APP = { controllers: [Events], providers: [Entries] };

/** Resolves once what was sent before has been read; handlers that are done in one turn have run then. */
async function settled({ client }: Side): Promise<void> {
  for (let round = 0; round < 3; round += 1) await firstValueFrom(client.send('ping', {}));
}

describe.each(BOTH)('over $name', (transport) => {
  it(`N-25 emit is hot: sent without a subscriber, and once for several, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const entries = side.app.get(Entries);
    // The first makes the connection, the second finds it.
    for (const n of [1, 2]) {
      const emitted = side.client.emit('happened', n);
      await entries.of(n);
      await Promise.all([itemsOf(emitted), itemsOf(emitted)]);
      await settled(side);
    }
    expect(entries.all).toEqual(['happened 1', 'happened 2']);
  });

  it(`N-26 all handlers of a pattern run, those of other controllers too, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, { ...APP, controllers: [Events, Others] });
    side.client.emit('happened', 1);
    const ran = await side.app.get(Entries).of(2);
    expect(ran.toSorted()).toEqual(['happened 1', 'happened elsewhere 1']);
  });

  it(`N-26 one that fails stops none of the others, however it fails, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    side.client.emit('shared', 1);
    const ran = await side.app.get(Entries).of(4);
    expect(ran.toSorted()).toEqual(['failing', 'fine 1', 'rejecting', 'throwing']);
    await settled(side);
    expect(side.log.said('error', 'thrown by the first')).toHaveLength(1);
    expect(side.log.said('error', 'thrown by the second')).toHaveLength(1);
    expect(side.log.said('error', 'thrown by the third')).toHaveLength(1);
  });

  it(`N-27 an Observable that a handler returns is subscribed, once, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const entries = side.app.get(Entries);
    side.client.emit('observable', 1);
    await entries.of(1);
    side.client.emit('observables', 1);
    await entries.of(3);
    await settled(side);
    expect(entries.all.toSorted()).toEqual(['subscribed one', 'subscribed one', 'subscribed two']);
  });

  it(`N-28 an unknown event is logged, and nothing comes back, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    await expect(itemsOf(side.client.emit('nobody.cares', 1))).resolves.toEqual([undefined]);
    await settled(side);
    const said = side.log.lines.filter((line) => /^(error|warn) /.test(line));
    expect(said).toEqual([expect.stringContaining('nobody.cares')]);
  });

  it.skipIf(isTcpOfNest11(transport)).each(['exception', 'exception.later'])(
    `N-29 an RpcException of an event's handler is logged once: %s, over ${transport.name}`,
    async (pattern) => {
      await using side = await Side.start(transport, APP);
      await expect(itemsOf(side.client.emit(pattern, 1))).resolves.toEqual([undefined]);
      await settled(side);
      expect(side.log.lines.filter((line) => line.includes('said once'))).toHaveLength(1);
    },
  );
});
