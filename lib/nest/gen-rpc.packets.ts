/** Serializers and deserializers of the user, as Nest's own transports take them: what data becomes on its way. */
import type { Deserializer, ReadPacket, Serializer } from '@nestjs/microservices';
import { concatMap, from, map, type Observable } from 'rxjs';
import type { Cancel, ItemSource, ReplySink } from '../client/pending-calls.js';
import { isAsyncIterable, isItemStream } from '../node/call-options.js';
import type { CallTime } from '../node/call-time.js';
import type { GenRpcError } from '../protocol/errors.js';
import type { GenRpcContext } from './gen-rpc.context.js';
import { bareOf, GenRpcRecord, isRecord } from './gen-rpc.record-builder.js';
import { isThenable } from './gen-rpc.stream-items.js';

/**
 * Both may return promises. The deadline of a call covers these: a client's that do not answer are a `timeout`, also of
 * an event, which has as long as a call; a server's are waited for while anybody waits for the call. Errors do not pass
 * through them, nor do arguments of which one is a stream.
 */
export interface GenRpcPacketOptions {
  /** Makes what leaves of a client's `{ pattern, data }`; of a server's `{ response }`, once for each item. */
  readonly serializer?: Serializer;
  /** Makes what is read of the `{ pattern, data }` that arrives at a server, of the `{ response }` at a client. */
  readonly deserializer?: Deserializer;
}

type MaybePromise<T> = T | PromiseLike<T>;
type Handle = (data: unknown, context: GenRpcContext) => unknown;
/** @param left ms, where some of the time of the call is gone */
type Send = (packet: ReadPacket, sink: ReplySink, left?: number) => Cancel;

const SERIALIZER = { who: "The client's serializer", maybeExecuted: false };
const DESERIALIZER = { who: "The client's deserializer", maybeExecuted: true };

/** A handler, between the two of a server. */
export function packedHandler(handle: Handle, pattern: string, options: GenRpcPacketOptions): Handle {
  const { serializer, deserializer } = options;
  if (serializer === undefined && deserializer === undefined) return handle;
  const read: Handle = (data, context) => {
    if (deserializer === undefined || bringsStream(data)) return handle(data, context);
    const packet = deserializer.deserialize({ pattern, data }) as MaybePromise<ReadPacket>;
    return whenThere(whileWanted(packet, context), (there) => handle(there.data, context));
  };
  if (serializer === undefined) return read;
  return (data, context) => {
    const serialize = (response: unknown): MaybePromise<unknown> =>
      whenThere(whileWanted(serializer.serialize({ response }), context), responseOf);
    return whenThere(read(data, context), (result) => serialized(result, serialize, () => context.hold()));
  };
}

/** Rejects once nobody waits for the call any more: then its place is free, whatever the user's promise does. */
function whileWanted<T>(work: MaybePromise<T>, context: GenRpcContext): MaybePromise<T> {
  if (!isThenable(work)) return work;
  const signal = context.getSignal();
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason as Error);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave);
    const settled = (): void => signal.removeEventListener('abort', leave);
    (work as PromiseLike<T>).then(resolve, reject).then(settled);
  });
}

/** The messages of a client, and its replies. */
export class ClientPackets {
  private events: Promise<void> = Promise.resolve();

  private constructor(private readonly options: GenRpcPacketOptions) {}

  /** `undefined` where messages are left as they are. */
  static of({ serializer, deserializer }: GenRpcPacketOptions): ClientPackets | undefined {
    if (serializer === undefined && deserializer === undefined) return undefined;
    return new ClientPackets({ ...(serializer && { serializer }), ...(deserializer && { deserializer }) });
  }

  /** The result cancels, whatever `send` waits for. @throws what a serializer throws. */
  request(packet: ReadPacket, sink: ReplySink, time: CallTime, send: Send): Cancel {
    const reply = new DeserializedReply(sink, this.options.deserializer, time);
    const outgoing = this.outgoing(packet);
    if (!isThenable(outgoing)) return reply.of(send(outgoing, reply));
    time
      .within(outgoing as PromiseLike<ReadPacket>, SERIALIZER)
      .then((there) => reply.over || reply.of(send(there, reply, time.left)))
      .then(undefined, (error) => reply.fail(error));
    return () => reply.leave();
  }

  /** The packet that is sent for an event; events keep their order. */
  async event(packet: ReadPacket, time: CallTime): Promise<ReadPacket> {
    const outgoing = (async () => {
      const made = this.outgoing(packet);
      return isThenable(made) ? time.within(made as PromiseLike<ReadPacket>, SERIALIZER) : made;
    })();
    this.events = Promise.allSettled([outgoing, this.events]).then(() => {});
    await this.events;
    return outgoing;
  }

