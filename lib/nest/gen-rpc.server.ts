/** The transport strategy: Nest's handlers, callable by other nodes. */
import { EventEmitter } from 'node:events';
import { Server, type CustomTransportStrategy, type MessageHandler } from '@nestjs/microservices';
import type { Endpoint } from '../driver/driver.js';
import { createNode } from '../node/create-node.js';
import type { GenRpcNode } from '../node/gen-rpc-node.js';
import type { GenRpcOptions } from '../node/options.js';
import { splitRoute } from '../protocol/invocation.js';
import type { Callable, CallContext } from '../server/module-registry.js';
import { isAsyncIterable, isItemStream } from '../node/call-options.js';
import { GenRpcContext } from './gen-rpc.context.js';
import { GEN_RPC_EXTRAS, type GenRpcExtras } from './gen-rpc.decorators.js';
import { failureOfNest } from './gen-rpc.exceptions.js';
import { GenRpcItemStream } from './gen-rpc.item-stream.js';
import { nestLog } from './gen-rpc.log.js';
import { packedHandler, type GenRpcPacketOptions } from './gen-rpc.packets.js';
import { untilEnd } from './gen-rpc.hooked-items.js';
import { GEN_RPC_TRANSPORT } from './gen-rpc.tokens.js';

/** `connected`: accepting calls. */
export type GenRpcServerStatus = 'connected' | 'disconnected';

// A type, not an interface: Nest wants an index signature.
export type GenRpcServerEvents = {
  listening: (address: Endpoint | undefined) => void;
  close: () => void;
};

const LISTENED_BEFORE =
  'was told to listen before, and a strategy does so once: make a new application, or a new GenRpcServer, and close the old one first.';

interface Entry {
  readonly route: string;
  readonly version: string;
  readonly argumentList: boolean;
  readonly handler: MessageHandler;
  /** The handler, between deserializer and serializer. */
  readonly run: (data: unknown, context: GenRpcContext) => unknown;
}

export class GenRpcServer extends Server<GenRpcServerEvents, GenRpcServerStatus> implements CustomTransportStrategy {
  override transportId = GEN_RPC_TRANSPORT;
  private readonly node: GenRpcNode;
  private readonly ownsNode: boolean;
  private readonly entries = new Map<string, Entry>();
  private readonly emitter = new EventEmitter();
  private listening = false;
  /** Was `listen` called, and has not failed? */
  private begun = false;
  /** Has it ever listened? */
  private opened = false;
  private hooked = false;

  /** @param source options of a node of its own, or the node of `GenRpcModule`, which then closes it. */
  constructor(
    source: GenRpcOptions | GenRpcNode,
    private readonly packets: GenRpcPacketOptions = {},
  ) {
    super();
    this.ownsNode = !isNode(source);
    this.node = isNode(source) ? source : createNode(source, { log: nestLog }, 'new GenRpcServer()');
  }

  override addHandler(
    pattern: unknown,
    handler: MessageHandler,
    isEventHandler = false,
    extras: Record<string, unknown> = {},
  ): void {
    const route = String(this.normalizePattern(pattern as never));
    const { version = '', argumentList = false } = (extras[GEN_RPC_EXTRAS] ?? {}) as GenRpcExtras;
    super.addHandler(pattern, handler, isEventHandler, extras);
    const key = `${version}\0${route}`;
    const known = this.entries.get(key)?.handler;
    if (known !== undefined) {
      // Nest chains handlers of one event behind the first; of others the last for messages wins.
      if (isEventHandler && known.isEventHandler === true) return;
      this.logger.warn(
        `Two handlers for ${route}: the ${isEventHandler ? 'one for messages' : 'one registered last'} is called.`,
      );
      if (isEventHandler) return;
    }
    const run = packedHandler(argumentList ? takingList(handler) : handler, route, this.packets);
    this.entries.set(key, { route, version, argumentList, handler, run });
  }

  /** And has not failed to. @internal */
  get wasToldToListen(): boolean {
    return this.begun;
  }

  /** Nest ignores what this returns: success and failure both go through `callback`. Once: a second time is an error. */
  override listen(callback: (error?: unknown, address?: Endpoint) => void): void {
    if (this.begun) return callback(new Error(`${this.node.name} ${LISTENED_BEFORE}`));
    this.begun = true;
    this.start().then(
      (address) => callback(undefined, address),
      (error: unknown) => {
        this.begun = false;
        callback(error);
      },
    );
  }

