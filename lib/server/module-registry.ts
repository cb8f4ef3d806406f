/** What may be called here. Found by whole name in a `Map`, never by property access. */
import type { ModuleRecord } from '../discovery/discovery.js';
import type { PeerCertificate } from '../driver/driver.js';
import { GenRpcError } from '../protocol/errors.js';
import { joinRoute, type FunctionName, type Headers, type Subscribable } from '../protocol/invocation.js';
import { nearestName } from '../protocol/nearest-name.js';
import type { ModulePolicy } from './module-policy.js';
import { byAge, isWanted } from '../protocol/versions.js';

/** The calling node, as its handshake proved it; the own node for local calls. */
export interface Caller {
  readonly node: string;
  readonly address: string;
  /** The port of this node that its connection came to; `undefined` on wires without, and for the own node. */
  readonly localPort?: number | undefined;
  /** What it showed over TLS; `undefined` on other wires, and for the own node. */
  readonly certificate?: PeerCertificate | undefined;
}

/** What a function gets to know about the call beside its arguments. */
export interface CallContext {
  readonly name: FunctionName;
  readonly caller: Caller;
  readonly headers: Headers | undefined;
  /** Was one value sent, rather than a list of arguments? */
  readonly single: boolean;
  /**
   * The same each time that a call marked `idempotent` is made again, so that a repeat can be told; `undefined` for all
   * others.
   */
  readonly callKey: string | undefined;
  /**
   * Says something beside the reply, to whoever called with `onReplyHeaders`: small texts, 16 KiB in all. They travel in
   * front of the reply, also of an error. Of a cast, nobody hears them.
   * @throws GenRpcError `invalid_argument` once the reply has begun, and for what is no text or does not fit.
   */
  setReplyHeader(name: string, value: string): void;
  /** ms left of the caller's deadline, never below 0; `Infinity` for a cast. */
  remainingMs(): number;
  /**
   * Aborts when nobody waits for the result any more: cancelled, out of time, or the caller is gone. A cast runs on
   * without its caller: its signal aborts when the node that runs it closes.
   */
  readonly signal: AbortSignal;
  /**
   * Aborts when the node that runs it begins to drain: what goes on without end does well to end now, because it is
   * stopped, and its caller told `shutting_down`, when the grace period is over.
   */
  readonly drainSignal: AbortSignal;
  /** Is there room for another item of the reply? One that is sent all the same waits here. */
  readonly ready: boolean;
  /** Runs `then` once there is room; also once nobody waits for items any more, which `signal` tells. */
  whenReady(then: () => void): void;
  /** There is no room until what this returns is called, once: for an item that is still made ready to be sent. */
  hold(): () => void;
  /** What `items` brings, to subscribe to: the next one is asked for when there is room for it. */
  paced(items: AsyncIterable<unknown>): Subscribable;
}

/**
 * A callable function. Whatever it returns is the reply: a value, or for several something to iterate over asynchronously
 * or to `subscribe` to; or a promise of these. A throw is an error for the caller; only a GenRpcError `handler_failed` carries its message and details.
 */
export type Handler = (args: unknown, context: CallContext) => unknown;

/** A function as it is registered. */
export interface Callable {
  readonly run: Handler;
  /**
   * What a caller may know of the error that ends a reply of `run` that is subscribed to, where that is an answer and
   * no accident (`undefined`). A throw always is one.
   */
  readonly failureOf?: (cause: unknown) => GenRpcError | undefined;
}

interface RegisteredModule {
  readonly version: string;
  readonly functions: Map<string, Callable>;
}

const NOTHING_HERE =
  ' No function at all is registered here: in a Nest application, connectGenRpc(app) and ' +
  'app.startAllMicroservices() register those of its controllers.';

/** Names that somebody may have meant, at most: whoever misspells must not cost much. */
const MAX_SUGGESTIONS = 256;

export class ModuleRegistry {
  /** Versions of each module, oldest first; what is no semantic version came later than those before it. */
  private readonly modules = new Map<string, RegisteredModule[]>();
  /** What was found for names with a version: ranges take 2 µs to compare. */
  private found = new WeakMap<FunctionName, Callable>();

  constructor(private readonly policy: ModulePolicy) {}

