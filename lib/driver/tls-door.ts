/** Sets TLS up on sockets that were accepted, each apart, and says of each what became of it. */
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';
import { systemError, type SystemError } from './sockets.js';

/** The longest that a timer of Node can be. */
const LONGEST_MS = 2_147_483_647;

export interface Visitor {
  secured(socket: TLSSocket): void;
  /** Its socket is gone. */
  failed(cause: SystemError): void;
}

export class TlsDoor {
  private readonly server: Server;
  private current: SecureContextOptions;

  /** @param contextOptions asked at each visit; another object where anything has changed */
  constructor(private readonly contextOptions: () => SecureContextOptions) {
    this.current = contextOptions();
    this.server = createServer({
      ...this.current,
      requestCert: true,
      rejectUnauthorized: true,
      // Whoever owns the channel has a deadline for all of the handshake. There is no such thing as none here.
      handshakeTimeout: LONGEST_MS,
    });
  }

  visit(socket: Socket, visitor: Visitor): void {
    let settled = false;
    const settle = (how: () => void): void => {
      if (!settled) how();
      settled = true;
    };
    const secured = (tls: TLSSocket): void => settle(() => visitor.secured(tls));
    const failed = (cause: SystemError, tls: TLSSocket): void => {
      tls.destroy();
      settle(() => visitor.failed(reasonOf(cause, tls)));
    };
    socket.on('error', () => {});
    // The server speaks up behind this, if it has anything to say.
    socket.once('close', () => setImmediate(() => settle(() => visitor.failed(gone()))));
    try {
      this.renew();
      this.hand(socket, secured, failed);
    } catch (cause) {
      socket.destroy(cause as Error);
      settle(() => visitor.failed(cause as SystemError));
    }
  }

  /** From here on new visitors see the certificate that is in use now. */
  private renew(): void {
    const wanted = this.contextOptions();
    if (wanted === this.current) return;
    this.server.setSecureContext(wanted);
    this.current = wanted;
  }

  /**
   * The server speaks of TLS sockets of its own making, and of none before its handshake is over. A view on it for each
   * socket knows what it speaks of.
   */
  private hand(
    socket: Socket,
    secured: (tls: TLSSocket) => void,
    failed: (cause: SystemError, tls: TLSSocket) => void,
  ): void {
    const view = Object.create(this.server) as Server;
    view.emit = (event: string, ...args: unknown[]): boolean => {
      if (event === 'secureConnection') secured(args[0] as TLSSocket);
      else if (event === 'tlsClientError') failed(args[0] as SystemError, args[1] as TLSSocket);
      return true;
    };
    EventEmitter.prototype.emit.call(view, 'connection', socket);
  }
}

/** A certificate that was refused is no error of the socket. */
function reasonOf(cause: SystemError, { authorizationError }: TLSSocket): SystemError {
  // It is declared as an Error, and is a code.
  const code = authorizationError as unknown;
  return typeof code === 'string' ? systemError(code, 'the certificate was refused') : cause;
}

function gone(): SystemError {
  return systemError('ECONNRESET', 'the peer went away');
}
