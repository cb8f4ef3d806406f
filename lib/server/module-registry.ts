/** What may be called here. Found by whole name in a `Map`, never by property access. */
import { GenRpcError } from '../protocol/errors.js';
import { joinRoute, type FunctionName, type Headers } from '../protocol/invocation.js';
import type { ModulePolicy } from './module-policy.js';

/** What a function gets to know about the call beside its arguments. */
export interface CallContext {
  readonly name: FunctionName;
  /** The calling node, as its handshake proved it; the own node for local calls. */
  readonly caller: { readonly node: string; readonly address: string };
  readonly headers: Headers | undefined;
  /** Was one value sent, rather than a list of arguments? */
  readonly single: boolean;
  /** ms left of the caller's deadline, never below 0; `Infinity` for a cast. */
  remainingMs(): number;
  /**
   * Aborts when nobody waits for the result any more: cancelled, out of time, or the caller is gone. A cast runs on
   * without its caller: its signal aborts when the node that runs it closes.
   */
  readonly signal: AbortSignal;
}

/**
 * A callable function. Whatever it returns is the reply: a value, a promise of one, or something to `subscribe` to for
 * several. A throw is an error for the caller; only a GenRpcError `handler_failed` carries its message and details.
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

export class ModuleRegistry {
  private readonly modules = new Map<string, RegisteredModule[]>();

  constructor(private readonly policy: ModulePolicy) {}

  /** Registers one function; the last one of a name and version wins. `version` is empty for a module without one. */
  register(name: FunctionName, callable: Callable): void {
    let versions = this.modules.get(name.module);
    if (versions === undefined) this.modules.set(name.module, (versions = []));
    let module = versions.find(({ version }) => version === name.version);
    if (module === undefined) versions.push((module = { version: name.version, functions: new Map() }));
    module.functions.set(name.fn, callable);
  }

  /** The function behind a name, or why there is none: `unauthorized`, `incompatible`, `undefined_function`. */
  resolve(name: FunctionName): Callable | GenRpcError {
    if (!this.policy.allows(name.module)) {
      return new GenRpcError('unauthorized', `${joinRoute(name)} is not callable here.`);
    }
    const versions = this.modules.get(name.module);
    if (name.version === '') return (versions && newestWith(name.fn, versions)) ?? undefinedFunction(name);
    const module = versions?.find(({ version }) => version === name.version);
    if (module === undefined) {
      return new GenRpcError('incompatible', `There is no version ${name.version} of ${name.module} here.`);
    }
    return module.functions.get(name.fn) ?? undefinedFunction(name);
  }
}

function newestWith(fn: string, versions: readonly RegisteredModule[]): Callable | undefined {
  for (let index = versions.length - 1; index >= 0; index -= 1) {
    const found = versions[index]?.functions.get(fn);
    if (found !== undefined) return found;
  }
  return undefined;
}

function undefinedFunction(name: FunctionName): GenRpcError {
  const shown = joinRoute(name);
  return new GenRpcError(
    'undefined_function',
    `There is no function ${shown.length > 200 ? `${shown.slice(0, 200)}…` : shown} here.`,
  );
}
