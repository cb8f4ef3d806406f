/** Reads the structure of received MessagePack before anything is decoded, and refuses what the profile does not allow. */
import { GenRpcError } from '../errors.js';
import { checkExtension } from './extension.js';
import { hex, refused } from './refused.js';
import { bitOf, EMPTY_MASK, fingerprint, isForbiddenKey, KeyStack, KeyTable, PAIRWISE_KEYS } from './keys.js';
import { findInvalidUtf8, isAscii, NATIVE_FROM_BYTES } from './text.js';
import { LENGTH_BYTES, readLength, VALUE_BYTES } from './token.js';

/** The most that one payload may hold. */
export interface PayloadLimits {
  /** Values in all, containers and what is in them. Default 100,000. */
  readonly nodes: number;
  /** Containers inside each other; a lone array has depth 1. At most 512. Default 64. */
  readonly depth: number;
  /** Keys of one map. Default 10,000. */
  readonly keysPerMap: number;
}

export const PAYLOAD_LIMITS: PayloadLimits = Object.freeze({ nodes: 100_000, depth: 64, keysPerMap: 10_000 });

/** The libraries recurse, so depth is bounded by the stack whoever sets it. */
const MAX_DEPTH = 512;
/** Counters are 32 bits wide. */
const MAX_COUNT = 2 ** 30;

/** @throws GenRpcError `invalid_argument` that names every limit that is not a whole number in its range. */
export function resolveLimits(limits: Partial<PayloadLimits>): PayloadLimits {
  const resolved = { ...PAYLOAD_LIMITS, ...limits };
  const most: PayloadLimits = { nodes: MAX_COUNT, depth: MAX_DEPTH, keysPerMap: MAX_COUNT };
  const names = Object.keys(most) as (keyof PayloadLimits)[];
  const wrong = names.filter(
    (name) => !Number.isInteger(resolved[name]) || resolved[name] < 1 || resolved[name] > most[name],
  );
  if (wrong.length === 0) return Object.freeze(resolved);
  const problems = wrong.map((name) => `${name} is ${resolved[name]}, not a whole number from 1 to ${most[name]}`);
  throw new GenRpcError('invalid_argument', `Payload limits: ${problems.join('; ')}.`);
}

/** What a payload holds that a library may need help with: bits of what `scan` returns. */
export const Trait = {
  None: 0,
  /** An int64 or a uint64. */
  Wide: 1,
  Binary: 2,
  /** A string that begins with U+FEFF, which some decoders take for a byte order mark and drop. */
  ByteOrderMark: 4,
} as const;

/** What surrounds the next value. */
const Kind = { Array: 0, Map: 1, LargeMap: 2 } as const;

/** A frame of the stack of open containers: values left, kind, mask of its keys, where these begin and end in `keys`. */
const FRAME = 5;
const [LEFT, KIND, MASK, BASE, TOP] = [0, 1, 2, 3, 4] as const;

/** One for each codec: it keeps its working memory from scan to scan. */
export class PayloadScanner {
  private readonly frames: Int32Array;
  private readonly keys: KeyStack;
  /** The keys of the open maps that are too large for `keys`, by depth. */
  private readonly tables: KeyTable[] = [];
  private keyStart = 0;
  private nodes = 0;
  private traits = 0;

  /** @param types extension types that are let through beside those of the profile. */
  constructor(
    private readonly limits: PayloadLimits = PAYLOAD_LIMITS,
    private readonly types: ReadonlySet<number> = new Set(),
  ) {
    this.frames = new Int32Array((limits.depth + 1) * FRAME);
    this.keys = new KeyStack(limits.depth);
  }

