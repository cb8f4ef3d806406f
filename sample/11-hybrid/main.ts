/** HTTP beside messages, and two transports side by side: how an application moves from one to the other. */
import type { AddressInfo, Server } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, type MicroserviceOptions, Transport } from '@nestjs/microservices';
import { GenRpcClient, GenRpcNode, GenRpcServer } from 'nestjs-gen-rpc';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { secret } from '../secret.js';
import { tell, title } from '../story.js';
import { type Book, LIBRARY, LibraryModule } from './library.js';

const host = '127.0.0.1';
const EMMA: Book = { id: 2, title: 'Emma' };
const NO_HANDLER = 'There is no matching message handler defined in the remote service.';

title('one application: HTTP, Transport.TCP and this library at once');
const app = await NestFactory.create(LibraryModule, { logger: ['error'] });
const strategy = app.get(GenRpcServer);
const tcp = app.connectMicroservice<MicroserviceOptions>({ transport: Transport.TCP, options: { host, port: 0 } });
app.connectMicroservice<MicroserviceOptions>({ strategy });
await app.startAllMicroservices();
await app.listen(0, host);

const { port: oldPort } = tcp.unwrap<Server>().address() as AddressInfo;
const { port: newPort = 0 } = (await app.get(GenRpcNode).listen()) ?? {};
const before = ClientProxyFactory.create({ transport: Transport.TCP, options: { host, port: oldPort } });
const after = new GenRpcClient({ target: LIBRARY, secret, clientPort: newPort });

async function everyDoor(): Promise<void> {
  const url = await app.getUrl();
  const show = async (): Promise<Book> => (await (await fetch(`${url}/books/2`)).json()) as Book;
  await tell('http', 'GET /books/2', show, { value: EMMA });
  const data = { id: 2 };
  await tell('before', "send('books.find')", () => firstValueFrom(before.send('books.find', data)), { value: EMMA });
  await tell('after', "send('books.find')", () => firstValueFrom(after.send('books.find', data)), { value: EMMA });
  const call = (): Promise<Book> => after.unwrap().call(LIBRARY, 'books', 'find', [data]);
  await tell('', "call('books', 'find')", call, { value: EMMA });
}

/** The same events from both sides, to the same handler. */
async function events(): Promise<void> {
  await lastValueFrom(before.emit('book.returned', {}), { defaultValue: undefined });
  await lastValueFrom(after.emit('book.returned', {}), { defaultValue: undefined });
  const returned = async (): Promise<number> => {
    for (;;) {
      const count = await firstValueFrom(after.send<number>('books.returned', {}));
      if (count >= 2) return count;
    }
  };
  await tell('events', "one 'book.returned' from each side", returned, { value: 2 });
}

/** A pattern may name the transport that it is for. */
async function onlyOne(): Promise<void> {
  const all = (): Promise<Book[]> => lastValueFrom(after.send<Book>('books.all', {}).pipe(toArray()));
  await tell('after', "send('books.all'), a stream", all, { holds: (books) => books.length === 3 });
  const failing = (from: typeof before | GenRpcClient, pattern: string) => () =>
    firstValueFrom(from.send(pattern, {})).catch((error: unknown) => error);
  await tell('before', "send('books.all')", failing(before, 'books.all'), { value: NO_HANDLER });
  await tell('after', "send('books.list')", failing(after, 'books.list'), { value: NO_HANDLER });
}

try {
  await everyDoor();
  await events();
  await onlyOne();
} finally {
  await before.close();
  await after.close();
  await app.close();
}
