/** The default codec: the profile on msgpackr. */
import { Packr } from 'msgpackr';
import { GenRpcError } from '../errors.js';
import type { Codec } from '../payload.js';
import { viewOf } from './keys.js';
import { readPlain } from './plain.js';
import { PayloadScanner, resolveLimits, Trait, type PayloadLimits } from './scan.js';
import { isPlain, type Scale } from './value.js';
import { PayloadWalk } from './walk.js';

/** Payloads up to this size are decoded on the desk. */
const DESK_BYTES = 8192;

export class MsgpackrCodec implements Codec {
  readonly id = 'msgpackr';
  private readonly limits: PayloadLimits;
  private readonly scale: Scale;
  private readonly scanner: PayloadScanner;
  private readonly packr = new Packr({
    useRecords: false,
    moreTypes: false,
    structuredClone: false,
    bundleStrings: false,
    // A 64-bit integer on the wire is always a bigint: a number that needs more than 32 bits travels as a double.
    int64AsType: 'bigint',
    // `toJSON` is asked by the walk, by one rule for both codecs.
    useToJSON: false,
    variableMapSize: true,
    copyBuffers: true,
  });
  /** Bytes are copied here first: msgpackr hangs a DataView on what it reads, which costs more than a small copy. */
  private readonly desk = Buffer.allocUnsafeSlow(DESK_BYTES);
  private readonly deskView = viewOf(this.desk);

  /**
   * @param limits default `PAYLOAD_LIMITS`. What is over them is refused by `encode` and `decode` alike.
   * @throws GenRpcError `invalid_argument` for limits that are none.
   */
  constructor(limits: Partial<PayloadLimits> = {}) {
    this.limits = resolveLimits(limits);
    this.scale = { ...this.limits, bytesLeft: 0 };
    this.scanner = new PayloadScanner(this.limits);
  }

  encode(value: unknown, maxBytes = Infinity): Uint8Array {
    try {
      if (isPlain(value, this.scale, maxBytes)) return this.packr.pack(value);
    } catch {
      // A getter threw: the walk below tells which.
    }
    const plain = new PayloadWalk(this.limits, {}, maxBytes).run(value);
    try {
      return this.packr.pack(plain);
    } catch (cause) {
      throw new GenRpcError('encode_error', undefined, { cause });
    }
  }

  decode(bytes: Uint8Array): unknown {
    const { length } = bytes;
    if (length > DESK_BYTES) {
      const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, length);
      return this.read(buffer, viewOf(buffer), length);
    }
    this.desk.set(bytes);
    return this.read(this.desk, this.deskView, length);
  }

  private read(bytes: Buffer, view: DataView, length: number): unknown {
    const traits = this.scanner.scan(bytes, view, length);
    if ((traits & Trait.ByteOrderMark) !== 0) return readPlain(bytes.subarray(0, length));
    try {
      return this.packr.unpack(bytes, length);
    } catch (cause) {
      throw new GenRpcError('protocol_error', undefined, { cause });
    }
  }
}