  /**
   * Judges the one value that must fill `[0, end)` of `bytes`. What a container declares is counted and compared with
   * the bytes that are left before anything in it is read, so the work grows with `end` alone.
   * @param view of `bytes`.
   * @returns the `Trait`s of the payload.
   * @throws GenRpcError `protocol_error` that tells the rule and the offset of the byte.
   */
  scan(bytes: Buffer, view: DataView, end: number): number {
    const { keys, frames } = this;
    this.reset();
    // Locals and one loop: as fields and methods this costs a third more.
    let offset = 0;
    let frame = 0;
    let left = 1;
    let kind: number = Kind.Array;
    let mask = 0;
    let top = 0;
    for (;;) {
      while (left === 0) {
        if (frame === 0) return this.finish(offset, end);
        frame -= FRAME;
        left = frames[frame + LEFT] as number;
        kind = frames[frame + KIND] as number;
        mask = frames[frame + MASK] as number;
        top = frames[frame + TOP] as number;
      }
      left--;
      if (kind !== Kind.Array) {
        const lead = bytes[offset++] as number;
        let start = offset;
        offset += lead & 0x1f;
        if ((lead & 0xe0) !== 0xa0 || offset > end || !isAscii(view, start, offset)) {
          offset = this.longKey(bytes, start - 1, end);
          start = this.keyStart;
        }
        const print = fingerprint(view, start, offset);
        if ((mask & bitOf(print)) !== 0) this.checkKey(bytes, view, print, start, offset, frame, top);
        mask |= bitOf(print);
        if (kind === Kind.Map) keys.put(top++, print, start, offset);
      }
      const token = offset < end ? (bytes[offset++] as number) : this.truncated(offset);
      if (token < 0x80 || token >= 0xe0) continue;
      if (token < 0xa0 || token >= 0xdc) {
        frames[frame + LEFT] = left;
        frames[frame + MASK] = mask;
        frames[frame + TOP] = top;
        offset = this.open(bytes, token, frame + FRAME, top, offset, end);
        frame += 2 * FRAME;
        left = 0;
      } else if (token < 0xc0) {
        const start = offset;
        offset += token & 0x1f;
        if (offset > end || !isAscii(view, start, offset)) this.longText(bytes, start, offset - start, end);
      } else offset = this.scalar(bytes, view, token, offset, end);
    }
  }

  private reset(): void {
    this.traits = Trait.None;
    this.nodes = 1;
    if (this.tables.length > 0) this.tables.length = 0;
  }

  private finish(offset: number, end: number): number {
    if (offset !== end) throw refused(offset, `the value ends here, and ${end - offset} bytes follow it`);
    return this.traits;
  }

  private truncated(offset: number): never {
    throw refused(offset, 'the payload ends where a value should begin');
  }

  /** Begins the frame of the container of `token`; returns where its content begins. */
  private open(bytes: Buffer, token: number, frame: number, top: number, offset: number, end: number): number {
    const { frames, limits } = this;
    const start = token < 0xa0 ? offset : offset + (LENGTH_BYTES[token - 0xc0] as number);
    const count = token < 0xa0 ? token & 0x0f : declaredLength(bytes, token, offset, end);
    const isMap = token < 0x90 || token >= 0xde;
    if (frame > limits.depth * FRAME)
      throw refused(offset - 1, `a container at depth ${frame / FRAME}; ${limits.depth} is the limit`);
    if (count * (isMap ? 2 : 1) > end - start) {
      throw refused(offset - 1, `a container of ${count} declared, with ${end - start} bytes left`);
    }
    this.nodes += count;
    if (this.nodes > limits.nodes) throw refused(offset - 1, `more values than ${limits.nodes}, the limit`);
    if (isMap && count > limits.keysPerMap)
      throw refused(offset - 1, `a map of ${count} keys; ${limits.keysPerMap} is the limit`);
    const isLarge = isMap && count > PAIRWISE_KEYS;
    if (isLarge) this.tables[frame / FRAME] = new KeyTable(count);
    frames[frame + LEFT] = count;
    frames[frame + KIND] = isLarge ? Kind.LargeMap : isMap ? Kind.Map : Kind.Array;
    frames[frame + BASE] = top;
    frames[frame + TOP] = top;
    // All bits: every key of a large map goes to `checkKey`.
    frames[frame + MASK] = isLarge ? -1 : EMPTY_MASK;
    return start;
  }

