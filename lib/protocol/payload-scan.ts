/** Reads the structure of received MessagePack before anything is decoded, and refuses what the profile does not allow. */
import { GenRpcError } from './errors.js';
import { checkExtension } from './payload-extension.js';
import { isForbiddenKey, OpenMaps } from './payload-keys.js';
import { findInvalidUtf8, isAscii, NATIVE_FROM_BYTES } from './payload-text.js';

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

/** What a payload holds that a library may need help with: bits of what `scan` returns. */
export const Trait = {
  None: 0,
  /** An int64 or a uint64. */
  Wide: 1,
  Binary: 2,
  /** A string that begins with U+FEFF, which some decoders take for a byte order mark and drop. */
  ByteOrderMark: 4,
} as const;

/** Indexed by token - 0xc0: how many bytes of value follow, or -1 where a length or an extension type comes first. */
const VALUE_BYTES = Int8Array.from([
  0, -1, 0, 0, -1, -1, -1, -1, -1, -1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
]);
/** Indexed by token - 0xc0: how many bytes of length follow. */
const LENGTH_BYTES = Int8Array.from([
  0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4,
]);

const NO_TOKEN = -1;

/** One for each codec: it keeps its working memory from scan to scan. */
export class PayloadScanner {
  private readonly outer: Int32Array;
  private readonly maps: OpenMaps;
  private offset = 0;
  private left = 0;
  private traits: number = Trait.None;

  /** @param types extension types that are let through beside those of the profile. */
  constructor(
    private readonly limits: PayloadLimits = PAYLOAD_LIMITS,
    private readonly types: ReadonlySet<number> = new Set(),
  ) {
    this.outer = new Int32Array(limits.depth);
    this.maps = new OpenMaps(limits.depth);
  }

  /**
   * Judges one value that must fill `bytes`. Its work is bounded by the length of `bytes`, its memory by `limits`:
   * nodes are counted where a container declares them, so an array of 2³² costs what an empty one does.
   * @returns the `Trait`s of the payload.
   * @throws GenRpcError `protocol_error` that tells the rule and the offset of the byte.
   */
  scan(bytes: Buffer, view: DataView, end: number): number {
    this.maps.reset();
    this.traits = Trait.None;
    this.offset = 0;
    this.left = 1;
    let depth = 0;
    let nodes = 1;
    let inMap = 0;
    for (;;) {
      const token = inMap === 0 ? this.items(bytes, view, end) : this.entries(bytes, view, end);
      if (token === NO_TOKEN) {
        if (depth === 0) return this.finish(end);
        if (inMap === 1) this.maps.close();
        const outer = this.outer[--depth] as number;
        inMap = outer & 1;
        this.left = outer >> 1;
        continue;
      }
      if (depth === this.limits.depth) throw refused(this.offset, `containers deeper than ${depth}`);
      this.outer[depth++] = (this.left << 1) | inMap;
      inMap = token < 0x90 || token >= 0xde ? 1 : 0;
      nodes += this.open(bytes, token, inMap, nodes, end);
    }
  }

  private finish(end: number): number {
    const { offset } = this;
    if (offset !== end) throw refused(offset, `the value ends here, and ${end - offset} bytes follow it`);
    return this.traits;
  }

  /** Enters the container of `token`; returns how many values it holds. */
  private open(bytes: Buffer, token: number, inMap: number, nodes: number, end: number): number {
    const { limits } = this;
    let count = token & 0x0f;
    if (token >= 0xa0) {
      count = readLength(bytes, token, this.offset, end);
      this.offset += LENGTH_BYTES[token - 0xc0] as number;
    }
    const { offset } = this;
    if (count * (inMap + 1) > end - offset) {
      throw refused(offset, `a container of ${count} declared in the ${end - offset} bytes that are left`);
    }
    if (nodes + count > limits.nodes) throw refused(offset, `more than the ${limits.nodes} values that are allowed`);
    this.left = count;
    if (inMap === 0) return count;
    if (count > limits.keysPerMap) {
      throw refused(offset, `a map of ${count} keys; at most ${limits.keysPerMap} are allowed`);
    }
    this.maps.open(count);
    return count;
  }

  /** Reads values of an array until one is a container, whose token it returns, or none is left. */
  private items(bytes: Buffer, view: DataView, end: number): number {
    let { left, offset } = this;
    while (left > 0) {
      left--;
      if (offset >= end) throw refused(offset, 'the payload ends where a value should begin');
      const token = bytes[offset++] as number;
      if (token < 0x80 || token >= 0xe0) continue;
      if (token < 0xa0 || token >= 0xdc) {
        this.left = left;
        this.offset = offset;
        return token;
      }
      offset = token < 0xc0 ? this.text(bytes, view, offset, token & 0x1f, end) : this.scalar(bytes, view, token, offset, end);
    }
    this.left = 0;
    this.offset = offset;
    return NO_TOKEN;
  }

  /** The same for a map. */
  private entries(bytes: Buffer, view: DataView, end: number): number {
    let { left, offset } = this;
    while (left > 0) {
      left--;
      offset = this.key(bytes, view, offset, end);
      if (offset >= end) throw refused(offset, 'the payload ends where a value should begin');
      const token = bytes[offset++] as number;
      if (token < 0x80 || token >= 0xe0) continue;
      if (token < 0xa0 || token >= 0xdc) {
        this.left = left;
        this.offset = offset;
        return token;
      }
      offset = token < 0xc0 ? this.text(bytes, view, offset, token & 0x1f, end) : this.scalar(bytes, view, token, offset, end);
    }
    this.left = 0;
    this.offset = offset;
    return NO_TOKEN;
  }

  /** Reads the key at `offset`; returns where its value begins. */
  private key(bytes: Buffer, view: DataView, offset: number, end: number): number {
    if (offset >= end) throw refused(offset, 'the payload ends where a key should begin');
    const token = bytes[offset] as number;
    let start = offset + 1;
    let length = token & 0x1f;
    if (token < 0xa0 || token > 0xbf) {
      if (token < 0xd9 || token > 0xdb) throw refused(offset, `a map key begins with ${hex(token)}; only strings are allowed`);
      length = readLength(bytes, token, start, end);
      start += LENGTH_BYTES[token - 0xc0] as number;
    }
    const next = this.text(bytes, view, start, length, end);
    if (isForbiddenKey(bytes, start, next)) {
      throw refused(offset, `the key ${bytes.toString('latin1', start, next)} is not allowed`);
    }
    if (!this.maps.add(bytes, view, start, next)) throw refused(offset, 'a key that its map has already');
    return next;
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
    const length = readLength(bytes, token, offset, end);
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

/** The length that follows `token`, of 1, 2 or 4 bytes at `offset`. */
function readLength(bytes: Buffer, token: number, offset: number, end: number): number {
  const size = LENGTH_BYTES[token - 0xc0] as number;
  if (offset + size > end) throw refused(offset, `a length of ${size} bytes, with ${end - offset} left`);
  let length = 0;
  for (let i = 0; i < size; i++) length = length * 256 + (bytes[offset + i] as number);
  return length;
}

function checkedEnd(start: number, length: number, end: number): number {
  if (length > end - start) throw refused(start, `${length} bytes declared, with ${Math.max(0, end - start)} left`);
  return start + length;
}

function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, '0')}`;
}

function refused(offset: number, rule: string): GenRpcError {
  return new GenRpcError('protocol_error', `Payload refused at byte ${offset}: ${rule}.`);
}
