/** How the methods of a controller look to callers, and what the compiler keeps them from. Checked by `npm run typecheck`. */
import { Ctx, Payload, type BaseRpcContext } from '@nestjs/microservices';
import { Observable } from 'rxjs';
import { describe, expect, expectTypeOf, it } from 'vitest';
import type * as core from '../../lib/core.js';
import {
  Arg,
  GenRpcContext,
  GenRpcItemStream,
  RpcFunction,
  RpcModule,
  type GenRpcNode,
  type ItemsToSend,
  type ModuleCalls,
  type ModuleCasts,
  type ModuleStreams,
  type TypedModule,
} from '../../lib/index.js';

class Order {
  goods!: string;
  count?: number;
}

@RpcModule('stock')
class Stock {
  readonly warehouse: string = 'north';

  constructor(private readonly counts: Map<string, number>) {}

  @RpcFunction()
  count(@Arg(0) goods: string, @Arg(1) row?: number): number {
    return (this.counts.get(goods) ?? 0) + this.secret(row ?? 0);
  }

  @RpcFunction()
  async order(@Payload() order: Order, @Ctx() _context: GenRpcContext): Promise<Date> {
    return new Date(order.count ?? 0);
  }

  @RpcFunction()
  between(@Ctx() _context: BaseRpcContext, @Arg(0) _goods: string, @Ctx() _again?: GenRpcContext): void {}

  @RpcFunction()
  dynamic(@Arg(0) anything: any, @Arg(1) _unknown: unknown): any {
    return anything;
  }

  @RpcFunction()
  many(@Arg(0) goods: string, ..._more: number[]): string {
    return goods;
  }

  @RpcFunction()
  async *shelves(@Arg(0) row: string, @Ctx() _context: GenRpcContext): AsyncGenerator<string> {
    yield row;
  }

  @RpcFunction()
  prices(): Observable<number> {
    return new Observable();
  }

  @RpcFunction()
  async latePrices(): Promise<Observable<{ tea: number }>> {
    return new Observable();
  }

  @RpcFunction()
  iterate(): AsyncIterable<boolean> {
    return this.shelves('A', {} as GenRpcContext) as AsyncIterable<never>;
  }

  @RpcFunction()
  receive(@Arg(0) goods: string, @Arg(1) _boxes: Observable<number>): string {
    return goods;
  }

  @RpcFunction()
  read(@Payload() _items: AsyncIterable<Date>): void {}

  @RpcFunction()
  echo(@Payload() items: GenRpcItemStream<string>): Observable<string> {
    return items;
  }

  onModuleInit(): void {}

  toJSON(): object {
    return this;
  }

  private secret(row: number): number {
    return row;
  }
}

type Calls = ModuleCalls<Stock>;
type Streams = ModuleStreams<Stock>;
type Casts = ModuleCasts<Stock>;