  /** Any key but a short one of ASCII; returns where it ends, and leaves where it starts in `keyStart`. */
  private longKey(bytes: Buffer, offset: number, end: number): number {
    if (offset >= end) throw refused(offset, 'the payload ends where a key should begin');
    const token = bytes[offset] as number;
    const isShort = token >= 0xa0 && token <= 0xbf;
    if (!isShort && (token < 0xd9 || token > 0xdb)) {
      throw refused(offset, `a map key begins with ${hex(token)}; only strings are allowed`);
    }
    const length = isShort ? token & 0x1f : declaredLength(bytes, token, offset + 1, end);
    this.keyStart = offset + 1 + (isShort ? 0 : (LENGTH_BYTES[token - 0xc0] as number));
    return this.longText(bytes, this.keyStart, length, end);
  }

  private checkKey(
    bytes: Buffer,
    view: DataView,
    print: number,
    start: number,
    end: number,
    frame: number,
    top: number,
  ): void {
    if (isForbiddenKey(bytes, start, end)) throw refused(start, `the key ${bytes.toString('latin1', start, end)}`);
    const isNew =
      this.frames[frame + KIND] === Kind.LargeMap
        ? this.tables[frame / FRAME]?.add(bytes, view, start, end)
        : !this.keys.has(bytes, print, start, end, this.frames[frame + BASE] as number, top);
    if (isNew === false) throw refused(start, 'a key that its map has already');
  }

  /** Everything that is neither a container nor of one byte; returns where the next value begins. */
  private scalar(bytes: Buffer, view: DataView, token: number, offset: number, end: number): number {
    const width = VALUE_BYTES[token - 0xc0] as number;
    if (width >= 0) {
      if (width === 8 && token !== 0xcb) this.traits |= Trait.Wide;
      if (offset + width > end) throw refused(offset, `a value of ${width} bytes, with ${end - offset} left`);
      return offset + width;
    }
    if (token === 0xc1) throw refused(offset - 1, 'the byte 0xc1 stands for nothing');
    if (token >= 0xd4 && token <= 0xd8) return this.extension(bytes, offset, 1 << (token - 0xd4), end);
    const length = declaredLength(bytes, token, offset, end);
    const start = offset + (LENGTH_BYTES[token - 0xc0] as number);
    if (token >= 0xd9) return this.text(bytes, view, start, length, end);
    if (token >= 0xc7) return this.extension(bytes, start, length, end);
    this.traits |= Trait.Binary;
    return checkedEnd(start, length, end);
  }

  private text(bytes: Buffer, view: DataView, start: number, length: number, end: number): number {
    const next = start + length;
    if (length < NATIVE_FROM_BYTES && next <= end && isAscii(view, start, next)) return next;
    return this.longText(bytes, start, length, end);
  }

  private longText(bytes: Buffer, start: number, length: number, end: number): number {
    const next = checkedEnd(start, length, end);
    const invalid = findInvalidUtf8(bytes, start, next);
    if (invalid >= 0) throw refused(invalid, `${hex(bytes[invalid] as number)} is not part of valid UTF-8`);
    if (length > 2 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) {
      this.traits |= Trait.ByteOrderMark;
    }
    return next;
  }

  private extension(bytes: Buffer, offset: number, length: number, end: number): number {
    const next = checkedEnd(offset + 1, length, end);
    checkExtension(bytes, offset + 1, length, bytes.readInt8(offset), this.types);
    return next;
  }
}

/** The length that follows `token`, at `offset`. */
function declaredLength(bytes: Buffer, token: number, offset: number, end: number): number {
  const size = LENGTH_BYTES[token - 0xc0] as number;
  if (offset + size > end) throw refused(offset, `a length of ${size} bytes, with ${end - offset} left`);
  return readLength(bytes, offset, size);
}

function checkedEnd(start: number, length: number, end: number): number {
  if (length > end - start) throw refused(start, `${length} bytes declared, with ${Math.max(0, end - start)} left`);
  return start + length;
}
