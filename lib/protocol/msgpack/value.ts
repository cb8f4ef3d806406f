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
export function isPlain(value: unknown, limits: PayloadLimits): boolean {
  return weigh(value, limits, limits.depth) !== NOT_PLAIN;
}

/** How many nodes `value` is, or NOT_PLAIN. */
function weigh(value: unknown, limits: PayloadLimits, depthLeft: number): number {
  switch (typeof value) {
    case 'string':
      // UTF-8 has no bytes for a lone surrogate.
      return value.isWellFormed() ? 1 : NOT_PLAIN;
    case 'number':
    case 'boolean':
    case 'undefined':
      return 1;
    case 'bigint':
      return is64Bit(value) ? 1 : NOT_PLAIN;
    case 'object':
      return value === null ? 1 : weighObject(value, limits, depthLeft);
    default:
      return NOT_PLAIN;
  }
}

function weighObject(value: object, limits: PayloadLimits, depthLeft: number): number {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (isPlainPrototype(prototype)) {
    return depthLeft === 0 ? NOT_PLAIN : weighEntries(value as Record<string, unknown>, limits, depthLeft - 1);
  }
  if (Array.isArray(value)) {
    return depthLeft === 0 || prototype !== Array.prototype ? NOT_PLAIN : weighItems(value, limits, depthLeft - 1);
  }
  if (prototype === Buffer.prototype || prototype === Uint8Array.prototype) return 1;
  if (prototype === Date.prototype) return Number.isNaN((value as Date).getTime()) ? NOT_PLAIN : 1;
  return NOT_PLAIN;
}

function weighItems(items: readonly unknown[], limits: PayloadLimits, depthLeft: number): number {
  const { length } = items;
  if (length >= limits.nodes) return NOT_PLAIN;
  let nodes = 1;
  for (let i = 0; i < length; i++) {
    const weight = weigh(items[i], limits, depthLeft);
    nodes += weight;
    if (weight === NOT_PLAIN || nodes > limits.nodes) return NOT_PLAIN;
  }
  return nodes;
}

function weighEntries(entries: Record<string, unknown>, limits: PayloadLimits, depthLeft: number): number {
  let nodes = 1;
  let keys = 0;
  for (const key in entries) {
    if (isForbiddenName(key) || !key.isWellFormed()) return NOT_PLAIN;
    const weight = weigh(entries[key], limits, depthLeft);
    nodes += weight;
    if (weight === NOT_PLAIN || nodes > limits.nodes || ++keys > limits.keysPerMap) return NOT_PLAIN;
  }
  return nodes;
}