  private outgoing(packet: ReadPacket): MaybePromise<ReadPacket> {
    const { serializer } = this.options;
    const data: unknown = packet.data;
    const value: unknown = bareOf(data);
    if (serializer === undefined || bringsStream(value)) return packet;
    const outgoing = serializer.serialize({ ...packet, data: value }) as MaybePromise<ReadPacket>;
    if (!isRecord(data)) return outgoing;
    return whenThere(outgoing, (there) => ({ ...there, data: new GenRpcRecord(there.data, data.directions) }));
  }
}

/** Passes a reply on, each item behind the one before, however long it takes to read. */
class DeserializedReply implements ReplySink {
  /** Does nobody wait for it any more? */
  over = false;
  private cancel: Cancel = () => false;
  /** Those that came before, from the first on that took its time. */
  private before: Promise<void> | undefined;

  constructor(
    private readonly sink: ReplySink,
    private readonly deserializer: Deserializer | undefined,
    private readonly time: CallTime,
  ) {}

  /** What gives up the call that it answers. */
  of(cancel: Cancel): Cancel {
    this.cancel = cancel;
    // A call of the own node may have brought what cannot be read by now.
    if (this.over) cancel();
    return () => this.leave();
  }

  leave(): boolean {
    this.over = true;
    this.time.stop();
    return this.cancel();
  }

  item(value: unknown, cost: number, source: ItemSource): 'kept' | void {
    let kept: 'kept' | void = undefined;
    let waits = false;
    this.time.isPending = true;
    waits = this.pass({ response: value }, (response) => {
      kept = this.sink.item(response, cost, source);
      if (waits && kept === undefined) source.used(cost);
    });
    return waits ? 'kept' : kept;
  }

  done(value: unknown): void {
    this.time.isPending = false;
    const packet = value === undefined ? undefined : { response: value, isDisposed: true };
    this.pass(packet, (response) => this.sink.done(response));
  }

  failed(error: GenRpcError): void {
    this.time.isPending = false;
    this.pass(undefined, () => this.sink.failed(error));
  }

  fail(error: unknown): void {
    if (this.over) return;
    this.leave();
    this.sink.failed(error as GenRpcError);
  }

  /** Returns whether `then` has to wait. */
  private pass(packet: { response: unknown } | undefined, then: (response: unknown) => void): boolean {
    try {
      const read = packet === undefined ? packet : (this.deserializer?.deserialize(packet) ?? packet);
      if (this.before === undefined && !isThenable(read)) {
        if (!this.over) then(responseOf(read));
        return false;
      }
      const turn = this.time
        .within(Promise.all([read, this.before]), DESERIALIZER)
        .then(([there]) => this.over || then(responseOf(there)));
      this.before = turn.then(
        () => {},
        (error) => this.fail(error),
      );
      return true;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }
}

class SerializedItems implements AsyncIterableIterator<unknown> {
  constructor(
    private readonly items: AsyncIterator<unknown>,
    private readonly serialize: (value: unknown) => MaybePromise<unknown>,
  ) {}

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<unknown>> {
    const result = await this.items.next();
    return result.done === true ? result : { value: await this.serialize(result.value), done: false };
  }

  async return(): Promise<IteratorResult<unknown>> {
    await this.items.return?.();
    return { value: undefined, done: true };
  }
}

type Serialize = (response: unknown) => MaybePromise<unknown>;

/** @param hold keeps a producer that can wait from making more, while an item is not serialized yet */
function serialized(result: unknown, serialize: Serialize, hold: () => () => void): unknown {
  if (result === undefined) return result;
  if (isAsyncIterable(result)) return new SerializedItems(result[Symbol.asyncIterator](), serialize);
  if (!isItemStream(result)) return serialize(result);
  return from(result as Observable<unknown>).pipe(
    map((item) => ({ item, release: hold() })),
    concatMap(async ({ item, release }) => {
      try {
        return await serialize(item);
      } finally {
        release();
      }
    }),
  );
}

/** By itself, or as the last of a list. */
function bringsStream(data: unknown): boolean {
  return isItemStream(Array.isArray(data) ? data.at(-1) : data);
}

function responseOf(packet: unknown): unknown {
  return (packet as { response?: unknown } | undefined)?.response;
}

function whenThere<T, R>(value: MaybePromise<T>, then: (value: T) => R): R | PromiseLike<R> {
  return isThenable(value) ? (value as PromiseLike<T>).then(then) : then(value as T);
}
