/** Keys and values as they are in etcd: one key a node, whose value is its record as JSON. */
import { isNodeName, printable } from '../protocol/node-name.js';
import type { NodeRecord } from './discovery.js';
import { asObject } from './etcd-error.js';

/** A key, as far as it is of interest. */
export interface EtcdEntry {
  /** What follows the prefix. */
  readonly name: string;
  /** When it was last written. */
  readonly revision: number;
  readonly lease: string;
  /** Not checked; where it cannot be one at all, a line that says why. */
  readonly record: unknown;
}

/** A value above this is no record: it is not read. */
const MOST_VALUE_BYTES = 64 * 1024;

export function base64Of(text: string | Uint8Array): string {
  return Buffer.from(text as string).toString('base64');
}

/** All keys that begin with the prefix, as etcd wants to be told. */
export function rangeOf(prefix: string): { readonly key: string; readonly range_end: string } {
  const bytes = Buffer.from(prefix);
  const end = Buffer.from(bytes);
  // No byte of UTF-8 is 255: the last one can always be made greater.
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return { key: base64Of(bytes), range_end: base64Of(end) };
}

export function valueOf(record: NodeRecord): string {
  const value = JSON.stringify(record);
  const bytes = Buffer.byteLength(value);
  if (bytes > MOST_VALUE_BYTES)
    throw new Error(`The record of ${record.name} has ${bytes} bytes: nobody would read it.`);
  return value;
}

/** The bytes of the key of one of etcd's `kvs`. */
export function keyOf(kv: unknown): Buffer {
  const { key } = asObject(kv);
  return Buffer.from(typeof key === 'string' ? key : '', 'base64');
}

export function entryOf(kv: unknown, prefix: string): EtcdEntry {
  const { value, lease } = asObject(kv);
  const name = keyOf(kv).toString('utf8').slice(prefix.length);
  return {
    name,
    revision: revisionIn(kv),
    lease: typeof lease === 'string' ? lease : '0',
    record: recordOf(name, typeof value === 'string' ? value : ''),
  };
}

/** 0 where there is none: of a key that was deleted long ago, and of what is not from etcd. */
export function revisionIn(kv: unknown): number {
  return numberOf(asObject(kv)['mod_revision']);
}

/** Numbers of 64 bits come as text. Revisions are counted, and never get beyond what a number holds. */
export function numberOf(value: unknown): number {
  return Number(value ?? 0) || 0;
}

function recordOf(name: string, value: string): unknown {
  const bytes = Math.floor((value.length * 3) / 4);
  if (bytes > MOST_VALUE_BYTES) return `the value of ${printable(name)}, of about ${bytes} bytes`;
  if (!isNodeName(name)) return `the value of the key ${printable(name)}, which names no node`;
  try {
    const record: unknown = JSON.parse(Buffer.from(value, 'base64').toString('utf8'));
    if (asObject(record)['name'] === name) return record;
    return `the value of ${printable(name)}, which is about ${printable(asObject(record)['name'])}`;
  } catch {
    return `the value of ${printable(name)}, which is no JSON`;
  }
}
