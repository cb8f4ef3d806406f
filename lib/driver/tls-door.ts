/** Sets TLS up on sockets that were accepted, each apart, and says of each what became of it. */
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';
import { systemError, type SystemError } from './sockets.js';

/** The longest that a timer of Node can be. */
const LONGEST_MS = 2_147_483_647;

/** Told of its one socket: one of these, or nothing where the socket is gone before. */
export interface Visitor {
  secured(socket: TLSSocket): void;
  failed(cause: SystemError): void;
}

export class TlsDoor {
  // They hold the key: nothing that is printed has it.
  readonly #server: Server;
  #current: SecureContextOptions;

  /** @param contextOptions asked at each visit; another object where anything has changed */
  constructor(private readonly contextOptions: () => SecureContextOptions) {
    this.#current = contextOptions();
    this.#server = createServer({
      ...this.#current,
      requestCert: true,
      rejectUnauthorized: true,
      // Whoever owns the channel has a deadline for all of the handshake. There is no such thing as none here.
      handshakeTimeout: LONGEST_MS,
    });
    forgetKey(this.#server);
  }

  visit(socket: Socket, visitor: Visitor): void {
    try {
      this.renew();
      this.hand(socket, visitor);
    } catch (cause) {
      socket.destroy();
      visitor.failed(cause as SystemError);
    }
  }

  /** From here on new visitors see the certificate that is in use now. */
  private renew(): void {
    const wanted = this.contextOptions();
    if (wanted === this.#current) return;
    this.#server.setSecureContext(wanted);
    forgetKey(this.#server);
    this.#current = wanted;
  }

  /**
   * The server speaks of TLS sockets of its own making, and of none before its handshake is over. A view on it for each
   * socket knows what it speaks of.
   */
  private hand(socket: Socket, visitor: Visitor): void {
    const view = Object.create(this.#server) as Server;
    view.emit = (event: string, ...args: unknown[]): boolean => {
      if (event === 'secureConnection') {
        visitor.secured(args[0] as TLSSocket);
      } else if (event === 'tlsClientError') {
        const [cause, tls] = args as [SystemError, TLSSocket];
        tls.destroy();
        visitor.failed(reasonOf(cause, tls));
      } else {
        return false;
      }
      return true;
    };
    EventEmitter.prototype.emit.call(view, 'connection', socket);
  }
}

/** The server keeps what its context was made of, and every socket of it shows the server to whoever prints it. */
function forgetKey(server: Server): void {
  Object.assign(server, { key: undefined, passphrase: undefined });
}

/** A certificate that was refused is no error of the socket. */
function reasonOf(cause: SystemError, { authorizationError }: TLSSocket): SystemError {
  // It is declared as an Error, and is a code.
  const code = authorizationError as unknown;
  return typeof code === 'string' ? systemError(code, 'the certificate was refused') : cause;
}
