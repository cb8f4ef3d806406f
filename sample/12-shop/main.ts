/** A shop of seven services. `SHOP_TRANSPORT=tcp` runs all of it over Nest's own transport: these lines stay the same. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { say, title } from '../story.js';
import type { Entry } from './audit.js';
import { Shop } from './shop.js';
import type { Service } from './transport.js';

title('a shop of seven services; one file knows over what they talk');
const shop = await Shop.open();

async function http(method: string, path: string, body?: object): Promise<unknown> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${shop.url}/${path}`, { method, headers, body: body ? JSON.stringify(body) : null });
  return { status: response.status, ...((await response.json()) as object) };
}

const order = (goods: string, count: number, card = '4711'): Promise<unknown> =>
  http('POST', 'orders', { customer: 'ann', card, lines: [{ goods, count }] });

const ask = <T>(service: Service, cmd: string, data: object): Promise<T> =>
  firstValueFrom(shop.client(service).send<T>({ cmd }, data));

function check(what: string, text: string, ending: unknown, expected: unknown): void {
  assert.deepEqual(ending, expected, text);
  say(what, `${text} → ${JSON.stringify(ending)}`);
}

async function orders(): Promise<void> {
  const placed = { status: 201, id: 1, customer: 'ann', total: 12.6, receipt: '12.60 from 4711' };
  check('order', '3 tea', await order('tea', 3), placed);
  let letters: string[] = [];
  while (letters.length === 0) letters = await ask('mail', 'mail.to', { customers: ['ann'] });
  check('event', 'mail has heard of it', letters, ['Dear ann, your order 1 costs 12.60.']);
  let noted: Entry[] = [];
  for (; noted.length === 0; await sleep(1)) noted = await ask('audit', 'audit.list', { about: 'orders.place' });
  check('', 'so has audit, by an interceptor of orders', noted, [{ pattern: '{"cmd":"orders.place"}', items: 1 }]);
}

async function failures(): Promise<void> {
  const declined = { status: 402, code: 'DECLINED', message: 'The bank does not give 8.40.' };
  check('filter', '2 tea on an empty card', await order('tea', 2, 'empty'), declined);
  check('', 'and they are back on the shelf', await ask('stock', 'stock.count', { goods: 'tea' }), 97);
  const few = { status: 409, code: 'OUT_OF_STOCK', message: 'There is not enough unicorn: 0 left.' };
  check('', '1 unicorn', await order('unicorn', 1), few);
  const invalid = {
    code: 'INVALID',
    message: 'customer must be a string; card must be a string; lines should not be empty',
  };
  const wrong = await ask('orders', 'orders.place', { lines: [] }).catch((error: unknown) => error);
  check('pipe', 'an order of nothing', wrong, invalid);
  const guessed = { token: 'guessed', card: '4711', amount: 1 };
  const refused = await ask('payments', 'payments.charge', guessed).catch((error: unknown) => error);
  check('guard', 'a payment by a stranger', refused, { status: 'error', message: 'Forbidden resource' });
}

async function streams(): Promise<void> {
  const table = shop.client('prices').send<number>({ cmd: 'prices.table' }, { goods: 'tea', count: 4 });
  check('stream', '1 to 4 tea', await lastValueFrom(table.pipe(toArray())), [4.2, 8.4, 12.6, 16.8]);
}

try {
  await orders();
  await failures();
  await streams();
} finally {
  await shop.close();
}
