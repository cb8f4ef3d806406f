/** Data with directions: how one message travels, where the client's options say otherwise for most. */
import type { OnReplyHeaders } from '../client/pending-calls.js';
import type { Target } from '../client/target.js';

export interface GenRpcDirections {
  /** What to call instead of the client's `target`: a node, or `{ module: 'math' }` for whichever has it. */
  readonly target?: string | Target;
  /** Picks the connection: the same key always takes the same one. Any encodable value. */
  readonly key?: unknown;
  /** The version of the module to call, exactly or as a range: `^1.2.0`. */
  readonly version?: string;
  /** Events of one target and key with this run one after the other, in the order emitted. */
  readonly ordered?: boolean;
  /** Small texts that travel beside the data: tracing, user metadata. */
  readonly headers?: Readonly<Record<string, string>>;
  /** ms for everything: connect, queue, send, reply. Default: the node's `callTimeout`. */
  readonly timeout?: number;
  /** Wait for a node that is down until the deadline, instead of failing at once. */
  readonly waitForReady?: boolean;
  /** See `CallOptions.idempotent`. */
  readonly idempotent?: boolean;
  /** See `CallOptions.detached`. */
  readonly detached?: boolean;
  /** See `CallOptions.onReplyHeaders`. */
  readonly onReplyHeaders?: OnReplyHeaders;
}

const BRAND = Symbol.for('nestjs-gen-rpc.record');

export class GenRpcRecord<TData = unknown> {
  constructor(
    readonly data: TData,
    readonly directions: GenRpcDirections,
  ) {}

  private get [BRAND](): true {
    return true;
  }
}

/** Also of another copy of this package, as where one is imported and the other required. */
export function isRecord(value: unknown): value is GenRpcRecord {
  return typeof value === 'object' && value !== null && BRAND in value;
}

const NO_DIRECTIONS: GenRpcDirections = {};

export function directionsOf(data: unknown): GenRpcDirections {
  return isRecord(data) ? data.directions : NO_DIRECTIONS;
}

/** What is sent, without its directions. */
export function bareOf(data: unknown): unknown {
  return isRecord(data) ? data.data : data;
}

/** `client.send('math.add', new GenRpcRecordBuilder({ a: 1, b: 2 }).setTimeout(500).build())` */
export class GenRpcRecordBuilder<TData = unknown> {
  private directions: GenRpcDirections = {};

  constructor(private data: TData) {}

  setData(data: TData): this {
    this.data = data;
    return this;
  }

  /** See `GenRpcDirections.target`. */
  setTarget(target: string | Target): this {
    return this.set({ target });
  }

  /** See `GenRpcDirections.key`. */
  setKey(key: unknown): this {
    return this.set({ key });
  }

  /** See `GenRpcDirections.version`. */
  setVersion(version: string): this {
    return this.set({ version });
  }

  /** See `GenRpcDirections.ordered`. */
  setOrdered(ordered = true): this {
    return this.set({ ordered });
  }

  /** See `GenRpcDirections.headers`. */
  setHeaders(headers: Readonly<Record<string, string>>): this {
    return this.set({ headers });
  }

  /** See `GenRpcDirections.timeout`. */
  setTimeout(timeout: number): this {
    return this.set({ timeout });
  }

  /** See `GenRpcDirections.waitForReady`. */
  setWaitForReady(waitForReady = true): this {
    return this.set({ waitForReady });
  }

  /** See `CallOptions.idempotent`. */
  setIdempotent(idempotent = true): this {
    return this.set({ idempotent });
  }

  /** See `CallOptions.detached`. */
  setDetached(detached = true): this {
    return this.set({ detached });
  }

  /** See `CallOptions.onReplyHeaders`. */
  onReplyHeaders(onReplyHeaders: OnReplyHeaders): this {
    return this.set({ onReplyHeaders });
  }

  build(): GenRpcRecord<TData> {
    return new GenRpcRecord(this.data, this.directions);
  }

  private set(directions: GenRpcDirections): this {
    this.directions = { ...this.directions, ...directions };
    return this;
  }
}
