/** A named node: the gen_rpc verbs over one client and one server. */
import type { Dispatcher, Target } from '../client/dispatcher.js';
import type { CastOutcome } from '../client/lane.js';
import { PendingCall, type ReplySink } from '../client/pending-calls.js';
import type { Deadlines } from '../connection/deadlines.js';
import type { Journal, Occurrence } from '../connection/journal.js';
import type { Driver, Endpoint } from '../driver/driver.js';
import { GenRpcError, isGenRpcError } from '../protocol/errors.js';
import { isArgumentList, type FunctionName, type FunctionNames, type Invocation } from '../protocol/invocation.js';
import { printable } from '../protocol/node-name.js';
import { MAX_TIMER_MS, type Clock } from '../ports/clock.js';
import type { Callable, Handler, ModuleRegistry } from '../server/module-registry.js';
import type { Server } from '../server/server.js';
import {
  closedError,
  headersOf,
  invalidArguments,
  invalidTimeout,
  targetOf,
  type CallOptions,
  type CastOptions,
  type ModuleFunction,
  type ModuleRef,
} from './call-options.js';
import type { LocalCalls } from './local-call.js';
import type { ResolvedOptions } from './resolve-options.js';
import { untilAborted } from './until-aborted.js';

/** How a node that is called to be one is made of its parts: see `createNode`. */
export interface NodeParts {
  readonly options: Omit<ResolvedOptions, 'secrets'>;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly deadlines: Deadlines;
  readonly names: FunctionNames;
  readonly registry: ModuleRegistry;
  readonly server: Server;
  readonly dispatcher: Dispatcher;
  readonly local: LocalCalls;
  readonly drivers: ReadonlyMap<string, Driver>;
  readonly statusListeners: Set<StatusListener>;
}

/** Told whenever a node becomes connected from here, or no longer is. */
export type StatusListener = (node: string, connected: boolean) => void;

/** What a node is doing now, and what has happened so far. */
export interface NodeStats {
  readonly pendingCalls: number;
  readonly runningCalls: number;
  readonly connectedNodes: number;
  readonly acceptedConnections: number;
  readonly handshakes: number;
  readonly counts: Readonly<Partial<Record<Occurrence, number>>>;
}

type State = { name: 'open' } | { name: 'draining'; done: Promise<void> } | { name: 'closed'; done: Promise<void> };

export class GenRpcNode {
  readonly name: string;
  private state: State = { name: 'open' };
  private listening: Promise<Endpoint | undefined> | undefined;

  /** @internal */
  constructor(private readonly parts: NodeParts) {
    this.name = parts.options.name;
  }

  /**
   * Makes functions callable, by the names they have in `functions`. Each gets the list of arguments, which nobody has
   * checked yet, and the call's context. A module may come in several versions.
   */
  register(
    module: string,
    functions: Readonly<Record<string, ModuleFunction>>,
    options: { version?: string } = {},
  ): void {
    for (const [fn, handler] of Object.entries(functions)) {
      const run: Handler = (args, context) => handler((context.single ? [args] : args) as never, context);
      this.registerFunction(module, fn, { run }, options.version);
    }
  }

  /** As `register`, for one function that tells single values from lists itself. */
  registerFunction(module: string, fn: string, callable: Callable, version = ''): void {
    this.parts.registry.register(this.parts.names.resolve(module, fn, version), callable);
  }

  /** Accepts connections from now on; resolves with the address, or `undefined` with `listen: false`. */
  listen(): Promise<Endpoint | undefined> {
    this.listening ??= this.startListening().catch((error: unknown) => {
      // What was in the way may be gone when somebody tries again.
      this.listening = undefined;
      throw error;
    });
    return this.listening;
  }

