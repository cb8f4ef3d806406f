/** Sockets as strangers have them: plain, or with TLS and the certificate of any node on this machine. */
import { connect, type Socket, type TcpSocketConnectOpts } from 'node:net';
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

/** @param localAddress from where */
export function dialSocket(driver: SocketDriver, port: number, localAddress?: string): RawSocket {
  const at: TcpSocketConnectOpts = { port, host: '127.0.0.1', ...(localAddress === undefined ? {} : { localAddress }) };
  const under = connect(at);
  const socket = driver === 'tcp' ? under : connectTls({ socket: under, servername: 'localhost', secureContext });
  const ready = new Promise<void>((resolve, reject) => {
    socket.once(driver === 'tcp' ? 'connect' : 'secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('The other side hung up.')));
  });
  return { socket, under, ready };
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
