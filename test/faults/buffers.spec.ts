/** Group B of the fault list: what memory holds, and that nothing of it stays. */
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { CONNECTION_CREDIT, FrameType, type Frame } from '../../lib/protocol/frame.js';
import { Cluster, DRIVERS, twoNodes } from '../support/cluster.js';
import { Door, redirect, until } from '../support/door.js';
import { heldBytes } from '../support/heap.js';
import { bytesOf, headOf, RawServer } from '../support/raw-peer.js';

/** `GEN_RPC_SOAK=1` runs what the fault list asks for in full; otherwise as much as fits a few seconds. */
const SOAK = process.env['GEN_RPC_SOAK'] === '1';
const KIB = 1024;
const MIB = 1024 * KIB;
const B = 'b@127.0.0.1';

describe.each(DRIVERS)('B-11 both sides at once, over %s', { timeout: 120_000 }, (driver) => {
  const MESSAGES = 100;
  const AT_ONCE = 16;
  const large = Buffer.alloc(4 * MIB - KIB, 3);

  async function exchange(from: GenRpcNode, to: string): Promise<number> {
    let sent = 0;
    let sum = 0;
    const lane = async (): Promise<void> => {
      while (sent < MESSAGES) {
        sent += 1;
        const back = await from.call<Buffer>(to, 'echo', 'bytes', [large], { timeout: 100_000 });
        sum += back.length;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    return sum;
  }

  it(`B-11 ${MESSAGES} messages of 4 MiB each way, with the smallest windows: all arrive`, async () => {
    const options = { maxWindow: 64 * KIB, gracePeriod: 1000 };
    await using cluster = new Cluster({ driver, options });
    const a = await cluster.start('a');
    const b = await cluster.start('b');
    for (const node of [a, b]) node.register('echo', { bytes: ([bytes]: [Buffer]) => bytes });
    const sums = await Promise.all([exchange(a, b.name), exchange(b, a.name)]);
    expect(sums).toEqual([MESSAGES * large.length, MESSAGES * large.length]);
    // The last grants may still be on their way to the kernel.
    await until(() => a.stats().bufferedBytes + b.stats().bufferedBytes === 0);
  });
});

describe('B-12 a large reply that is abandoned half-way', { timeout: 120_000 }, () => {
  const TIMES = SOAK ? 10_000 : 1000;

  it(`B-12 ${TIMES} times: all credit comes back, and nothing is left`, async () => {
    await using nodes = await twoNodes({ driver: 'tcp', options: { maxWindow: 64 * KIB } });
    const large = Buffer.alloc(2 * MIB, 1);
    let begun = 0;
    let cancelled = 0;
    nodes.b.register('large', {
      reply: () => {
        begun += 1;
        return large;
      },
      async *items() {
        for (;;) yield large.subarray(0, 256 * KIB);
      },
    });
    for (let n = 0; n < TIMES; n += 1) {
      if (n % 2 === 0) {
        const before = begun;
        const controller = new AbortController();
        const call = nodes.a.call(B, 'large', 'reply', [], { signal: controller.signal });
        const outcome = call.then(
          () => 0,
          () => 1,
        );
        await until(() => begun > before);
        // Some of it is on its way: how much differs from time to time.
        for (let turn = 0; turn < n % 7; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        controller.abort();
        cancelled += await outcome;
      } else {
        for await (const item of nodes.a.stream<Buffer>(B, 'large', 'items')) {
          expect(item).toHaveLength(256 * KIB);
          break;
        }
      }
    }
    expect(cancelled).toBeGreaterThan(TIMES / 4);
    await until(() => nodes.b.stats().bufferedBytes === 0 && nodes.b.stats().runningCalls === 0);
    expect(nodes.a.stats()).toMatchObject({ bufferedBytes: 0, pendingCalls: 0, counts: { connected: 1 } });
    // With less than all of its credit it would not come.
    for (let n = 0; n < 20; n += 1) expect(await nodes.a.call(B, 'large', 'reply')).toHaveLength(2 * MIB);
  });

  it('B-12 of a peer that counts: it may have as much on the way as at the beginning', async () => {
    await using door = await Door.open('tcp');
    const large = Buffer.alloc(2 * MIB, 1);
    door.node.register('large', { reply: () => large });
    const peer = (await (await door.dial()).login('counting@127.0.0.1', door.name)).count();
    const chunkBytes = (): number =>
      peer.frames.reduce((sum, frame) => sum + (frame.type === FrameType.Chunk ? frame.bytes.length : 0), 0);
    const call = (id: number): Frame => {
      const name = { module: 'large', fn: 'reply', version: '' };
      const payload = { kind: 'codec', bytes: Buffer.of(0x90) } as const;
      return { type: FrameType.Call, id, name, timeoutMs: 60_000, single: false, headers: undefined, payload };
    };
    for (let id = 1; id <= 50; id += 1) {
      peer.frames.length = 0;
      peer.send(bytesOf(call(id)));
      await peer.until(() => chunkBytes() === CONNECTION_CREDIT);
      peer.send(bytesOf({ type: FrameType.Cancel, id }));
      peer.send(bytesOf({ type: FrameType.Credit, id: 0, connection: CONNECTION_CREDIT, stream: 0 }));
    }
    await until(() => door.node.stats().bufferedBytes === 0);
  });
});

describe('B-13 messages of which little has come', () => {
  const NAME = { module: 'large', fn: 'take', version: '' };

  /** The head of a call of 4 MiB, as a peer would send it. */
  function head(id: number, timeoutMs = 60_000): Buffer {
    const payload = { kind: 'codec', bytes: Buffer.of() } as const;
    const call = {
      type: FrameType.Call,
      id,
      name: NAME,
      timeoutMs,
      single: false,
      headers: undefined,
      payload,
    } as const;
    return headOf(call, 4 * MIB);
  }

  function chunk(id: number, bytes: number, more = true): Buffer {
    return bytesOf({ type: FrameType.Chunk, id, bytes: Buffer.alloc(bytes), more });
  }

  it('B-13 sixteen of a connection, and no more: memory by what has arrived', async () => {
    await using door = await Door.open('tcp');
    const heads = Array.from({ length: 17 }, (_, index) => head(index + 1));
    const peer = await (await door.dial()).login('stingy@127.0.0.1', door.name);
    const before = await heldBytes();
    for (let id = 1; id <= 16; id += 1) peer.send(heads[id - 1] ?? Buffer.of(), chunk(id, 1024));
    await until(() => door.node.stats().bufferedBytes === 16 * 1024);
    expect((await heldBytes()) - before).toBeLessThan(4 * MIB);
    peer.send(heads[16] ?? Buffer.of());
    await peer.closed();
    await until(() => door.node.stats().bufferedBytes === 0);
    expect(door.counts.protocol_error).toBe(1);
  });

  it('B-13 1,000 of them over many connections hold a byte each', async () => {
    const admission = { perAddress: 512, failuresPerMinute: 1000 };
    await using door = await Door.open('tcp', { admission });
    const heads = Array.from({ length: 16 }, (_, index) => head(index + 1));
    // A byte of a chunk: the rest of it is to come.
    const crumb = chunk(16, 1024).subarray(0, 13);
    for (let n = 1; n <= 63; n += 1) {
      const peer = await (await door.dial()).login(`stingy${n}@127.0.0.1`, door.name);
      peer.send(...heads, crumb);
    }
    await until(() => door.node.stats().bufferedBytes === 63);
    expect(await door.ping()).toBe('pong');
  });

  it('B-13 what comes in crumbs takes no more than a few times its size', async () => {
    await using door = await Door.open('tcp');
    const peer = await (await door.dial()).login('crumbs@127.0.0.1', door.name);
    peer.send(head(1));
    await until(() => door.node.stats().acceptedConnections === 2);
    const before = await heldBytes();
    const bytes = chunk(1, 40 * KIB);
    for (let at = 0; at < bytes.length; at += 1) {
      if (!peer.socket.write(bytes.subarray(at, at + 1)) || at % 4 === 0) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    await until(() => door.node.stats().bufferedBytes === 40 * KIB);
    expect((await heldBytes()) - before).toBeLessThan(MIB);
  });

  it('B-13 one that stands still while nothing else comes ends its connection at frameReadTimeout', async () => {
    await using door = await Door.open('tcp', { frameReadTimeout: 200, keepalive: false });
    const peer = await (await door.dial()).login('silent@127.0.0.1', door.name);
    peer.send(head(1), chunk(1, 2048));
    await peer.closed();
    await until(() => door.node.stats().bufferedBytes === 0);
    expect(door.counts.protocol_error).toBe(1);
  });

  it('B-13 half a reply: its call fails at its deadline, and what had come is let go of', async () => {
    await using server = await RawServer.listen('tcp');
    await using cluster = new Cluster({ driver: 'tcp' });
    redirect(cluster, B, server.port);
    const a = cluster.create('a', { listen: false });
    const calls = Array.from({ length: 16 }, () => a.call(B, 'large', 'take', [], { timeout: 500 }));
    const settled = Promise.allSettled(calls);
    const peer = await (await server.accept()).welcome(B);
    await peer.until(() => peer.frames.length === 16);
    for (const frame of [...peer.frames]) {
      const id = 'id' in frame ? frame.id : 0;
      const result = headOf({ type: FrameType.Result, id, payload: { kind: 'raw', bytes: Buffer.of() } }, MIB);
      peer.send(result, chunk(id, 2048));
    }
    await until(() => a.stats().bufferedBytes === 16 * 2048);
    const codes = (await settled).map((one) => one.status === 'rejected' && (one.reason as { code: string }).code);
    expect(new Set(codes)).toEqual(new Set(['timeout']));
    expect(a.stats()).toMatchObject({ bufferedBytes: 0, pendingCalls: 0 });
    // The rest of them comes late, and is no harm.
    peer.send(chunk(1, MIB / 16), chunk(1, 1024, false));
    await until(() => a.stats().counts.late_frames === 1);
    expect(a.stats().openConnections).toBe(1);
  });
});
