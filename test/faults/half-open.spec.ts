/** Peers that read hardly anything, end only their half of a connection, or whose end arrives late. */
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { Door, until } from '../support/door.js';
import { loseServer } from '../support/lost-server.js';
import { Proxied } from '../support/proxied.js';
import { bytesOf, RawPeer } from '../support/raw-peer.js';
import { dialSocket } from '../support/raw-socket.js';

const B = 'b@127.0.0.1';
const PAYLOAD = { kind: 'codec', bytes: Buffer.of(0x90) } as const;

function callOf(module: string, fn: string, id = 1): Frame {
  const name = { module, fn, version: '' };
  return { type: FrameType.Call, id, name, timeoutMs: 60_000, single: false, headers: undefined, payload: PAYLOAD };
}

/** More answers than the systems on the way take. */
const MANY = Array.from({ length: 8 }, (_, index) => callOf('files', 'get', index + 1));
const FILE = Buffer.alloc(4_000_000);

/** A client whose socket hands over a byte at a time; from `slow` on, one for each `resume`. */
class ByteReader {
  slow = false;
  read = 0;
  readonly socket: Socket;
  readonly peer: RawPeer;

  readonly ready: Promise<void>;

  constructor(driver: SocketDriver, port: number) {
    const { socket, ready } = dialSocket(driver, port, {
      onread: {
        buffer: Buffer.alloc(1),
        callback: (_length, byte) => {
          this.read += 1;
          this.socket.emit('data', Buffer.from(byte));
          return !this.slow;
        },
      },
    });
    this.socket = socket;
    this.ready = ready;
    this.peer = new RawPeer(socket);
  }
}

/** A client that has logged in, and whose half of the connection stays open when the other one ends. */
async function halfOpen(driver: SocketDriver, { port, name }: Door): Promise<RawPeer> {
  const { socket, under, ready } = dialSocket(driver, port, { allowHalfOpen: true });
  const peer = new RawPeer(socket, under);
  await ready;
  return peer.login('raw@127.0.0.1', name);
}

describe.each(SOCKET_DRIVERS)('S-06 a peer that reads a byte a second, over %s', (driver) => {
  it('S-06 is cut off by sendTimeout, counted from what the system took last', async () => {
    await using door = await Door.open(driver, { sendTimeout: 700, keepalive: false, maxQueuedBytes: 2 ** 26 });
    door.node.register('files', { get: () => FILE });
    const reader = new ByteReader(driver, door.port);
    await reader.ready;
    await reader.peer.login('raw@127.0.0.1', door.name);
    reader.slow = true;
    // Of records of TLS, each of which comes whole, it would grant every byte by itself.
    reader.peer.granting = false;
    const reading = setInterval(() => reader.socket.resume(), 1000);
    reader.peer.send(bytesOf(...MANY));
    const since = performance.now();
    await until(() => door.node.stats().acceptedConnections === 1);
    const took = performance.now() - since;
    clearInterval(reading);
    reader.peer.destroy();
    expect(took).toBeGreaterThan(600);
    expect(took).toBeLessThan(10_000);
    expect(reader.read).toBeLessThan(driver === 'tcp' ? 2000 : 256 * 1024);
    expect(door.node.stats()).toMatchObject({ runningCalls: 0, handshakes: 0 });
  });
});

describe.each(SOCKET_DRIVERS)('S-14 a peer that ends its half, over %s', (driver) => {
  it('S-14 of a connection that is idle, as a client: the other half ends too', async () => {
    await using door = await Door.open(driver);
    const peer = await halfOpen(driver, door);
    const { socket } = peer;
    socket.end();
    await once(socket, 'end');
    await until(() => door.node.stats().acceptedConnections === 1);
    expect(door.counts.protocol_error).toBeUndefined();
    socket.destroy();
  });

  it('S-14 with a call running: the function is told, and nothing is answered', async () => {
    await using door = await Door.open(driver);
    const told: unknown[] = [];
    door.node.register('slow', {
      fn: (_args, { signal }) => new Promise(() => signal.addEventListener('abort', () => told.push(signal.reason))),
    });
    const peer = await halfOpen(driver, door);
    const { socket } = peer;
    peer.send(bytesOf(callOf('slow', 'fn')));
    await until(() => door.node.stats().runningCalls === 1);
    socket.end();
    await once(socket, 'end');
    await until(() => told.length === 1);
    expect(told).toMatchObject([{ code: 'connection_lost' }]);
    expect(peer.frames).toEqual([]);
    socket.destroy();
  });

  it('S-14 while it reads nothing: the half that cannot be flushed is no reason to wait', async () => {
    await using door = await Door.open(driver, { sendTimeout: 60_000, keepalive: false, maxQueuedBytes: 2 ** 26 });
    door.node.register('files', { get: () => FILE });
    const peer = await halfOpen(driver, door);
    const { socket } = peer;
    socket.pause();
    peer.send(bytesOf(...MANY));
    await until(() => door.node.stats().counts.accepted === 2 && door.node.stats().runningCalls === 0);
    socket.end();
    await until(() => door.node.stats().acceptedConnections === 1);
    socket.destroy();
  });

  it('S-14 as a server: pending calls end, later ones take a new connection', async () => {
    const stats = await loseServer(driver, (peer) => peer.socket.end());
    expect(stats).toMatchObject({ openConnections: 1, counts: { dialled: 2, connected: 2, connection_lost: 1 } });
  });
});

describe.each(SOCKET_DRIVERS)('S-14 an end that arrives late, over %s', (driver) => {
  const PATIENT = { callTimeout: 60_000, sendTimeout: 60_000 };

  it('S-14 of a node that is gone: calls wait for it no longer than its silence is borne', async () => {
    await using way = await Proxied.start(driver, { ...PATIENT, keepalive: { idle: 200, interval: 200, count: 1 } });
    const { nodes, proxy } = way;
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    proxy.holdEnds();
    proxy.links[0]?.server.destroy();
    await until(() => nodes.b.stats().acceptedConnections === 1);
    expect(nodes.a.stats().openConnections).toBe(1);
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({ code: 'connection_lost' });
    proxy.release();
    await expect(nodes.a.call(B, 'math', 'add', [3, 4], { waitForReady: true })).resolves.toBe(7);
    expect(nodes.ran).toEqual(['add', 'add']);
  });

  it('S-14 of a caller that is gone: its functions are told when it comes', async () => {
    await using way = await Proxied.start(driver, PATIENT);
    const { nodes, proxy } = way;
    const told: unknown[] = [];
    nodes.b.register('slow', {
      fn: (_args, { signal }) => new Promise(() => signal.addEventListener('abort', () => told.push(signal.reason))),
    });
    const reply = nodes.a.call(B, 'slow', 'fn');
    const lost = expect(reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    await until(() => nodes.b.stats().runningCalls === 1);
    proxy.holdEnds();
    nodes.a.abort();
    await lost;
    await until(() => proxy.links[0]?.client.destroyed === true);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 1, acceptedConnections: 2 });
    proxy.release();
    await until(() => nodes.b.stats().acceptedConnections === 1 && nodes.b.stats().runningCalls === 0);
    expect(told).toMatchObject([{ code: 'connection_lost' }]);
  });
});
