/** How a node starts to listen, and how it ends: by draining, closing or aborting. */
import type { Dispatcher } from '../client/dispatcher.js';
import type { Deadlines } from '../connection/deadlines.js';
import type { Journal } from '../connection/journal.js';
import type { CertificateFiles } from '../certificates/certificate-files.js';
import type { Driver, Endpoint } from '../driver/driver.js';
import { GenRpcError } from '../protocol/errors.js';
import type { Clock } from '../ports/clock.js';
import type { ModuleRegistry } from '../server/module-registry.js';
import type { Server } from '../server/server.js';
import { advertised, type Listening } from './advertised.js';
import { closedError } from './call-options.js';
import type { Calls } from './calls.js';
import type { Directory } from './directory.js';
import type { LocalCalls } from './local-call.js';
import type { ResolvedOptions } from './resolve-options.js';
import type { WaitingCalls } from './waiting-calls.js';

export interface LifecycleParts {
  readonly options: Omit<ResolvedOptions, 'secrets' | 'tls'>;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly deadlines: Deadlines;
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly server: Server;
  readonly dispatcher: Dispatcher;
  readonly local: LocalCalls;
  readonly calls: Calls;
  readonly waiting: WaitingCalls;
  readonly registry: ModuleRegistry;
  readonly directory: Directory;
  /** This process, as its handshakes tell it. */
  readonly incarnation: string;
  /** `undefined`: the node has no TLS. */
  readonly certificates: CertificateFiles | undefined;
}

/** What peers have to take the last frames of a node that closes; one that does not read must not hold it. */
const LAST_FRAMES_MS = 400;

/** What discovery has to tell others that a node goes. */
const LEAVING_MS = 1000;

/**
 * `starting`: does not listen yet. `open`: takes calls, where its options say that it listens. `draining`: ends what it
 * has begun, and takes nothing new. `closed`.
 */
export type NodePhase = 'starting' | 'open' | 'draining' | 'closed';

type State = { name: 'open' } | { name: 'draining'; done: Promise<void> } | { name: 'closed'; done: Promise<void> };

export class Lifecycle {
  private state: State = { name: 'open' };
  private listening: Promise<void> | undefined;
  private places: readonly Listening[] = [];
  private intakeEnds = false;
  private advertising = false;

  constructor(private readonly parts: LifecycleParts) {}

  /** Where connections are accepted, in the order of the options. */
  get endpoints(): readonly Listening[] {
    return this.places;
  }

  get phase(): NodePhase {
    if (this.state.name !== 'open') return this.state.name;
    if (this.intakeEnds) return 'draining';
    return this.places.length < this.parts.options.listen.length ? 'starting' : 'open';
  }

  async listen(): Promise<Endpoint | undefined> {
    const { server, directory, options } = this.parts;
    server.assertOpen();
    if (options.membership.required) await directory.read(options.connectTimeout);
    this.listening ??= this.startListening().catch((error: unknown) => {
      // What was in the way may be gone when somebody tries again.
      this.listening = undefined;
      throw error;
    });
    await this.listening;
    await this.join();
    server.assertOpen();
    const [first] = this.places;
    return first === undefined ? undefined : { host: first.host, port: first.port };
  }

  /** What can be called here is no longer what others were told. */
  modulesChanged(): void {
    if (this.places.length === 0 || this.advertising) return;
    this.advertising = true;
    this.parts.clock.soon(() => {
      this.advertising = false;
      void this.advertise().catch(() => {});
    });
  }

  drain(gracePeriod?: number): Promise<void> {
    const ms = this.periodOf(gracePeriod);
    if (ms === undefined) return this.close();
    if (this.state.name === 'open') this.state = { name: 'draining', done: this.drainThenClose(ms) };
    return this.state.done;
  }

  async stopListening(gracePeriod?: number): Promise<void> {
    const { clock, server } = this.parts;
    this.intakeEnds = true;
    const ms = this.periodOf(gracePeriod);
    if (this.parts.directory.isTold) await this.leave();
    if (ms !== undefined) await this.within(ms, server.drain());
    const reason = this.reason();
    const late = clock.after(LAST_FRAMES_MS, () => server.abort(reason), true);
    await server.close(reason);
    late.cancel();
  }

  close(): Promise<void> {
    if (this.state.name !== 'closed') this.state = { name: 'closed', done: this.closeParts() };
    return this.state.done;
  }

  abort(): void {
    this.abortParts(this.reason());
    void this.close();
  }

  private abortParts(reason: GenRpcError): void {
    this.parts.dispatcher.abort(reason);
    this.parts.server.abort(reason);
  }

  /** `undefined`: nothing is waited for. */
  private periodOf(given: number | undefined): number | undefined {
    const { gracefulShutdown, gracePeriod } = this.parts.options;
    return given ?? (gracefulShutdown ? gracePeriod : undefined);
  }

  private reason(): GenRpcError {
    return closedError(this.parts.options.name);
  }

  private async startListening(): Promise<void> {
    const { drivers, options, server } = this.parts;
    const places = options.listen.map(({ driver: name, host, port, ipv6Only }) => {
      const driver = drivers.get(name);
      if (driver === undefined) throw new GenRpcError('invalid_argument', `There is no driver ${name}.`);
      return { driver, at: { host, port, ipv6Only } };
    });
    const addresses = await server.listen(places);
    this.places = addresses.map((address, at) => ({ driver: places[at]?.driver.name ?? '', ...address }));
  }

  /** Others learn of this node. @throws GenRpcError (as a rejection) where that is required, and does not come to pass. */
  private async join(): Promise<void> {
    const { membership, connectTimeout } = this.parts.options;
    const known = this.advertise();
    known.catch(() => {});
    if (membership.required) await this.within(connectTimeout, known);
  }

  /** What goes wrong is noted; the rejection is for whoever cannot do without. */
  private advertise(): Promise<void> {
    const { directory, options, registry, incarnation } = this.parts;
    if (options.advertise === undefined || this.phase !== 'open') return Promise.resolve();
    const { name, advertise } = options;
    const modules = registry.listed();
    const own = advertised({ name, incarnation, options: advertise, places: this.places, modules });
    return own === undefined ? Promise.resolve() : directory.register(own);
  }

  private leave(): Promise<void> {
    return this.within(LEAVING_MS, this.parts.directory.deregister());
  }

  private async drainThenClose(gracePeriod: number): Promise<void> {
    await this.within(gracePeriod, this.finish());
    await this.close();
  }

  /** Functions that still run may call other nodes: those calls are the last to go. */
  private async finish(): Promise<void> {
    const { server, dispatcher, local, waiting, directory } = this.parts;
    local.drain();
    // Whoever is still sent here finds an open door.
    if (directory.isTold) await this.leave();
    await server.drain();
    await local.idle();
    do {
      await waiting.idle();
      await dispatcher.drain();
    } while (waiting.size > 0);
  }

  private async closeParts(): Promise<void> {
    const { clock, dispatcher, server, local, calls, deadlines, certificates, directory } = this.parts;
    const reason = this.reason();
    calls.close(reason);
    local.close(reason);
    certificates?.close();
    const late = clock.after(LAST_FRAMES_MS, () => this.abortParts(reason), true);
    await Promise.all([dispatcher.close(reason), server.close(reason), this.within(LEAVING_MS, directory.close())]);
    late.cancel();
    deadlines.close();
  }

  private within(ms: number, work: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.parts.clock.after(ms, resolve);
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  }
}
