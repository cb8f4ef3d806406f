/** The door of TLS: those who speak something else, nothing, or slowly, and what they are told: L-08, L-09, H-21. */
import { Server } from 'node:net';
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Cluster, twoNodes, type TwoNodes } from '../support/cluster.js';
import { CANARY_CALL, Door, redirect, until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { bytesOf, helloFor, RawPeer, RawServer, serverHello } from '../support/raw-peer.js';
import { clientHello, tlsVisit } from '../support/tls-peer.js';
import { LOOPBACK_TLS } from '../support/tls.js';

const B = 'b@127.0.0.1';
/** What TLS may say in the clear: an alert is 7 bytes. */
const ALERT_BYTES = 7;

afterEach(() => vi.restoreAllMocks());

/** Every server of the system that begins to listen from now on. */
function servers(): Server[] {
  return vi.spyOn(Server.prototype, 'listen').mock.contexts as Server[];
}

function connectionsOf(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

describe('L-08 plain TCP at the port of TLS', () => {
  const SAYS: [title: string, bytes: Buffer, told: number][] = [
    ['a HELLO', helloFor('x@127.0.0.1', B), ALERT_BYTES],
    ['a HELLO and a call', Buffer.concat([helloFor('x@127.0.0.1', B), bytesOf(CANARY_CALL)]), ALERT_BYTES],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: b\r\n\r\n'), ALERT_BYTES],
    ['noise', Buffer.concat([Buffer.of(0xff), randomBytes(4095)]), ALERT_BYTES],
    ['a record that is none', Buffer.from('16030100050100000100', 'hex'), ALERT_BYTES],
    ['SSL 2', Buffer.concat([Buffer.from('802e010002001500000010', 'hex'), Buffer.alloc(37)]), ALERT_BYTES],
  ];

  it.each(SAYS)('L-08 %s is closed at once, and counted once', async (_title, bytes, told) => {
    await using door = await Door.open('tls', {});
    const peer = await door.dialPlain();
    peer.send(bytes);
    await peer.closed();
    await until(() => door.node.stats().handshakes === 0);
    expect(Buffer.concat(peer.received).length).toBeLessThanOrEqual(told);
    expect(door.counts).toEqual({ accepted: 2, tls_failed: 1 });
    expect(door.cluster.log.lines).toHaveLength(1);
    expect(door.cluster.log.lines[0]).not.toMatch(/ at |openssl|\.c:/);
    expect(door.sang).toEqual([]);
  });

  it('L-08 a node that dials it so hears it within the call, and is counted once', async () => {
    await using door = await Door.open('tls', {});
    const plain = door.cluster.create('plain', { listen: false, driver: 'tcp' });
    door.cluster.discovery.locations.set(B, { driver: 'tcp', host: '127.0.0.1', port: door.port });
    await expect(plain.call(B, 'canary', 'sing')).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
    await until(() => door.counts.tls_failed === 1 && door.node.stats().handshakes === 0);
    expect(plain.stats().counts).toEqual({ dialled: 1, dial_failed: 1 });
    expect(door.counts).toEqual({ accepted: 2, tls_failed: 1 });
    expect(door.sang).toEqual([]);
  });
});

describe('L-08 TLS at a plain port', () => {
  it('L-08 is closed at once, and counted once', async () => {
    await using door = await Door.open('tcp');
    expect(await tlsVisit(door.port)).toMatchObject({ secured: false, error: expect.anything() });
    await until(() => door.node.stats().handshakes === 0);
    expect(door.counts).toEqual({ accepted: 2, handshake_failed: 1 });
    expect(door.cluster.log.lines).toHaveLength(1);
  });

  it('L-08 by a node: it hears it within the call', async () => {
    await using door = await Door.open('tcp');
    const tls = { ...LOOPBACK_TLS };
    const secure = door.cluster.create('secure', { listen: false, driver: 'tls', tls });
    door.cluster.discovery.locations.set(B, { driver: 'tls', host: '127.0.0.1', port: door.port });
    await expect(secure.call(B, 'canary', 'sing')).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
    await until(() => door.node.stats().handshakes === 0);
    expect(secure.stats().counts).toEqual({ dialled: 1, dial_failed: 1 });
    expect(door.counts).toEqual({ accepted: 2, handshake_failed: 1 });
  });
});

describe('L-09 strangers who do not come to an end', () => {
  const DEADLINE = 600;
  /** This machine may stand still for some seconds. */
  const SLACK = 8000;
  const ADMISSION = { perAddress: 200 };

  /** What each does; the returned function stops it. */
  const KINDS: [title: string, act: (peer: RawPeer, hello: Buffer) => () => void][] = [
    ['say nothing', () => () => {}],
    [
      'send their ClientHello a byte at a time',
      (peer, hello) => {
        let at = 0;
        const drip = setInterval(() => peer.send(hello.subarray(at, (at += 1))), 20);
        return () => clearInterval(drip);
      },
    ],
    ['send the beginning of one', (peer, hello) => (peer.send(hello.subarray(0, 100)), () => {})],
    ['send all of it, and nothing more', (peer, hello) => (peer.send(hello), () => {})],
    ['announce a record that does not come', (peer) => (peer.send(Buffer.from('1603014000', 'hex')), () => {})],
    [
      'send records without content',
      (peer) => {
        const drip = setInterval(() => peer.send(Buffer.from('1403030001', 'hex')), 20);
        return () => clearInterval(drip);
      },
    ],
  ];

  it.each(KINDS)('L-09 who %s are cut off at the deadline, counted from accept', async (_title, act) => {
    const all = servers();
    const hello = await clientHello();
    await using door = await Door.open('tls', { handshakeTimeout: DEADLINE, admission: ADMISSION });
    const server = all.at(-1) as Server;
    const since = performance.now();
    const peers = await Promise.all(Array.from({ length: 20 }, () => door.dialPlain()));
    await until(() => door.node.stats().handshakes === 20);
    const stops = peers.map((peer) => act(peer, hello));
    await Promise.all(peers.map((peer) => peer.closed()));
    const took = performance.now() - since;
    for (const stop of stops) stop();
    expect(took).toBeLessThan(DEADLINE + SLACK);
    await until(() => door.node.stats().handshakes === 0);
    const { handshake_timeout: late = 0, tls_failed: broken = 0 } = door.counts;
    expect(late + broken).toBe(20);
    if (late > 0) expect(took).toBeGreaterThan(DEADLINE - 20);
    // The healthy one.
    expect(await connectionsOf(server)).toBe(1);
  });

  it('L-09 whose garbage comes behind a good ClientHello are closed at once', async () => {
    const hello = await clientHello();
    await using door = await Door.open('tls', { admission: ADMISSION });
    const peers = await Promise.all(Array.from({ length: 20 }, () => door.dialPlain()));
    for (const peer of peers) peer.send(hello, Buffer.concat([Buffer.from('1703030100', 'hex'), randomBytes(256)]));
    await Promise.all(peers.map((peer) => peer.closed()));
    await until(() => door.node.stats().handshakes === 0);
    expect(door.counts).toEqual({ accepted: 21, tls_failed: 20 });
  });

  it('L-09 who hang up or reset at any byte are forgotten, and nothing is thrown', async () => {
    const all = servers();
    const hello = await clientHello();
    await using door = await Door.open('tls', { admission: ADMISSION });
    const cuts = Array.from({ length: 40 }, (_, index) => Math.floor((hello.length * index) / 39));
    for (const how of ['destroy', 'resetAndDestroy', 'end'] as const) {
      const peers = await Promise.all(cuts.map(() => door.dialPlain()));
      for (const [index, peer] of peers.entries()) peer.send(hello.subarray(0, cuts[index]));
      for (const peer of peers) peer.socket[how]();
      await Promise.all(peers.map((peer) => peer.closed()));
      await until(() => door.node.stats().handshakes === 0);
    }
    const { accepted = 0, tls_failed: broken = 0, handshake_failed: gone = 0 } = door.counts;
    expect(broken + gone).toBe(accepted - 1);
    expect(await connectionsOf(all.at(-1) as Server)).toBe(1);
  });

  it('L-09 when the node closes: it resolves, and leaves no socket', async () => {
    const all = servers();
    const hello = await clientHello();
    await using cluster = new Cluster({ driver: 'tls' });
    const b = await cluster.start('b', { admission: ADMISSION, handshakeTimeout: 60_000 });
    const server = all.at(-1) as Server;
    const { port } = cluster.discovery.locations.get(B) ?? { port: 0 };
    const peers = await Promise.all(Array.from({ length: 60 }, () => RawPeer.dial('tcp', port)));
    for (const peer of peers.slice(20, 40)) peer.send(hello.subarray(0, 50));
    for (const peer of peers.slice(40)) peer.send(hello);
    await Promise.all(peers.slice(40).map((peer) => peer.until(() => peer.received.length > 0)));
    await until(() => b.stats().handshakes === 60);
    const since = performance.now();
    await b.close();
    expect(performance.now() - since).toBeLessThan(SLACK);
    expect(await connectionsOf(server)).toBe(0);
    await Promise.all(peers.map((peer) => peer.closed()));
    expect(b.stats()).toMatchObject({ handshakes: 0, acceptedConnections: 0 });
  });

  it('L-09 while a node dials: the dial ends at its deadline, and its socket too', async () => {
    await using mute = await RawServer.listen('tcp');
    await using cluster = new Cluster({ driver: 'tls', options: { connectTimeout: DEADLINE } });
    redirect(cluster, B, mute.port);
    const a = cluster.create('a', { listen: false });
    await expect(a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
    await (await mute.accept()).closed();
    const closing = cluster.create('c', { listen: false });
    const reply = closing.call(B, 'math', 'add', [1, 2]).catch((error: unknown) => error);
    const peer = await mute.accept();
    await closing.close();
    await peer.closed();
    expect(await reply).toMatchObject({ maybeExecuted: false });
  });
});

describe('H-21 no way back to plain TCP', () => {
  it('H-21 a plaintext peer gets no byte that depends on the secret, or on anything else', async () => {
    const heard: Buffer[] = [];
    for (const secret of ['one-fine-long-cookie-for-tests-0123', 'two-fine-long-cookie-for-tests-0123']) {
      await using door = await Door.open('tls', { secret });
      const peer = await door.dialPlain();
      peer.send(helloFor('x@127.0.0.1', door.name), bytesOf(CANARY_CALL));
      await peer.closed();
      heard.push(Buffer.concat(peer.received));
      expect(door.sang).toEqual([]);
    }
    expect(heard[0]?.length).toBeLessThanOrEqual(ALERT_BYTES);
    expect(heard[0]).toEqual(heard[1]);
  });

  it('H-21 a caller says nothing but TLS to a server that wants it plain, however often it dials', async () => {
    await using server = await RawServer.listen('tcp', (peer) => peer.send(serverHello(B)));
    await using cluster = new Cluster({ driver: 'tls', options: { reconnect: { min: 1, max: 5 } } });
    redirect(cluster, B, server.port);
    const a = cluster.create('a', { listen: false });
    await expect(a.call(B, 'math', 'add', [1, 2], { waitForReady: true, timeout: 500 })).rejects.toMatchObject({
      maybeExecuted: false,
    });
    expect(server.peers.length).toBeGreaterThanOrEqual(2);
    await Promise.all(server.peers.map((peer) => peer.closed()));
    for (const peer of server.peers) {
      const said = Buffer.concat(peer.received);
      if (said.length > 0) expect(said.subarray(0, 2)).toEqual(Buffer.of(22, 3));
      expect(said.includes('math')).toBe(false);
      expect(said.includes('a@127.0.0.1')).toBe(false);
    }
  });

  it('H-21 somebody in between who takes TLS out gets no call through, either way', async () => {
    await using nodes: TwoNodes = await twoNodes({ driver: 'tls' });
    const strip = {
      alter: (_: unknown, way: string, bytes: Buffer) => (way === 'up' ? helloFor('a@127.0.0.1', B) : bytes),
    };
    const { port } = nodes.discovery.locations.get(B) ?? { port: 0 };
    await using proxy = await Proxy.to({ port }, strip);
    redirect(nodes, B, proxy.port);
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({ code: 'node_down' });
    await until(() => nodes.b.stats().handshakes === 0);
    expect(nodes.ran).toEqual([]);
  });
});
