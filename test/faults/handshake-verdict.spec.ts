/** What the two ends make of each other: impostors, wrong nodes, other versions, other features. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Channel } from '../../lib/driver/driver.js';
import { proveServer } from '../../lib/protocol/handshake.js';
import { encodeReject, handshakeFrame, HandshakeType, RejectReason } from '../../lib/protocol/handshake-frames.js';
import { Cluster, SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import {
  admit,
  answerAs,
  CANARY_CALL,
  Door,
  greet,
  keysOf,
  OTHER_SECRET,
  portOf,
  proofFrame,
  redirect,
  refusalOf,
} from '../support/door.js';
import { bytesOf, helloFor, rawFrame, RawServer, type RawPeer } from '../support/raw-peer.js';

describe.each(SOCKET_DRIVERS)('H-08 a server that does not prove itself, over %s', (driver) => {
  const right = (script: Uint8Array, proofs: Uint8Array): Uint8Array => proveServer(keysOf(), script, proofs);
  const accept = (proof: Uint8Array): Buffer => handshakeFrame(HandshakeType.Accept, proof);
  const verdicts: readonly (readonly [title: string, verdict: (script: Uint8Array, proofs: Buffer) => Buffer])[] = [
    ['with an empty proof', () => accept(Buffer.alloc(0))],
    ['with 31 bytes of the right one', (script, proofs) => accept(right(script, proofs).subarray(0, 31))],
    ['with 32 random bytes', () => accept(randomBytes(32))],
    ["with the client's own proof", (_script, proofs) => accept(proofs)],
    ['with a proof of another secret', (script, proofs) => accept(proveServer(keysOf(OTHER_SECRET), script, proofs))],
    ["with one that covers another client's proof", (script) => accept(right(script, Buffer.alloc(32)))],
    ['with one of another conversation', (_script, proofs) => accept(right(randomBytes(32), proofs))],
    ['not at all: it goes on with a result', () => rawFrame(0x13, 0x01, 1, Buffer.of(0xc0))],
    ["but sends two proofs' worth", () => accept(Buffer.alloc(64))],
  ];

  it.each(verdicts)('H-08 %s gets no call', async (_title, verdict) => {
    await using cluster = new Cluster({ driver });
    await using impostor = await RawServer.listen(driver);
    redirect(cluster, 'b@127.0.0.1', impostor.port);
    const a = cluster.create('a', { listen: false });
    const reply = a.call('b@127.0.0.1', 'canary', 'sing');
    const peer = await impostor.accept();
    const { hello, script } = await answerAs(peer, 'b@127.0.0.1');
    const proof = await peer.handshake(HandshakeType.Proof);
    peer.send(verdict(script, proof.body));
    await expect(reply).rejects.toMatchObject({ code: 'invalid_cookie', maybeExecuted: false });
    await peer.closed();
    expect(Buffer.concat(peer.received)).toHaveLength(hello.length + proof.frame.length);
    expect(a.stats().counts).toEqual({ dialled: 1, dial_failed: 1, peer_auth_failed: 1 });
  });

  it('H-08 and says nothing more gets no call either', async () => {
    await using cluster = new Cluster({ driver, options: { handshakeTimeout: 200 } });
    await using impostor = await RawServer.listen(driver);
    redirect(cluster, 'b@127.0.0.1', impostor.port);
    const reply = cluster.create('a', { listen: false }).call('b@127.0.0.1', 'canary', 'sing');
    const peer = await impostor.accept();
    const { hello } = await answerAs(peer, 'b@127.0.0.1');
    const proof = await peer.handshake(HandshakeType.Proof);
    await expect(reply).rejects.toMatchObject({ code: 'node_down', maybeExecuted: false });
    await peer.closed();
    expect(Buffer.concat(peer.received)).toHaveLength(hello.length + proof.frame.length);
  });
});

describe.each(SOCKET_DRIVERS)('H-09 the wrong node, over %s', (driver) => {
  it("H-09 at a node's address is told apart, and gets no call", async () => {
    await using door = await Door.open(driver);
    const moved = 'moved@127.0.0.1';
    redirect(door.cluster, moved, door.port);
    const a = door.cluster.create('a', { listen: false });
    const reply = a.call(moved, 'canary', 'sing');
    await expect(reply).rejects.toMatchObject({ code: 'wrong_node', maybeExecuted: false, details: { wanted: moved } });
    expect(door.counts.wrong_node).toBe(1);
    expect(a.stats().counts).toEqual({ dialled: 1, dial_failed: 1, wrong_node: 1 });
    expect(door.sang).toEqual([]);
  });

  it('H-09 is not dialled again once discovery knows better', async () => {
    await using door = await Door.open(driver);
    const c = await door.cluster.start('c');
    c.register('canary', { sing: () => 'from c' });
    const place = portOf(door.cluster, c.name);
    redirect(door.cluster, c.name, door.port);
    const a = door.cluster.create('a', { listen: false, reconnect: { min: 1, max: 1 } });
    await expect(a.call(c.name, 'canary', 'sing')).rejects.toMatchObject({ code: 'wrong_node' });
    redirect(door.cluster, c.name, place);
    await expect(a.call(c.name, 'canary', 'sing', [], { waitForReady: true })).resolves.toBe('from c');
    expect(door.counts.wrong_node).toBe(1);
    expect(door.sang).toEqual([]);
  });

  it('H-09 that answers a dial gets no proof', async () => {
    await using cluster = new Cluster({ driver });
    await using other = await RawServer.listen(driver);
    redirect(cluster, 'b@127.0.0.1', other.port);
    const a = cluster.create('a', { listen: false });
    const reply = a.call('b@127.0.0.1', 'canary', 'sing');
    const peer = await other.accept();
    const { hello } = await answerAs(peer, 'c@127.0.0.1');
    await expect(reply).rejects.toMatchObject({ code: 'wrong_node', maybeExecuted: false });
    await peer.closed();
    expect(Buffer.concat(peer.received)).toHaveLength(hello.length);
    expect(a.stats().counts.wrong_node).toBe(1);
  });

  it('H-09 is not fooled by a proof that another node would take', async () => {
    await using door = await Door.open(driver);
    const c = await door.cluster.start('c');
    const atC = await door.dial({ port: portOf(door.cluster, c.name) });
    const meant = await greet(atC, helloFor('x@127.0.0.1', c.name));
    const atB = await door.dial();
    await greet(atB, helloFor('x@127.0.0.1', door.name));
    atB.send(proofFrame(meant.script), bytesOf(CANARY_CALL));
    await atB.closed();
    expect(door.counts.auth_failed ?? door.counts.handshake_failed).toBe(1);
    expect(door.sang).toEqual([]);
  });
});

/** A node that dials a server which a test answers for, and what its first call came to. */
async function dialledBy(driver: SocketDriver, script: (peer: RawPeer) => Promise<void>) {
  await using cluster = new Cluster({ driver });
  await using server = await RawServer.listen(driver);
  redirect(cluster, 'b@127.0.0.1', server.port);
  const a = cluster.create('a', { listen: false });
  const outcome = a.connect('b@127.0.0.1').then(
    () => undefined,
    (error: unknown) => error,
  );
  const peer = await server.accept();
  await script(peer);
  const error = await outcome;
  return { error, counts: a.stats().counts, heard: peer.received };
}

