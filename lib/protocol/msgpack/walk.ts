/** Turns any value into the plain one that stands for it in the profile, or tells which part of it has none. */
import { types } from 'node:util';
import { GenRpcError } from '../errors.js';
import { tooLarge } from '../payload.js';
import type { PayloadLimits } from './scan.js';
import { is64Bit, isForbiddenName, isPlainPrototype } from './value.js';

export type Leaf = number | bigint | undefined | Date | Buffer;

/** What a library needs done to a value before it meets the profile. */
export interface WalkHooks {
  /** Is this object left to the library, as one of an extension type? Arrays and bytes are not asked about. Default: no. */
  claims?(value: object): boolean;
  /** What to hand the library in place of a leaf. Default: the leaf. */
  leaf?(value: Leaf): unknown;
}

/** Longer paths are cut in messages. */
const MAX_PATH_CHARS = 200;

/** Why a value has no place in the profile, said of the part that is being walked. */
export class Refusal extends Error {}

/** Walks one value, once. It reads every property once, so a getter or a `Proxy` counts for what it said then. */
export class PayloadWalk {
  private readonly path: (string | number)[] = [];
  private readonly ancestors: object[] = [];
  private nodes = 0;
  /** Of texts and binaries: what they take when they are encoded is no less. */
  private bytes = 0;

  /** @param maxBytes above which the value is certainly too large */
  constructor(
    private readonly limits: PayloadLimits,
    private readonly hooks: WalkHooks = {},
    private readonly maxBytes = Infinity,
  ) {}

  /**
   * A copy of `value` made of primitives, arrays, plain objects, `Date`, `Buffer`, and what the hooks chose.
   * @throws GenRpcError `encode_error` that names the part, such as `$.a[3].b is a function`; `message_too_large`.
   */
  run(value: unknown): unknown {
    try {
      return this.part(value);
    } catch (error) {
      if (error instanceof Refusal) throw this.error(error.message);
      if (this.bytes > this.maxBytes) throw tooLarge(this.bytes, this.maxBytes);
      throw this.error('cannot be read', error);
    }
  }

  private part(value: unknown): unknown {
    if (++this.nodes > this.limits.nodes) throw new Refusal(`is beyond the ${this.limits.nodes} values of a payload`);
    switch (typeof value) {
      case 'string':
        if (!value.isWellFormed()) throw new Refusal('is a string with a lone surrogate');
        this.count(value.length);
        return value;
      case 'bigint':
        if (!is64Bit(value)) throw new Refusal('is a bigint outside 64 bits');
        return this.leaf(value);
      case 'number':
      case 'undefined':
        return this.leaf(value);
      case 'boolean':
        return value;
      case 'object':
        return value === null ? null : this.object(value, true);
      default:
        throw new Refusal(`is a ${typeof value}`);
    }
  }

  private object(value: object, mayStandIn: boolean): unknown {
    const isArray = Array.isArray(value);
    const isPlain = isArray || isPlainPrototype(Object.getPrototypeOf(value));
    if (!isPlain && types.isUint8Array(value)) {
      this.count(value.byteLength);
      return this.leaf(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    }
    if (!isArray && this.hooks.claims?.(value) === true) return value;
    if (!isPlain && types.isDate(value)) return this.date(value);
    const { toJSON } = value as { toJSON?: unknown };
    if (mayStandIn && typeof toJSON === 'function') return this.standIn(toJSON.call(value));
    if (!isPlain) refuseExotic(value);
    if (this.ancestors.includes(value)) throw new Refusal('is circular');
    if (this.ancestors.length === this.limits.depth) throw new Refusal(`is deeper than ${this.limits.depth} levels`);
    this.ancestors.push(value);
    const copy = isArray ? this.items(value) : this.entries(value as Record<string, unknown>);
    this.ancestors.pop();
    return copy;
  }

  /** What a `toJSON` returned. As in JSON, its own `toJSON` is not asked. */
  private standIn(value: unknown): unknown {
    if (typeof value === 'object' && value !== null) return this.object(value, false);
    this.nodes--;
    return this.part(value);
  }

  private date(value: Date): unknown {
    const time = Date.prototype.getTime.call(value);
    if (Number.isNaN(time)) throw new Refusal('is an invalid Date');
    return this.leaf(new Date(time));
  }

  private count(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes > this.maxBytes) throw tooLarge(this.bytes, this.maxBytes);
  }

  private leaf(value: Leaf): unknown {
    return this.hooks.leaf === undefined ? value : this.hooks.leaf(value);
  }

  /** A hole is `undefined`. */
  private items(items: readonly unknown[]): unknown[] {
    const { length } = items;
    if (length > this.limits.nodes)
      throw new Refusal(`is an array of ${length}; a payload has at most ${this.limits.nodes} values`);
    const copy: unknown[] = [];
    for (let i = 0; i < length; i++) {
      this.path.push(i);
      copy.push(this.part(items[i]));
      this.path.pop();
    }
    return copy;
  }

  private entries(entries: Record<string, unknown>): Record<string, unknown> {
    const keys = Object.keys(entries);
    if (keys.length > this.limits.keysPerMap) {
      throw new Refusal(`has ${keys.length} keys; at most ${this.limits.keysPerMap} are allowed`);
    }
    const copy: Record<string, unknown> = {};
    for (const key of keys) {
      if (isForbiddenName(key)) throw new Refusal(`has the key ${key}, which reaches for a prototype`);
      if (!key.isWellFormed()) throw new Refusal('has a key with a lone surrogate');
      this.path.push(key);
      copy[key] = this.part(entries[key]);
      this.path.pop();
    }
    return copy;
  }

  private error(reason: string, cause?: unknown): GenRpcError {
    const steps = this.path.map((step) =>
      typeof step === 'number'
        ? `[${step}]`
        : /^[\p{L}_$][\p{L}\d_$]*$/u.test(step)
          ? `.${step}`
          : `[${JSON.stringify(step)}]`,
    );
    const path = `$${steps.join('')}`;
    const shown = path.length > MAX_PATH_CHARS ? `${path.slice(0, MAX_PATH_CHARS)}…` : path;
    return new GenRpcError(
      'encode_error',
      `The value cannot be encoded: ${shown} ${reason}.`,
      cause === undefined ? {} : { cause },
    );
  }
}

/** Only the own enumerable properties of an instance travel, so what keeps its content elsewhere must not pass for empty. */
function refuseExotic(value: object): void {
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (kind !== 'Object' && kind !== 'Arguments') throw new Refusal(`is of type ${kind} and has no toJSON`);
}
