/** What the drivers over sockets of the system have in common: how one is opened, and what its failures are called. */
import type { AddressInfo, Server, Socket } from 'node:net';
import { GenRpcError } from '../protocol/errors.js';
import type { Endpoint, ListenAt, Listener } from './driver.js';

/** Kernel keepalive, first probe after this long without traffic (gen_rpc: `socket_keepalive_idle`). */
const KEEPALIVE_IDLE_MS = 5000;
const BACKLOG = 1024;

export const SOCKET_OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_IDLE_MS } as const;

/** An error of the system, or of TLS. */
export type SystemError = Error & { code?: string };

/** A socket that is being opened. */
export interface Opening<S extends Socket> {
  readonly socket: S;
  /** Its word for that it is open. */
  readonly ready: 'connect' | 'secureConnect';
  readonly endpoint: Endpoint;
  /** Aborting it ends the attempt. */
  readonly signal: AbortSignal;
  /** What a failure means, where that is not plain. */
  readonly explain?: (code: string) => string | undefined;
}

/** Resolves with what `make` makes of the open socket; rejects with `node_down`, and destroys it, when either fails. */
export function whenOpen<S extends Socket, T>(opening: Opening<S>, make: (socket: S) => T): Promise<T> {
  const { socket, ready, signal } = opening;
  return new Promise((resolve, reject) => {
    const fail = (cause: SystemError): void => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      reject(unreachable(opening, cause));
    };
    const onAbort = (): void => fail(systemError('ETIMEDOUT', 'no answer in time'));
    socket.once('error', fail);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once(ready, () => {
      signal.removeEventListener('abort', onAbort);
      try {
        resolve(make(socket));
        socket.off('error', fail);
      } catch (cause) {
        fail(cause as SystemError);
      }
    });
  });
}

export function listenOn(server: Server, endpoint: ListenAt, onError: (error: Error) => void): Promise<Listener> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: SystemError) => reject(cannotListen(endpoint, cause)));
    server.listen({ ...endpoint, backlog: BACKLOG }, () => {
      server.removeAllListeners('error');
      server.on('error', onError);
      resolve(listenerOf(server));
    });
  });
}

function listenerOf(server: Server): Listener {
  const { address, port } = server.address() as AddressInfo;
  return {
    address: { host: address, port },
    close: () => new Promise((resolve) => (server.listening ? server.close(() => resolve()) : resolve())),
  };
}

export function systemError(code: string, message: string): SystemError {
  return Object.assign(new Error(message), { code });
}

function unreachable<S extends Socket>({ endpoint, explain }: Opening<S>, cause: SystemError): GenRpcError {
  const { host, port } = endpoint;
  const code = cause.code ?? cause.name;
  const meaning = explain?.(code);
  const message = `Cannot connect to ${host}:${port} (${code})${meaning === undefined ? '' : `: ${meaning}`}.`;
  return new GenRpcError('node_down', message, { cause, details: { cause: code, host, port } });
}

/** Keeps the system's code, as callers of `listen` expect it. */
function cannotListen({ host, port }: Endpoint, cause: SystemError): Error {
  const message = `Cannot listen on ${host}:${port} (${cause.code ?? cause.name}): ${cause.message}`;
  return Object.assign(new Error(message, { cause }), { code: cause.code, host, port });
}
