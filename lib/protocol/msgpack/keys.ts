/** The keys of the maps that a scan has open: none may come twice, none may reach for a prototype. */

/** Keys that no map may have, at any depth: copied into an object they reach for its prototype. */
export const FORBIDDEN_KEYS: readonly string[] = Object.freeze(['__proto__', 'constructor', 'prototype']);

const FORBIDDEN_BYTES: readonly Buffer[] = FORBIDDEN_KEYS.map((key) => Buffer.from(key));

/** Up to this size a new key is compared with those before it, without allocating; above, a `Set` remembers them. */
export const PAIRWISE_KEYS = 32;

/** Two keys of one map that differ rarely agree in it, so their bytes are rarely compared. */
export function fingerprint(view: DataView, start: number, end: number): number {
  const length = end - start;
  if (length >= 4) return Math.imul(view.getInt32(start), 31) ^ view.getInt32(end - 4) ^ length;
  if (length >= 2) return (view.getUint16(start) << 8) | view.getUint8(end - 1);
  return length === 0 ? -1 : view.getUint8(start);
}

/** One of 32 bits. A key whose bit is not in its map's mask is neither forbidden nor there already. */
export function bitOf(print: number): number {
  return 1 << (Math.imul(print, 0x9e3779b1) >>> 27);
}

/** The mask of a map that is empty yet: the bits of the forbidden keys. */
export const EMPTY_MASK = FORBIDDEN_BYTES.reduce(
  (mask, key) => mask | bitOf(fingerprint(viewOf(key), 0, key.length)),
  0,
);

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Is `[start, end)` one of `FORBIDDEN_KEYS`? */
export function isForbiddenKey(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  if (length !== 9 && length !== 11) return false;
  return FORBIDDEN_BYTES.some((key) => key.length === length && sameBytes(bytes, start, key, 0, length));
}

function sameBytes(a: Uint8Array, aStart: number, b: Uint8Array, bStart: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[aStart + i] !== b[bStart + i]) return false;
  return true;
}

/** A stack of keys: those of the outermost map first. */
export class KeyStack {
  private readonly prints: Int32Array;
  private readonly starts: Int32Array;
  private readonly ends: Int32Array;

  /** @param depth how many maps of up to `PAIRWISE_KEYS` may be open at once. */
  constructor(depth: number) {
    this.prints = new Int32Array(depth * PAIRWISE_KEYS);
    this.starts = new Int32Array(depth * PAIRWISE_KEYS);
    this.ends = new Int32Array(depth * PAIRWISE_KEYS);
  }

  put(index: number, print: number, start: number, end: number): void {
    this.prints[index] = print;
    this.starts[index] = start;
    this.ends[index] = end;
  }

  /** Is the key `[start, end)` among those of `[base, top)`? */
  has(bytes: Uint8Array, print: number, start: number, end: number, base: number, top: number): boolean {
    const { prints, starts, ends } = this;
    const length = end - start;
    for (let i = base; i < top; i++) {
      if (prints[i] !== print) continue;
      const other = starts[i] as number;
      if (ends[i] === other + length && sameBytes(bytes, other, bytes, start, length)) return true;
    }
    return false;
  }
}

/** How far a key is looked for before it goes to the `Set`: with keys chosen to collide, no more than that is lost. */
const MAX_PROBES = 8;

/** The keys of one map that is too large to compare them pairwise. */
export class KeyTable {
  private readonly starts: Int32Array;
  private readonly ends: Int32Array;
  private overflow: Set<string> | undefined;

  /** @param count how many keys there will be. */
  constructor(count: number) {
    const slots = 2 << (32 - Math.clz32(count));
    this.starts = new Int32Array(slots);
    this.ends = new Int32Array(slots);
  }

  /** Remembers the key `[start, end)`. `false`: it is there already. */
  add(bytes: Buffer, view: DataView, start: number, end: number): boolean {
    const { starts, ends } = this;
    const length = end - start;
    let slot = hash(view, start, end);
    for (let probe = 0; probe < MAX_PROBES; probe++, slot++) {
      slot &= starts.length - 1;
      // No key starts at 0: its map's header is before it.
      const other = starts[slot] as number;
      if (other === 0) {
        starts[slot] = start;
        ends[slot] = end;
        return true;
      }
      if (ends[slot] === other + length && sameBytes(bytes, other, bytes, start, length)) return false;
    }
    this.overflow ??= new Set();
    return this.overflow.size !== this.overflow.add(bytes.toString('latin1', start, end)).size;
  }
}

function hash(view: DataView, start: number, end: number): number {
  let print = fingerprint(view, start, end);
  for (let i = start + 4; i < end - 4; i += 4) print = Math.imul(print ^ view.getInt32(i), 0x85ebca6b) ^ (print >>> 15);
  print = Math.imul(print, 0x9e3779b1);
  return print ^ (print >>> 15);
}
