/** Channels over TLS: encrypted, and by certificate of both ends. There is no way to have it with less. */
import { constants } from 'node:crypto';
import { createServer, isIP, type Socket } from 'node:net';
import {
  connect,
  createSecureContext,
  type ConnectionOptions,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import { GenRpcError } from '../protocol/errors.js';
import type { Clock } from '../ports/clock.js';
import { AcceptedTlsChannel } from './accepted-tls-channel.js';
import type { NameRules } from '../certificates/certificate-names.js';
import type { Credentials, TlsMaterial, TlsRole } from '../certificates/credentials.js';
import { DialledTlsChannel } from './dialled-tls-channel.js';
import type { Channel, Driver, Endpoint, ListenAt, Listener } from './driver.js';
import { PeersCertificate } from './peer-certificate.js';
import { SocketChannel, type Security } from './socket-channel.js';
import { SocketReads } from './socket-reads.js';
import { listenOn, SOCKET_OPTIONS, systemError, whenOpen, type SystemError } from './sockets.js';
import { TlsDoor } from './tls-door.js';
import { meaningOf } from './tls-failure.js';

export interface TlsRules extends NameRules {
  readonly minVersion: 'TLSv1.3' | 'TLSv1.2';
}

/** All of TLS 1.3, and of 1.2 those with a key of their own for each connection and authenticated encryption. */
const SUITES = [
  ...['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256'],
  ...['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'],
  ...['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
  ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'],
].join(':');

/** RFC 9266. */
const BINDING = { label: 'EXPORTER-Channel-Binding', bytes: 32, context: Buffer.alloc(0) } as const;

interface Context {
  readonly material: TlsMaterial;
  readonly options: SecureContextOptions;
  /** Made when somebody first dials with it. */
  secure: SecureContext | undefined;
}

export class TlsDriver implements Driver {
  readonly name = 'tls';
  // They hold keys: nothing that is printed has them.
  readonly #credentials: Credentials;
  readonly #contexts = new Map<TlsRole, Context>();

  constructor(
    private readonly clock: Clock,
    credentials: Credentials,
    private readonly rules: TlsRules,
  ) {
    this.#credentials = credentials;
  }

  connect(endpoint: Endpoint, signal: AbortSignal): Promise<Channel> {
    const context = this.context('client');
    const reads = new SocketReads();
    // Node has `onread` for TLS, too; its types do not say so.
    const options: ConnectionOptions & { onread: SocketReads } = {
      ...endpoint,
      ...SOCKET_OPTIONS,
      onread: reads,
      ...(isIP(endpoint.host) === 0 ? { servername: endpoint.host } : {}),
      secureContext: (context.secure ??= createSecureContext(context.options)),
      rejectUnauthorized: true,
      // What counts is not the host that is dialled but the node that is wanted there: see `VerifiedCertificate`.
      checkServerIdentity: () => undefined,
    };
    const socket = connect(options);
    const opening = { socket, ready: 'secureConnect', endpoint, signal, explain: meaningWhileDialling } as const;
    return whenOpen(opening, () => new DialledTlsChannel(socket, this.clock, reads, this.securityOf(socket)));
  }

  listen(
    endpoint: ListenAt,
    onChannel: (channel: Channel) => void,
    onError: (error: Error) => void,
  ): Promise<Listener> {
    const door = new TlsDoor(() => this.context('server').options);
    const server = createServer(SOCKET_OPTIONS, (socket) => {
      const channel = new AcceptedTlsChannel(socket);
      onChannel(channel);
      // Whoever is sent away unheard does not even cost the beginning of TLS.
      if (!channel.isOver) this.setUp(channel, socket, door);
    });
    return listenOn(server, endpoint, onError);
  }

  private setUp(channel: AcceptedTlsChannel, socket: Socket, door: TlsDoor): void {
    door.visit(socket, {
      secured: (tls) => {
        try {
          channel.secure(new SocketChannel(tls, this.clock, undefined, this.securityOf(tls)));
        } catch (cause) {
          tls.destroy();
          channel.fail(notSecured(cause as SystemError));
        }
      },
      failed: (cause) => channel.fail(notSecured(cause)),
    });
  }

  /** @throws on a socket that is gone by now, and on one that was not set up from the beginning. */
  private securityOf(socket: TLSSocket): Security {
    socket.disableRenegotiation();
    const x509 = socket.getPeerX509Certificate();
    if (!socket.authorized || x509 === undefined)
      throw systemError('ERR_TLS_NO_CERTIFICATE', 'no verified certificate');
    if (socket.isSessionReused()) throw systemError('ERR_TLS_SESSION_REUSED', 'a session was resumed');
    return {
      channelBinding: socket.exportKeyingMaterial(BINDING.bytes, BINDING.label, BINDING.context),
      certificate: new PeersCertificate(x509, this.rules),
    };
  }

  private context(role: TlsRole): Context {
    const material = this.#credentials.material(role);
    let context = this.#contexts.get(role);
    if (context?.material !== material) {
      context = { material, options: this.optionsOf(material), secure: undefined };
      this.#contexts.set(role, context);
    }
    return context;
  }

  private optionsOf({ ca, cert, key, passphrase, crl }: TlsMaterial): SecureContextOptions {
    const { SSL_OP_NO_TICKET, SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_COMPRESSION } = constants;
    return {
      ...{ ca: [...ca], cert, key },
      ...(passphrase === undefined ? {} : { passphrase }),
      ...(crl === undefined ? {} : { crl: [...crl] }),
      minVersion: this.rules.minVersion,
      maxVersion: 'TLSv1.3',
      ciphers: SUITES,
      secureOptions: SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION,
    };
  }
}

/** Node has no code of its own for a peer that leaves in the middle, which is how one without TLS looks. */
function meaningWhileDialling(code: string): string | undefined {
  return code === 'ECONNRESET'
    ? 'it left while TLS was set up; it may not speak TLS, or is shutting down'
    : meaningOf(code);
}

function notSecured(cause: SystemError): GenRpcError {
  const code = cause.code ?? cause.name;
  // The message of OpenSSL names its own files; its reason does not.
  const meaning = meaningOf(code) ?? (cause as { reason?: string }).reason ?? cause.message.split('\n', 1)[0];
  return new GenRpcError('connection_lost', `TLS was not set up (${code}): ${meaning}.`, {
    cause,
    details: { cause: code },
  });
}
