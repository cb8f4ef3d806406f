/** What comes with a call beside its arguments, and what is wrong with it. */
import type { OnReplyHeaders } from '../client/pending-calls.js';
import type { Target } from '../client/target.js';
import type { CallContext } from '../server/module-registry.js';
import { isAsyncIterable, isItemStream } from '../connection/item-stream.js';
import { GenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';
import { joinRoute, MAX_ARGUMENTS, type Headers, type Invocation, type ItemStream } from '../protocol/invocation.js';
import { printable } from '../protocol/node-name.js';
import { MAX_TIMER_MS } from '../ports/clock.js';

export { isAsyncIterable, isItemStream };

/**
 * A module; or a module in one version, which is meant exactly unless it is written as a range (`^1.2.0`, `1.x`,
 * `>=1 <3`) of semantic versions. (gen_rpc: `{Module, Version}`)
 */
export type ModuleRef = string | { readonly module: string; readonly version: string };

/** `([a, b]: [number, number], context) => a + b` */
export type ModuleFunction = (args: never, context: CallContext) => unknown;

/** By the names that they are called by. */
export type ModuleFunctions = Readonly<Record<string, ModuleFunction>>;

/** `(message, context) => …` */
export type EventHandler = (message: never, context: CallContext) => unknown;

export interface CastOptions {
  readonly headers?: Headers | Readonly<Record<string, string>>;
  /**
   * Casts to one target with this option run one after the other, in the order sent; others may overtake them and be
   * overtaken. Default false. (gen_rpc: `ordered_cast`)
   */
  readonly ordered?: boolean;
}

export interface CallOptions extends Omit<CastOptions, 'ordered'> {
  /** ms for everything: connect, queue, send, reply; of a stream, until its end has come. Default: the node's `callTimeout`. */
  readonly timeout?: number;
  /** Gives the call up: it fails with `cancelled`, and the remote function is told. */
  readonly signal?: AbortSignal;
  /** Wait for a node that is down until the deadline, instead of failing at once. Default false. */
  readonly waitForReady?: boolean;
  /**
   * The function may run twice for this call: one that fails with `connection_lost`, `send_timeout`, `refused`,
   * `shutting_down` or `node_down` is made again, within its timeout and the node's `retry`; not one that has a stream as
   * argument, nor once an item of a reply has come. Default: what `retry.idempotent` says.
   */
  readonly idempotent?: boolean;
  /**
   * Inside of a function: the call does not end with the one that the function runs for, and is not bound by its
   * deadline. Default false.
   */
  readonly detached?: boolean;
  /**
   * Hears of the headers that the function has set for its reply (`CallContext.setReplyHeader`), before the first value
   * or the error; not called where it has set none. Once for each node that is called, and for each attempt.
   */
  readonly onReplyHeaders?: OnReplyHeaders;
}

export function targetOf(target: string | Target): Target {
  return typeof target === 'string' ? { node: target } : target;
}

/** For messages. */
export function shown(target: Target): string {
  return printable('module' in target ? target.module : target.node);
}

export function headersOf(headers: CastOptions['headers']): Headers | undefined {
  if (headers === undefined || headers instanceof Map) return headers;
  return new Map(Object.entries(headers));
}

/** What no node would take. */
export const CALLERS_FAULT: ReadonlySet<GenRpcErrorCode> = new Set<GenRpcErrorCode>([
  ...(['invalid_argument', 'encode_error', 'message_too_large'] as const),
]);

/** ms for a call. @throws GenRpcError `invalid_argument`. */
export function checkedTimeout(timeout: unknown): number {
  // Node fires timers that are longer at once. Text would be added to the clock as text.
  if (typeof timeout === 'number' && timeout > 0 && timeout <= MAX_TIMER_MS) return timeout;
  const message = `The timeout of a call must be more than 0 and at most ${MAX_TIMER_MS} ms, got ${String(timeout)}.`;
  throw new GenRpcError('invalid_argument', message);
}

export function nothingLeft({ name }: Invocation): GenRpcError {
  const message = `${joinRoute(name)} was not called: nothing is left of the deadline of the call that it is for.`;
  return new GenRpcError('timeout', message);
}

export function closedError(node: string): GenRpcError {
  return new GenRpcError('cancelled', `${node} is closed.`);
}

export function invalidArguments(args: unknown): GenRpcError {
  const got = Array.isArray(args) ? `${args.length} of them` : typeof args;
  return new GenRpcError(
    'invalid_argument',
    `The arguments of a call must be a list of at most ${MAX_ARGUMENTS}, got ${got}.`,
  );
}

/** The stream among arguments is the last of them. @throws GenRpcError `invalid_argument` for one elsewhere. */
export function streamAmong(args: readonly unknown[]): ItemStream | undefined {
  const end = args.length - 1;
  // A loop, because this is done for every call.
  for (let index = 0; index <= end; index += 1) {
    const arg = args[index];
    if (!isItemStream(arg)) continue;
    if (index === end) return arg;
    throw new GenRpcError('invalid_argument', 'An argument that is a stream must be the last one, and the only one.');
  }
  return undefined;
}

/** @param what cannot have it: there is one reader, and it must be known that it reads */
export function noStream(what: string): GenRpcError {
  return new GenRpcError('invalid_argument', `${what} cannot have an argument that is a stream: make a call of it.`);
}

export function cancelledError(invocation: Invocation, maybeExecuted: boolean): GenRpcError {
  return new GenRpcError('cancelled', `${joinRoute(invocation.name)} was cancelled by its caller.`, { maybeExecuted });
}

export function orderedWithoutKey(name: string): GenRpcError {
  const message = `Ordered casts to ${name}, which is no single node, need a key: those of one key go to one node.`;
  return new GenRpcError('invalid_argument', message);
}
