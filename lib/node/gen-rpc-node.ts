/** A named node: the gen_rpc verbs over one client and one server. */
import type { Target } from '../client/target.js';
import type { Cancel, ReplySink } from '../client/pending-calls.js';
import type { CastOutcome } from '../client/queued-cast.js';
import type { Endpoint } from '../driver/driver.js';
import { isGenRpcError } from '../protocol/errors.js';
import { splitRoute, type FunctionName, type Invocation } from '../protocol/invocation.js';
import type { ModuleControl } from '../server/module-policy.js';
import type { Callable, Handler } from '../server/module-registry.js';
import type { Listening } from './advertised.js';
import { AsyncCall } from './async-call.js';
import type {
  BroadcastArgs,
  CastReport,
  EvalArgs,
  Multi,
  MulticallArgs,
  MulticallResult,
  SbcastResult,
} from './broadcasts.js';
import {
  CALLERS_FAULT,
  targetOf,
  type CallOptions,
  type CastOptions,
  type EventHandler,
  type ModuleFunctions,
  type ModuleRef,
} from './call-options.js';
import { reload } from './certificates.js';
import type { MemberInfo, MembershipListener } from './directory.js';
import { CallTime } from './call-time.js';
import { inItsContext } from './in-its-context.js';
import { Lifecycle } from './lifecycle.js';
import type { NodeParts, StatusListener } from './node-parts.js';
import { statsOf, type NodeStats } from './node-stats.js';
import { ReplyTo } from './single-reply.js';
import { StreamReply } from './stream-reply.js';
import { TypedModule } from './typed-module.js';

export class GenRpcNode {
  readonly name: string;
  private readonly life: Lifecycle;

  /** @internal */
  constructor(private readonly parts: NodeParts) {
    this.name = parts.options.name;
    this.life = new Lifecycle(parts);
  }

  /**
   * Makes functions callable, by the names they have in `functions`. Each gets the list of arguments, which nobody has
   * checked yet, and the call's context. A module may come in several versions.
   */
  register(module: string, functions: ModuleFunctions, options: { version?: string } = {}): void {
    for (const [fn, handler] of Object.entries(functions)) {
      const run: Handler = (args, context) => handler((context.single ? [args] : args) as never, context);
      this.registerFunction(module, fn, { run }, options.version);
    }
  }

  /** As `register`, for one function that tells single values from lists itself. */
  registerFunction(module: string, fn: string, callable: Callable, version = ''): void {
    this.parts.registry.register(this.functionName({ module, version }, fn), callable);
    this.life.modulesChanged();
  }

  /** As `register`, for the messages that `abcast` and `sbcast` send to `name`. */
  registerEvent(name: string, handler: EventHandler): void {
    const { module, fn } = splitRoute(name);
    this.registerFunction(module, fn, { run: handler as Handler });
  }

  /** Changes `moduleControl` and `moduleList`: from the next call on, while those that run are let be. */
  setModulePolicy(control: ModuleControl, modules: readonly string[] = []): void {
    this.parts.policy.change(control, modules);
    this.life.modulesChanged();
  }

  /** Accepts connections from now on; resolves with the first address, or `undefined` with `listen: false`. */
  listen(): Promise<Endpoint | undefined> {
    return this.life.listen();
  }

