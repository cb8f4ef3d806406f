/** TLS that breaks, or is broken into, behind its handshake: L-12, L-13, H-07. */
import { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { twoNodes } from '../support/cluster.js';
import { Door, portOf, redirect, until } from '../support/door.js';
import { Proxy, type Direction } from '../support/proxy.js';
import { TlsImpostor, tlsPeer } from '../support/tls-peer.js';
import { LOOPBACK_TLS, tlsOf } from '../support/tls.js';

const B = 'b@127.0.0.1';

afterEach(() => vi.restoreAllMocks());

describe('L-12 the exporter of a socket that is gone', () => {
  /** From now on sockets of this end are gone by the time that they are asked. */
  function goneFirst(end: 'server' | 'client') {
    const original: typeof TLSSocket.prototype.exportKeyingMaterial = Reflect.get(
      TLSSocket.prototype,
      'exportKeyingMaterial',
    );
    return vi.spyOn(TLSSocket.prototype, 'exportKeyingMaterial').mockImplementation(function (
      this: TLSSocket & { readonly server?: unknown },
      ...asked
    ) {
      if ((this.server === undefined) === (end === 'client')) this.destroy();
      return original.apply(this, asked);
    });
  }

  it('L-12 throws, which is a failed handshake at the server', async () => {
    await using door = await Door.open('tls', {});
    const a = door.cluster.create('a', { listen: false });
    const spy = goneFirst('server');
    await expect(a.call(door.name, 'canary', 'sing')).rejects.toMatchObject({
      code: 'node_down',
      maybeExecuted: false,
    });
    await until(() => door.node.stats().handshakes === 0);
    expect(spy.mock.results.map(({ type }) => type).sort()).toEqual(['return', 'throw']);
    expect(spy.mock.results.find(({ type }) => type === 'throw')?.value).toBeInstanceOf(TypeError);
    expect(door.counts).toEqual({ accepted: 2, handshake_failed: 1 });
    expect(door.cluster.log.lines.join()).toContain('TypeError');
    spy.mockRestore();
    await expect(a.call(door.name, 'canary', 'sing', [], { waitForReady: true })).resolves.toBe(1);
  });

  it('L-12 throws, which is a failed dial at the client', async () => {
    await using door = await Door.open('tls', {});
    const a = door.cluster.create('a', { listen: false });
    const spy = goneFirst('client');
    await expect(a.call(door.name, 'canary', 'sing')).rejects.toMatchObject({
      code: 'node_down',
      maybeExecuted: false,
      details: { cause: 'TypeError' },
    });
    await until(() => door.node.stats().handshakes === 0 && (door.counts.handshake_failed ?? 0) === 1);
    expect(a.stats().counts).toEqual({ dialled: 1, dial_failed: 1 });
    spy.mockRestore();
    await expect(a.call(door.name, 'canary', 'sing', [], { waitForReady: true })).resolves.toBe(1);
  });
});

describe('L-13 a record whose MAC is wrong', () => {
  const WAYS: [direction: Direction, minVersion: 'TLSv1.3' | 'TLSv1.2'][] = [
    ['up', 'TLSv1.3'],
    ['down', 'TLSv1.3'],
    ['up', 'TLSv1.2'],
    ['down', 'TLSv1.2'],
  ];

  it.each(WAYS)('L-13 %s ends all calls of its connection, and nothing else (%s)', async (direction, minVersion) => {
    // Nobody finds out by asking, only by the record itself.
    const options = { tls: { ...LOOPBACK_TLS, minVersion }, keepalive: false, callTimeout: 60_000 } as const;
    await using nodes = await twoNodes({ driver: 'tls', options });
    const { a, b } = nodes;
    const healthy = nodes.create('healthy', { listen: false });
    await healthy.connect(B);
    let bent = 0;
    let bending = false;
    await using proxy = await Proxy.to(
      { port: portOf(nodes, B) },
      {
        alter: (_link, way, bytes) => {
          if (!bending || way !== direction || bent > 0) return bytes;
          bent += 1;
          const copy = Buffer.from(bytes);
          copy.writeUInt8(copy.readUInt8(copy.length - 1) ^ 1, copy.length - 1);
          return copy;
        },
      },
    );
    redirect(nodes, B, proxy.port);
    expect(await a.call(B, 'math', 'add', [1, 2])).toBe(3);
    const pending = Array.from({ length: 5 }, () => a.call(B, 'math', 'never'));
    const settled = Promise.allSettled(pending);
    await until(() => b.stats().runningCalls === 5);
    bending = true;
    const bentCall = a.call(B, 'math', 'add', [9, 9]).catch((error: unknown) => error);
    const lost = { code: 'connection_lost', maybeExecuted: true };
    expect(await bentCall).toMatchObject(lost);
    for (const outcome of await settled) expect(outcome).toMatchObject({ status: 'rejected', reason: lost });
    await until(() => b.stats().acceptedConnections === 1);
    expect(bent).toBe(1);
    expect(a.stats()).toMatchObject({ pendingCalls: 0, counts: { connection_lost: 1 } });
    await expect(a.call(B, 'math', 'add', [3, 4], { waitForReady: true })).resolves.toBe(7);
    expect(await healthy.call(B, 'math', 'add', [1, 1])).toBe(2);
    expect(healthy.stats().counts).toEqual({ dialled: 1, connected: 1 });
    // What came broken did not run; what ran, and was answered broken, ran once.
    expect(nodes.ran.filter((ran) => ran === 'add')).toHaveLength(direction === 'up' ? 3 : 4);
  });
});

describe('H-07 somebody in between who has a good certificate', () => {
  /** Two sessions of TLS, and what comes from one goes on over the other. */
  async function relay(door: Door, shown: typeof LOOPBACK_TLS, minVersion: 'TLSv1.3' | 'TLSv1.2') {
    const passed = { up: 0, down: 0 };
    const versions = { ...shown, maxVersion: minVersion };
    const server = await TlsImpostor.listen(versions, ({ socket }) => {
      void tlsPeer(door.port, versions).then(({ socket: onward }) => {
        socket.on('data', (bytes: Buffer) => (onward.write(bytes), (passed.up += bytes.length)));
        onward.on('data', (bytes: Buffer) => (socket.write(bytes), (passed.down += bytes.length)));
        socket.on('close', () => onward.destroy());
        onward.on('close', () => socket.destroy());
        socket.emit('data', Buffer.concat(server.peers.at(-1)?.received ?? []));
      });
    });
    redirect(door.cluster, door.name, server.port);
    return { passed, server };
  }

  async function refused(door: Door, a: GenRpcNode): Promise<void> {
    await expect(a.call(door.name, 'canary', 'sing')).rejects.toMatchObject({
      code: 'invalid_cookie',
      maybeExecuted: false,
    });
    await until(() => door.counts.auth_failed === 1 && door.node.stats().handshakes === 0);
    expect(door.counts).toEqual({ accepted: 2, auth_failed: 1 });
    expect(a.stats()).toMatchObject({ connectedNodes: 0, counts: { dialled: 1, dial_failed: 1, peer_auth_failed: 1 } });
    expect(door.sang).toEqual([]);
  }

  it.each(['TLSv1.3', 'TLSv1.2'] as const)('H-07 relays both proofs, over %s: refused', async (minVersion) => {
    const tls = { ...LOOPBACK_TLS, minVersion };
    await using door = await Door.open('tls', { tls });
    const { passed, server } = await relay(door, LOOPBACK_TLS, minVersion);
    await using _ = server;
    const a = door.cluster.create('a', { listen: false, tls });
    await refused(door, a);
    // Up to the proof and the answer to it, all of it came through.
    expect(passed.up).toBeGreaterThan(100);
    expect(passed.down).toBeGreaterThan(100);
  });

  it('H-07 whose certificate is good for its own name only hears no proof at all', async () => {
    await using door = await Door.open('tls', {});
    const { passed, server } = await relay(door, await tlsOf('mallory@10.0.0.9'), 'TLSv1.3');
    await using _ = server;
    const a = door.cluster.create('a', { listen: false });
    await expect(a.call(door.name, 'canary', 'sing')).rejects.toMatchObject({ code: 'node_certificate_mismatch' });
    await until(() => server.ended === 1);
    expect(passed).toEqual({ up: 0, down: 0 });
    expect(door.sang).toEqual([]);
  });

  it('H-07 the same relay without two sessions, byte by byte, is what a network does', async () => {
    await using door = await Door.open('tls', {});
    await using proxy = await Proxy.to({ port: door.port }, { slice: () => 7 });
    redirect(door.cluster, door.name, proxy.port);
    const a = door.cluster.create('a', { listen: false });
    await expect(a.call(door.name, 'canary', 'sing')).resolves.toBe(1);
  });
});
