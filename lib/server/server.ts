/** Accepts channels, lets nobody past the handshake unproven, and keeps the acceptors of those who came through. */
import { respond, type Identity } from '../connection/authenticate.js';
import type { Connection } from '../connection/connection.js';
import type { Peer } from '../connection/wire.js';
import { Idle } from '../connection/idle.js';
import type { Occurrence } from '../connection/journal.js';
import type { Channel, Driver, Endpoint, ListenAt, Listener } from '../driver/driver.js';
import { saidNothing } from '../driver/socket-channel.js';
import { tlsFailureOf } from '../driver/tls-failure.js';
import { GenRpcError, isGenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';
import type { CastOrder } from '../protocol/frame.js';
import { printable } from '../protocol/node-name.js';
import { Acceptor, type AcceptorPorts } from './acceptor.js';
import { Admission, type AdmissionLimits } from './admission.js';
import { Casts, type IncomingCast } from './casts.js';
import { Concurrency, type ConcurrencyLimits } from './concurrency.js';
import { OrderedCasts } from './ordered-casts.js';

export interface ServerOptions extends Omit<AcceptorPorts, 'casts' | 'orderedCasts' | 'concurrency'> {
  readonly self: Identity;
  readonly admission: AdmissionLimits;
  readonly concurrency: ConcurrencyLimits;
  /** ms from accept to a finished handshake (gen_rpc: `authentication_timeout`). */
  readonly handshakeTimeout: number;
  /** Another life with the name of a connected node: does it replace that one, or is it sent away? */
  readonly duplicateNodes: 'newest' | 'refuse';
  /** Casts that wait for room, and of one caller's lane: ordered ones that wait for the one that runs; and their bytes. */
  readonly maxQueuedCasts: number;
  readonly maxQueuedBytes: number;
}

/** Where to accept channels, and by what driver. */
export interface Place {
  readonly driver: Driver;
  readonly at: ListenAt;
}

const OCCURRENCES = new Map<GenRpcErrorCode, Occurrence>([
  ['invalid_cookie', 'auth_failed'],
  ['version_mismatch', 'version_mismatch'],
  ['wrong_node', 'wrong_node'],
  ['refused', 'duplicate_node'],
  ['timeout', 'handshake_timeout'],
  ['node_certificate_mismatch', 'certificate_mismatch'],
]);

/** Whoever does so again and again is sent away unheard. */
const FAILED_PROOFS: ReadonlySet<Occurrence> = new Set(['auth_failed', 'certificate_mismatch', 'certificate_refused']);

export class Server {
  private readonly listeners = new Set<Listener>();
  private readonly acceptors = new Set<Acceptor>();
  /** Those whose place another life has taken, until they are gone. */
  private readonly replaced = new Map<Acceptor, Promise<void>>();
  private readonly unproven = new Set<Channel>();
  private readonly admission: Admission;
  private readonly concurrency: Concurrency;
  private readonly casts: Casts;
  private readonly orderedCasts: OrderedCasts;
  private readonly acceptorPorts: AcceptorPorts;
  private closing = false;
  private readonly whenIdle = new Idle();
  private readonly whenNoStrangers = new Idle();

  constructor(private readonly options: ServerOptions) {
    this.admission = new Admission(options.admission, options.clock);
    this.concurrency = new Concurrency(options.concurrency, options);
    this.casts = new Casts({ ...options, limits: { ...options, running: options.concurrency.casts } });
    this.orderedCasts = new OrderedCasts({ ...options, casts: this.casts });
    const { concurrency, casts, orderedCasts } = this;
    this.acceptorPorts = { ...options, concurrency, casts, orderedCasts };
  }

  /** Calls and casts that run now, and ordered casts that wait their turn. */
  get running(): number {
    let running = this.casts.size + this.orderedCasts.waiting;
    for (const acceptor of this.acceptors) running += acceptor.running;
    return running;
  }

  /** Calls that run though nobody waits for them any more, also those whose connection is gone. */
  get stuckCalls(): number {
    return this.concurrency.abandoned;
  }

  /** Must the next cast wait for room? Then its bytes have to be its own. */
  get castsWait(): boolean {
    return this.casts.full;
  }

  get connections(): number {
    return this.acceptors.size;
  }

  /** Connections whose handshake is not done. */
  get handshakes(): number {
    return this.admission.pending;
  }

  /** Resolves with the addresses once channels are accepted at all places. Rejects with the system's error, then at none. */
  async listen(places: readonly Place[]): Promise<Endpoint[]> {
    this.assertOpen();
    const opened: Listener[] = [];
    try {
      for (const place of places) opened.push(await this.listenAt(place));
    } catch (error) {
      await Promise.all(opened.map((listener) => this.unlisten(listener)));
      throw error;
    }
    return opened.map(({ address }) => address);
  }

  private async listenAt({ driver, at }: Place): Promise<Listener> {
    const listener = await driver.listen(
      at,
      (channel) => void this.accept(channel),
      (error) => this.options.journal.note('accept_failed', () => `Cannot accept: ${error.message}`),
    );
    this.listeners.add(listener);
    if (this.closing) await listener.close();
    this.assertOpen();
    return listener;
  }

  /** @throws GenRpcError once it was closed or drained: there is no way back. */
  assertOpen(): void {
    if (!this.closing) return;
    throw new GenRpcError('cancelled', `${this.options.self.node} was closed, and listens no more.`);
  }

  private unlisten(listener: Listener): Promise<void> {
    this.listeners.delete(listener);
    return listener.close();
  }

  /** Runs a cast of the own node; those with the same `order` one after the other. */
  cast(cast: IncomingCast, order?: CastOrder): void {
    if (order === undefined) this.casts.run(cast);
    else this.orderedCasts.run(cast.caller.node, order, cast);
  }

  /** Stops intake and waits until running calls are answered, casts done and connections closed. */
  async drain(): Promise<void> {
    this.closing = true;
    const listening = Promise.all([...this.listeners].map((listener) => listener.close()));
    for (const acceptor of this.acceptors) acceptor.drain();
    this.casts.drain();
    const alone = this.dropUnproven();
    if (this.acceptors.size > 0) await this.whenIdle.next();
    await this.casts.idle();
    await Promise.all([listening, alone, ...this.replaced.values()]);
  }

  /** Ends everything now. Safe to repeat, and during `drain`. */
  async close(reason: GenRpcError): Promise<void> {
    this.closing = true;
    this.concurrency.stop();
    const alone = this.dropUnproven();
    this.abortCasts(reason);
    const ended = [...this.acceptors, ...this.replaced.keys()].map((acceptor) => acceptor.close(reason));
    await Promise.all([alone, ...ended, ...[...this.listeners].map((listener) => listener.close())]);
  }

  /** As `close`, without a last word to the peers. */
  abort(reason: GenRpcError): void {
    this.closing = true;
    this.concurrency.stop();
    void this.dropUnproven();
    this.abortCasts(reason);
    for (const acceptor of [...this.acceptors, ...this.replaced.keys()]) acceptor.abort(reason);
    for (const listener of this.listeners) void listener.close();
  }

  private abortCasts(reason: GenRpcError): void {
    this.orderedCasts.clear();
    this.casts.abort(reason);
  }

  /** Resolves once they are gone: a channel over TLS tells of its end later than the listener tells of its own. */
  private async dropUnproven(): Promise<void> {
    for (const channel of this.unproven) channel.abort(new GenRpcError('cancelled', 'The node is shutting down.'));
    if (this.unproven.size > 0) await this.whenNoStrangers.next();
  }

  private async accept(channel: Channel): Promise<void> {
    const { journal, self, handshakeTimeout } = this.options;
    const address = channel.remoteAddress;
    const full = this.closing ? 'closing' : this.admission.enter(address);
    if (full !== undefined) {
      journal.note('admission_refused', () => `Sent ${address} away: ${full}.`);
      return channel.abort(new GenRpcError('refused', 'No more connections are accepted now.'));
    }
    journal.count('accepted');
    this.unproven.add(channel);
    try {
      this.adopt(await respond(self, { channel, timeoutMs: handshakeTimeout }, (peer) => this.admits(peer)));
    } catch (error) {
      this.onHandshakeFailed(address, error);
    } finally {
      this.unproven.delete(channel);
      this.admission.leave(address);
      if (this.unproven.size === 0) this.whenNoStrangers.tell();
    }
  }

  private onHandshakeFailed(address: string, cause: unknown): void {
    const code = isGenRpcError(cause) ? cause.code : 'protocol_error';
    const kind =
      (isGenRpcError(cause) ? tlsFailureOf(cause) : undefined) ?? OCCURRENCES.get(code) ?? 'handshake_failed';
    if (FAILED_PROOFS.has(kind)) this.admission.failed(address);
    // Probes of load balancers do so every few seconds.
    if (isGenRpcError(cause) && saidNothing(cause)) return this.options.journal.count(kind);
    const message = cause instanceof Error ? cause.message : 'unknown error';
    this.options.journal.note(kind, () => {
      return `Handshake with ${address} failed (${code}): ${printable(message, 200)}`;
    });
  }

  /** Who shows no certificate replaces nobody who has shown one: over TCP a name is what somebody says. */
  private admits(peer: Peer): boolean {
    const namesakes = this.namesakesOf(peer);
    if (this.options.duplicateNodes === 'refuse') return namesakes.length === 0;
    return peer.certificate !== undefined || namesakes.every(({ peer: known }) => known.certificate === undefined);
  }

  /** Connections of the same name from another life. */
  private namesakesOf(peer: Peer): Acceptor[] {
    return [...this.acceptors].filter(({ peer: known }) => {
      return known.node === peer.node && known.life !== peer.life;
    });
  }

  private adopt(connection: Connection): void {
    if (this.closing) return connection.abort(new GenRpcError('refused', 'The node is shutting down.'));
    const { peer } = connection;
    if (!this.admits(peer)) {
      // Its namesake was admitted in the same turn.
      const error = new GenRpcError('refused', `${peer.node} is connected already, from another process.`);
      connection.abort(error);
      throw error;
    }
    for (const namesake of this.namesakesOf(peer)) this.replace(namesake, peer);
    const acceptor = new Acceptor(connection, this.acceptorPorts, (ended) => this.forget(ended));
    this.acceptors.add(acceptor);
    connection.open(acceptor);
  }

  private replace(older: Acceptor, { node, address }: Peer): void {
    const message = `${node} connected again, from ${address}: its older connection, from ${older.peer.address}, is closed.`;
    this.options.journal.note('duplicate_node', () => message);
    const gone = older.replace(new GenRpcError('connection_lost', message));
    this.replaced.set(older, gone);
    void gone.then(() => this.replaced.delete(older));
  }

  private forget(acceptor: Acceptor): void {
    this.acceptors.delete(acceptor);
    if (this.acceptors.size === 0) this.whenIdle.tell();
  }
}