const rejectFrame = (reason: number, minVersion: number, maxVersion: number): Buffer =>
  handshakeFrame(HandshakeType.Reject, encodeReject({ reason, minVersion, maxVersion }));

describe('H-11 no version in common', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each([
      [2, 3],
      [0, 0],
      [255, 255],
      [2, 1],
      [1, 0],
      [255, 0],
    ])('H-11 a client that speaks %i to %i is told what is spoken here', async (minVersion, maxVersion) => {
      await using door = await Door.open(driver);
      const peer = await door.dial();
      peer.send(helloFor('x@127.0.0.1', door.name, { minVersion, maxVersion }));
      expect(await refusalOf(peer)).toEqual({ reason: RejectReason.Version, minVersion: 1, maxVersion: 1 });
      expect(door.counts.version_mismatch).toBe(1);
      expect(door.cluster.log.lines[0]).toContain(`speaks protocol ${minVersion} to ${maxVersion}, this node 1.`);
    });

    it('H-11 a client that speaks 0 to 255 has one in common', async () => {
      await using door = await Door.open(driver);
      const peer = await door.dial();
      await peer.login('x@127.0.0.1', door.name, { minVersion: 0, maxVersion: 255 });
    });

    it.each([
      [2, 3],
      [0, 0],
      [255, 255],
      [3, 2],
    ])('H-11 a server that speaks %i to %i is a version_mismatch with both ranges', async (min, max) => {
      const { error, counts } = await dialledBy(driver, async (peer) => {
        await peer.handshake(HandshakeType.ClientHello);
        peer.send(rejectFrame(RejectReason.Version, min, max));
      });
      expect(error).toMatchObject({ code: 'version_mismatch', details: { ours: [1, 1], theirs: [min, max] } });
      expect(counts).toEqual({ dialled: 1, dial_failed: 1, version_mismatch: 1 });
    });

    it.each([0, 2, 255])(
      'H-11 a server that picks version %i, which was not offered, gets no proof',
      async (version) => {
        const { error, heard } = await dialledBy(driver, async (peer) => {
          await answerAs(peer, 'b@127.0.0.1', { version });
          await peer.closed();
        });
        expect(error).toMatchObject({
          code: 'version_mismatch',
          details: { ours: [1, 1], theirs: [version, version] },
        });
        expect(Buffer.concat(heard)[4]).toBe(HandshakeType.ClientHello);
        expect(Buffer.concat(heard)).toHaveLength(12 + Buffer.concat(heard).readUInt32BE(0));
      },
    );
  });

  it('H-11 is not tried again before the longest wait is over', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const newer = (channel: Channel): void => {
      const data = (): void => {
        channel.send([rejectFrame(RejectReason.Version, 2, 3)]);
        channel.close();
      };
      channel.open({ data, drain() {}, closed() {} });
    };
    const at = { host: '127.0.0.1', port: 50 };
    await cluster.network.driver('127.0.0.1').listen(at, newer, () => {});
    cluster.discovery.locations.set('b@127.0.0.1', { driver: 'memory', ...at });
    const a = cluster.create('a', { listen: false });
    const patient = a.call('b@127.0.0.1', 'canary', 'sing', [], { timeout: 40_000, waitForReady: true });
    const gaveUp = expect(patient).rejects.toMatchObject({ code: 'version_mismatch', maybeExecuted: false });
    await cluster.clock?.advance(29_999);
    const hasty = a.call('b@127.0.0.1', 'canary', 'sing');
    await expect(hasty).rejects.toMatchObject({
      code: 'version_mismatch',
      details: { theirs: [2, 3], nextAttemptMs: 1 },
    });
    expect(a.stats().counts.dialled).toBe(1);
    await cluster.clock?.advance(1);
    expect(a.stats().counts.dialled).toBe(2);
    await cluster.clock?.advance(10_100);
    await gaveUp;
  });
});

