import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import type { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcRecordBuilder, type GenRpcDirections } from '../../lib/nest/gen-rpc.record-builder.js';
import { until } from '../support/door.js';
import { App, pairOf, SERVER } from './support.js';

/** What handlers were told, in order, and how a test lets the slow ones end. */
class Stage {
  readonly events: unknown[] = [];
  private readonly gates: (() => void)[] = [];

  get waiting(): number {
    return this.gates.length;
  }

  async slow(name: unknown): Promise<void> {
    this.events.push(`${String(name)} begins`);
    await new Promise<void>((resolve) => this.gates.push(resolve));
    this.events.push(`${String(name)} ends`);
  }

  /** Lets the handlers that run now end. */
  open(): void {
    for (const open of this.gates.splice(0)) open();
  }
}

const byText = (one: unknown, other: unknown): number => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1);

let stage = new Stage();
beforeEach(() => (stage = new Stage()));

@RpcModule('shop', { version: '1.0.0' })
class ShopOne {
  @RpcFunction()
  buy(@Arg(0) what: unknown): string {
    return `1.0.0 ${String(what)}`;
  }
}

@RpcModule('shop', { version: '1.4.0' })
class ShopOneFour {
  @RpcFunction()
  buy(@Arg(0) what: unknown): string {
    return `1.4.0 ${String(what)}`;
  }
}

@RpcModule('shop', { version: '2.0.0' })
class ShopTwo {
  @RpcFunction()
  buy(@Arg(0) what: unknown): string {
    return `2.0.0 ${String(what)}`;
  }
}

const SHOPS = { controllers: [ShopTwo, ShopOne, ShopOneFour] };

function buy(client: GenRpcClient, version?: string): Promise<unknown> {
  const builder = new GenRpcRecordBuilder('tea');
  const record = (version === undefined ? builder : builder.setVersion(version)).build();
  return firstValueFrom(client.send('shop.buy', record));
}

describe('setVersion', () => {
  it.each([
    ['1.0.0', '1.0.0 tea'],
    ['1.4.0', '1.4.0 tea'],
    ['^1.0.0', '1.4.0 tea'],
    ['~1.0.0', '1.0.0 tea'],
    ['<2', '1.4.0 tea'],
    ['*', '2.0.0 tea'],
    [undefined, '2.0.0 tea'],
  ])('calls the newest version that will do: %s', async (version, reply) => {
    await using pair = await pairOf(SHOPS);
    await expect(buy(pair.caller, version)).resolves.toBe(reply);
    // Names of patterns are remembered; versions of them must not be mixed up by that.
    await expect(buy(pair.caller)).resolves.toBe('2.0.0 tea');
    await expect(buy(pair.caller, version)).resolves.toBe(reply);
  });

  it.each(['3.0.0', '^3.0.0', '1.0', '1'])('fails where there is none: %s', async (version) => {
    await using pair = await pairOf(SHOPS);
    await expect(buy(pair.caller, version)).rejects.toMatchObject({
      code: 'incompatible',
      maybeExecuted: false,
      message: expect.stringContaining('1.0.0, 1.4.0, 2.0.0'),
    });
  });

  it('fails for a handler without versions', async () => {
    await using pair = await pairOf({ controllers: [Plain] });
    const record = new GenRpcRecordBuilder('x').setVersion('^1.0.0').build();
    await expect(firstValueFrom(pair.caller.send('plain.echo', record))).rejects.toMatchObject({
      code: 'incompatible',
    });
    await expect(firstValueFrom(pair.caller.send('plain.echo', 'x'))).resolves.toBe('x');
  });

  it('counts for asyncSend as for send', async () => {
    await using pair = await pairOf(SHOPS);
    const record = (version: string) => new GenRpcRecordBuilder('tea').setVersion(version).build();
    await expect(pair.caller.asyncSend('shop.buy', record('^1.0.0')).yield()).resolves.toBe('1.4.0 tea');
    const none = pair.caller.asyncSend('shop.buy', record('9.0.0'));
    await expect(none.yield()).rejects.toMatchObject({ code: 'incompatible' });
  });

  it('counts for a call by a node', async () => {
    await using pair = await pairOf(SHOPS);
    const node = pair.caller.unwrap();
    await expect(node.call(SERVER, { module: 'shop', version: '^1.0.0' }, 'buy', ['tea'])).resolves.toBe('1.4.0 tea');
  });
});

