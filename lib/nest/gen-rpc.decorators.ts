/** `@RpcModule`, `@RpcFunction`, `@Arg`: callable modules, written as Nest controllers. */
import { Controller, UseFilters, type ParameterDecoratorOptions, type PipeTransform, type Type } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { RpcModuleFilter } from './gen-rpc.exceptions.js';
import { dressAs, type Method } from './gen-rpc.method-copy.js';
import { isAsyncGenerator, StreamItems } from './gen-rpc.stream-items.js';
import { GEN_RPC_TRANSPORT } from './gen-rpc.tokens.js';

/** What a handler's `extras` say to the strategy. */
export interface GenRpcExtras {
  readonly version?: string;
  /** The handler takes its arguments one by one. */
  readonly argumentList?: boolean;
}

type Pipe = Type<PipeTransform> | PipeTransform;

/** `@Arg(0, { schema: z.string() })`; `schema` needs Nest 12. */
export interface ArgOptions {
  /** Any Standard Schema (zod, valibot, arktype, …), for Nest's `StandardSchemaValidationPipe` to hold the argument against. */
  readonly schema?: {
    readonly '~standard': {
      readonly version: 1;
      readonly vendor: string;
      readonly validate: (value: unknown) => unknown;
    };
  };
  readonly pipes?: readonly Pipe[];
}

interface RpcFunctionMark {
  readonly method: string;
  readonly name: string;
}

/** Marks of a class's methods, gathered until its `@RpcModule` runs. */
const functionsOf = new WeakMap<object, readonly RpcFunctionMark[]>();
const methodsWithArgs = new WeakMap<object, Set<string>>();

/** Under this key a handler's `extras` carry ours. */
export const GEN_RPC_EXTRAS = 'genRpc';

/**
 * Makes the functions of a controller callable as module `name`. Only methods with `@RpcFunction` are, also those of
 * classes that it extends.
 * `version`: calls may ask for exactly this one, or for a range that it is in. (gen_rpc: `{Module, Version}`)
 */
export function RpcModule(name: string, options: { version?: string } = {}): ClassDecorator {
  return (target) => {
    const prototype = target.prototype as object;
    const marks = functionsFor(prototype);
    for (const method of methodsWithArgs.get(prototype) ?? []) {
      if (marks.some((mark) => mark.method === method)) continue;
      throw new TypeError(`@Arg() in ${target.name}.${method} needs @RpcFunction() on the method.`);
    }
    functionsOf.set(prototype, marks);
    for (const { method, name: fn } of marks) {
      const extras: GenRpcExtras = {
        ...(options.version === undefined ? {} : { version: options.version }),
        argumentList: takesArgs(prototype, method),
      };
      const descriptor = ownMethod(prototype, method);
      if (descriptor === undefined) continue;
      MessagePattern(`${name}.${fn}`, GEN_RPC_TRANSPORT, { [GEN_RPC_EXTRAS]: extras })(prototype, method, descriptor);
    }
    addFilterOfLastResort(target);
    Controller()(target);
  };
}

/** What a class overrides without the decorator is not callable, as with Nest's own. */
function functionsFor(prototype: object): readonly RpcFunctionMark[] {
  const own = functionsOf.get(prototype) ?? [];
  const parent = Object.getPrototypeOf(prototype) as object | null;
  if (parent === null) return own;
  return [...functionsFor(parent).filter(({ method }) => !Object.hasOwn(prototype, method)), ...own];
}

/** Nest inherits what is said of parameters. */
function takesArgs(prototype: object | null, method: string): boolean {
  if (prototype === null) return false;
  if (methodsWithArgs.get(prototype)?.has(method) === true) return true;
  return takesArgs(Object.getPrototypeOf(prototype) as object | null, method);
}

/** The method as it is called: of an inherited one a copy, as the class that it is from may be another module. */
function ownMethod(prototype: object, method: string): PropertyDescriptor | undefined {
  const own = Object.getOwnPropertyDescriptor(prototype, method);
  const original: unknown = own === undefined ? (prototype as Record<string, unknown>)[method] : own.value;
  if (typeof original !== 'function') return undefined;
  const descriptor = own ?? {
    value: copyOf(original as Method),
    writable: true,
    configurable: true,
    enumerable: false,
  };
  if (isAsyncGenerator(original)) StreamItems()(prototype, method, descriptor);
  Object.defineProperty(prototype, method, descriptor);
  return descriptor;
}

function copyOf(original: Method): Method {
  return dressAs(original, function (this: unknown, ...args: unknown[]): unknown {
    return original.apply(this, args);
  });
}

/** Makes a method callable, under its own name unless told otherwise. Names hold no dot. */
export function RpcFunction(name?: string): MethodDecorator {
  return (target, method) => {
    const fn = name ?? String(method);
    if (fn === '' || fn.includes('.'))
      throw new TypeError(`@RpcFunction(): a name without dots expected, got '${fn}'.`);
    const marks = functionsOf.get(target) ?? [];
    functionsOf.set(target, [...marks, { method: String(method), name: fn }]);
  };
}

/** The argument at `index`, through pipes if there are any. @throws TypeError for a schema where Nest has no such thing. */
export function Arg(index: number, ...pipes: Pipe[]): ParameterDecorator;
export function Arg(index: number, options: ArgOptions): ParameterDecorator;
export function Arg(index: number, ...given: (Pipe | ArgOptions)[]): ParameterDecorator {
  return (target, method, position) => {
    const methods = methodsWithArgs.get(target) ?? new Set<string>();
    methodsWithArgs.set(target, methods.add(String(method)));
    argumentAt(index, given)(target, method, position);
  };
}

function argumentAt(index: number, given: (Pipe | ArgOptions)[]): ParameterDecorator {
  const [first] = given;
  if (!isOptions(first)) return Payload(String(index), ...(given as Pipe[]));
  const { schema, pipes = [] } = first;
  if (schema === undefined) return Payload(String(index), ...pipes);
  const options = { schema, pipes: [...pipes] } as ParameterDecoratorOptions;
  if (!isKept(options)) throw new TypeError(`@Arg(${index}, { schema }): schemas of parameters need Nest 12.`);
  return Payload(String(index), options);
}

function isOptions(given: Pipe | ArgOptions | undefined): given is ArgOptions {
  return typeof given === 'object' && !('transform' in given);
}

/** Nest 11 takes options for a pipe, and then lets everything through. Whether this one does, a probe tells. */
function isKept(options: ParameterDecoratorOptions): boolean {
  class Probe {}
  Payload('0', options)(Probe.prototype, 'method', 0);
  const [key] = Reflect.getMetadataKeys(Probe, 'method') as unknown[];
  const parameters = Reflect.getMetadata(key, Probe, 'method') as Readonly<Record<string, ParameterDecoratorOptions>>;
  return Object.values(parameters).some(({ schema }) => schema === options.schema);
}

/**
 * Nest asks a class's filters from the last to the first. Ours goes to the front of the list, so that every filter of
 * the user is asked before it, wherever its `@UseFilters` stands. Where the list is kept, a probe tells.
 */
function addFilterOfLastResort(target: object): void {
  class Probe {}
  UseFilters(RpcModuleFilter)(Probe);
  for (const key of Reflect.getOwnMetadataKeys(Probe) as unknown[]) {
    const filters = (Reflect.getMetadata(key, target) ?? []) as unknown[];
    Reflect.defineMetadata(key, [RpcModuleFilter, ...filters], target);
  }
}
