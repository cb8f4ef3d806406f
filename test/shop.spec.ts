/** The same shop over Nest's TCP transport and over this one: nothing but its `transport.ts` knows which. */
import 'reflect-metadata';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClientProxy } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, take, toArray } from 'rxjs';
import { describe, expect, it, vi } from 'vitest';
import { Shop } from '../sample/12-shop/shop.js';
import type { Service } from '../sample/12-shop/transport.js';
import { CapturedLogger } from './nest/support.js';

const FOLDER = join(import.meta.dirname, '../sample/12-shop');

class OpenShop {
  private constructor(
    private readonly shop: Shop,
    readonly log: CapturedLogger,
  ) {}

  static async over(transport: string): Promise<OpenShop> {
    vi.stubEnv('SHOP_TRANSPORT', transport);
    const log = new CapturedLogger();
    return new OpenShop(await Shop.open(log), log);
  }

  client(service: Service): ClientProxy {
    return this.shop.client(service);
  }

  stop(service: Service): Promise<void> {
    return this.shop.stop(service);
  }

  async ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
    const init = { method, headers: { 'content-type': 'application/json' } };
    const response = await fetch(
      `${this.shop.url}/${path}`,
      body === undefined ? init : { ...init, body: JSON.stringify(body) },
    );
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  }

  order(goods: string, count: number, more: object = {}): Promise<{ status: number; body: unknown }> {
    return this.ask('POST', 'orders', { customer: 'ann', card: '4711', lines: [{ goods, count }], ...more });
  }

  of<T>(service: Service, cmd: string, data: object): Promise<T> {
    return firstValueFrom(this.client(service).send<T>({ cmd: `${service}.${cmd}` }, data));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shop.close();
    vi.unstubAllEnvs();
  }
}

/** Events and audit entries arrive when they do. */
const eventually = (check: () => Promise<boolean>): Promise<unknown> =>
  vi.waitUntil(check, { timeout: 15_000, interval: 5 });

