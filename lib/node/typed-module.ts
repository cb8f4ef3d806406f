/** One module of other nodes, its functions as methods: the verbs `call`, `stream` and `cast`, typed by whoever answers. */
import type { Target } from '../client/target.js';
import type { CallOptions, CastOptions, ModuleRef } from './call-options.js';
import type { ModuleCalls, ModuleCasts, ModuleStreams } from './module-types.js';
import { methodsBy } from './remote-methods.js';

/** What of a node it takes. */
interface Verbs {
  call(
    target: string | Target,
    module: ModuleRef,
    fn: string,
    args: readonly unknown[],
    options?: CallOptions,
  ): unknown;
  stream(
    target: string | Target,
    module: ModuleRef,
    fn: string,
    args: readonly unknown[],
    options?: CallOptions,
  ): unknown;
  cast(
    target: string | Target,
    module: ModuleRef,
    fn: string,
    args: readonly unknown[],
    options?: CastOptions,
  ): unknown;
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
    const { verbs, module } = this;
    const make =
      (fn: string) =>
      (...args: unknown[]) =>
        verbs.call(target, module, fn, args, options);
    return methodsBy(make) as ModuleCalls<T>;
  }

  /** Functions whose reply is a stream. See `GenRpcNode#stream`. */
  streamFrom(target: string | Target, options?: CallOptions): ModuleStreams<T> {
    const { verbs, module } = this;
    const make =
      (fn: string) =>
      (...args: unknown[]) =>
        verbs.stream(target, module, fn, args, options);
    return methodsBy(make) as ModuleStreams<T>;
  }

  /** All functions, without waiting for a reply. See `GenRpcNode#cast`. */
  castTo(target: string | Target, options?: CastOptions): ModuleCasts<T> {
    const { verbs, module } = this;
    const make =
      (fn: string) =>
      (...args: unknown[]) =>
        verbs.cast(target, module, fn, args, options);
    return methodsBy(make) as ModuleCasts<T>;
  }
}