  /** Where it accepts connections, and over what; empty before `listen`. */
  endpoints(): readonly Listening[] {
    return this.life.endpoints;
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
      const invocation = this.parts.calls.invocation(module, fn, args, options);
      const reply = new ReplyTo(resolve as (value: unknown) => void, reject);
      this.parts.calls.request(targetOf(target), invocation, options, reply);
    });
  }

  /**
   * Calls a function and iterates over its reply: whatever it streams, or its one result. The function waits while
   * nobody reads. Each iteration is a call of its own; leaving it early cancels the call.
   * @throws GenRpcError (out of the iteration, behind the items that came before) whatever happens; see its codes.
   */
  stream<T = unknown>(
    target: string | Target,
    module: ModuleRef,
    fn: string,
    args: readonly unknown[] = [],
    options: CallOptions = {},
  ): AsyncIterable<T> {
    const invocation = this.parts.calls.invocation(module, fn, args, options);
    return new StreamReply<T>((sink) => this.parts.calls.request(targetOf(target), invocation, options, sink));
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
      this.post(targetOf(target), this.parts.calls.invocation(module, fn, args, options));
      return true;
    } catch (error) {
      if (isGenRpcError(error) && !CALLERS_FAULT.has(error.code)) return false;
      throw error;
    }
  }

  /**
   * Makes a call whose result is fetched later, once. It runs from now on. (gen_rpc: `async_call`)
   * @throws GenRpcError `invalid_argument` for what is wrong with the call itself.
   */
  asyncCall<T = unknown>(
    target: string | Target,
    module: ModuleRef,
    fn: string,
    args: readonly unknown[] = [],
    options: CallOptions = {},
  ): AsyncCall<T> {
    const invocation = this.parts.calls.invocation(module, fn, args, options);
    return this.asyncRequest((sink) => this.parts.calls.request(targetOf(target), invocation, options, sink));
  }

  /**
   * A module whose functions are methods, typed by the class that answers; `import type` of that is enough:
   * `rpc.module<MathController>('math').at('math@10.0.0.2').add(1, 2)`.
   */
  module<T extends object>(name: string, { version }: { readonly version?: string } = {}): TypedModule<T> {
    return new TypedModule<T>(this, version === undefined ? name : { module: name, version });
  }

  /**
   * Calls a function on many nodes at once; one deadline for all. Without targets: the own node and every connected
   * one. (gen_rpc: `multicall`)
   * @throws GenRpcError (as a rejection) only for what is wrong with the call itself.
   */
  multicall<T = unknown>(...given: Multi<MulticallArgs>): Promise<MulticallResult<T>> {
    return this.parts.broadcasts.multicall(given);
  }

  /**
   * A `cast` to many nodes. (gen_rpc: `eval_everywhere`)
   * @throws GenRpcError `invalid_argument`, `encode_error`: only for what no node could be sent.
   */
  evalEverywhere(...given: Multi<EvalArgs>): CastReport {
    return this.parts.broadcasts.evalEverywhere(given);
  }

  /**
   * Sends a message to the event handlers that many nodes have under `name`, and waits for nobody. (gen_rpc: `abcast`)
   * @throws GenRpcError `invalid_argument`, `encode_error`: only for what no node could be sent.
   */
  abcast(...given: Multi<BroadcastArgs<CastOptions>>): CastReport {
    return this.parts.broadcasts.abcast(given);
  }

  /**
   * As `abcast`, and waits to hear which nodes have the name and have begun to handle the message; what comes of it
   * is not waited for. (gen_rpc: `sbcast`)
   * @throws GenRpcError (as a rejection) only for what is wrong with the message itself.
   */
  sbcast(...given: Multi<BroadcastArgs<CallOptions>>): Promise<SbcastResult> {
    return this.parts.broadcasts.sbcast(given);
  }

  /** Nodes with an open connection from here. (gen_rpc: `nodes`) */
  nodes(): string[] {
    return this.parts.dispatcher.nodes();
  }

  /** Everyone that discovery knows, connected or not; the own node too, where it is told of. */
  members(): MemberInfo[] {
    return this.parts.directory.members();
  }

  /** Tells `listener` from now on of nodes that come, change and go; returns what ends that. */
  onMembership(listener: MembershipListener): () => void {
    this.parts.directory.listeners.add(listener);
    return () => void this.parts.directory.listeners.delete(listener);
  }

  /** The node that a call would go to now; with a key, while the same nodes are there. `undefined`: none will do. */
  choose(target: string | Target): string | undefined {
    return this.parts.calls.choose(targetOf(target));
  }

  /** Is there an open connection to the target? The own node always is. */
  isConnected(target: string | Target): boolean {
    return this.parts.calls.isConnected(targetOf(target));
  }

  /**
   * Resolves once there is a connection to the target; not needed before calls. `timeout`: ms, default as long as one
   * attempt may take (`connectTimeout`), of a module up to three.
   * @throws GenRpcError (as a rejection) when it fails.
   */
  async connect(target: string | Target, { timeout }: { readonly timeout?: number } = {}): Promise<void> {
    if (!this.isConnected(target)) await this.parts.calls.connect(targetOf(target), timeout);
  }

  /** Tells `listener` from now on; returns what ends that. */
  onStatus(listener: StatusListener): () => void {
    this.parts.statusListeners.add(listener);
    return () => void this.parts.statusListeners.delete(listener);
  }

  /** What everything that calls is made of: `sink` hears of the reply, the result cancels. */
  request(target: Target, invocation: Invocation, options: CallOptions, sink: ReplySink): Cancel {
    return this.parts.calls.request(target, invocation, options, inItsContext(sink, this.parts.options.tracing));
  }

  /** What `asyncCall` is made of. `start` makes the request. */
  asyncRequest<T>(start: (sink: ReplySink) => Cancel): AsyncCall<T> {
    const { clock, deadlines, options } = this.parts;
    return new AsyncCall(clock, deadlines, options.asyncCallInactivityTimeout, start);
  }

  /** The time of a call that is not made yet. @throws GenRpcError `invalid_argument`. @internal for what wraps calls */
  timeOf(options: CallOptions): CallTime {
    return new CallTime(options, this.parts);
  }

  /** What everything that casts is made of. @throws GenRpcError when it is not accepted. */
  post(target: Target, invocation: Invocation, outcome?: CastOutcome): void {
    this.parts.calls.post(target, invocation, outcome);
  }

  /** The one object for a name. @throws GenRpcError `invalid_argument`. */
  functionName(module: ModuleRef, fn: string): FunctionName {
    return this.parts.calls.functionName(module, fn);
  }

  stats(): NodeStats {
    return statsOf(this.parts, this.life.phase);
  }

  /**
   * Reads certificates and keys again, for connections from now on; for whoever cannot wait until it is done by itself.
   * @throws GenRpcConfigError naming every problem with the new ones: those before stay in use.
   */
  reloadCertificates(): void {
    reload(this.parts.certificates);
  }

  /** Stops intake, lets calls in both directions finish, then closes; at the latest after `gracePeriod` ms. */
  drain(gracePeriod?: number): Promise<void> {
    return this.life.drain(gracePeriod);
  }

  /** Stops intake only: calls from here go on until `close`. For servers that stop before what uses them. */
  stopListening(gracePeriod?: number): Promise<void> {
    return this.life.stopListening(gracePeriod);
  }

  /** Ends now: pending calls fail, queued frames have 400 ms to leave. Resolves once nothing of ours is open. Safe to repeat. */
  close(): Promise<void> {
    return this.life.close();
  }

  /** Ends now, without a last word to anyone. */
  abort(): void {
    this.life.abort();
  }
}
