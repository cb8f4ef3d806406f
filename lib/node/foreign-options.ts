/** Options that are objects of somebody else's making: what they must at least look like. */
import type { Discovery } from '../discovery/discovery.js';
import type { Codec } from '../protocol/payload.js';
import type { Tracing } from '../ports/tracing.js';

export function isCodec(value: unknown): boolean {
  if (value === 'msgpackr' || value === 'msgpack5') return true;
  if (typeof value !== 'object' || value === null) return false;
  const { id, encode, decode } = value as Partial<Codec>;
  return /^[a-z0-9-]{1,32}$/.test(id ?? '') && typeof encode === 'function' && typeof decode === 'function';
}

export function isDiscovery(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as Partial<Discovery>).resolve === 'function';
}

export function isTracing(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { outgoing, incoming } = value as Partial<Tracing>;
  return typeof outgoing === 'function' && typeof incoming === 'function';
}
