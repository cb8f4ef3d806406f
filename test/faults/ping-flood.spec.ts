/** PINGs without end, PONGs that nobody asked for, and PONGs that do not come. */
import { describe, expect, it } from 'vitest';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { SOCKET_DRIVERS } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { loseServer } from '../support/lost-server.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';

const PING = bytesOf({ type: FrameType.Ping });
const PONG = bytesOf({ type: FrameType.Pong });
/** More can wait for a turn of the loop than this, but no peer that keeps the rules sends more at once. */
const AT_ONCE = 1000;
const FLOOD = 10_000;

const times = (count: number, bytes: Buffer): Buffer => Buffer.concat(Array.from({ length: count }, () => bytes));
const pongsTo = (peer: RawPeer): number => peer.frames.filter(({ type }) => type === FrameType.Pong).length;

function cast(module: string, fn: string): Frame {
  const payload = { kind: 'codec', bytes: Buffer.of(0x90) } as const;
  return {
    type: FrameType.Cast,
    name: { module, fn, version: '' },
    single: false,
    order: undefined,
    headers: undefined,
    payload,
  };
}

/** A client of the node at the door, which knows the secret. */
async function insider(door: Door): Promise<RawPeer> {
  return (await door.dial()).login('raw@127.0.0.1', door.name);
}

describe('S-07 a flood of PINGs', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('S-07 all at once: the connection is closed, counted, and its calls are told', async () => {
      await using door = await Door.open(driver);
      const told: unknown[] = [];
      door.node.register('slow', {
        fn: (_args, { signal }) => new Promise(() => signal.addEventListener('abort', () => told.push(signal.reason))),
      });
      const peer = await insider(door);
      const payload = { kind: 'codec', bytes: Buffer.of(0x90) } as const;
      const name = { module: 'slow', fn: 'fn', version: '' };
      const call = { id: 1, name, timeoutMs: 60_000, single: false, headers: undefined, payload };
      peer.send(bytesOf({ type: FrameType.Call, ...call }));
      await until(() => door.node.stats().runningCalls === 1);
      peer.send(times(FLOOD, PING));
      await peer.closed();
      await until(() => told.length > 0);
      expect(told).toMatchObject([{ code: 'protocol_error' }]);
      expect(door.counts).toMatchObject({ ping_flood: 1, protocol_error: 1 });
      expect(pongsTo(peer)).toBeLessThanOrEqual(AT_ONCE);
      expect(door.cluster.log.lines.filter((line) => /flood of PINGs|sends PINGs/.test(line))).toHaveLength(1);
    });

    it('S-07 ten every ms, for as long as it is let', async () => {
      await using door = await Door.open(driver);
      const peer = await insider(door);
      const some = times(10, PING);
      const flood = setInterval(() => peer.send(some), 1);
      await peer.closed();
      clearInterval(flood);
      expect(door.counts).toMatchObject({ ping_flood: 1, protocol_error: 1 });
    });

    it('S-07 of a node that does not read the answers', async () => {
      await using door = await Door.open(driver);
      const peer = await insider(door);
      peer.socket.pause();
      const before = process.memoryUsage().rss;
      // Ten million: what is not taken off the wire costs the one who sends it.
      for (let part = 0; part < 100; part += 1) peer.send(times(FLOOD * 10, PING));
      await until(() => door.counts.ping_flood === 1);
      await until(() => door.node.stats().acceptedConnections === 1);
      expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024);
    });

    it('S-07 that a server sends: the caller is told, and its next call takes a new connection', async () => {
      const { counts } = await loseServer(driver, (peer) => peer.send(times(FLOOD, PING)));
      expect(counts).toMatchObject({ ping_flood: 1, connection_lost: 1 });
    });
  });

  it('is none: as many as come at once where this process stood still are all answered', async () => {
    await using door = await Door.open('tcp');
    const peer = await insider(door);
    peer.send(times(AT_ONCE, PING));
    await peer.until(() => pongsTo(peer) === AT_ONCE);
    expect(door.counts.ping_flood).toBeUndefined();
  });
});

describe.each(SOCKET_DRIVERS)('S-08 PONGs, over %s', (driver) => {
  it('S-08 that nobody asked for are passed over', async () => {
    await using door = await Door.open(driver);
    const peer = await insider(door);
    peer.send(times(AT_ONCE, PONG), bytesOf(cast('canary', 'sing')), PING);
    await peer.until(() => pongsTo(peer) === 1);
    expect(door.sang).toHaveLength(1);
    expect(door.counts.protocol_error).toBeUndefined();
  });

  it('S-08 that nobody asked for, in a storm, end the connection', async () => {
    await using door = await Door.open(driver);
    const peer = await insider(door);
    peer.send(times(FLOOD, PONG));
    await peer.closed();
    expect(door.counts).toMatchObject({ ping_flood: 1, protocol_error: 1 });
  });

  it('S-08 that never come, while other things do: whatever comes is a sign of life', async () => {
    await using door = await Door.open(driver, { keepalive: { idle: 100, interval: 1000, count: 1 } });
    const peer = await insider(door);
    const pings = (): number => peer.frames.filter(({ type }) => type === FrameType.Ping).length;
    for (let round = 1; round <= 5; round += 1) {
      await peer.until(() => pings() === round);
      peer.send(bytesOf(cast('canary', 'sing')));
    }
    await until(() => door.sang.length === 5);
    expect(door.node.stats().acceptedConnections).toBe(2);
    // And then nothing does.
    await peer.closed();
    expect(pings()).toBe(6);
    expect(door.counts.protocol_error).toBeUndefined();
  });
});
