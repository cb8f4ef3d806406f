/** Tells in one look whether a value is within the profile as it stands, so that a library may encode it directly. */
import { FORBIDDEN_KEYS } from './keys.js';
import type { PayloadLimits } from './scan.js';

const MIN_INT64 = -(2n ** 63n);
const MAX_UINT64 = 2n ** 64n - 1n;

const NOT_PLAIN = -1;

/** Does `value` fit the integers of MessagePack? */
export function is64Bit(value: bigint): boolean {
  return value >= MIN_INT64 && value <= MAX_UINT64;
}

export function isForbiddenName(key: string): boolean {
  const { length } = key;
  return (length === 9 || length === 11) && FORBIDDEN_KEYS.includes(key);
}

export function isPlainPrototype(prototype: unknown): boolean {
  return prototype === Object.prototype || prototype === null;
}

/**
 * `true`: every part of `value` is a primitive, array, plain object, `Date` or `Buffer` that the profile has, within
 * the limits. `false`: it may be encodable all the same, or not; the slow walk tells. May throw what a getter throws.
 */
export function isPlain(value: unknown, scale: Scale, maxBytes: number): boolean {
  const { bytesLeft } = scale;
  scale.bytesLeft = maxBytes;
  const weight = weigh(value, scale, scale.depth);
  // A getter may have asked for another value meanwhile.
  scale.bytesLeft = bytesLeft;
  return weight !== NOT_PLAIN;
}

/** What a value may be, and what is left of it. One serves all values of a codec: it is asked for each message. */
export interface Scale extends PayloadLimits {
  /** For texts and binaries: what they take when they are encoded is no less than their length. */
  bytesLeft: number;
}

/** How many nodes `value` is, or NOT_PLAIN. */
function weigh(value: unknown, scale: Scale, depthLeft: number): number {
  switch (typeof value) {
    case 'string':
      // UTF-8 has no bytes for a lone surrogate.
      return value.isWellFormed() ? weighBytes(value.length, scale) : NOT_PLAIN;
    case 'number':
    case 'boolean':
    case 'undefined':
      return 1;
    case 'bigint':
      return is64Bit(value) ? 1 : NOT_PLAIN;
    case 'object':
      return value === null ? 1 : weighObject(value, scale, depthLeft);
    default:
      return NOT_PLAIN;
  }
}

function weighObject(value: object, scale: Scale, depthLeft: number): number {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (isPlainPrototype(prototype)) {
    return depthLeft === 0 ? NOT_PLAIN : weighEntries(value as Record<string, unknown>, scale, depthLeft - 1);
  }
  if (Array.isArray(value)) {
    return depthLeft === 0 || prototype !== Array.prototype ? NOT_PLAIN : weighItems(value, scale, depthLeft - 1);
  }
  if (prototype === Buffer.prototype || prototype === Uint8Array.prototype) {
    return weighBytes((value as Uint8Array).length, scale);
  }
  if (prototype === Date.prototype) return Number.isNaN((value as Date).getTime()) ? NOT_PLAIN : 1;
  return NOT_PLAIN;
}

function weighBytes(length: number, scale: Scale): number {
  scale.bytesLeft -= length;
  return scale.bytesLeft < 0 ? NOT_PLAIN : 1;
}

function weighItems(items: readonly unknown[], scale: Scale, depthLeft: number): number {
  const { length } = items;
  if (length >= scale.nodes) return NOT_PLAIN;
  let nodes = 1;
  for (let i = 0; i < length; i++) {
    const weight = weigh(items[i], scale, depthLeft);
    nodes += weight;
    if (weight === NOT_PLAIN || nodes > scale.nodes) return NOT_PLAIN;
  }
  return nodes;
}

function weighEntries(entries: Record<string, unknown>, scale: Scale, depthLeft: number): number {
  let nodes = 1;
  let keys = 0;
  for (const key in entries) {
    if (isForbiddenName(key) || !key.isWellFormed()) return NOT_PLAIN;
    const weight = weigh(entries[key], scale, depthLeft);
    nodes += weight;
    if (weight === NOT_PLAIN || nodes > scale.nodes || ++keys > scale.keysPerMap) return NOT_PLAIN;
  }
  return nodes;
}
