/** The client proxy: Nest's `send` and `emit`, over the connection to one node. */
import { EventEmitter } from 'node:events';
import { ClientProxy, type MsPattern, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { from, Observable, of, throwError, type Observer } from 'rxjs';
import { choiceOf, type Target } from '../client/target.js';
import type { CastOutcome } from '../client/queued-cast.js';
import type { Cancel, ItemSource, ReplySink } from '../client/pending-calls.js';
import type { CallOptions } from '../node/call-options.js';
import type { CallTime } from '../node/call-time.js';
import type { GenRpcNode } from '../node/gen-rpc-node.js';
import { StreamReply, type ReplyShape } from '../node/stream-reply.js';
import { isItemStream, targetOf } from '../node/call-options.js';
import type { GenRpcError } from '../protocol/errors.js';
import { splitRoute, type FunctionName, type Invocation } from '../protocol/invocation.js';
import {
  nodeSourceOf,
  type GenRpcClientOptions,
  type GenRpcSharedClientOptions,
  type MakeNode,
  type NodeSource,
} from './gen-rpc.client-options.js';
import { watchTarget } from './gen-rpc.client-status.js';
import { nestLog } from './gen-rpc.log.js';
import { GenRpcAsyncCall } from './gen-rpc.async-call.js';
import { ClientErrors } from './gen-rpc.client-errors.js';
import { ObserverSink } from './gen-rpc.observer-sink.js';
import { ClientPackets } from './gen-rpc.packets.js';
import { bareOf, directionsOf, type GenRpcDirections } from './gen-rpc.record-builder.js';

export type GenRpcClientStatus = 'connected' | 'disconnected';

// A type, not an interface: Nest wants an index signature.
export type GenRpcClientEvents = {
  connect: () => void;
  disconnect: () => void;
};

const ACCEPTED = of(undefined);
const NO_SOURCE: ItemSource = { used() {} };
const MAX_NAMES = 10_000;

export class GenRpcClient extends ClientProxy<GenRpcClientEvents, string> {
  private readonly emitter = new EventEmitter();
  private readonly names = new Map<unknown, FunctionName>();
  /** Nest's own hooks, which subclasses override. */
  private readonly shape: ReplyShape = {
    value: (value) => this.serializeResponse(value),
    error: (error) => this.serializeError(this.errors.shown(error)),
  };
  private readonly target: Target;
  private readonly source: NodeSource;
  private readonly errors: ClientErrors;
  private readonly packets: ClientPackets | undefined;
  private node: GenRpcNode | undefined;
  private makeNode: MakeNode | undefined;
  private stopListening: (() => void) | undefined;
  private connected = false;
  private closing: Promise<void> | undefined;

  /** The options, and the secret in them, are not kept where they can be looked at. */
  constructor(options: GenRpcClientOptions | GenRpcSharedClientOptions) {
    super();
    this.source = nodeSourceOf(options);
    this.target = targetOf(options.target);
    this.errors = new ClientErrors(options.errors !== 'gen_rpc');
    this.packets = ClientPackets.of(options);
    if (this.source.owned) this.currentNode();
  }

  override get status(): Observable<GenRpcClientStatus> {
    return super.status as Observable<GenRpcClientStatus>;
  }

  /** Resolves once connected. Not needed before `send`: whoever comes first connects. */
  override async connect(): Promise<void> {
    try {
      await this.currentNode().connect(this.target);
    } catch (error) {
      throw this.errors.shown(error);
    }
  }

  /** Ends the connections of a node of its own; pending calls fail. `connect` or `send` start anew. */
  override async close(): Promise<void> {
    const { node, stopListening } = this;
    this.node = undefined;
    // A node of others may stay connected, and a new one may be before the old one has closed.
    stopListening?.();
    this.tell(false);
    if (this.source.owned) this.closing = Promise.all([this.closing, node?.close()]).then(() => {});
    await this.closing;
  }

  /** From now on nodes of its own are made by `makeNode`; the one that it has is closed. @internal for test clusters */
  async move(makeNode: MakeNode): Promise<void> {
    await this.close();
    this.makeNode = makeNode;
  }

  override unwrap<T = GenRpcNode>(): T {
    return this.currentNode() as T;
  }

  override on<E extends keyof GenRpcClientEvents>(event: E, callback: GenRpcClientEvents[E]): void {
    this.emitter.on(event, callback);
  }

  /**
   * Cold: every subscription is a call; unsubscribing cancels it there too. Data that is an Observable or an async
   * iterable, or a list whose last element is one, is sent item by item, as fast as the handler reads.
   */
  override send<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    if (isNil(pattern) || isNil(data)) return super.send(pattern, data);
    return new Observable((observer) => {
      const packet = this.createPacket(pattern, data);
      // What a subclass does about each message; ours makes an object of every item.
      if (this.publish !== GenRpcClient.prototype.publish) return this.publish(packet, this.createObserver(observer));
      return this.request(packet, new ObserverSink(observer, this.shape));
    });
  }

  /**
   * As `send`, to iterate over: `for await (const item of client.stream('stock.ticks', 'tea'))`. While nobody reads, the
   * handler waits: an async generator by itself, another by `GenRpcContext#ready`. Leaving the iteration cancels the call.
   */
  stream<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): AsyncIterable<TResult> {
    const start = (sink: ReplySink): Cancel => {
      if (!isNil(pattern) && !isNil(data)) return this.request(this.createPacket(pattern, data), sink);
      super.send(pattern, data).subscribe({ error: (error: GenRpcError) => sink.failed(error) });
      return () => false;
    };
    return new StreamReply<TResult>(start, this.shape);
  }

  /**
   * Hot: called at once, and the result is there for one subscriber, or for `yield` and `nbYield`. Its errors are those
   * of `send`. (gen_rpc: `async_call`)
   */
  asyncSend<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): GenRpcAsyncCall<TResult> {
    const call = this.currentNode().asyncRequest<TResult>((sink) => {
      const observer: Observer<TResult> = {
        next: (value) => void sink.item(value, 0, NO_SOURCE),
        error: (error) => sink.failed(error as GenRpcError),
        complete: () => sink.done(undefined),
      };
      return this.request(this.createPacket(pattern, data), new ObserverSink(observer, this.shape));
    });
    return new GenRpcAsyncCall(call);
  }

  /** Hot: sent at once. Completes when the event is accepted: written, or queued for writing. */
  override emit<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    if (isNil(pattern) || isNil(data)) return super.emit(pattern, data);
    try {
      const packet = this.createPacket(pattern, data);
      const target = this.targetOf(directionsOf(packet.data));
      if (this.isDispatchedLater(target)) {
        const dispatched = this.dispatchEvent<TResult>(packet);
        dispatched.catch(() => {});
        return from(dispatched);
      }
      this.post(this.currentNode(), packet);
      return ACCEPTED as Observable<TResult>;
    } catch (error) {
      return throwError(() => this.errors.shown(error));
    }
  }

  protected override publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    return this.request(packet, {
      item: (response) => callback({ response }),
      done: (response) => callback({ response, isDisposed: true }),
      failed: (error) => callback({ err: this.errors.shown(error), isDisposed: true }),
    });
  }

  protected override async dispatchEvent<T = unknown>(packet: ReadPacket): Promise<T> {
    try {
      const node = this.currentNode();
      const { packets } = this;
      const outgoing = packets === undefined ? packet : await packets.event(packet, timeOf(node, packet));
      await new Promise<void>((written, dropped) => this.post(node, outgoing, { written, dropped }));
    } catch (error) {
      throw this.errors.shown(error);
    }
    return undefined as T;
  }

  private isDispatchedLater(target: Target): boolean {
    if (this.packets !== undefined || this.dispatchEvent !== GenRpcClient.prototype.dispatchEvent) return true;
    // Which node gets it is known only once it is sent.
    return choiceOf(target) !== undefined || !this.currentNode().isConnected(target);
  }

  /** Nest 11 has no dispatch hook, and no `createPacket` either. */
  protected override createPacket<TInput>(pattern: unknown, data: TInput): ReadPacket {
    const create = super.createPacket as typeof this.createPacket | undefined;
    return create === undefined ? { pattern, data } : create.call(this, pattern, data);
  }

  /** Never throws: what is wrong with the call itself goes to the sink too. Returns what cancels. */
  private request(packet: ReadPacket, sink: ReplySink): Cancel {
    try {
      // A message that is serialized for longer than its node lasts is not sent by another.
      const node = this.currentNode();
      if (this.packets === undefined) return this.call(node, packet, sink);
      return this.packets.request(packet, sink, timeOf(node, packet), (...packed) => this.call(node, ...packed));
    } catch (error) {
      sink.failed(error as GenRpcError);
      return () => false;
    }
  }

  private call(node: GenRpcNode, packet: ReadPacket, sink: ReplySink, left?: number): Cancel {
    const directions = directionsOf(packet.data);
    const invocation = this.invocationOf(node, packet, directions);
    const options = left === undefined ? directions : { ...directions, timeout: left };
    return node.request(this.targetOf(directions), invocation, options as CallOptions, sink);
  }

  private post(node: GenRpcNode, packet: ReadPacket, outcome?: CastOutcome): void {
    const directions = directionsOf(packet.data);
    node.post(this.targetOf(directions), this.invocationOf(node, packet, directions), outcome);
  }

  private invocationOf(node: GenRpcNode, packet: ReadPacket, directions: GenRpcDirections): Invocation {
    const value: unknown = bareOf(packet.data);
    const last: unknown = Array.isArray(value) ? value.at(-1) : value;
    const stream = isItemStream(last) ? last : undefined;
    const isList = stream !== undefined && Array.isArray(value);
    const { metadata } = packet as { metadata?: Record<string, string> };
    const headers = metadata === undefined ? directions.headers : { ...directions.headers, ...metadata };
    return {
      name: this.nameOf(node, packet.pattern, directions.version),
      args: stream === undefined ? value : isList ? value.slice(0, -1) : undefined,
      single: !isList,
      stream,
      headers: headers === undefined ? undefined : new Map(Object.entries(headers)),
      ordered: directions.ordered === true,
    };
  }

  /** Remembered for patterns that are text: most are, and few are many. */
  private nameOf(node: GenRpcNode, pattern: unknown, version: string | undefined): FunctionName {
    const known = version === undefined ? this.names.get(pattern) : undefined;
    if (known !== undefined) return known;
    const { module, fn } = splitRoute(String(this.normalizePattern(pattern as MsPattern)));
    if (version !== undefined) return node.functionName({ module, version }, fn);
    const name = node.functionName(module, fn);
    if (typeof pattern === 'string' && this.names.size < MAX_NAMES) this.names.set(pattern, name);
    return name;
  }

  private targetOf({ target, key }: GenRpcDirections): Target {
    if (target === undefined && key === undefined) return this.target;
    return { ...(target === undefined ? this.target : targetOf(target)), key };
  }

  private currentNode(): GenRpcNode {
    return (this.node ??= this.openNode());
  }

  private openNode(): GenRpcNode {
    const node = this.source.make(this.makeNode);
    this.stopListening = watchTarget(node, this.target, (connected) => this.tell(connected));
    // A node that others use too may have been connected before.
    this.tell(node.isConnected(this.target));
    return node;
  }

  private tell(connected: boolean): void {
    if (connected === this.connected) return;
    this.connected = connected;
    try {
      this._status$.next(connected ? 'connected' : 'disconnected');
      this.emitter.emit(connected ? 'connect' : 'disconnect');
    } catch (error) {
      nestLog.error('A listener to the status of a client threw.', error);
    }
  }
}

function timeOf(node: GenRpcNode, packet: ReadPacket): CallTime {
  return node.timeOf(directionsOf(packet.data) as CallOptions);
}

function isNil(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}
