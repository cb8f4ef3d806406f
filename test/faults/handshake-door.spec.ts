/** Strangers at the door: silent ones, slow ones, rude ones and nameless ones. */
import { describe, expect, it } from 'vitest';
import type { Channel, ChannelEvents } from '../../lib/driver/driver.js';
import { HandshakeType } from '../../lib/protocol/handshake-frames.js';
import { isNodeName } from '../../lib/protocol/node-name.js';
import { Cluster, SECRET, SOCKET_DRIVERS } from '../support/cluster.js';
import { CANARY_CALL, Door, greet, OTHER_SECRET, proofFrame, until } from '../support/door.js';
import { bytesOf, helloFor, rawFrame, RawServer, serverHello } from '../support/raw-peer.js';

const HANDSHAKE_TIMEOUT = 200;

/** A stranger in a virtual network: when was it cut off, and what was it told? */
class Stranger implements ChannelEvents {
  endedAt: number | undefined;
  heard = 0;
  channel: Channel | undefined;

  private constructor(private readonly cluster: Cluster) {}

  static async at(cluster: Cluster, node: string): Promise<Stranger> {
    const location = cluster.discovery.locations.get(node);
    if (location === undefined) throw new Error(`${node} does not listen`);
    const stranger = new Stranger(cluster);
    stranger.channel = await cluster.network.driver('10.0.0.66').connect(location, new AbortController().signal);
    stranger.channel.open(stranger);
    return stranger;
  }

  data(bytes: Buffer): void {
    this.heard += bytes.length;
  }

  drain(): void {}

  closed(): void {
    this.endedAt = this.cluster.clock?.now();
  }
}

describe('H-01 a peer that says nothing', () => {
  it('H-01 is cut off at the deadline, counted from accept', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 }, options: { handshakeTimeout: 5000 } });
    const b = await cluster.start('b');
    await cluster.clock?.advance(1234);
    const stranger = await Stranger.at(cluster, b.name);
    await cluster.clock?.advance(4999);
    expect(stranger.endedAt).toBeUndefined();
    await cluster.clock?.advance(1);
    expect(stranger).toMatchObject({ endedAt: 6234, heard: 0 });
    expect(b.stats()).toMatchObject({ handshakes: 0, counts: { handshake_timeout: 1 } });
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('H-01 loses its socket, and nobody else notices', async () => {
      await using door = await Door.open(driver, { handshakeTimeout: HANDSHAKE_TIMEOUT });
      const since = performance.now();
      const silent = await Promise.all(Array.from({ length: 5 }, () => door.dial()));
      await Promise.all(silent.map((peer) => peer.closed()));
      expect(performance.now() - since).toBeGreaterThan(HANDSHAKE_TIMEOUT - 5);
      expect(performance.now() - since).toBeLessThan(HANDSHAKE_TIMEOUT + 2000);
      expect(silent.flatMap((peer) => peer.received)).toEqual([]);
      expect(door.counts.handshake_timeout).toBe(5);
    });

    it('H-01 does not hold a caller beyond the deadline either', async () => {
      await using cluster = new Cluster({ driver, options: { handshakeTimeout: HANDSHAKE_TIMEOUT } });
      await using mute = await RawServer.listen(driver);
      cluster.discovery.locations.set('mute@127.0.0.1', { driver, host: '127.0.0.1', port: mute.port });
      const a = cluster.create('a', { listen: false });
      const reply = a.call('mute@127.0.0.1', 'canary', 'sing');
      await expect(reply).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
      await (await mute.accept()).closed();
    });
  });
});

describe('H-02 a HELLO a byte at a time', () => {
  it('H-02 does not move the deadline', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 }, options: { handshakeTimeout: 5000 } });
    const b = await cluster.start('b');
    const stranger = await Stranger.at(cluster, b.name);
    for (const byte of helloFor('slow@127.0.0.1', b.name)) {
      stranger.channel?.send([Buffer.of(byte)]);
      await cluster.clock?.advance(1000);
    }
    expect(stranger).toMatchObject({ endedAt: 5000, heard: 0 });
    expect(b.stats().counts.handshake_timeout).toBe(1);
  });

  it('H-02 and then a proof a byte at a time: the same deadline still', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 }, options: { handshakeTimeout: 5000 } });
    const b = await cluster.start('b');
    const stranger = await Stranger.at(cluster, b.name);
    stranger.channel?.send([helloFor('slow@127.0.0.1', b.name)]);
    await cluster.clock?.advance(900);
    for (const byte of rawFrame(HandshakeType.Proof, 0, 0, Buffer.alloc(32))) {
      stranger.channel?.send([Buffer.of(byte)]);
      await cluster.clock?.advance(1000);
    }
    expect(stranger.endedAt).toBe(5000);
    expect(b.stats().counts).toMatchObject({ handshake_timeout: 1 });
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('H-02 loses its socket while bytes still come', async () => {
      await using door = await Door.open(driver, { handshakeTimeout: HANDSHAKE_TIMEOUT });
      const peer = await door.dial();
      const bytes = [...helloFor('slow@127.0.0.1', door.name)];
      const drip = setInterval(() => peer.send(Buffer.of(bytes.shift() ?? 0)), 20);
      await peer.closed();
      clearInterval(drip);
      expect(bytes.length).toBeGreaterThan(0);
      expect(door.counts.handshake_timeout).toBe(1);
    });
  });
});

