/** Everything below a prefix as it was at one moment, read in pages. */
import { asObject } from './etcd-error.js';
import type { EtcdGateway } from './etcd-gateway.js';
import { base64Of, entryOf, keyOf, numberOf, rangeOf, type EtcdEntry } from './etcd-records.js';
import { BodyTooLarge } from './http-body.js';

export interface EtcdList {
  /** By the text of their keys, without the prefix. */
  readonly entries: Map<string, EtcdEntry>;
  readonly revision: number;
}

/** Keys of one answer; where that is too large for one, fewer. */
const PAGE = 500;
/** Whoever has more nodes than this has something else under the prefix. */
const MOST_KEYS = 50_000;

/** @throws what `EtcdGateway.call` throws. */
export async function readList(gateway: EtcdGateway, prefix: string, signal: AbortSignal): Promise<EtcdList> {
  const { range_end } = rangeOf(prefix);
  const entries = new Map<string, EtcdEntry>();
  let from = Buffer.from(prefix);
  let revision = 0;
  let limit = PAGE;
  for (;;) {
    const range = { key: base64Of(from), range_end, limit: String(limit), revision: String(revision) };
    const page = await readPage(gateway, range, signal);
    if (page === undefined) {
      limit = Math.ceil(limit / 10);
      continue;
    }
    revision ||= revisionOf(page);
    const kvs = kvsIn(page);
    for (const kv of kvs) {
      const entry = entryOf(kv, prefix);
      entries.set(entry.name, entry);
    }
    if (entries.size > MOST_KEYS) throw new Error(`There are more than ${MOST_KEYS} keys under ${prefix}.`);
    if (page['more'] !== true || kvs.length === 0) return { entries, revision };
    from = Buffer.concat([keyOf(kvs.at(-1)), Buffer.of(0)]);
  }
}

export interface EtcdState {
  /** Of the whole store. */
  readonly revision: number;
  /** Of the key below the prefix that was last written. */
  readonly newest: number;
  readonly keys: number;
}

/** What there is below a prefix, in short. @throws what `EtcdGateway.call` throws. */
export async function readState(gateway: EtcdGateway, prefix: string, signal: AbortSignal): Promise<EtcdState> {
  const newestFirst = { sort_order: 'DESCEND', sort_target: 'MOD', limit: '1', keys_only: true };
  const answer = await gateway.call('/v3/kv/range', { ...rangeOf(prefix), ...newestFirst }, signal);
  const [newest] = kvsIn(answer);
  return {
    revision: revisionOf(answer),
    newest: numberOf(asObject(newest)['mod_revision']),
    keys: numberOf(answer['count']),
  };
}

export function kvsIn(answer: Record<string, unknown>): readonly unknown[] {
  return Array.isArray(answer['kvs']) ? answer['kvs'] : [];
}

/** Of the store, when it answered. */
export function revisionOf(answer: Record<string, unknown>): number {
  return numberOf(asObject(answer['header'])['revision']);
}

/** `undefined`: ask for less. What is too large by itself is read without its value, which could not be used. */
async function readPage(
  gateway: EtcdGateway,
  range: Record<string, string>,
  signal: AbortSignal,
): Promise<Record<string, unknown> | undefined> {
  try {
    return await gateway.call('/v3/kv/range', range, signal);
  } catch (error) {
    if (!(error instanceof BodyTooLarge)) throw error;
    return range['limit'] === '1' ? gateway.call('/v3/kv/range', { ...range, keys_only: true }, signal) : undefined;
  }
}
