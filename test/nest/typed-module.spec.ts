import { inspect } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { Controller } from '@nestjs/common';
import { of, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { ModuleCalls } from '../../lib/node/module-types.js';
import { until } from '../support/door.js';
import { App, CapturedLogger, SERVER } from './support.js';

interface Order {
  readonly goods: string;
  readonly count: number;
}

const notes: string[] = [];

@RpcModule('stock')
class StockController {
  private readonly counts = new Map([['tea', 40]]);

  @RpcFunction()
  count(@Arg(0) goods: string): number {
    return this.counts.get(goods) ?? 0;
  }

  @RpcFunction()
  async order(@Payload() order: Order): Promise<string> {
    return `${order.count} ${order.goods}`;
  }

  @RpcFunction()
  who(@Arg(0) greeting: string, @Ctx() context: GenRpcContext): string {
    return `${greeting} ${context.getNode()}, ${context.getRemainingTime() <= 500 ? 'soon' : 'later'}`;
  }

  @RpcFunction()
  note(@Arg(0) text: string, @Ctx() context: GenRpcContext): void {
    notes.push(`${text} ${context.getMetadata()?.['from'] ?? ''}`.trim());
  }

  @RpcFunction()
  never(): Promise<void> {
    return new Promise(() => {});
  }

  @RpcFunction()
  async *shelves(@Arg(0) row: string): AsyncGenerator<string> {
    for (let shelf = 1; ; shelf += 1) yield `${row}${shelf}`;
  }

  @RpcFunction()
  boxes(@Arg(0) a: number, @Arg(1) b: number): Observable<number> {
    return of(a, b);
  }

  @RpcFunction()
  async receive(@Arg(0) goods: string, @Arg(1) boxes: Observable<number>): Promise<string> {
    let sum = 0;
    await boxes.forEach((count) => (sum += count));
    return `${sum} ${goods}`;
  }

  onModuleInit(): void {
    notes.push('initialised here');
  }
}

@RpcModule('greeter', { version: '2.0.0' })
class Polite {
  @RpcFunction()
  greet(@Arg(0) title: string, @Arg(1) name: string): string {
    return `dear ${title} ${name}`;
  }
}

@Controller()
class Greeter {
  @MessagePattern('plain.greet')
  greet(@Payload() name: string): string {
    return `hello ${name}`;
  }
}

interface Pair extends App {
  readonly rpc: GenRpcNode;
}

async function pair(): Promise<Pair> {
  notes.length = 0;
  const app = await App.start({ controllers: [StockController, Polite, Greeter] });
  return Object.assign(app, { rpc: app.client().unwrap() });
}

async function* counts(): AsyncGenerator<number> {
  yield* [1, 2, 3];
}

describe('a typed module', () => {
  it('calls the methods of a controller', async () => {
    await using nodes = await pair();
    const stock = nodes.rpc.module<StockController>('stock').at(SERVER);
    const reply = stock.count('tea');
    expect(reply).toBeInstanceOf(Promise);
    await expect(reply).resolves.toBe(40);
    await expect(stock.order({ goods: 'tea', count: 3 })).resolves.toBe('3 tea');
    await expect(stock.who('hello')).resolves.toBe(`hello ${nodes.rpc.name}, later`);
  });

  it('calls one version of it', async () => {
    await using nodes = await pair();
    const polite = nodes.rpc.module<Polite>('greeter', { version: '^2.0.0' }).at(SERVER);
    await expect(polite.greet('Sir', 'you')).resolves.toBe('dear Sir you');
    const other = nodes.rpc.module<Polite>('greeter', { version: '3.0.0' }).at(SERVER);
    await expect(other.greet('Sir', 'you')).rejects.toMatchObject({ code: 'incompatible' });
  });

  it('calls what has a pattern of such a name, and the own node', async () => {
    await using nodes = await pair();
    const { node } = nodes;
    node.register('own', { double: ([n]: [number]) => 2 * n });
    await expect(nodes.rpc.module<Greeter>('plain').at(SERVER).greet('you')).resolves.toBe('hello you');
    const own = node.module<{ double(n: number): number }>('own').at(SERVER);
    await expect(own.double(21)).resolves.toBe(42);
  });

  it('passes on the target as it is, and the options of calls', async () => {
    await using nodes = await pair();
    const stock = nodes.rpc.module<StockController>('stock');
    const keyed = stock.at({ node: SERVER, key: 'tea' }, { timeout: 500 });
    await expect(keyed.who('hello')).resolves.toBe(`hello ${nodes.rpc.name}, soon`);
    expect(nodes.rpc.isConnected({ node: SERVER, key: 'tea' })).toBe(true);
    expect(nodes.rpc.isConnected(SERVER)).toBe(false);
    const gone = stock.at(SERVER, { signal: AbortSignal.abort() });
    await expect(gone.never()).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('fails as call does', async () => {
    await using nodes = await pair();
    const misnamed = nodes.rpc.module<StockController>('stokc').at(SERVER);
    await expect(misnamed.count('tea')).rejects.toMatchObject({ code: 'undefined_function' });
    const nowhere = nodes.rpc.module<StockController>('stock').at('nobody@');
    await expect(nowhere.count('tea')).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('iterates over replies that are streams, and ends them by leaving', async () => {
    await using nodes = await pair();
    const stock = nodes.rpc.module<StockController>('stock').streamFrom(SERVER);
    const shelves: string[] = [];
    for await (const shelf of stock.shelves('A')) {
      if (shelves.push(shelf) === 3) break;
    }
    expect(shelves).toEqual(['A1', 'A2', 'A3']);
    const boxes: number[] = [];
    for await (const count of stock.boxes(1, 2)) boxes.push(count);
    expect(boxes).toEqual([1, 2]);
    await until(() => nodes.node.stats().runningCalls === 0);
  });

  it.each([
    ['an async generator', counts],
    ['an Observable', () => of(1, 2, 3)],
  ])('sends a last argument that is %s', async (_, items) => {
    await using nodes = await pair();
    const stock = nodes.rpc.module<StockController>('stock').at(SERVER);
    await expect(stock.receive('boxes', items())).resolves.toBe('6 boxes');
  });

  it('casts, and says whether that was accepted', async () => {
    await using nodes = await pair();
    const stock = nodes.rpc.module<StockController>('stock').castTo(SERVER, { headers: { from: 'me' }, ordered: true });
    expect(stock.note('one')).toBe(true);
    expect(stock.note('two')).toBe(true);
    await until(() => notes.includes('two me'));
    expect(notes).toEqual(['initialised here', 'one me', 'two me']);
    expect(nodes.rpc.module<StockController>('stock').castTo('nobody@127.0.0.1').note('x')).toBe(true);
    await nodes.rpc.close();
    expect(stock.note('late')).toBe(false);
  });
});

describe('an object of remote methods', () => {
  /** Whatever it is asked for, nothing is called. */
  async function untouched(look: (stock: ModuleCalls<StockController>) => unknown): Promise<void> {
    await using nodes = await pair();
    const called: string[] = [];
    nodes.node.registerFunction('quiet', 'toJSON', { run: () => called.push('toJSON') });
    const stock = nodes.rpc.module<StockController>('quiet').at(SERVER);
    await look(stock);
    expect(nodes.rpc.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0 });
    expect(called).toEqual([]);
  }

  it('is no promise: it can be awaited, and returned by an async function', async () => {
    await untouched(async (stock) => {
      expect(await Promise.resolve(stock)).toBe(stock);
      expect(await (async () => stock)()).toBe(stock);
    });
  });

  it('can be shown, compared and written as text', async () => {
    await untouched((stock) => {
      expect(JSON.stringify({ stock })).toBe('{"stock":{}}');
      expect(String(stock)).toBe('[object Object]');
      expect(inspect(stock, { showProxy: true, depth: 5, showHidden: true })).toBeTypeOf('string');
      expect(`${inspect({ stock })}`).toContain('stock');
      expect(Object.keys(stock)).toEqual([]);
      expect(stock).toEqual(stock);
      expect(stock instanceof Promise).toBe(false);
      expect(Symbol.asyncIterator in stock || 'subscribe' in stock || 'count' in stock).toBe(false);
    });
  });

  it('makes each method once', async () => {
    await untouched((stock) => {
      expect(stock.count).toBe(stock.count);
      expect(stock.count).not.toBe(stock.order);
    });
  });

  it('works where somebody has frozen it', async () => {
    await using app = await pair();
    const stock = Object.freeze(app.rpc.module<StockController>('stock').at(SERVER));
    expect(await stock.count('tea')).toBe(await stock.count('tea'));
  });

  it('can be a provider of Nest, which calls nothing of it when it starts and stops', async () => {
    await untouched(async (stock) => {
      @Module({
        providers: [
          { provide: 'FACTORY', useFactory: () => stock },
          { provide: 'VALUE', useValue: stock },
        ],
      })
      class Root {}
      const context = await NestFactory.createApplicationContext(Root, { logger: new CapturedLogger() });
      expect(context.get('FACTORY')).toBe(stock);
      await context.close();
    });
  });
});