describe.each(SOCKET_DRIVERS)('H-13 features that are not known here, over %s', (driver) => {
  const OPTIONAL = 0x0000ffff;
  const MANDATORY = Array.from({ length: 16 }, (_, index) => [16 + index, 2 ** (16 + index)] as const);

  it('H-13 of a client are ignored if they are optional', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    await peer.login('x@127.0.0.1', door.name, { features: OPTIONAL });
    peer.send(bytesOf(CANARY_CALL));
    await peer.until(() => peer.frames.length === 1);
    expect(door.sang).toEqual(['x@127.0.0.1']);
  });

  it('H-13 of a client are refused if any is mandatory', async () => {
    await using door = await Door.open(driver);
    for (const [bit, features] of MANDATORY) {
      const peer = await door.dial();
      peer.send(helloFor('x@127.0.0.1', door.name, { features: features + OPTIONAL }));
      expect(await refusalOf(peer)).toMatchObject({ reason: RejectReason.Feature });
      expect(door.counts.version_mismatch).toBe(bit - 15);
    }
  });

  it('H-13 of a server are ignored if they are optional', async () => {
    const { error, counts } = await dialledBy(driver, async (peer) => {
      await admit(peer, await answerAs(peer, 'b@127.0.0.1', { features: OPTIONAL }));
    });
    expect(error).toBeUndefined();
    expect(counts.connected).toBe(1);
  });

  it.each(MANDATORY)(
    'H-13 of a server are refused if bit %i is among them, before any proof',
    async (_bit, features) => {
      const { error, heard } = await dialledBy(driver, async (peer) => {
        await answerAs(peer, 'b@127.0.0.1', { features });
        await peer.closed();
      });
      expect(error).toMatchObject({ code: 'version_mismatch', details: { features } });
      expect(Buffer.concat(heard)).toHaveLength(12 + Buffer.concat(heard).readUInt32BE(0));
    },
  );
});
