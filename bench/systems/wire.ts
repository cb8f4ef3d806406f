/** What systems go over, and the sockets of those that are no library. */
import { once } from 'node:events';
import { connect as dialTcp, createServer as createTcp, type AddressInfo, type Socket } from 'node:net';
import { connect as dialTls, createServer as createTls } from 'node:tls';
import { credentials, type Credentials } from '../certificates.js';
import { HOST } from '../host.js';
import type { BenchServer, System } from '../system.js';

/** `tls`: by certificate of both ends, each of which checks the other's. */
export type Wire = 'tcp' | 'tls';

/** A file in `systems/` whose system goes over either. */
export interface Wired {
  over(wire: Wire): System;
}

/** What a server over TLS needs so that it lets nobody in without a certificate. */
export const mutual = (): Credentials & { requestCert: true; rejectUnauthorized: true } => {
  return { ...credentials(), requestCert: true, rejectUnauthorized: true };
};

export async function listen(wire: Wire, onSocket: (socket: Socket) => void): Promise<BenchServer> {
  const sockets = new Set<Socket>();
  const accept = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    onSocket(socket);
  };
  const server = wire === 'tls' ? createTls(mutual(), accept) : createTcp(accept);
  server.listen(0, HOST);
  await once(server, 'listening');
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, close };
}

/** Resolves once both ends may talk. */
export async function dial(wire: Wire, port: number): Promise<Socket> {
  if (wire === 'tcp') return await opened(dialTcp(port, HOST), 'connect');
  return await opened(dialTls({ ...credentials(), host: HOST, port }), 'secureConnect');
}

async function opened<S extends Socket>(socket: S, event: string): Promise<S> {
  await once(socket, event);
  return socket;
}
