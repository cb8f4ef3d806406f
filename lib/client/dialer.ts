/** From a node's name to an authenticated connection: resolve, connect, prove. */
import { initiate, type Authenticated, type HandshakeTask, type Identity } from '../connection/authenticate.js';
import type { Journal, Occurrence } from '../connection/journal.js';
import type { AddressBook } from '../discovery/address-book.js';
import type { Location } from '../discovery/discovery.js';
import type { Channel, Driver } from '../driver/driver.js';
import { tlsFailureOf } from '../driver/tls-failure.js';
import { GenRpcError, isGenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';
import { printable } from '../protocol/node-name.js';
import { withSentence } from './unreachable.js';

export interface DialerOptions {
  readonly self: Identity;
  readonly addresses: Pick<AddressBook, 'resolve' | 'nearest'>;
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly journal: Journal;
  /** ms for everything; of several places, each has its share of what is left. */
  readonly connectTimeout: number;
  /** ms for the handshake at one place, where less is left for that it is less. */
  readonly handshakeTimeout: number;
}

const COUNTED = new Map<GenRpcErrorCode, Occurrence>([
  ['invalid_cookie', 'peer_auth_failed'],
  ['version_mismatch', 'version_mismatch'],
  ['wrong_node', 'wrong_node'],
  ['node_certificate_mismatch', 'peer_certificate_mismatch'],
]);

/** Nobody is there, or somebody else. */
const NOT_THERE: ReadonlySet<GenRpcErrorCode> = new Set<GenRpcErrorCode>(['node_down', 'wrong_node']);

/** An authenticated connection, and the place where it leads. */
export interface Dialled extends Authenticated {
  readonly location: Reached;
}

/** With the address that its host turned out to have. */
export interface Reached extends Location {
  readonly address: string;
}

export class Dialer {
  constructor(private readonly options: DialerOptions) {}

  /** The first of the node's places where it answers. @throws GenRpcError (as a rejection) the failure of the last one. */
  async dial(node: string, signal: AbortSignal): Promise<Dialled> {
    const { self, connectTimeout } = this.options;
    const endsAt = self.clock.now() + connectTimeout;
    const places = await this.within(connectTimeout, signal, (limit) => this.locate(node, limit));
    for (const [tried, location] of places.entries()) {
      const left = places.length - tried;
      const share = Math.max(1, (endsAt - self.clock.now()) / left);
      try {
        return await this.reach(node, location, share, signal);
      } catch (error) {
        if (left === 1 || signal.aborted) throw this.explained(node, error);
      }
    }
    throw new GenRpcError('external_source_error', `Discovery knows no place of ${node}.`);
  }

  /** A name that nobody has told of leads to whatever host it has: it may be misspelt. */
  private explained(node: string, error: unknown): unknown {
    if (!isGenRpcError(error) || !NOT_THERE.has(error.code)) return error;
    const near = this.options.addresses.nearest(node);
    if (near === undefined) return error;
    return withSentence(error, `No node of this name is known here: did you mean ${near}?`);
  }

  /** Whatever accepts there and says nothing costs no more than what reaches nobody. */
  private async reach(node: string, location: Location, ms: number, signal: AbortSignal): Promise<Dialled> {
    const { self, handshakeTimeout } = this.options;
    const endsAt = self.clock.now() + ms;
    const channel = await this.within(ms, signal, (limit) => this.connectTo(node, location, limit));
    const left = Math.max(1, Math.ceil(endsAt - self.clock.now()));
    const task = { channel, timeoutMs: Math.min(handshakeTimeout, left) };
    const authenticated = await this.prove(node, task, location, signal);
    return { ...authenticated, location: { ...location, address: channel.remoteAddress } };
  }

  private async prove(
    node: string,
    task: HandshakeTask,
    location: Location,
    signal: AbortSignal,
  ): Promise<Authenticated> {
    const { self, journal } = this.options;
    const { channel } = task;
    const giveUp = (): void => channel.abort(new GenRpcError('cancelled', 'The node closed while it was connecting.'));
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      return await initiate(self, node, task);
    } catch (error) {
      const kind = isGenRpcError(error) ? COUNTED.get(error.code) : undefined;
      if (kind !== undefined) journal.count(kind);
      throw isGenRpcError(error) ? metAt(location, error) : error;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** One time limit, whatever discovery or the system do. */
  private async within<T>(ms: number, outer: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const limit = new AbortController();
    const stop = (): void => limit.abort();
    outer.addEventListener('abort', stop, { once: true });
    const timer = this.options.self.clock.after(ms, stop);
    try {
      return await work(limit.signal);
    } finally {
      timer.cancel();
      outer.removeEventListener('abort', stop);
    }
  }

  private async connectTo(node: string, location: Location, signal: AbortSignal): Promise<Channel> {
    const { drivers, journal } = this.options;
    const driver = drivers.get(location.driver);
    if (driver === undefined) {
      const known = [...drivers.keys()].join(', ');
      throw new GenRpcError(
        'external_source_error',
        `${node} wants driver ${printable(location.driver)}; there are: ${known}.`,
      );
    }
    return driver.connect(location, signal).catch((error: unknown) => {
      if (isGenRpcError(error) && tlsFailureOf(error) === 'certificate_refused')
        journal.count('peer_certificate_refused');
      throw error;
    });
  }

  /** A source that never answers must not hold the dial. */
  private locate(node: string, signal: AbortSignal): Promise<readonly Location[]> {
    return new Promise((resolve, reject) => {
      const late = (): void =>
        reject(new GenRpcError('external_source_error', `Discovery did not find ${node} in time.`));
      signal.addEventListener('abort', late, { once: true });
      this.options.addresses
        .resolve(node, signal)
        .then(resolve, reject)
        .finally(() => signal.removeEventListener('abort', late));
    });
  }
}

/** Anything may be at the other end until it has proved itself: whoever reads the log has to know where to look. */
function metAt({ driver, host, port }: Location, error: GenRpcError): GenRpcError {
  const message = messageAt(`${host}:${port}`, driver, error);
  if (message === undefined) return error;
  const details = { ...(error.details as object | undefined), host, port };
  return new GenRpcError(error.code, message, { cause: error.cause, details });
}

function messageAt(place: string, driver: string, { code, message, details }: GenRpcError): string | undefined {
  switch (code) {
    case 'connection_lost':
      // The others know more than that it ended.
      if (driver !== 'tcp' || (details as { cause?: string } | undefined)?.cause !== undefined) return undefined;
      return `${place} closed the connection before it said who it is: it may speak TLS, or let nobody in. Its log says why.`;
    case 'protocol_error':
    case 'wrong_node':
      return `At ${place}: ${message}`;
    default:
      return undefined;
  }
}
