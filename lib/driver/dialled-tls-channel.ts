/**
 * The dialling end of TLS. In TLS 1.3 its handshake is over before the other side has looked at its certificate: whoever
 * does not accept that says so behind it, or only closes.
 */
import { GenRpcError } from '../protocol/errors.js';
import type { ChannelEvents } from './driver.js';
import { SocketChannel } from './socket-channel.js';
import { isRefusal } from './tls-failure.js';

export class DialledTlsChannel extends SocketChannel {
  private heard = false;

  override open(events: ChannelEvents): void {
    if (this.heard) return super.open(events);
    super.open({
      data: (bytes) => {
        this.heard = true;
        events.data(bytes);
      },
      drain: () => events.drain(),
      closed: (reason) => events.closed(this.heard ? reason : explained(reason, this.remoteAddress)),
    });
  }
}

/** What it means that a peer ends the channel before it has said anything. */
function explained(reason: GenRpcError, address: string): GenRpcError {
  if (reason.code !== 'connection_lost') return reason;
  const { cause } = (reason.details ?? {}) as { cause?: string };
  if (cause?.endsWith('_ALERT_CERTIFICATE_REQUIRED') === true) {
    const message = `${address} wants a certificate of this node: give it tls.cert and tls.key.`;
    return new GenRpcError('connection_lost', message, {
      cause: reason,
      details: { cause: 'TLS_CLIENT_CERT_REQUIRED' },
    });
  }
  const surely = cause !== undefined && isRefusal(cause);
  const message = `${address} closed the connection as soon as it had seen the certificate of this node: ${
    surely ? `it does not accept it (${cause})` : 'it may not accept it'
  }. Its log says why.`;
  return new GenRpcError('connection_lost', message, { cause: reason, details: { cause: 'TLS_CLIENT_CERT_REFUSED' } });
}
