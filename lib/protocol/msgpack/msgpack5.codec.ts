/** The codec for extension types of one's own: the profile on msgpack5. */
import { types } from 'node:util';
import msgpack5 from 'msgpack5';
import { GenRpcError } from '../errors.js';
import { ExtensionRegistry, ownCopy, type Msgpack5Registry } from './msgpack5-registry.js';
import type { Codec } from '../payload.js';
import { encodeTimestamp, UNDEFINED_TYPE } from './extension.js';
import { viewOf } from './keys.js';
import { PayloadScanner, resolveLimits, Trait, type PayloadLimits } from './scan.js';
import { nextToken } from './token.js';
import { PayloadWalk, Refusal, type Leaf, type WalkHooks } from './walk.js';

/**
 * Extensions that stay inside the codec. msgpack5 rounds 64-bit integers and decodes binaries into views of what it
 * reads, so it meets both as extensions of these types; the scan keeps them off the wire.
 */
const WIDE_TYPE = 126;
const BINARY_TYPE = 127;

/** The header of a wide value: an extension of nine bytes. */
const WIDE_HEADER = Buffer.of(0xc7, 9, WIDE_TYPE);

/** The integers that msgpack5 writes in 32 bits or less. */
const LEAST_NARROW = -214_748_364;
const MOST_NARROW = 0xffff_ffff;

const BUFFER_MARK = 'readUInt32LE';

/** A 64-bit integer or a double, as its nine bytes. */
class Wide {
  constructor(readonly bytes: Buffer) {}
}

class Undefined {}

export class Msgpack5Codec implements Codec {
  readonly id = 'msgpack5';
  private readonly limits: PayloadLimits;
  private readonly scanner: PayloadScanner;
  private readonly instance: msgpack5.MessagePack;
  private readonly registry: ExtensionRegistry;
  private readonly undefined = new Undefined();

  /**
   * @param extend registers extension types. Called once, here.
   * @param limits default `PAYLOAD_LIMITS`. What is over them is refused by `encode` and `decode` alike.
   * @throws GenRpcError `invalid_argument` for limits that are none, and for an extension type outside 1 to 125.
   */
  constructor(extend: (registry: Msgpack5Registry) => void = () => {}, limits: Partial<PayloadLimits> = {}) {
    this.limits = resolveLimits(limits);
    this.instance = createInstance(this.limits.depth);
    this.registry = new ExtensionRegistry(this.instance);
    extend(this.registry);
    this.scanner = new PayloadScanner(this.limits, this.registry.types);
  }

  encode(value: unknown, maxBytes = Infinity): Uint8Array {
    let isWide = false;
    const hooks: WalkHooks = {
      claims: (object) => this.claims(object),
      leaf: (leaf) => {
        const stand = this.standIn(leaf);
        isWide ||= stand instanceof Wide;
        return stand;
      },
    };
    const plain = new PayloadWalk(this.limits, hooks, maxBytes).run(value);
    try {
      const encoded = this.instance.encode(plain) as unknown as Buffer;
      const bytes = isWide ? unwrapWide(encoded) : encoded;
      // What an extension's own encoder wrote is checked as the peer will check it.
      this.scanner.scan(bytes, viewOf(bytes), bytes.length);
      return bytes;
    } catch (cause) {
      throw new GenRpcError('encode_error', undefined, { cause });
    }
  }

  decode(bytes: Uint8Array): unknown {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const traits = this.scanner.scan(buffer, viewOf(buffer), buffer.length);
    try {
      return this.instance.decode((traits & (Trait.Wide | Trait.Binary)) === 0 ? buffer : wrap(buffer));
    } catch (cause) {
      throw new GenRpcError('protocol_error', undefined, { cause });
    }
  }

  private claims(object: object): boolean {
    // msgpack5 asks no extension about a Map.
    const isClaimed = !types.isMap(object) && this.registry.claims(object);
    if (isClaimed ? BUFFER_MARK in object : Object.hasOwn(object, BUFFER_MARK)) {
      throw new Refusal(`has the property ${BUFFER_MARK}, by which msgpack5 knows a Buffer`);
    }
    return isClaimed;
  }

  private standIn(leaf: Leaf): unknown {
    if (leaf === undefined) return this.undefined;
    if (typeof leaf === 'bigint') return new Wide(encodeBigInt(leaf));
    if (typeof leaf !== 'number' || (leaf >= LEAST_NARROW && leaf <= MOST_NARROW)) return leaf;
    return Number.isInteger(leaf) ? new Wide(encodeDouble(leaf)) : leaf;
  }
}

function createInstance(maxDepth: number): msgpack5.MessagePack {
  // Its own timestamps lose a second of the year 2514, so the encoder is ours.
  const options = { compatibilityMode: false, disableTimestampEncoding: true, protoAction: 'error', maxDepth };
  const instance = msgpack5(options);
  instance.registerEncoder<Wide>(
    (value: unknown) => value instanceof Wide,
    ({ bytes }) => Buffer.concat([Buffer.of(WIDE_TYPE), bytes]),
  );
  instance.registerEncoder(
    (value: unknown) => value instanceof Undefined,
    () => Buffer.of(UNDEFINED_TYPE, 0),
  );
  instance.registerEncoder<Date>((value: unknown) => value instanceof Date, encodeTimestamp);
  instance.registerDecoder(WIDE_TYPE, decodeWide);
  instance.registerDecoder(BINARY_TYPE, ownCopy);
  instance.registerDecoder(UNDEFINED_TYPE, () => undefined);
  return instance;
}

function encodeBigInt(value: bigint): Buffer {
  const bytes = Buffer.of(0xd3, 0, 0, 0, 0, 0, 0, 0, 0);
  if (value < 2n ** 63n) bytes.writeBigInt64BE(value, 1);
  else bytes.writeBigUInt64BE(value, 1);
  bytes[0] = value < 2n ** 63n ? 0xd3 : 0xcf;
  return bytes;
}

function encodeDouble(value: number): Buffer {
  const bytes = Buffer.of(0xcb, 0, 0, 0, 0, 0, 0, 0, 0);
  bytes.writeDoubleBE(value, 1);
  return bytes;
}

function decodeWide(bytes: Buffer): bigint {
  return bytes[0] === 0xcf ? bytes.readBigUInt64BE(1) : bytes.readBigInt64BE(1);
}

/** Takes the wide values out of their extensions. */
function unwrapWide(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  let start = 0;
  for (let offset = 0; offset < bytes.length; offset = nextToken(bytes, offset)) {
    if (bytes[offset] !== 0xc7 || bytes[offset + 2] !== WIDE_TYPE) continue;
    parts.push(bytes.subarray(start, offset));
    start = offset + WIDE_HEADER.length;
  }
  return Buffer.concat([...parts, bytes.subarray(start)]);
}

/** Puts 64-bit integers and binaries into extensions. */
function wrap(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  let start = 0;
  for (let offset = 0; offset < bytes.length; offset = nextToken(bytes, offset)) {
    const token = bytes[offset] as number;
    if (token === 0xcf || token === 0xd3) {
      parts.push(bytes.subarray(start, offset), WIDE_HEADER);
      start = offset;
    } else if (token >= 0xc4 && token <= 0xc6) {
      const size = 1 << (token - 0xc4);
      const header = Buffer.of(token + 3, ...bytes.subarray(offset + 1, offset + 1 + size), BINARY_TYPE);
      parts.push(bytes.subarray(start, offset), header);
      start = offset + 1 + size;
    }
  }
  return Buffer.concat([...parts, bytes.subarray(start)]);
}
