/** What is called and with what: one shape from the caller to the handler. */
import { GenRpcError } from './errors.js';
import type { SharedPayload } from './payload.js';

/** Names one function of one module. `version` is empty when the caller takes any. */
export interface FunctionName {
  readonly module: string;
  readonly fn: string;
  readonly version: string;
}

/** Small texts that travel beside the arguments: tracing, user metadata. Names are case-sensitive. */
export type Headers = ReadonlyMap<string, string>;

export interface Invocation {
  readonly name: FunctionName;
  /** With `single` the one value that was sent; otherwise the list of arguments. */
  readonly args: unknown;
  readonly single: boolean;
  /** What comes last of the arguments, or is the one value, if that is a stream. */
  readonly stream?: ItemStream | undefined;
  readonly headers: Headers | undefined;
  /** For calls: the answer is that the function was found and begun, not its result. */
  readonly deliver?: boolean;
  /** For casts: none of one lane begins before the one that was sent before it has ended. */
  readonly ordered?: boolean;
  /** For those that go to many nodes. */
  readonly shared?: SharedPayload;
  /** Who wants to know where it goes, if anybody. */
  readonly follower?: Follower;
}

/** Told of each node that an invocation is sent to: several, where one after the other does not start it. */
export interface Follower {
  sentTo(node: string): void;
}

export interface Observer {
  next(value: unknown): void;
  error(error: unknown): void;
  complete(): void;
}

/** An RxJS Observable, or anything like it. It cannot be told to wait. */
export interface Subscribable {
  subscribe(observer: Observer): { unsubscribe(): void };
}

/** Where the items of a stream come from. */
export type ItemStream = AsyncIterable<unknown> | Subscribable;

/** What travels of an invocation's arguments: of a list of nothing but bytes, those. They need no codec then. */
export function valueToSend({ args, single }: Pick<Invocation, 'args' | 'single'>): unknown {
  if (single || !Array.isArray(args) || args.length !== 1) return args;
  const only: unknown = args[0];
  return only instanceof Uint8Array ? only : args;
}

/** The way back. @param raw did bytes travel as they are? */
export function argumentsOf(value: unknown, single: boolean, raw: boolean): unknown {
  return raw && !single ? [value] : value;
}

/** The most arguments of one call, as Erlang has it. More values than these travel inside an argument. */
export const MAX_ARGUMENTS = 255;

/** Is it what a call without `single` must carry? */
export function isArgumentList(args: unknown): args is readonly unknown[] {
  return Array.isArray(args) && args.length <= MAX_ARGUMENTS;
}

const NAME_LIMITS = { module: 255, fn: 1024, version: 64 } as const;

/** Keeps one object a name, so that what is worked out for a name once can be found by identity. */
export class FunctionNames {
  private readonly byModule = new Map<string, Map<string, FunctionName>>();
  private size = 0;

  /** Callers choose names; past this many, each is made anew instead of kept. */
  constructor(private readonly capacity = 10_000) {}

  /** @throws GenRpcError `invalid_argument` when a part is not text or too long to travel. */
  resolve(module: string, fn: string, version = ''): FunctionName {
    const functions = this.byModule.get(module);
    const known = functions?.get(version === '' ? fn : `${fn}\0${version}`);
    return known ?? this.add(module, fn, version);
  }

  private add(module: string, fn: string, version: string): FunctionName {
    const name = Object.freeze({ module, fn, version });
    for (const part of ['module', 'fn', 'version'] as const) checkPart(part, name[part]);
    if (this.size >= this.capacity) return name;
    this.size += 1;
    let functions = this.byModule.get(module);
    if (functions === undefined) this.byModule.set(module, (functions = new Map<string, FunctionName>()));
    functions.set(version === '' ? fn : `${fn}\0${version}`, name);
    return name;
  }
}

function checkPart(part: keyof typeof NAME_LIMITS, value: unknown): void {
  if (typeof value !== 'string') {
    throw new GenRpcError('invalid_argument', `The ${part} of a call must be a string, got ${typeof value}.`);
  }
  const bytes = Buffer.byteLength(value);
  if (bytes > NAME_LIMITS[part] || !value.isWellFormed()) {
    const limit = NAME_LIMITS[part];
    throw new GenRpcError(
      'invalid_argument',
      `The ${part} of a call must be at most ${limit} bytes of valid text, got ${bytes}.`,
    );
  }
}

/**
 * Splits a pattern's route at its last dot: `math.add` is function `add` of module `math`. A route without a dot
 * between two parts, and the route of an object pattern (`{…}`), is a function of the nameless module.
 */
export function splitRoute(route: string): { module: string; fn: string } {
  const dot = route.startsWith('{') ? -1 : route.lastIndexOf('.');
  if (dot <= 0 || dot === route.length - 1) return { module: '', fn: route };
  return { module: route.slice(0, dot), fn: route.slice(dot + 1) };
}

/** The other way round: how a function is written in messages and as a Nest pattern. */
export function joinRoute(name: { module: string; fn: string }): string {
  return name.module === '' ? name.fn : `${name.module}.${name.fn}`;
}
