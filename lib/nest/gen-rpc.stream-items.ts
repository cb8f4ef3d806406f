/** Lets interceptors and filters see each item of what a handler returns to iterate over, instead of the whole. */
import { Ctx, Payload } from '@nestjs/microservices';
import { isAsyncIterable } from '../node/call-options.js';
import { GenRpcContext } from './gen-rpc.context.js';
import { dressAs, type Method } from './gen-rpc.method-copy.js';

/** Those that need it no more. */
const streaming = new WeakSet<object>();

/**
 * For a handler that is written as an async generator, or that returns something else to iterate over: to interceptors
 * and filters its items are those of an Observable, the next of which is made when there is room for it. Without it they
 * see one value, the generator. The `async *` methods of an `@RpcModule` have it by themselves.
 */
export function StreamItems(): MethodDecorator {
  return (target, method, descriptor) => {
    const original = descriptor.value as Method;
    if (streaming.has(original)) return;
    const contextAt = addContext(target, method, original);
    const wrapped = dressAs(original, function (this: unknown, ...args: unknown[]): unknown {
      const context = args.find((arg) => arg instanceof GenRpcContext);
      const result = original.apply(this, args.slice(0, contextAt));
      if (context === undefined) return result;
      return isThenable(result) ? result.then((value) => paced(value, context)) : paced(result, context);
    });
    streaming.add(wrapped);
    (descriptor as PropertyDescriptor).value = wrapped;
  };
}

/** Is it written as `async *`? Not to be seen of code that is compiled to less than ES2018. */
export function isAsyncGenerator(method: unknown): boolean {
  return Object.prototype.toString.call(method) === '[object AsyncGeneratorFunction]';
}

/** Has Nest hand over the context behind all other arguments, and tells how many those are. */
function addContext(target: object, method: string | symbol, { length }: Method): number {
  const known = Object.values(parametersOf(target.constructor, method) ?? {});
  // What Nest hands over where nothing is said.
  if (known.length === 0) Payload()(target, method, 0);
  const contextAt = known.reduce((most, { index }) => Math.max(most, index + 1), Math.max(1, length));
  Ctx()(target, method, contextAt);
  return contextAt;
}

type Parameters = Readonly<Record<string, { readonly index: number }>>;

/** What decorators have said of a method's parameters. Where that is kept, a probe tells. */
function parametersOf(owner: object, method: string | symbol): Parameters | undefined {
  class Probe {}
  Ctx()(Probe.prototype, 'method', 0);
  const [key] = Reflect.getMetadataKeys(Probe, 'method') as unknown[];
  return Reflect.getMetadata(key, owner, method) as Parameters | undefined;
}

function paced(value: unknown, context: GenRpcContext): unknown {
  return isAsyncIterable(value) ? context.paced(value) : value;
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function';
}
