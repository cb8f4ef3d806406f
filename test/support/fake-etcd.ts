/** As much of etcd as a source of nodes asks for, over HTTP that needs no network: time stands still while it answers. */
import type { Http, HttpRequest, HttpResponse } from '../../lib/ports/http.js';
import type { Clock } from '../../lib/ports/clock.js';

/** What a host does with a request. */
export type Manner = 'answers' | 'is silent' | 'refuses';

export interface Asked {
  readonly at: number;
  readonly host: string;
  readonly path: string;
  readonly body: Record<string, unknown>;
}

interface Kept {
  readonly value: string;
  readonly mod_revision: string;
  readonly lease: string;
}

export class FakeEtcd implements Http {
  /** By host and port; of others: `answers`. */
  readonly manners = new Map<string, Manner>();
  readonly asked: Asked[] = [];
  /** What etcd would send next, on each watch that is open. */
  readonly watches = new Set<Lines>();
  /** Of leases, by their number: is it alive? */
  readonly leases = new Map<string, boolean>();
  private readonly keys = new Map<string, Kept>();
  private revision = 1;

  constructor(private readonly clock: Clock) {}

  /** The times at which a path was asked for. */
  times(path: string, host?: string): number[] {
    return this.asked.filter((one) => one.path === path && (host ?? one.host) === one.host).map(({ at }) => at);
  }

  /** @param isTold whether watches hear of it */
  put(key: string, value: string, lease = '0', isTold = true): void {
    this.revision += 1;
    const kept = { value: base64(value), mod_revision: String(this.revision), lease };
    this.keys.set(key, kept);
    if (isTold) this.tell({ kv: { key: base64(key), ...kept } });
  }

  delete(key: string, isTold = true): void {
    this.revision += 1;
    this.keys.delete(key);
    if (isTold) this.tell({ type: 'DELETE', kv: { key: base64(key), mod_revision: String(this.revision) } });
  }

  valueOf(key: string): unknown {
    const kept = this.keys.get(key);
    return kept === undefined ? undefined : JSON.parse(text(kept.value));
  }

  async request(url: string, { body = '{}', signal }: HttpRequest): Promise<HttpResponse> {
    const { host, pathname: path } = new URL(url);
    const asked = { at: this.clock.now(), host, path, body: JSON.parse(body) as Record<string, unknown> };
    this.asked.push(asked);
    if (signal.aborted) throw signal.reason;
    const manner = this.manners.get(host) ?? 'answers';
    if (manner === 'refuses') throw new Error('connect ECONNREFUSED');
    if (manner === 'is silent') await aborted(signal);
    if (path === '/v3/watch') return { status: 200, body: this.watch(asked, signal) };
    const answer = this.answerOf(asked);
    const status = 'error' in answer ? 404 : 200;
    return { status, body: once({ header: { revision: String(this.revision) }, ...answer }) };
  }

  close(): void {}

  private answerOf({ path, body }: Asked): Record<string, unknown> {
    const lease = String(body['ID']);
    switch (path) {
      case '/v3/kv/range':
        return this.range(body);
      case '/v3/kv/txn': {
        const [{ request_put: put }] = body['success'] as [{ request_put: Record<string, string> }];
        // The one thing that is compared: is the key free?
        if ((body['compare'] as unknown[]).length > 0 && this.keys.has(text(put['key']))) return {};
        this.put(text(put['key']), text(put['value']), put['lease']);
        return { succeeded: true };
      }
      case '/v3/lease/grant': {
        const id = String(1000 + this.leases.size);
        this.leases.set(id, true);
        return { ID: id, TTL: body['TTL'] };
      }
      case '/v3/lease/keepalive':
        return { result: this.leases.get(lease) === true ? { ID: lease, TTL: '15' } : { ID: lease } };
      case '/v3/lease/revoke':
        this.leases.set(lease, false);
        for (const [key, kept] of this.keys) if (kept.lease === lease) this.delete(key);
        return {};
      default:
        return { error: `no ${path} here`, code: 12 };
    }
  }

  private range({ key, range_end, limit, sort_target, keys_only }: Record<string, unknown>): Record<string, unknown> {
    const [from, to] = [text(key), text(range_end)];
    const found = [...this.keys].filter(([name]) => (to === '' ? name === from : name >= from && name < to));
    const byRevision = sort_target === 'MOD';
    found.sort(([one, { mod_revision: older }], [other, { mod_revision: newer }]) =>
      byRevision ? Number(newer) - Number(older) : one < other ? -1 : 1,
    );
    const page = found.slice(0, limit === undefined ? found.length : Number(limit));
    const kvs = page.map(([name, { value, ...kept }]) => {
      return { key: base64(name), ...kept, ...(keys_only === true ? {} : { value }) };
    });
    return { kvs, count: String(found.length), more: page.length < found.length };
  }

  private tell(event: object): void {
    for (const watch of this.watches) {
      watch.push({ result: { header: { revision: String(this.revision) }, events: [event] } });
    }
  }

  private watch({ body }: Asked, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const lines = new Lines(signal);
    this.watches.add(lines);
    lines.push({ result: { created: true } });
    const { start_revision: start } = body['create_request'] as Record<string, string>;
    for (const [key, kept] of this.keys) {
      if (Number(kept.mod_revision) < Number(start)) continue;
      lines.push({ result: { events: [{ kv: { key: base64(key), ...kept } }] } });
    }
    signal.addEventListener('abort', () => void this.watches.delete(lines));
    return lines;
  }
}

/** Lines that somebody waits for. */
export class Lines implements AsyncIterable<Uint8Array> {
  private readonly queue: Uint8Array[] = [];
  private wake = (): void => {};

  constructor(private readonly signal: AbortSignal) {
    signal.addEventListener('abort', () => this.wake());
  }

  /** Several at once arrive in one chunk. */
  push(...messages: readonly object[]): void {
    this.pushText(messages.map((message) => `${JSON.stringify(message)}\n`).join(''));
  }

  pushText(text: string): void {
    this.queue.push(Buffer.from(text));
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.signal.aborted) throw this.signal.reason;
      const next = this.queue.shift();
      if (next === undefined) await new Promise<void>((resolve) => (this.wake = resolve));
      else yield next;
    }
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
}

async function* once(answer: object): AsyncGenerator<Uint8Array> {
  yield Buffer.from(JSON.stringify(answer));
}

function base64(value: string): string {
  return Buffer.from(value).toString('base64');
}

function text(value: unknown): string {
  return Buffer.from(String(value ?? ''), 'base64').toString();
}
