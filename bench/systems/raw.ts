/** The floor: `node:net` and msgpackr, without names to look up, deadlines, limits or authentication. */
import { once } from 'node:events';
import { connect as connectSocket, createServer, type AddressInfo, type Socket } from 'node:net';
import type { BenchClient, BenchServer } from '../system.js';
import { FramedSocket } from './framed-socket.js';

type Request = readonly ['add', { a: number; b: number }] | readonly ['note', { value: number }] | readonly ['notes'];

interface Waiting {
  resolve(value: number): void;
  reject(reason: Error): void;
}

/** The number of a message that wants no reply. */
const EVENT = 0;

export async function serve(): Promise<BenchServer> {
  const sockets = new Set<Socket>();
  let notes = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    const frames = new FramedSocket(socket, (id, message) => {
      const request = message as Request;
      if (request[0] === 'add') frames.send(id, request[1].a + request[1].b);
      else if (request[0] === 'note') notes += 1;
      else frames.send(id, notes);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, close };
}

export async function connect(port: number): Promise<BenchClient> {
  const socket = connectSocket(port, '127.0.0.1');
  await once(socket, 'connect');
  const waiting = new Map<number, Waiting>();
  const frames = new FramedSocket(socket, (id, reply) => {
    waiting.get(id)?.resolve(reply as number);
    waiting.delete(id);
  });
  socket.on('close', () => waiting.forEach((call) => call.reject(new Error('The connection was lost.'))));
  let lastId = EVENT;
  const call = (request: Request): Promise<number> =>
    new Promise((resolve, reject) => {
      const id = ++lastId;
      waiting.set(id, { resolve, reject });
      frames.send(id, request);
    });
  return {
    add: (a, b) => call(['add', { a, b }]),
    note: (value) => frames.send(EVENT, ['note', { value }]),
    notes: () => call(['notes']),
    close: () => void socket.destroy(),
  };
}
