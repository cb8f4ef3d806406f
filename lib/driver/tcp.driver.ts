/** Channels over plain TCP. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { GenRpcError } from '../protocol/errors.js';
import type { Clock } from '../ports/clock.js';
import type { Channel, Driver, Endpoint, ListenAt, Listener } from './driver.js';
import { SocketChannel } from './socket-channel.js';
import { readingInto, SocketReads } from './socket-reads.js';

/** Kernel keepalive, first probe after this long without traffic (gen_rpc: `socket_keepalive_idle`). */
const KEEPALIVE_IDLE_MS = 5000;
const BACKLOG = 1024;
const SOCKET = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_IDLE_MS };

export class TcpDriver implements Driver {
  readonly name = 'tcp';
  /** Plain TCP has nothing of its own to bind a handshake to. */
  readonly channelBinding = new Uint8Array(32);

  constructor(private readonly clock: Clock) {}

  connect(endpoint: Endpoint, signal: AbortSignal): Promise<Channel> {
    return new Promise((resolve, reject) => {
      const reads = new SocketReads();
      const socket = connect({ ...endpoint, ...SOCKET, onread: reads });
      const fail = (cause: Error & { code?: string }): void => {
        signal.removeEventListener('abort', onAbort);
        socket.destroy();
        reject(unreachable(endpoint, cause));
      };
      const onAbort = (): void => fail(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' }));
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      socket.once('error', fail);
      socket.once('connect', () => {
        signal.removeEventListener('abort', onAbort);
        socket.off('error', fail);
        resolve(new SocketChannel(socket, this.clock, reads));
      });
    });
  }

  listen(
    endpoint: ListenAt,
    onChannel: (channel: Channel) => void,
    onError: (error: Error) => void,
  ): Promise<Listener> {
    const server = createServer({ ...SOCKET, pauseOnConnect: true }, (accepted) => onChannel(this.accept(accepted)));
    return new Promise((resolve, reject) => {
      server.once('error', (cause: Error & { code?: string }) => reject(cannotListen(endpoint, cause)));
      server.listen({ ...endpoint, backlog: BACKLOG }, () => {
        server.removeAllListeners('error');
        server.on('error', onError);
        resolve(listenerOf(server));
      });
    });
  }

  private accept(accepted: Socket): Channel {
    const reads = new SocketReads();
    const socket = readingInto(reads, accepted);
    return socket === undefined
      ? new SocketChannel(accepted, this.clock)
      : new SocketChannel(socket, this.clock, reads);
  }
}

function listenerOf(server: Server): Listener {
  const { address, port } = server.address() as AddressInfo;
  return {
    address: { host: address, port },
    close: () => new Promise((resolve) => (server.listening ? server.close(() => resolve()) : resolve())),
  };
}

function unreachable({ host, port }: Endpoint, cause: Error & { code?: string }): GenRpcError {
  const code = cause.code ?? cause.name;
  return new GenRpcError('node_down', `Cannot connect to ${host}:${port} (${code}).`, {
    cause,
    details: { cause: code, host, port },
  });
}

/** Keeps the system's code, as callers of `listen` expect it. */
function cannotListen({ host, port }: Endpoint, cause: Error & { code?: string }): Error {
  const message = `Cannot listen on ${host}:${port} (${cause.code ?? cause.name}): ${cause.message}`;
  return Object.assign(new Error(message, { cause }), { code: cause.code, host, port });
}