  /** Registers one function; the last one of a name and version wins. `version` is empty for a module without one. */
  register(name: FunctionName, callable: Callable): void {
    let versions = this.modules.get(name.module);
    if (versions === undefined) this.modules.set(name.module, (versions = []));
    let module = versions.find(({ version }) => version === name.version);
    if (module === undefined) {
      module = { version: name.version, functions: new Map() };
      const newer = versions.findIndex(({ version }) => byAge(version, name.version) > 0);
      versions.splice(newer === -1 ? versions.length : newer, 0, module);
    }
    module.functions.set(name.fn, callable);
    this.found = new WeakMap();
  }

  /** Modules with a name that others may call, and their versions, oldest first. */
  listed(): ModuleRecord[] {
    return [...this.modules]
      .filter(([name]) => name !== '' && this.policy.allows(name))
      .map(([name, versions]) => ({ name, versions: versions.map(({ version }) => version) }));
  }

  /**
   * The function behind a name, or why there is none: `unauthorized`, `incompatible`, `undefined_function`. What there
   * is of a module is told to nobody who may not call it. Of several versions that will do, the newest answers.
   */
  resolve(name: FunctionName): Callable | GenRpcError {
    if (!this.policy.allows(name.module)) {
      return new GenRpcError('unauthorized', `${joinRoute(name)} is not callable here.`);
    }
    const versions = this.modules.get(name.module) ?? [];
    return this.find(name, versions) ?? this.missing(name, versions);
  }

  /** Would it be found? */
  has(name: FunctionName): boolean {
    return this.policy.allows(name.module) && this.find(name, this.modules.get(name.module) ?? []) !== undefined;
  }

  private find(name: FunctionName, versions: readonly RegisteredModule[]): Callable | undefined {
    if (name.version === '') return newestWith(name.fn, versions);
    const known = this.found.get(name);
    if (known !== undefined) return known;
    const callable = newestWith(name.fn, wantedOf(name, versions));
    if (callable !== undefined) this.found.set(name, callable);
    return callable;
  }

  private missing(name: FunctionName, versions: readonly RegisteredModule[]): GenRpcError {
    if (name.version === '') return this.undefinedFunction(name, versions);
    const wanted = wantedOf(name, versions);
    return wanted.length === 0 ? this.incompatible(name, versions) : this.undefinedFunction(name, wanted);
  }

  private undefinedFunction(name: FunctionName, versions: readonly RegisteredModule[]): GenRpcError {
    const functions = versions.flatMap((module) => [...module.functions.keys()]).slice(0, MAX_SUGGESTIONS);
    const near = nearestName(name.fn, functions);
    const meant = near === undefined ? this.nearModule(name) : joinRoute({ module: name.module, fn: near });
    const hint = meant === undefined ? this.emptiness() : ` Did you mean ${shown(meant)}?`;
    const where = name.version === '' ? 'here' : `in version ${shown(name.version)}`;
    return new GenRpcError('undefined_function', `There is no function ${shown(joinRoute(name))} ${where}.${hint}`);
  }

  private incompatible({ module, version }: FunctionName, versions: readonly RegisteredModule[]): GenRpcError {
    const there = versions.map((one) => one.version || 'one without a version').join(', ');
    const known = there === '' ? 'no version of it' : there;
    const message = `There is no version ${shown(version)} of ${shown(module)} here, but ${shown(known)}.`;
    return new GenRpcError('incompatible', `${message}${this.emptiness()}`);
  }

  /** What is not misspelt: nobody has registered anything. */
  private emptiness(): string {
    return this.modules.size === 0 ? NOTHING_HERE : '';
  }

  /** The same function in another module of nearly the same name. */
  private nearModule({ module, fn }: FunctionName): string | undefined {
    const known = [...this.modules.keys()].slice(0, MAX_SUGGESTIONS);
    const others = known.filter((other) => other !== module && this.policy.allows(other));
    const near = nearestName(module, others);
    const there = near === undefined ? undefined : newestWith(fn, this.modules.get(near));
    return near === undefined || there === undefined ? undefined : joinRoute({ module: near, fn });
  }
}

function wantedOf({ version: range }: FunctionName, versions: readonly RegisteredModule[]): RegisteredModule[] {
  return versions.filter(({ version }) => isWanted(version, range));
}

function newestWith(fn: string, versions: readonly RegisteredModule[] = []): Callable | undefined {
  for (let index = versions.length - 1; index >= 0; index -= 1) {
    const found = versions[index]?.functions.get(fn);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Names come from callers: what is repeated of one is short. */
function shown(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