  /**
   * Calls a function and waits for its result.
   * @throws GenRpcError (as a rejection) whatever happens; see its codes.
   */
  call<T = unknown>(
    target: string | Target,
    module: ModuleRef,
    fn: string,
    args: readonly unknown[] = [],
    options: CallOptions = {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let last: unknown;
      this.request(targetOf(target), this.invocation(module, fn, args, options), options, {
        item: (value) => (last = value),
        done: (value) => resolve((value === undefined ? last : value) as T),
        failed: reject,
      });
    });
  }

  /**
   * Sends a call and forgets it. Returns whether it was accepted: written, or queued while the connection is made.
   * What goes wrong later is counted, never thrown. (gen_rpc: `cast`)
   * @throws GenRpcError only for what is wrong with the call itself: `invalid_argument`, `encode_error`, `message_too_large`.
   */
  cast(
    target: string | Target,
    module: ModuleRef,
    fn: string,
    args: readonly unknown[] = [],
    options: CastOptions = {},
  ): boolean {
    try {
      this.post(targetOf(target), this.invocation(module, fn, args, options));
      return true;
    } catch (error) {
      if (isGenRpcError(error) && !CALLERS_FAULT.has(error.code)) return false;
      throw error;
    }
  }

  /** Nodes with an open connection from here. (gen_rpc: `nodes`) */
  nodes(): string[] {
    return this.parts.dispatcher.nodes();
  }

  /** Is there an open connection to the target? The own node always is. */
  isConnected(target: string | Target): boolean {
    const { node, key } = targetOf(target);
    return node === this.name || this.parts.dispatcher.resolve({ node, key }).connected;
  }

  /** Resolves once there is a connection to the target. @throws GenRpcError (as a rejection) when it fails. */
  async connect(target: string | Target): Promise<void> {
    if (this.state.name === 'closed') throw closedError(this.name);
    if (!this.isConnected(target)) await this.parts.dispatcher.resolve(targetOf(target)).connect();
  }

  /** Returns what stops the listening. */
  onStatus(listener: StatusListener): () => void {
    this.parts.statusListeners.add(listener);
    return () => void this.parts.statusListeners.delete(listener);
  }

  /** What everything that calls is made of: `sink` hears of the reply, the result cancels. */
  request(target: Target, invocation: Invocation, options: CallOptions, sink: ReplySink): () => void {
    const timeout = options.timeout ?? this.parts.options.callTimeout;
    if (!(timeout > 0 && timeout <= MAX_TIMER_MS)) throw invalidTimeout(timeout);
    if (options.signal !== undefined) {
      const { signal, ...rest } = options;
      return untilAborted(signal, invocation, sink, (watched) => this.request(target, invocation, rest, watched));
    }
    const deadlineAt = this.parts.clock.now() + timeout;
    const call = new PendingCall(target.node, invocation, timeout, deadlineAt, sink, this.parts.deadlines);
    this.start(target, call, options.waitForReady ?? false);
    return () => call.cancel();
  }

  /** What everything that casts is made of. @throws GenRpcError when it is not accepted. */
  post(target: Target, invocation: Invocation, outcome?: CastOutcome): void {
    try {
      if (this.state.name === 'closed') throw closedError(this.name);
      if (target.node !== this.name) return this.parts.dispatcher.resolve(target).cast(invocation, outcome);
      this.parts.local.cast(invocation);
      outcome?.written();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.parts.journal.note(
        'cast_not_accepted',
        () => `A cast to ${printable(target.node)} was not accepted: ${message}`,
      );
      throw error;
    }
  }

  /** The one object for a name. @throws GenRpcError `invalid_argument`. */
  functionName(module: ModuleRef, fn: string): FunctionName {
    const { names } = this.parts;
    return typeof module === 'string' ? names.resolve(module, fn) : names.resolve(module.module, fn, module.version);
  }

  stats(): NodeStats {
    const { dispatcher, server, journal, local } = this.parts;
    return {
      pendingCalls: dispatcher.pendingCalls + local.size,
      runningCalls: server.running,
      connectedNodes: dispatcher.nodes().length,
      acceptedConnections: server.connections,
      handshakes: server.handshakes,
      counts: journal.snapshot(),
    };
  }

  /** Stops intake, lets calls in both directions finish, then closes; at the latest after `gracePeriod` ms. */
  drain(gracePeriod = this.parts.options.gracePeriod): Promise<void> {
    if (this.state.name === 'open') this.state = { name: 'draining', done: this.drainThenClose(gracePeriod) };
    return this.state.done;
  }

  /** Stops intake only: calls from here go on until `close`. For servers that stop before what uses them. */
  async stopListening(gracePeriod = this.parts.options.gracePeriod): Promise<void> {
    const { server } = this.parts;
    await this.within(gracePeriod, server.drain());
    await server.close(closedError(this.name));
  }

  /** Ends now: pending calls fail, queued frames still leave. Resolves once nothing of ours is open. Safe to repeat. */
  close(): Promise<void> {
    if (this.state.name !== 'closed') this.state = { name: 'closed', done: this.closeParts() };
    return this.state.done;
  }

  /** Ends now, without a last word to anyone. */
  abort(): void {
    const reason = closedError(this.name);
    this.parts.dispatcher.abort(reason);
    this.parts.server.abort(reason);
    void this.close();
  }

  private invocation(module: ModuleRef, fn: string, args: unknown, options: CastOptions): Invocation {
    if (!isArgumentList(args)) throw invalidArguments(args);
    return { name: this.functionName(module, fn), args, single: false, headers: headersOf(options.headers) };
  }

  private async startListening(): Promise<Endpoint | undefined> {
    const { listen } = this.parts.options;
    if (listen === false) return undefined;
    const driver = this.parts.drivers.get(this.parts.options.driver);
    if (driver === undefined)
      throw new GenRpcError('invalid_argument', `There is no driver ${this.parts.options.driver}.`);
    return this.parts.server.listen(driver, { host: listen.host, port: listen.port });
  }

  private start(target: Target, call: PendingCall, waitForReady: boolean): void {
    if (this.state.name === 'closed') return call.fail(closedError(this.name));
    if (target.node === this.name) return this.parts.local.call(call);
    try {
      this.parts.dispatcher.resolve(target).call(call, waitForReady);
    } catch (error) {
      call.fail(error as GenRpcError);
    }
  }

  private async drainThenClose(gracePeriod: number): Promise<void> {
    const { server, dispatcher } = this.parts;
    // Functions that still run may call other nodes: those calls are the last to go.
    await this.within(
      gracePeriod,
      server.drain().then(() => dispatcher.drain()),
    );
    await this.close();
  }

  private async closeParts(): Promise<void> {
    const { dispatcher, server, local, deadlines } = this.parts;
    const reason = closedError(this.name);
    local.close(reason);
    await Promise.all([dispatcher.close(reason), server.close(reason)]);
    deadlines.clear();
  }

  private within(ms: number, work: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.parts.clock.after(ms, resolve);
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  }
}

const CALLERS_FAULT = new Set<GenRpcError['code']>(['invalid_argument', 'encode_error', 'message_too_large']);
