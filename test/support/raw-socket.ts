/** Sockets as strangers have them: plain, or with TLS and the certificate of any node on this machine. */
import { connect, type Socket, type SocketConstructorOpts, type TcpSocketConnectOpts } from 'node:net';
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';
import type { SocketDriver } from './cluster.js';
import { LOOPBACK_TLS } from './tls.js';

/** Of plain TCP. */
export const TCP_BINDING = new Uint8Array(32);

const secureContext = createSecureContext({ ...LOOPBACK_TLS, minVersion: 'TLSv1.3' });

export interface RawSocket {
  readonly socket: Socket;
  /** What goes over the wire: without TLS the same. */
  readonly under: Socket;
  /** Rejects if it does not come to that. */
  readonly ready: Promise<void>;
}

export function dialSocket(
  driver: SocketDriver,
  port: number,
  options: Partial<TcpSocketConnectOpts & SocketConstructorOpts> = {},
): RawSocket {
  const at = { port, host: '127.0.0.1', ...options };
  // Whoever reads into memory of its own has to be the one that connects.
  const under = driver === 'tls' && options.onread !== undefined ? undefined : connect(at);
  const socket =
    driver === 'tcp' && under !== undefined ? under : secured(under === undefined ? at : { socket: under });
  const ready = new Promise<void>((resolve, reject) => {
    socket.once(driver === 'tcp' ? 'connect' : 'secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('The other side hung up.')));
  });
  // Not everybody waits for it.
  ready.catch(() => {});
  return { socket, under: under ?? socket, ready };
}

function secured(over: { readonly socket: Socket } | TcpSocketConnectOpts): TLSSocket {
  return connectTls({ ...over, servername: 'localhost', secureContext });
}

/** Sets TLS up on a socket that was accepted; nobody hears of one on which that fails. */
export function acceptTls(under: Socket, onSecure: (socket: TLSSocket) => void): void {
  const socket = new TLSSocket(under, { isServer: true, requestCert: true, rejectUnauthorized: true, secureContext });
  under.on('error', () => {});
  socket.on('error', () => {});
  socket.once('secure', () => onSecure(socket));
}

/** What ties a handshake to the channel that it is made on. */
export function bindingOf(socket: Socket): Uint8Array {
  if (!(socket instanceof TLSSocket)) return TCP_BINDING;
  return socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));
}
