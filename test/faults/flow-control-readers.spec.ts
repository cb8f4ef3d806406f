/** Group B of the fault list: callers that do not read what they ask for. */
import { describe, expect, it } from 'vitest';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import type { NodeSettings } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { heldBytes } from '../support/heap.js';
import { bytesOf, type RawPeer } from '../support/raw-peer.js';

const MIB = 1024 * 1024;

function callOf(id: number, fn: string, timeoutMs = 60_000): Frame {
  const name = { module: 'large', fn, version: '' };
  const payload = { kind: 'codec', bytes: Buffer.of(0x90) } as const;
  return { type: FrameType.Call, id, name, timeoutMs, single: false, headers: undefined, payload };
}

/** A door with functions that answer with a MiB. */
async function largeDoor(options: NodeSettings) {
  const door = await Door.open('tcp', options);
  const mib = Buffer.alloc(MIB, 1);
  const begun = { sync: 0, async: 0 };
  const open: (() => void)[] = [];
  door.node.register('large', {
    sync: () => {
      begun.sync += 1;
      return mib;
    },
    async: async () => {
      begun.async += 1;
      await new Promise<void>((resolve) => open.push(resolve));
      return mib;
    },
  });
  const release = (): void => {
    for (const resolve of open.splice(0)) resolve();
  };
  let callers = 0;
  const lazy = async (): Promise<RawPeer> => {
    callers += 1;
    const peer = await (await door.dial()).login(`lazy${callers}@127.0.0.1`, door.name, { keepaliveMs: 0 });
    peer.socket.pause();
    return peer;
  };
  return Object.assign(door, { begun, release, lazy });
}

async function pings(door: Door, count: number): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const before = performance.now();
    expect(await door.ping()).toBe('pong');
    times.push(performance.now() - before);
  }
  return times.toSorted((one, other) => one - other)[Math.floor(count * 0.9)] ?? 0;
}

describe('B-01 10,000 answers of 1 MiB that nobody reads', { timeout: 60_000 }, () => {
  const CALLS = 10_000;
  const CAP = 8 * MIB;
  const OPTIONS = { maxQueuedBytes: CAP, sendTimeout: 1500, keepalive: false } as const;

  it('B-01 of functions that answer at once: they are begun no more, and the caller is cut off', async () => {
    await using door = await largeDoor(OPTIONS);
    const peer = await door.lazy();
    const before = await heldBytes();
    for (let id = 1; id <= CALLS; id += 1) peer.send(bytesOf(callOf(id, 'sync')));
    await until(() => door.begun.sync >= 8);
    const held = door.node.stats().bufferedBytes;
    expect(held).toBeGreaterThan(CAP / 2);
    expect(await pings(door, 20)).toBeLessThan(1000);
    // Every refusal takes some bytes as well.
    expect(door.node.stats().bufferedBytes).toBeLessThan(CAP + 8 * MIB);
    expect((await heldBytes()) - before).toBeLessThan(CAP + 32 * MIB);
    await until(() => door.node.stats().acceptedConnections === 1);
    expect(door.begun.sync).toBeLessThan(20);
    expect(door.node.stats()).toMatchObject({ bufferedBytes: 0, runningCalls: 0 });
  });

  it('B-01 of functions that take their time: what they answer is dropped above the cap', async () => {
    await using door = await largeDoor({ ...OPTIONS, sendTimeout: 3000 });
    const peer = await door.lazy();
    for (let id = 1; id <= CALLS; id += 1) peer.send(bytesOf(callOf(id, 'async')));
    await until(() => door.begun.async === CALLS);
    const before = await heldBytes();
    door.release();
    await until(() => door.node.stats().runningCalls === 0);
    expect(door.node.stats().bufferedBytes).toBeLessThan(CAP + 8 * MIB);
    expect((await heldBytes()) - before).toBeLessThan(CAP + 32 * MIB);
    peer.send(bytesOf(callOf(CALLS + 1, 'async')));
    expect(await pings(door, 20)).toBeLessThan(1000);
    expect(door.begun.async).toBe(CALLS);
    await until(() => door.node.stats().acceptedConnections === 1);
    expect(door.node.stats().bufferedBytes).toBe(0);
  });
});

describe('B-09 200 callers that do not read', { timeout: 60_000 }, () => {
  it('B-09 hold no more than maxBufferedBytes together: those that hold most are cut first', async () => {
    const LIMIT = 64.5 * MIB;
    const admission = { perAddress: 512, failuresPerMinute: 1000 };
    await using door = await largeDoor({ maxBufferedBytes: LIMIT, sendTimeout: 30_000, keepalive: false, admission });
    // A greedy one asks for much more than the others.
    const greedy = await door.lazy();
    for (let id = 1; id <= 40; id += 1) greedy.send(bytesOf(callOf(id, 'sync')));
    await until(() => door.begun.sync === 40);
    let most = 0;
    const peers: RawPeer[] = [];
    for (let n = 0; n < 200; n += 1) {
      const peer = await door.lazy();
      peers.push(peer);
      peer.send(bytesOf(callOf(1, 'sync'), callOf(2, 'sync')));
      const expected = 42 + 2 * n;
      await until(() => door.begun.sync === expected);
      const { bufferedBytes, acceptedConnections } = door.node.stats();
      most = Math.max(most, bufferedBytes);
      // While the greedy one is there, it is the one to go.
      if (n === 11) expect(acceptedConnections).toBe(1 + 1 + 12);
      if (n === 20) expect(acceptedConnections).toBe(1 + 21);
    }
    expect(most).toBeLessThanOrEqual(LIMIT);
    expect(most).toBeGreaterThan(LIMIT / 2);
    expect(door.node.stats().acceptedConnections).toBeLessThan(1 + 45);
    for (const peer of [greedy, ...peers]) peer.destroy();
    await until(() => door.node.stats().acceptedConnections === 1);
    expect(door.node.stats().bufferedBytes).toBe(0);
  });
});
