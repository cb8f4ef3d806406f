/** From a node's name to an authenticated connection: resolve, connect, prove. */
import { initiate, type Authenticated, type Identity } from '../connection/authenticate.js';
import type { Journal, Occurrence } from '../connection/journal.js';
import type { Discovery } from '../discovery/discovery.js';
import type { Channel, Driver } from '../driver/driver.js';
import { tlsFailureOf } from '../driver/tls-failure.js';
import { GenRpcError, isGenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';

export interface DialerOptions {
  readonly self: Identity;
  readonly discovery: Discovery;
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly journal: Journal;
  /** ms for discovery and connect together. */
  readonly connectTimeout: number;
  /** ms for the handshake. */
  readonly handshakeTimeout: number;
}

const COUNTED = new Map<GenRpcErrorCode, Occurrence>([
  ['invalid_cookie', 'peer_auth_failed'],
  ['version_mismatch', 'version_mismatch'],
  ['wrong_node', 'wrong_node'],
  ['node_certificate_mismatch', 'peer_certificate_mismatch'],
]);

export class Dialer {
  constructor(private readonly options: DialerOptions) {}

  async dial(node: string, signal: AbortSignal): Promise<Authenticated> {
    const { self, handshakeTimeout, journal } = this.options;
    const channel = await this.connect(node, signal).catch((error: unknown) => {
      if (isGenRpcError(error) && tlsFailureOf(error) === 'certificate_refused')
        journal.count('peer_certificate_refused');
      throw error;
    });
    const giveUp = (): void => channel.abort(new GenRpcError('cancelled', 'The node closed while it was connecting.'));
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      return await initiate(self, node, { channel, timeoutMs: handshakeTimeout });
    } catch (error) {
      const kind = isGenRpcError(error) ? COUNTED.get(error.code) : undefined;
      if (kind !== undefined) journal.count(kind);
      throw error;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** One time limit for finding and reaching the node, whatever discovery or the system do. */
  private async connect(node: string, outer: AbortSignal): Promise<Channel> {
    const { clock } = this.options.self;
    const limit = new AbortController();
    const stop = (): void => limit.abort();
    outer.addEventListener('abort', stop, { once: true });
    const timer = clock.after(this.options.connectTimeout, stop);
    try {
      return await this.connectTo(node, limit.signal);
    } finally {
      timer.cancel();
      outer.removeEventListener('abort', stop);
    }
  }

  private async connectTo(node: string, signal: AbortSignal): Promise<Channel> {
    const location = await this.locate(node, signal);
    const driver = this.options.drivers.get(location.driver);
    if (driver === undefined) {
      const known = [...this.options.drivers.keys()].join(', ');
      throw new GenRpcError('external_source_error', `${node} wants driver ${location.driver}; there are: ${known}.`);
    }
    return driver.connect(location, signal);
  }

  /** A source that never answers must not hold the dial. */
  private locate(node: string, signal: AbortSignal): ReturnType<Discovery['resolve']> {
    return new Promise((resolve, reject) => {
      const late = (): void =>
        reject(new GenRpcError('external_source_error', `Discovery did not find ${node} in time.`));
      signal.addEventListener('abort', late, { once: true });
      this.options.discovery
        .resolve(node, signal)
        .then(resolve, (cause: unknown) => reject(asSourceError(node, cause)))
        .finally(() => signal.removeEventListener('abort', late));
    });
  }
}

function asSourceError(node: string, cause: unknown): GenRpcError {
  if (isGenRpcError(cause)) return cause;
  return new GenRpcError('external_source_error', `Discovery failed for ${node}.`, { cause });
}