describe.each(['tcp', 'gen_rpc'])('the shop over %s', (transport) => {
  it('takes an order: four services are asked, two are told', async () => {
    await using shop = await OpenShop.over(transport);
    expect(shop.client('stock').constructor.name).toBe({ tcp: 'ClientTCP', gen_rpc: 'GenRpcClient' }[transport]);
    const order = { id: 1, customer: 'ann', total: 12.6, receipt: '12.60 from 4711' };
    await expect(shop.order('tea', 3)).resolves.toEqual({ status: 201, body: order });
    await expect(shop.ask('GET', 'orders/1')).resolves.toEqual({ status: 200, body: order });
    await expect(shop.of('stock', 'count', { goods: ' Tea ' })).resolves.toBe(97);
    await eventually(async () => (await shop.of<string[]>('mail', 'to', { customers: ['ann'] })).length > 0);
    await expect(shop.of('mail', 'to', { customers: ['ann'] })).resolves.toEqual([
      'Dear ann, your order 1 costs 12.60.',
    ]);
    await eventually(async () => (await shop.of<unknown[]>('audit', 'list', { about: 'orders' })).length === 2);
    await expect(shop.of('audit', 'list', { about: 'place' })).resolves.toEqual([
      { pattern: '{"cmd":"orders.place"}', items: 1 },
    ]);
  });

  it('validates at the gate, and again in every service', async () => {
    await using shop = await OpenShop.over(transport);
    await expect(shop.order('tea', 0)).resolves.toMatchObject({
      status: 400,
      body: { message: ['lines.0.count must not be less than 1'] },
    });
    await expect(shop.of('orders', 'place', { customer: 7, card: 'x', lines: [] })).rejects.toEqual({
      code: 'INVALID',
      message: expect.stringMatching(/customer must be a string.*lines should not be empty/),
    });
  });

  it.each([
    [409, { code: 'OUT_OF_STOCK', message: 'There is not enough tea: 100 left.' }, 'tea', 101, {}],
    [404, { code: 'UNKNOWN', message: 'Nobody sells dragons.' }, 'dragons', 1, {}],
    [402, { code: 'DECLINED', message: 'The bank does not give 8.40.' }, 'tea', 2, { card: 'empty' }],
  ])('refuses with %s, and takes nothing from the shelves', async (status, body, goods, count, more) => {
    await using shop = await OpenShop.over(transport);
    await expect(shop.order(goods, count, more)).resolves.toEqual({ status, body });
    await expect(shop.of('stock', 'count', { goods: 'tea' })).resolves.toBe(100);
  });

  it('guards payments, whoever asks', async () => {
    await using shop = await OpenShop.over(transport);
    const charge = shop.of('payments', 'charge', { token: 'guessed', card: '4711', amount: 1 });
    await expect(charge).rejects.toEqual({ status: 'error', message: 'Forbidden resource' });
  });

  it('makes what is request-scoped for each message', async () => {
    await using shop = await OpenShop.over(transport);
    const orders = await Promise.all(
      Array.from({ length: 50 }, (_, n) => shop.order('rice', (n % 2) + 1, { customer: `c${n}`, card: `card ${n}` })),
    );
    for (const [n, { status, body }] of orders.entries()) {
      const total = n % 2 === 0 ? 1.1 : 2.2;
      expect(status).toBe(201);
      expect(body).toMatchObject({ customer: `c${n}`, total, receipt: `${total.toFixed(2)} from card ${n}` });
    }
    await expect(shop.of('stock', 'count', { goods: 'rice' })).resolves.toBe(25);
  });

  it('streams, through interceptors and over the gate', async () => {
    await using shop = await OpenShop.over(transport);
    for (const count of [1, 2, 3]) await shop.order('rice', count);
    const body = [1.1, 2.2, 3.3].map((total, n) => expect.objectContaining({ id: n + 1, total }));
    await expect(shop.ask('GET', 'customers/ann/orders')).resolves.toEqual({ status: 200, body });
    await expect(shop.ask('GET', 'customers/bob/orders')).resolves.toEqual({ status: 200, body: [] });
    await expect(shop.ask('GET', 'prices/tea/4')).resolves.toEqual({ status: 200, body: [4.2, 8.4, 12.6, 16.8] });
    const table = shop.client('prices').send<number>({ cmd: 'prices.table' }, { goods: 'tea', count: 10_000 });
    await expect(lastValueFrom(table.pipe(toArray()))).resolves.toHaveLength(10_000);
    await expect(lastValueFrom(table.pipe(take(2), toArray()))).resolves.toEqual([4.2, 8.4]);
    await eventually(async () => (await shop.of<unknown[]>('audit', 'list', { about: 'orders.of' })).length === 2);
    await expect(shop.of('audit', 'list', { about: 'orders.of' })).resolves.toContainEqual({
      pattern: '{"cmd":"orders.of"}',
      items: 3,
    });
  });

  it('has a gate that answers HTTP and hears events', async () => {
    await using shop = await OpenShop.over(transport);
    await expect(shop.ask('GET', 'prices/tea')).resolves.toEqual({ status: 200, body: { price: null } });
    await expect(shop.ask('PUT', 'prices', { goods: 'tea', price: 5 })).resolves.toMatchObject({ status: 200 });
    await eventually(async () => JSON.stringify((await shop.ask('GET', 'prices/tea')).body) === '{"price":5}');
    await expect(shop.order('tea', 2)).resolves.toMatchObject({ status: 201, body: { total: 10 } });
  });

  it('goes on without a service as far as it can', async () => {
    await using shop = await OpenShop.over(transport);
    await shop.order('tea', 1);
    await shop.stop('payments');
    await eventually(async () => (await shop.order('tea', 1)).status === 503);
    await expect(shop.order('tea', 1)).resolves.toEqual({
      status: 503,
      body: { code: 'UNAVAILABLE', message: 'Try again later.' },
    });
    await expect(shop.of('stock', 'count', { goods: 'tea' })).resolves.toBe(99);
    await expect(shop.ask('GET', 'orders/1')).resolves.toMatchObject({ status: 200 });
  });

  it('says what Nest says to a message that nobody handles', async () => {
    await using shop = await OpenShop.over(transport);
    await expect(shop.of('stock', 'steal', {})).rejects.toBe(
      'There is no matching message handler defined in the remote service.',
    );
    expect(shop.log.said('error', 'Exception')).toEqual([]);
  });
});

describe("the shop's sources", () => {
  it('name a transport in one file only', () => {
    const naming = readdirSync(FOLDER).filter((file) =>
      /gen.?rpc|Transport\.[A-Z]|SHOP_TRANSPORT/.test(
        readFileSync(join(FOLDER, file), 'utf8').replace(/^\/\*\*.*\*\/$/gm, ''),
      ),
    );
    expect(naming).toEqual(['transport.ts']);
  });
});
