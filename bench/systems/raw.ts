/** The floor: `node:net` and msgpackr, without names to look up, deadlines, limits or authentication. */
import { once } from 'node:events';
import { connect as connectSocket, createServer, type AddressInfo, type Socket } from 'node:net';
import type { BenchClient, BenchServer } from '../system.js';
import { FramedSocket } from './framed-socket.js';

/** As a message of any RPC: a number to match the reply by, a name, and data. */
type Request = { id: number } & (
  | { name: 'math.add'; data: { a: number; b: number } }
  | { name: 'math.note'; data: { value: number } }
  | { name: 'math.notes'; data: null }
);

interface Reply {
  id: number;
  value: number;
}

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
    const frames = new FramedSocket(socket, (message) => {
      const request = message as Request;
      const { id } = request;
      if (request.name === 'math.add') frames.send({ id, value: request.data.a + request.data.b } satisfies Reply);
      else if (request.name === 'math.note') notes += 1;
      else frames.send({ id, value: notes } satisfies Reply);
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
  const frames = new FramedSocket(socket, (message) => {
    const { id, value } = message as Reply;
    waiting.get(id)?.resolve(value);
    waiting.delete(id);
  });
  socket.on('close', () => waiting.forEach((call) => call.reject(new Error('The connection was lost.'))));
  let lastId = EVENT;
  const call = (request: (id: number) => Request): Promise<number> =>
    new Promise((resolve, reject) => {
      const id = ++lastId;
      waiting.set(id, { resolve, reject });
      frames.send(request(id));
    });
  return {
    add: (a, b) => call((id) => ({ id, name: 'math.add', data: { a, b } })),
    note: (value) => frames.send({ id: EVENT, name: 'math.note', data: { value } } satisfies Request),
    notes: () => call((id) => ({ id, name: 'math.notes', data: null })),
    close: () => void socket.destroy(),
  };
}