@Controller()
class Plain {
  @MessagePattern('plain.echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @EventPattern('slow.step')
  step(@Payload() name: unknown): Promise<void> {
    return stage.slow(name);
  }

  @EventPattern('slow.fails')
  async fails(@Payload() name: unknown): Promise<void> {
    await stage.slow(name);
    throw new Error('failed on the way');
  }
}

function emitOrdered(client: GenRpcClient, name: string, more: GenRpcDirections = {}, pattern = 'slow.step'): void {
  const builder = new GenRpcRecordBuilder(name).setOrdered();
  client.emit(pattern, (more.key === undefined ? builder : builder.setKey(more.key)).build());
}

describe('setOrdered', () => {
  it('N-31 ordered mode begins each event when the one before has ended, however slow that is', async () => {
    await using pair = await pairOf({ controllers: [Plain] });
    for (const name of ['one', 'two', 'three']) emitOrdered(pair.caller, name);
    for (const name of ['one', 'two', 'three']) {
      await until(() => stage.waiting === 1);
      expect(stage.events.at(-1)).toBe(`${name} begins`);
      stage.open();
    }
    await until(() => stage.events.length === 6);
    expect(stage.events).toEqual(['one', 'two', 'three'].flatMap((name) => [`${name} begins`, `${name} ends`]));
  });

  it('N-31 ordered mode goes on behind one that fails', async () => {
    await using pair = await pairOf({ controllers: [Plain] });
    emitOrdered(pair.caller, 'one', {}, 'slow.fails');
    emitOrdered(pair.caller, 'two');
    await until(() => stage.waiting === 1);
    stage.open();
    await until(() => stage.waiting === 1);
    stage.open();
    await until(() => stage.events.length === 4);
    expect(stage.events).toEqual(['one begins', 'one ends', 'two begins', 'two ends']);
  });

  it('N-31 ordered mode holds up neither those without it, nor other keys, nor messages', async () => {
    await using pair = await pairOf({ controllers: [Plain] });
    emitOrdered(pair.caller, 'one');
    emitOrdered(pair.caller, 'two');
    pair.caller.emit('slow.step', 'beside');
    emitOrdered(pair.caller, 'other key', { key: 'k' });
    await until(() => stage.waiting === 3);
    await expect(firstValueFrom(pair.caller.send('plain.echo', 'x'))).resolves.toBe('x');
    expect(stage.events.toSorted(byText)).toEqual(['beside begins', 'one begins', 'other key begins']);
    while (stage.events.length < 8) {
      stage.open();
      await new Promise(setImmediate);
    }
    expect(stage.events).toContain('two ends');
  });

  it('may be switched off again in the same builder', async () => {
    await using pair = await pairOf({ controllers: [Plain] });
    for (const name of ['one', 'two']) {
      pair.caller.emit('slow.step', new GenRpcRecordBuilder(name).setOrdered().setOrdered(false).build());
    }
    await until(() => stage.waiting === 2);
    stage.open();
    await until(() => stage.events.length === 4);
  });
});

@Controller()
class Listening {
  @EventPattern('price.changed')
  first(@Payload() data: unknown): void {
    stage.events.push(['first', data]);
  }

  @EventPattern('price.changed')
  second(@Payload() data: unknown): void {
    stage.events.push(['second', data]);
  }

  @EventPattern({ topic: 'price', kind: 'changed' })
  object(@Payload() data: unknown): void {
    stage.events.push(['object', data]);
  }

  @EventPattern('dotless')
  dotless(@Payload() data: unknown): void {
    stage.events.push(['dotless', data]);
  }

  @EventPattern('throws')
  throws(@Payload() data: unknown): void {
    stage.events.push(['throws', data]);
    throw new Error('after it has begun');
  }