describe('a typed module', () => {
  it('comes of a node, in core too, by the type of a class or an interface', () => {
    const calls = (node: GenRpcNode): Calls => node.module<Stock>('stock', { version: '1.0.0' }).at('b@c');
    const keyed = (node: core.GenRpcNode): Streams =>
      node.module<Stock>('stock').streamFrom({ node: 'b@c', key: 7 }, { timeout: 5, waitForReady: true });
    const casts = (node: GenRpcNode): Casts => node.module<Stock>('stock').castTo('b@c', { ordered: true });
    expectTypeOf(calls).returns.toEqualTypeOf<Calls>();
    expectTypeOf(keyed).returns.toEqualTypeOf<core.ModuleStreams<Stock>>();
    expectTypeOf(casts).returns.toEqualTypeOf<Casts>();
    const written = (node: GenRpcNode) => node.module<{ add(a: number, b: number): number }>('math').at('b@c');
    expectTypeOf(written).returns.toEqualTypeOf<{ readonly add: (a: number, b: number) => Promise<number> }>();
    expectTypeOf<TypedModule<Stock>>().toEqualTypeOf<core.TypedModule<Stock>>();
    // @ts-expect-error: it has a name
    expect((node: GenRpcNode) => node.module<Stock>()).toBeInstanceOf(Function);
    // @ts-expect-error: nobody waits for a cast
    expect((module: TypedModule<Stock>) => module.castTo('b@c', { timeout: 5 })).toBeInstanceOf(Function);
    // @ts-expect-error: replies have no order
    expect((module: TypedModule<Stock>) => module.at('b@c', { ordered: true })).toBeInstanceOf(Function);
    // @ts-expect-error: without a type it has no methods
    expect((node: GenRpcNode) => node.module('stock').at('b@c').count('tea')).toBeInstanceOf(Function);
  });

  it('has the public methods, each in the view of its kind', () => {
    type Unary = 'count' | 'order' | 'between' | 'dynamic' | 'many' | 'receive' | 'read';
    type Streaming = 'shelves' | 'prices' | 'latePrices' | 'iterate' | 'echo';
    type Reading = 'receive' | 'read' | 'echo';
    expectTypeOf<keyof Calls>().toEqualTypeOf<Unary>();
    expectTypeOf<keyof Streams>().toEqualTypeOf<Streaming | 'dynamic'>();
    expectTypeOf<keyof Casts>().toEqualTypeOf<Exclude<Unary | Streaming, Reading>>();
    // @ts-expect-error: it streams
    expect((calls: Calls) => calls.shelves('A')).toBeInstanceOf(Function);
    // @ts-expect-error: it replies once
    expect((streams: Streams) => streams.count('tea')).toBeInstanceOf(Function);
    // @ts-expect-error: private
    expect((calls: Calls) => calls.secret(1)).toBeInstanceOf(Function);
    // @ts-expect-error: no method
    expect((calls: Calls) => calls.warehouse).toBeInstanceOf(Function);
    // @ts-expect-error: the application's own
    expect((calls: Calls) => calls.onModuleInit()).toBeInstanceOf(Function);
    // @ts-expect-error: no such method
    expect((calls: Calls) => calls.recount()).toBeInstanceOf(Function);
    // @ts-expect-error: its methods are not to be replaced
    expect((calls: Calls) => (calls.count = async () => 1)).toBeInstanceOf(Function);
    // @ts-expect-error: nobody reads what a cast would stream
    expect((casts: Casts) => casts.read([])).toBeInstanceOf(Function);
  });

  it('awaited is what it is', () => {
    expectTypeOf<Awaited<Calls>>().toEqualTypeOf<Calls>();
  });

  it('takes what a caller sends, under its own names, and gives promises', () => {
    expectTypeOf<Calls['count']>().toEqualTypeOf<(goods: string, row?: number) => Promise<number>>();
    expectTypeOf<Calls['order']>().toEqualTypeOf<(order: Order) => Promise<Date>>();
    expectTypeOf<Calls['between']>().toEqualTypeOf<(goods: string) => Promise<void>>();
    expectTypeOf<Calls['dynamic']>().toEqualTypeOf<(anything: any, unknown: unknown) => Promise<any>>();
    expectTypeOf<Calls['many']>().toEqualTypeOf<(goods: string, ...more: number[]) => Promise<string>>();
    // @ts-expect-error: too few arguments
    expect((calls: Calls) => calls.count()).toBeInstanceOf(Function);
    // @ts-expect-error: too many
    expect((calls: Calls) => calls.count('tea', 1, 2)).toBeInstanceOf(Function);
    // @ts-expect-error: goods are text
    expect((calls: Calls) => calls.count(7)).toBeInstanceOf(Function);
    // @ts-expect-error: nobody sends a context
    expect((calls: Calls, context: GenRpcContext) => calls.order({ goods: 'tea' }, context)).toBeInstanceOf(Function);
    // @ts-expect-error: an order has goods
    expect((calls: Calls) => calls.order({ count: 1 })).toBeInstanceOf(Function);
    // @ts-expect-error: a date, and not text
    expect(async (calls: Calls): Promise<string> => calls.order({ goods: 'tea' })).toBeInstanceOf(Function);
  });

  it('is of interfaces, abstract and generic classes too', () => {
    interface Written<T> {
      optional?(a: T, boxes?: Observable<string>): boolean | undefined;
      sometimes(): number | Observable<string>;
      generic<U>(value: U): U;
      overloaded(text: string): string;
      overloaded(count: number): number;
      readonly made: new () => T;
    }
    abstract class Base<T> {
      abstract find(id: string): Promise<T>;
      abstract list(): Observable<T>;
      protected hidden(): void {}
    }
    type OfDates = ModuleCalls<Written<Date>>;
    expectTypeOf<keyof OfDates>().toEqualTypeOf<'optional' | 'sometimes' | 'generic' | 'overloaded'>();
    expectTypeOf<OfDates['optional']>().toEqualTypeOf<
      (a: Date, boxes?: ItemsToSend<string>) => Promise<boolean | undefined>
    >();
    expectTypeOf<OfDates['sometimes']>().toEqualTypeOf<() => Promise<number | string | undefined>>();
    expectTypeOf<OfDates['generic']>().toEqualTypeOf<(value: unknown) => Promise<unknown>>();
    expectTypeOf<OfDates['overloaded']>().toEqualTypeOf<(count: number) => Promise<number>>();
    expectTypeOf<ModuleCasts<Written<Date>>>().not.toHaveProperty('optional');
    expectTypeOf<ModuleCalls<Base<Order>>>().toEqualTypeOf<{ readonly find: (id: string) => Promise<Order> }>();
    expectTypeOf<ModuleStreams<Base<Order>>>().toEqualTypeOf<{ readonly list: () => AsyncIterable<Order> }>();
  });

  it('gives streams to iterate over', () => {
    expectTypeOf<Streams['shelves']>().toEqualTypeOf<(row: string) => AsyncIterable<string>>();
    expectTypeOf<Streams['prices']>().toEqualTypeOf<() => AsyncIterable<number>>();
    expectTypeOf<Streams['latePrices']>().toEqualTypeOf<() => AsyncIterable<{ tea: number }>>();
    expectTypeOf<Streams['iterate']>().toEqualTypeOf<() => AsyncIterable<boolean>>();
    // @ts-expect-error: not an Observable
    expect((streams: Streams) => streams.prices().pipe()).toBeInstanceOf(Function);
  });

  it('takes streams of either kind', () => {
    expectTypeOf<Calls['receive']>().toEqualTypeOf<(goods: string, boxes: ItemsToSend<number>) => Promise<string>>();
    expectTypeOf<Calls['read']>().toEqualTypeOf<(items: ItemsToSend<Date>) => Promise<void>>();
    expectTypeOf<Streams['echo']>().toEqualTypeOf<(items: ItemsToSend<string>) => AsyncIterable<string>>();
    expectTypeOf<AsyncIterable<number>>().toExtend<ItemsToSend<number>>();
    expectTypeOf<Observable<number>>().toExtend<ItemsToSend<number>>();
    expectTypeOf<AsyncGenerator<number>>().toExtend<ItemsToSend<number>>();
    expectTypeOf<GenRpcItemStream<number>>().toExtend<ItemsToSend<number>>();
    expectTypeOf<Observable<string>>().not.toExtend<ItemsToSend<number>>();
    expectTypeOf<AsyncIterable<string>>().not.toExtend<ItemsToSend<number>>();
    expectTypeOf<number[]>().not.toExtend<ItemsToSend<number>>();
  });

  it('says whether a cast was accepted', () => {
    expectTypeOf<Casts['count']>().toEqualTypeOf<(goods: string, row?: number) => boolean>();
    expectTypeOf<Casts['order']>().toEqualTypeOf<(order: Order) => boolean>();
  });
});
