/** One module of other nodes, its functions as methods: the verbs `call`, `stream` and `cast`, typed by whoever answers. */
import type { Target } from '../client/target.js';
import type { CallOptions, CastOptions, ModuleRef } from './call-options.js';
import type { ModuleCalls, ModuleCasts, ModuleStreams } from './module-types.js';
import { methodsBy } from './remote-methods.js';

type Verb<Options> = (
  target: string | Target,
  module: ModuleRef,
  fn: string,
  args: readonly unknown[],
  options?: Options,
) => unknown;

/** What of a node it takes. */
interface Verbs {
  readonly call: Verb<CallOptions>;
  readonly stream: Verb<CallOptions>;
  readonly cast: Verb<CastOptions>;
}

/** Made by `GenRpcNode#module`. What its methods return keeps its own methods: good to have for as long as the target. */
export class TypedModule<T extends object> {
  /** @internal */
  constructor(
    private readonly verbs: Verbs,
    private readonly module: ModuleRef,
  ) {}

  /** Functions that reply once. `options` are those of every call. See `GenRpcNode#call`. */
  at(target: string | Target, options?: CallOptions): ModuleCalls<T> {
    return this.methods('call', target, options) as ModuleCalls<T>;
  }

  /** Functions whose reply is a stream. See `GenRpcNode#stream`. */
  streamFrom(target: string | Target, options?: CallOptions): ModuleStreams<T> {
    return this.methods('stream', target, options) as ModuleStreams<T>;
  }

  /** All functions, without waiting for a reply. See `GenRpcNode#cast`. */
  castTo(target: string | Target, options?: CastOptions): ModuleCasts<T> {
    return this.methods('cast', target, options) as ModuleCasts<T>;
  }

  private methods(verb: keyof Verbs, target: string | Target, options: CallOptions | CastOptions | undefined): object {
    const { verbs, module } = this;
    return methodsBy(
      (fn) =>
        (...args) =>
          verbs[verb](target, module, fn, args, options),
    );
  }
}