  @EventPattern('slow')
  slow(@Payload() data: unknown): Promise<void> {
    return stage.slow(data);
  }
}

@Controller()
class AlsoListening {
  @EventPattern('price.changed')
  third(@Payload() data: unknown): void {
    stage.events.push(['third', data]);
  }
}

const LISTENING = { controllers: [Listening, AlsoListening] };
const DOWN = 'down@127.0.0.1';

describe('a broadcast to event handlers', () => {
  it.each([
    ['dotless', ['dotless']],
    ['price.changed', ['first', 'second', 'third']],
    ['{"kind":"changed","topic":"price"}', ['object']],
  ])('abcast reaches every handler of the event, once: %s', async (name, handlers) => {
    await using pair = await pairOf(LISTENING);
    const node = pair.caller.unwrap();
    const message = { tea: [1, 2] };
    expect(node.abcast([SERVER], name, message)).toEqual({ accepted: [SERVER], refused: [] });
    await until(() => stage.events.length >= handlers.length);
    await expect(node.sbcast([SERVER], 'dotless', 'last')).resolves.toEqual({ good: [SERVER], bad: [] });
    const seen = stage.events.slice(0, -1).toSorted(byText);
    expect(seen).toEqual(handlers.map((handler) => [handler, message]));
  });

  it.each([
    ['dotless', ['dotless']],
    ['price.changed', ['first', 'second', 'third']],
    ['{"kind":"changed","topic":"price"}', ['object']],
  ])('sbcast too, and says where there is such an event: %s', async (name, handlers) => {
    await using pair = await pairOf(LISTENING);
    const node = pair.caller.unwrap();
    await expect(node.sbcast([SERVER, DOWN], name, 5)).resolves.toEqual({ good: [SERVER], bad: [DOWN] });
    await until(() => stage.events.length === handlers.length);
    expect(stage.events.toSorted(byText)).toEqual(handlers.map((handler) => [handler, 5]));
  });

  it('sbcast says bad where nobody listens', async () => {
    await using pair = await pairOf(LISTENING);
    const node = pair.caller.unwrap();
    for (const name of ['price.change', 'unheard', '{"topic":"price"}']) {
      await expect(node.sbcast([SERVER], name, 5)).resolves.toEqual({ good: [], bad: [SERVER] });
    }
    expect(stage.events).toEqual([]);
  });

  it('sbcast waits for no handler, and a failure of one is not its business', async () => {
    await using pair = await pairOf(LISTENING);
    const node = pair.caller.unwrap();
    await expect(node.sbcast([SERVER], 'slow', 'one')).resolves.toEqual({ good: [SERVER], bad: [] });
    await until(() => stage.waiting === 1);
    await expect(node.sbcast([SERVER], 'throws', 'two')).resolves.toEqual({ good: [SERVER], bad: [] });
    await until(() => stage.events.length === 2 && pair.log.said('error', 'after it has begun').length === 1);
    stage.open();
    await until(() => pair.node.stats().runningCalls === 0);
  });

  it('without targets reaches the node itself and every connected one', async () => {
    const other = 'other@127.0.0.1';
    await using app = await App.start({ ...LISTENING, options: { name: other } });
    await using hub = await App.start({
      ...LISTENING,
      options: { nodes: { [other]: { port: app.address.port } } },
    });
    await expect(hub.node.sbcast('dotless', 1)).resolves.toEqual({ good: [SERVER], bad: [] });
    await hub.node.connect(other);
    await expect(hub.node.sbcast('dotless', 2)).resolves.toEqual({ good: [SERVER, other], bad: [] });
    expect(stage.events).toEqual([1, 2, 2].map((data) => ['dotless', data]));
  });

  it('ordered runs the handlers of each message after those of the one before', async () => {
    await using pair = await pairOf(LISTENING);
    const node = pair.caller.unwrap();
    for (const name of ['one', 'two']) node.abcast([SERVER], 'slow', name, { ordered: true });
    for (let step = 0; step < 2; step += 1) {
      await until(() => stage.waiting === 1);
      stage.open();
    }
    await until(() => stage.events.length === 4);
    expect(stage.events).toEqual(['one begins', 'one ends', 'two begins', 'two ends']);
  });

  it('is heard by a pattern of messages as well, whose reply nobody gets', async () => {
    await using pair = await pairOf({ controllers: [Plain] });
    const node = pair.caller.unwrap();
    await expect(node.sbcast([SERVER], 'plain.echo', 'x')).resolves.toEqual({ good: [SERVER], bad: [] });
    await expect(lastValueFrom(pair.caller.send('plain.echo', 'y'))).resolves.toBe('y');
  });
});
