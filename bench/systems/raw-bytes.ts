/** The floor for buffers: `node:net`, a number and a length in front of the bytes, and nothing else. */
import { once } from 'node:events';
import { connect as connectSocket, createServer, type AddressInfo, type Socket } from 'node:net';
import { HOST } from '../host.js';
import type { BenchClient, BenchServer } from '../system.js';

/** The number that a reply is matched by, the length of the bytes. */
const HEAD_BYTES = 8;

export async function serve(): Promise<BenchServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    read(socket, (id, bytes) => write(socket, id, bytes));
  });
  server.listen(0, HOST);
  await once(server, 'listening');
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, close };
}

export async function connect(port: number): Promise<BenchClient> {
  const socket = connectSocket(port, HOST);
  await once(socket, 'connect');
  const waiting = new Map<number, (bytes: Buffer) => void>();
  read(socket, (id, bytes) => {
    waiting.get(id)?.(bytes);
    waiting.delete(id);
  });
  let lastId = 0;
  return {
    echo: (bytes) =>
      new Promise((resolve) => {
        waiting.set(++lastId, resolve);
        write(socket, lastId, bytes);
      }),
    close: () => void socket.destroy(),
  };
}

function write(socket: Socket, id: number, bytes: Uint8Array): void {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.writeUInt32BE(id, 0);
  head.writeUInt32BE(bytes.length, 4);
  socket.cork();
  socket.write(head);
  socket.write(bytes);
  socket.uncork();
}

/** Copies every byte once: out of what the socket brought, into the message that it belongs to. */
function read(socket: Socket, onMessage: (id: number, bytes: Buffer) => void): void {
  socket.setNoDelay(true);
  const head = Buffer.alloc(HEAD_BYTES);
  let headBytes = 0;
  let body = Buffer.alloc(0);
  let bodyBytes = 0;
  socket.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length;) {
      if (headBytes < HEAD_BYTES) {
        const copied = chunk.copy(head, headBytes, at);
        headBytes += copied;
        at += copied;
        if (headBytes < HEAD_BYTES) return;
        body = Buffer.allocUnsafeSlow(head.readUInt32BE(4));
        bodyBytes = 0;
      }
      const copied = chunk.copy(body, bodyBytes, at);
      bodyBytes += copied;
      at += copied;
      if (bodyBytes < body.length) continue;
      headBytes = 0;
      onMessage(head.readUInt32BE(0), body);
    }
  });
}
