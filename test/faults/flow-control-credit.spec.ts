/** Group B of the fault list: credit that is no credit, more than there may be, or spent without having it. */
import { describe, expect, it } from 'vitest';
import {
  CONNECTION_CREDIT,
  FrameType,
  ITEM_OVERHEAD,
  MAX_CREDIT,
  STREAM_CREDIT,
  type CreditFrame,
  type Frame,
  type ItemFrame,
} from '../../lib/protocol/frame.js';
import type { Occurrence } from '../../lib/connection/journal.js';
import { Cluster } from '../support/cluster.js';
import { Door, redirect, until } from '../support/door.js';
import { bytesOf, RawServer, type RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const NO_ARGS = { kind: 'codec', bytes: Buffer.of(0x90) } as const;

function credit(connection: number, stream = 0, id = 0): CreditFrame {
  return { type: FrameType.Credit, id, connection, stream };
}

function call(id: number, module: string, fn: string, streamed = false): Frame {
  const name = { module, fn, version: '' };
  return {
    type: FrameType.Call,
    id,
    name,
    timeoutMs: 60_000,
    single: false,
    streamed,
    headers: undefined,
    payload: NO_ARGS,
  };
}

function item(id: number, sequence: number, bytes: number): ItemFrame {
  return { type: FrameType.Item, id, sequence, payload: { kind: 'raw', bytes: Buffer.alloc(bytes) } };
}

/** A node and a peer of it that a test speaks for. */
interface Pair extends AsyncDisposable {
  readonly peer: RawPeer;
  readonly counts: () => Readonly<Partial<Record<Occurrence, number>>>;
  /** Does the peer hear of its calls, or of its pings? */
  alive(): Promise<void>;
}

async function client(): Promise<Pair & { readonly door: Door }> {
  const door = await Door.open('tcp');
  door.node.register('stream', {
    keep: ([items]: [unknown]) => new Promise(() => items),
    async *two() {
      yield 1;
      yield 2;
    },
  });
  const peer = await (await door.dial()).login('client@127.0.0.1', door.name);
  return {
    door,
    peer,
    counts: () => door.counts,
    alive: () => answersPings(peer),
    [Symbol.asyncDispose]: () => door[Symbol.asyncDispose](),
  };
}

async function server(): Promise<Pair & { readonly cluster: Cluster; readonly a: ReturnType<Cluster['create']> }> {
  const raw = await RawServer.listen('tcp');
  const cluster = new Cluster({ driver: 'tcp' });
  redirect(cluster, B, raw.port);
  const a = cluster.create('a', { listen: false });
  const connected = a.connect(B);
  const peer = await (await raw.accept()).welcome(B);
  await connected;
  return {
    cluster,
    a,
    peer,
    counts: () => a.stats().counts,
    alive: () => answersPings(peer),
    async [Symbol.asyncDispose]() {
      await raw[Symbol.asyncDispose]();
      await cluster[Symbol.asyncDispose]();
    },
  };
}

async function answersPings(peer: RawPeer): Promise<void> {
  const pongs = (): number => peer.frames.filter(({ type }) => type === FrameType.Pong).length;
  const before = pongs();
  peer.send(bytesOf({ type: FrameType.Ping }));
  await peer.until(() => pongs() > before);
}

const ROLES = [
  ['a client', client],
  ['a server', server],
] as const;

describe.each(ROLES)('B-04 credit from %s', (_role, open) => {
  it.each([
    ['more than anybody may hold, in one grant', [credit(MAX_CREDIT)]],
    ['more than that by wrapping around', [credit(0xffff_ffff)]],
    ['more than that for a byte', [credit(MAX_CREDIT - CONNECTION_CREDIT), credit(1)]],
  ])('B-04 %s: ends the connection', async (_what, frames) => {
    await using at = await open();
    at.peer.send(bytesOf(...frames));
    await at.peer.closed();
    await until(() => at.counts().fc_violation === 1);
  });

  it('B-04 of nothing: ends the connection', async () => {
    await using at = await open();
    at.peer.send(bytesOf(credit(0, 0, 5)));
    await at.peer.closed();
    await until(() => at.counts().credit_flood === 1);
  });

  it('B-04 for a stream that is gone, or never was: no harm', async () => {
    await using at = await open();
    at.peer.send(bytesOf(credit(0, 1000, 3), credit(0, MAX_CREDIT, 4), credit(0, MAX_CREDIT, 4)));
    await at.alive();
    expect(at.counts()).not.toHaveProperty('fc_violation');
  });

  it('B-04 up to 2³¹ − 1: is taken', async () => {
    await using at = await open();
    at.peer.send(bytesOf(credit(MAX_CREDIT - CONNECTION_CREDIT)));
    await at.alive();
  });

  it('B-06 a million grants of a byte: end the connection after a thousand', async () => {
    await using at = await open();
    const grants = bytesOf(...Array.from({ length: 1000 }, () => credit(1)));
    at.peer.send(grants);
    await at.alive();
    at.peer.send(bytesOf(credit(1)));
    for (let n = 0; n < 999 && !at.peer.ended; n += 1) at.peer.send(grants);
    await at.peer.closed();
    await until(() => at.counts().credit_flood === 1);
  });
});

describe('B-04 credit for a stream that runs', () => {
  it('B-04 more than anybody may hold: ends the connection', async () => {
    await using at = await server();
    const forever = {
      async *[Symbol.asyncIterator]() {
        yield 1;
        await new Promise(() => {});
      },
    };
    const outcome = expect(at.a.call(B, 'sum', 'of', [forever])).rejects.toMatchObject({ code: 'connection_lost' });
    await at.peer.until(() => at.peer.frames.some(({ type }) => type === FrameType.Item));
    const [begun] = at.peer.frames.filter((frame) => frame.type === FrameType.Call);
    at.peer.send(bytesOf(credit(0, MAX_CREDIT, begun?.id)));
    await at.peer.closed();
    await outcome;
    expect(at.counts().fc_violation).toBe(1);
  });
});

describe('B-06 some grants for each chunk', () => {
  it('B-06 are no flood, however many', async () => {
    await using at = await server();
    const calls = Array.from({ length: 12 }, () => at.a.call(B, 'large', 'take', [Buffer.alloc(3_000_000)]));
    const settled = Promise.allSettled(calls);
    at.peer.count();
    const chunks = () => at.peer.frames.filter((frame) => frame.type === FrameType.Chunk);
    let grants = 0;
    for (let seen = 0, answered = 0; answered < 12;) {
      await at.peer.until(() => chunks().length > seen);
      const fresh = chunks().slice(seen);
      seen += fresh.length;
      for (const { bytes, id, more } of fresh) {
        const fifth = Math.ceil(bytes.length / 5);
        for (let left = bytes.length; left > 0; left -= fifth) {
          grants += 1;
          at.peer.send(bytesOf(credit(Math.min(fifth, left))));
        }
        if (more) continue;
        answered += 1;
        at.peer.send(bytesOf({ type: FrameType.Result, id, payload: { kind: 'none', bytes: Buffer.alloc(0) } }));
      }
    }
    expect(grants).toBeGreaterThan(2500);
    expect((await settled).map(({ status }) => status)).toEqual(Array.from({ length: 12 }, () => 'fulfilled'));
    expect(at.counts()).not.toHaveProperty('credit_flood');
  });
});

describe('B-05 items beyond the credit of their stream', () => {
  /** Items that cost exactly this together. */
  function itemsOf(id: number, total: number): ItemFrame[] {
    const items: ItemFrame[] = [];
    for (let left = total; left > 0;) {
      const cost = left - 8192 < ITEM_OVERHEAD ? left : 8192;
      items.push(item(id, items.length, cost - ITEM_OVERHEAD));
      left -= cost;
    }
    return items;
  }

  it('B-05 of an argument: one more, when the last byte is spent, ends the connection', async () => {
    await using at = await client();
    const items = itemsOf(1, STREAM_CREDIT);
    at.peer.send(bytesOf(call(1, 'stream', 'keep', true), ...items));
    await at.alive();
    at.peer.send(bytesOf(item(1, items.length, 0)));
    await at.peer.closed();
    await until(() => at.counts().fc_violation === 1);
  });

  it('B-05 of an argument: with a byte left, one more may come, and no second', async () => {
    await using at = await client();
    const items = itemsOf(1, STREAM_CREDIT - 1);
    at.peer.send(bytesOf(call(1, 'stream', 'keep', true), ...items, item(1, items.length, 8000)));
    await at.alive();
    at.peer.send(bytesOf(item(1, items.length + 1, 0)));
    await at.peer.closed();
    await until(() => at.counts().fc_violation === 1);
  });

  it('B-05 of a reply: so it does here', async () => {
    await using at = await server();
    const reader = at.a.stream(B, 'count', 'forever')[Symbol.asyncIterator]();
    const first = reader.next();
    await at.peer.until(() => at.peer.frames.some(({ type }) => type === FrameType.Call));
    // The first is read at once; a grant is due only for half a window.
    at.peer.send(bytesOf(item(1, 0, 64)));
    await first;
    const rest = itemsOf(1, STREAM_CREDIT - 128).map((frame) => ({ ...frame, sequence: frame.sequence + 1 }));
    at.peer.send(bytesOf(...rest));
    await at.alive();
    at.peer.send(bytesOf(item(1, rest.length + 1, 0)));
    await at.peer.closed();
    await until(() => at.counts().fc_violation === 1);
  });
});

describe('B-05 casts beyond their credit', () => {
  it('B-05 one more, when the last byte is spent, ends the connection', async () => {
    await using at = await client();
    let ran = 0;
    at.door.node.register('slow', { cast: () => new Promise(() => (ran += 1)) });
    const cast = (bytes: number): Frame => {
      const payload = { kind: 'raw', bytes: Buffer.alloc(bytes) } as const;
      return {
        type: FrameType.Cast,
        name: { module: 'slow', fn: 'cast', version: '' },
        single: true,
        headers: undefined,
        payload,
      };
    };
    at.peer.send(bytesOf(...Array.from({ length: STREAM_CREDIT / 1024 }, () => cast(1024 - ITEM_OVERHEAD))));
    await at.alive();
    expect(ran).toBe(64);
    at.peer.send(bytesOf(cast(0)));
    await at.peer.closed();
    await until(() => at.counts().fc_violation === 1);
    expect(ran).toBe(64);
  });
});
