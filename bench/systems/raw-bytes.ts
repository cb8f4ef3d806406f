/** The floor for buffers: `node:net`, a number and a length in front of the bytes, and nothing else. */
import type { Socket } from 'node:net';
import type { BenchClient, BenchServer, System } from '../system.js';
import { dial, listen, type Wire } from './wire.js';

/** The number that a reply is matched by, the length of the bytes. */
const HEAD_BYTES = 8;

export function over(wire: Wire): System {
  return { serve: () => serve(wire), connect: (port) => connect(port, wire) };
}

function serve(wire: Wire): Promise<BenchServer> {
  return listen(wire, (socket) => read(socket, (id, bytes) => write(socket, id, bytes)));
}

async function connect(port: number, wire: Wire): Promise<BenchClient> {
  const socket = await dial(wire, port);
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
