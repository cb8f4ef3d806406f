/** Sockets that speak TLS and know nothing of nodes: they show and believe what a test tells them to. */
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer, type ConnectionOptions, type TLSSocket, type TlsOptions } from 'node:tls';
import { RawPeer, RawServer } from './raw-peer.js';
import { LOOPBACK_TLS } from './tls.js';

/** What a client saw of its connection until that was over. */
export interface TlsVisit {
  readonly secured: boolean;
  /** Code of its error. */
  readonly error: string | undefined;
  /** Bytes that came over TLS. */
  readonly heard: Buffer;
}

/** A client of TLS to a local port. It need not come about. */
function tlsSocket(port: number, options: ConnectionOptions = {}): TLSSocket {
  return connect({ port, host: '127.0.0.1', ...LOOPBACK_TLS, ...options });
}

/** Resolves once TLS is set up. */
export async function tlsPeer(port: number, options: ConnectionOptions = {}): Promise<RawPeer> {
  const socket = tlsSocket(port, options);
  const peer = new RawPeer(socket);
  await once(socket, 'secureConnect');
  return peer;
}

/** Resolves once it is over, however far it came. */
export function tlsVisit(port: number, options: ConnectionOptions = {}): Promise<TlsVisit> {
  return overOf(tlsSocket(port, options));
}

function overOf(socket: TLSSocket): Promise<TlsVisit> {
  const heard: Buffer[] = [];
  let secured = false;
  let error: string | undefined;
  socket.on('secureConnect', () => (secured = true));
  socket.on('data', (bytes) => heard.push(bytes));
  socket.on('error', (cause: NodeJS.ErrnoException) => (error = cause.code ?? cause.message));
  return new Promise((resolve) => {
    socket.once('close', () => resolve({ secured, error, heard: Buffer.concat(heard) }));
  });
}

/** The bytes of a ClientHello, as somebody sends it who could go on. */
export async function clientHello(): Promise<Buffer> {
  await using server = await RawServer.listen('tcp');
  const socket = tlsSocket(server.port);
  const over = overOf(socket);
  const peer = await server.accept();
  await peer.until(() => peer.received.length > 0);
  peer.destroy();
  await over;
  return Buffer.concat(peer.received);
}

/** A server of TLS that is no node. */
export class TlsImpostor {
  readonly peers: RawPeer[] = [];
  /** Connections, secured or not, and those of them that are over. */
  accepted = 0;
  ended = 0;

  private constructor(
    private readonly server: ReturnType<typeof createServer>,
    readonly port: number,
  ) {}

  static async listen(options: TlsOptions = {}, onPeer?: (peer: RawPeer) => void): Promise<TlsImpostor> {
    const server = createServer({ ...LOOPBACK_TLS, requestCert: true, ...options });
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const impostor = new TlsImpostor(server, (server.address() as AddressInfo).port);
    server.on('connection', (socket: Socket) => {
      impostor.accepted += 1;
      socket.on('error', () => {});
      socket.once('close', () => (impostor.ended += 1));
    });
    server.on('secureConnection', (socket) => {
      const peer = new RawPeer(socket);
      impostor.peers.push(peer);
      onPeer?.(peer);
    });
    return impostor;
  }

  /** All that was said to it over TLS. */
  get heard(): Buffer {
    return Buffer.concat(this.peers.flatMap((peer) => peer.received));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.peers) peer.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