  /** Stops intake, lets running calls finish within `gracePeriod`. Safe to repeat, and without `listen`. */
  override async close(): Promise<void> {
    if (this.ownsNode) await this.node.drain();
    else await this.node.stopListening();
    if (!this.listening) return;
    this.listening = false;
    this._status$.next('disconnected');
    this.emitter.emit('close');
  }

  /** The node. @throws Error before `listen`. */
  override unwrap<T = GenRpcNode>(): T {
    if (!this.opened)
      throw new Error('The server is not listening yet: call "listen" or "startAllMicroservices" first.');
    return this.node as T;
  }

  override on<E extends keyof GenRpcServerEvents>(event: E, callback: GenRpcServerEvents[E]): this {
    this.emitter.on(event, callback);
    return this;
  }

  override setOnProcessingStartHook(hook: Parameters<Server['setOnProcessingStartHook']>[0]): void {
    this.hooked = true;
    super.setOnProcessingStartHook(hook);
  }

  override setOnProcessingEndHook(hook: Parameters<Server['setOnProcessingEndHook']>[0]): void {
    this.hooked = true;
    super.setOnProcessingEndHook(hook);
  }

  private async start(): Promise<Endpoint | undefined> {
    for (const entry of this.entries.values()) {
      const { module, fn } = splitRoute(entry.route);
      const run = (args: unknown, call: CallContext): unknown => this.handle(entry, args, call);
      const callable: Callable = this.logs(entry.handler) ? { run } : { run, failureOf: failureOfNest };
      this.node.registerFunction(module, fn, callable, entry.version);
    }
    const address = await this.node.listen();
    this.opened = true;
    this.listening = true;
    this._status$.next('connected');
    this.emitter.emit('listening', address);
    return address;
  }

  /** What an event's handler throws is heard by nobody but the log: Nest 12 sees to that, before it is for us to do. */
  private logs(handler: MessageHandler): boolean {
    return handler.isEventHandler === true && !('propagatesEventHandlerErrors' in this);
  }

  private handle(entry: Entry, args: unknown, call: CallContext): unknown {
    const context = new GenRpcContext([call, entry.route]);
    const list = entry.argumentList && Array.isArray(args);
    const data = list ? withItsStream(args, context) : payloadOf(args, call.single, context);
    return this.hooked ? this.handleHooked(entry, data, context) : entry.run(data, context);
  }

  /** Between the processing hooks: once at the start, once at whatever the end is. One that fails ends the call. */
  private handleHooked(entry: Entry, data: unknown, context: GenRpcContext): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const end = this.endOf(context);
      const started: unknown = this.onProcessingStartHook(this.transportId, context, async () => {
        try {
          const result: unknown = await entry.run(data, context);
          if (isItemStream(result)) return resolve(untilEnd(result, context.getSignal(), end));
          end();
          resolve(result);
        } catch (error) {
          end();
          reject(error as Error);
        }
      });
      Promise.resolve(started).catch(reject);
    });
  }

  /** Runs the hook of the end, once. The reply does not depend on it. */
  private endOf(context: GenRpcContext): () => void {
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      try {
        this.onProcessingEndHook?.(this.transportId, context);
      } catch (error) {
        this.logger.error(error);
      }
    };
  }
}

/** One of another copy of this package will do. */
function isNode(source: GenRpcOptions | GenRpcNode): source is GenRpcNode {
  return typeof (source as Partial<GenRpcNode> | undefined)?.registerFunction === 'function';
}

/** A verb's only argument is the payload; several are a list. */
function payloadOf(args: unknown, single: boolean, context: GenRpcContext): unknown {
  if (single || !Array.isArray(args)) return forHandlers(args, context);
  return args.length > 1 ? withItsStream(args, context) : forHandlers(args[0], context);
}

/** For a handler that takes arguments one by one: what is no list, once it is read, is the only one. */
function takingList(handler: MessageHandler): Entry['run'] {
  return (data, context) => handler(Array.isArray(data) ? data : [data], context);
}

/** The stream among arguments is the last of them. */
function withItsStream(args: unknown[], context: GenRpcContext): unknown[] {
  const last = args.at(-1);
  return isAsyncIterable(last) ? [...args.slice(0, -1), forHandlers(last, context)] : args;
}

/** An argument that is a stream, as an Observable. */
function forHandlers(arg: unknown, context: GenRpcContext): unknown {
  return isAsyncIterable(arg) ? new GenRpcItemStream(arg, context.paced(arg)) : arg;
}
