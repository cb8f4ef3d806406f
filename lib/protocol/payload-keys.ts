/** The keys of the maps that a scan has open, so that none comes twice and none reaches for a prototype. */

/** Keys that no map may have, at any depth: they reach for the prototype of whatever they are copied into. */
export const FORBIDDEN_KEYS: readonly string[] = Object.freeze(['__proto__', 'constructor', 'prototype']);

const FORBIDDEN_BYTES = FORBIDDEN_KEYS.map((key) => Buffer.from(key));

/** Up to here a new key is compared with each one before it, without allocating; above, a `Set` remembers them. */
const PAIRWISE_KEYS = 32;

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

export class OpenMaps {
  /** Of the deepest map: where its keys begin in the arrays below, and which fingerprints it has, modulo 32. */
  private base = 0;
  private mask = 0;
  private set: Set<string> | undefined;
  /** The same of the maps around it. */
  private readonly outer: Int32Array;
  private readonly outerSets: (Set<string> | undefined)[] = [];
  private depth = 0;
  private top = 0;
  private readonly prints: Int32Array;
  private readonly starts: Int32Array;
  private readonly ends: Int32Array;

  /** @param depth how many maps may be open at once. */
  constructor(depth: number) {
    this.outer = new Int32Array(depth * 2);
    this.prints = new Int32Array((depth + 1) * PAIRWISE_KEYS);
    this.starts = new Int32Array((depth + 1) * PAIRWISE_KEYS);
    this.ends = new Int32Array((depth + 1) * PAIRWISE_KEYS);
  }

  /** Forgets what a scan that failed left open. */
  reset(): void {
    this.depth = 0;
    this.base = 0;
    this.top = 0;
    this.mask = 0;
    this.set = undefined;
  }

  open(count: number): void {
    const { depth } = this;
    this.outer[depth] = this.base;
    this.outer[depth + 1] = this.mask;
    this.outerSets[depth >> 1] = this.set;
    this.depth = depth + 2;
    this.base = this.top;
    this.mask = 0;
    this.set = count > PAIRWISE_KEYS ? new Set() : undefined;
  }

  close(): void {
    const depth = this.depth - 2;
    this.depth = depth;
    this.top = this.base;
    this.base = this.outer[depth] as number;
    this.mask = this.outer[depth + 1] as number;
    this.set = this.outerSets[depth >> 1];
  }

  /** Remembers the key `[start, end)` of the deepest map. `false`: the map has it already. */
  add(bytes: Buffer, view: DataView, start: number, end: number): boolean {
    if (this.set !== undefined) return this.set.size !== this.set.add(bytes.toString('latin1', start, end)).size;
    const { top } = this;
    const print = fingerprint(view, start, end);
    const bit = 1 << (print ^ (print >> 8) ^ (print >> 16) ^ (print >> 24));
    if ((this.mask & bit) !== 0 && this.has(bytes, print, start, end)) return false;
    this.mask |= bit;
    this.prints[top] = print;
    this.starts[top] = start;
    this.ends[top] = end;
    this.top = top + 1;
    return true;
  }

  private has(bytes: Buffer, print: number, start: number, end: number): boolean {
    const { prints, starts, ends, top } = this;
    const length = end - start;
    for (let i = this.base; i < top; i++) {
      if (prints[i] !== print) continue;
      const other = starts[i] as number;
      if (ends[i] === other + length && sameBytes(bytes, other, bytes, start, length)) return true;
    }
    return false;
  }
}

/** Keys of one map that are not the same rarely agree in it, so their bytes are rarely compared. */
function fingerprint(view: DataView, start: number, end: number): number {
  const length = end - start;
  if (length >= 4) return Math.imul(view.getInt32(start), 31) ^ view.getInt32(end - 4) ^ length;
  if (length >= 2) return (view.getUint16(start) << 8) | view.getUint8(end - 1);
  return length === 0 ? -1 : view.getUint8(start);
}
