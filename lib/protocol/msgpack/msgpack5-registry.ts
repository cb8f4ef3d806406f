/** The extension types that a user adds to msgpack5, kept known to the codec around it. */
import { GenRpcError } from '../errors.js';

/** msgpack5's own methods, by their own names. Types are 1 to 125, and both ends must register the same. */
export interface Msgpack5Registry {
  /** Instances of `constructor` travel as extension `type`, with what `encode` returns as content. */
  register<T extends object>(
    type: number,
    constructor: abstract new (...args: never[]) => T,
    encode: (value: T) => Uint8Array,
    decode: (content: Buffer) => unknown,
  ): this;
  /** Objects that pass `check` travel as what `encode` returns: the type in one byte, then the content. */
  registerEncoder(check: (value: object) => boolean, encode: (value: object) => Uint8Array): this;
  registerDecoder(type: number, decode: (content: Buffer) => unknown): this;
}

/** What the registry needs of msgpack5, said here because msgpack5 has no types of its own for users to install. */
interface Instance {
  registerEncoder(check: (value: object) => boolean, encode: (value: object) => Buffer): unknown;
  registerDecoder(type: number, decode: (content: Buffer) => unknown): unknown;
}

/** The types above are the codec's own. */
const MAX_TYPE = 125;

export class ExtensionRegistry implements Msgpack5Registry {
  readonly types = new Set<number>();
  private readonly checks: ((value: object) => boolean)[] = [];

  constructor(private readonly instance: Instance) {}

  /** Does `value` travel as one of the registered types? */
  claims(value: object): boolean {
    return this.checks.some((check) => check(value));
  }

  register<T extends object>(
    type: number,
    constructor: abstract new (...args: never[]) => T,
    encode: (value: T) => Uint8Array,
    decode: (content: Buffer) => unknown,
  ): this {
    this.registerDecoder(type, decode);
    return this.registerEncoder(
      (value) => value instanceof constructor,
      (value) => Buffer.concat([Buffer.of(type), encode(value as T)]),
    );
  }

  registerEncoder(check: (value: object) => boolean, encode: (value: object) => Uint8Array): this {
    this.checks.push(check);
    // msgpack5 takes an empty answer for "encode it as an object", so it must not see one.
    this.instance.registerEncoder(check, (value) => {
      const bytes: unknown = encode(value);
      if (bytes instanceof Uint8Array && bytes.length > 0) return Buffer.from(bytes);
      throw new TypeError('The encoder of an extension type did not return bytes.');
    });
    return this;
  }

  registerDecoder(type: number, decode: (content: Buffer) => unknown): this {
    if (!Number.isInteger(type) || type < 1 || type > MAX_TYPE) {
      throw new GenRpcError('invalid_argument', `Extension type ${type} is not a whole number from 1 to ${MAX_TYPE}.`);
    }
    this.types.add(type);
    this.instance.registerDecoder(type, (content) => decode(ownCopy(content)));
    return this;
  }
}

/** A copy with memory of its own, so that what is decoded neither pins nor shows the buffer that was read. */
export function ownCopy(bytes: Buffer): Buffer {
  return Uint8Array.prototype.slice.call(bytes) as Buffer;
}