describe.each(SOCKET_DRIVERS)('H-10 a call before the verdict, over %s', (driver) => {
  it('H-10 instead of a HELLO closes the connection', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    peer.send(bytesOf(CANARY_CALL));
    await peer.closed();
    expect(peer.received).toEqual([]);
    expect(door.counts.handshake_failed).toBe(1);
    expect(door.sang).toEqual([]);
  });

  it('H-10 behind the HELLO closes the connection', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    peer.send(Buffer.concat([helloFor('x@127.0.0.1', door.name), bytesOf(CANARY_CALL)]));
    await peer.closed();
    expect(door.counts.handshake_failed).toBe(1);
    expect(door.sang).toEqual([]);
  });

  it.each([
    ['right', SECRET, 'handshake_failed'],
    ['wrong', OTHER_SECRET, 'auth_failed'],
  ] as const)('H-10 in one write with a %s proof closes the connection', async (_title, secret, counter) => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    const { script } = await greet(peer, helloFor('x@127.0.0.1', door.name));
    peer.send(Buffer.concat([proofFrame(script, secret), bytesOf(CANARY_CALL)]));
    await peer.closed();
    expect(door.counts[counter]).toBe(1);
    expect(door.node.stats().acceptedConnections).toBe(1);
    expect(door.sang).toEqual([]);
  });

  it('H-10 is a call like any other once the verdict is there', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    await peer.login('x@127.0.0.1', door.name);
    peer.send(bytesOf(CANARY_CALL));
    await peer.until(() => peer.frames.length === 1);
    expect(door.sang).toEqual(['x@127.0.0.1']);
  });

  it('H-10 the other way round: a result before the verdict makes the client hang up', async () => {
    await using cluster = new Cluster({ driver });
    await using rude = await RawServer.listen(driver);
    cluster.discovery.locations.set('rude@127.0.0.1', { driver, host: '127.0.0.1', port: rude.port });
    const reply = cluster.create('a', { listen: false }).call('rude@127.0.0.1', 'canary', 'sing');
    const peer = await rude.accept();
    peer.send(rawFrame(0x13, 0x01, 1, Buffer.of(0xc0)));
    await expect(reply).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
    await peer.closed();
  });
});

describe.each(SOCKET_DRIVERS)('H-15 a handshake inside a connection, over %s', (driver) => {
  it.each([
    ['HELLO', helloFor('x@127.0.0.1', 'b@127.0.0.1')],
    ['proof', rawFrame(HandshakeType.Proof, 0, 0, Buffer.alloc(32))],
  ])('H-15 a second %s is a protocol error and closes it', async (_title, bytes) => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    await peer.login('x@127.0.0.1', door.name);
    peer.send(bytes, bytesOf(CANARY_CALL));
    await peer.closed();
    expect(door.counts.protocol_error).toBe(1);
    expect(door.sang).toEqual([]);
  });

  it('H-15 a HELLO in place of the proof is refused', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    const hello = helloFor('x@127.0.0.1', door.name);
    await greet(peer, hello);
    peer.send(hello);
    await peer.closed();
    expect(door.counts.handshake_failed).toBe(1);
  });

  it('H-15 a second verdict makes the client hang up', async () => {
    await using cluster = new Cluster({ driver });
    await using server = await RawServer.listen(driver);
    cluster.discovery.locations.set('s@127.0.0.1', { driver, host: '127.0.0.1', port: server.port });
    const a = cluster.create('a', { listen: false });
    const connected = a.connect('s@127.0.0.1');
    const peer = await server.accept();
    await peer.welcome('s@127.0.0.1');
    await connected;
    const reply = a.call('s@127.0.0.1', 'canary', 'sing');
    peer.send(rawFrame(HandshakeType.Accept, 0, 0, Buffer.alloc(32)));
    await expect(reply).rejects.toMatchObject({ code: 'connection_lost' });
    await peer.closed();
  });
});

describe.each(SOCKET_DRIVERS)('H-16 a name that is none, over %s', (driver) => {
  const longest = Buffer.from(`${'n'.repeat(245)}@127.0.0.1`);
  const names: readonly (readonly [title: string, name: Buffer])[] = [
    ['of 0 bytes', Buffer.alloc(0)],
    ['of 256 bytes', Buffer.alloc(256, 'n@')],
    ['without a host', Buffer.from('node')],
    ['with NUL', Buffer.from('no\0de@host')],
    ['with a newline', Buffer.from('node@host\nFAKE LOG LINE')],
    ['with a newline at its end', Buffer.from('node@host\n')],
    ['with ../', Buffer.from('../../etc/passwd@host')],
    ['with right-to-left marks', Buffer.from('node\u202e@tsoh')],
    ['with an escape sequence', Buffer.from('node\u001b[2J@host')],
    ['with %s', Buffer.from('%s%s@host')],
    ['of invalid UTF-8', Buffer.from([0x6e, 0xc3, 0x28, 0x40, 0x68])],
    ['with overlong UTF-8', Buffer.from([0x6e, 0xc0, 0xaf, 0x40, 0x68])],
  ];

  /** A hello whose name, empty so far, is these bytes, be they a name or not. */
  function named(hello: Buffer, at: number, name: Buffer): Buffer {
    const body = Buffer.concat([hello.subarray(12, at), Buffer.of(name.length), name, hello.subarray(at + 1)]);
    return rawFrame(hello[4] ?? 0, 0, 0, body);
  }
  /** Where the name stands: behind header, magic, version(s), features, nonce and incarnation. */
  const IN_CLIENT_HELLO = 12 + 4 + 2 + 4 + 32 + 16;
  const IN_SERVER_HELLO = 12 + 4 + 1 + 4 + 32 + 16;

  it.each(names)('H-16 %s is refused, in one escaped line', async (_title, name) => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    peer.send(named(helloFor('', door.name), IN_CLIENT_HELLO, name));
    await peer.closed();
    expect(door.counts.handshake_failed).toBe(1);
    expect(door.cluster.log.lines).toHaveLength(1);
    expect(door.cluster.log.lines[0]?.length).toBeLessThan(400);
    expect(door.sang).toEqual([]);
  });

  it.each(names)('H-16 %s is refused as the name that is wanted', async (_title, name) => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    const from = 'x@127.0.0.1';
    peer.send(named(helloFor(from, ''), IN_CLIENT_HELLO + 1 + from.length, name));
    await peer.closed();
    expect(door.counts[name.length > 255 ? 'handshake_failed' : 'wrong_node']).toBe(1);
    expect(door.cluster.log.lines).toHaveLength(1);
  });

  it.each(names)('H-16 %s is refused as the name of a server', async (_title, name) => {
    await using cluster = new Cluster({ driver });
    await using server = await RawServer.listen(driver);
    cluster.discovery.locations.set('s@127.0.0.1', { driver, host: '127.0.0.1', port: server.port });
    const reply = cluster.create('a', { listen: false }).call('s@127.0.0.1', 'canary', 'sing');
    const peer = await server.accept();
    await peer.handshake(HandshakeType.ClientHello);
    peer.send(named(serverHello(''), IN_SERVER_HELLO, name));
    const code = name.length > 255 ? 'node_down' : 'wrong_node';
    await expect(reply).rejects.toMatchObject({ code, maybeExecuted: false });
    await peer.closed();
    expect(cluster.log.lines).toHaveLength(1);
    for (const line of cluster.log.lines) expect(line).toMatch(/^[\x20-\x7e…]+$/);
  });

  it('H-16 the longest name that is one is not refused', async () => {
    expect(isNodeName(longest.toString())).toBe(true);
    await using door = await Door.open(driver);
    const peer = await door.dial();
    await peer.login(longest.toString(), door.name);
    expect(isNodeName(`${longest.toString()}s`)).toBe(false);
  });
});

describe.each(SOCKET_DRIVERS)('a probe, over %s', (driver) => {
  it('that only looks whether the port is open is counted, and not in the log', async () => {
    await using door = await Door.open(driver);
    for (let n = 1; n <= 2; n += 1) {
      const probe = await door.dialPlain();
      probe.destroy();
      await until(() => door.counts.handshake_failed === n && door.node.stats().handshakes === 0);
    }
    expect(door.cluster.log.lines).toEqual([]);
  });

  it('that says something is in the log', async () => {
    await using door = await Door.open(driver);
    const stranger = await door.dialPlain();
    stranger.send(Buffer.of(0));
    await until(() => door.node.stats().handshakes === 1);
    stranger.destroy();
    await until(() => door.cluster.log.lines.length === 1);
  });
});
