/** Clients whose proof is wrong, borrowed, replayed or about something else: refused, and nothing runs. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { transcript, verifyClient, type RoleKeys } from '../../lib/protocol/handshake.js';
import { handshakeFrame, HandshakeType, RejectReason } from '../../lib/protocol/handshake-frames.js';
import type { NodePorts } from '../../lib/node/create-node.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { Cluster, driverOf, SECRET, SOCKET_DRIVERS } from '../support/cluster.js';
import {
  CANARY_CALL,
  Door,
  greet,
  keysOf,
  OTHER_SECRET,
  portOf,
  proofFrame,
  redirect,
  refusalOf,
  until,
} from '../support/door.js';
import type { Direction } from '../support/proxy.js';
import { bytesOf, helloFor, rawFrame, RawPeer, RawServer, serverHello } from '../support/raw-peer.js';
import { TappedDriver, type Tap } from '../support/tapped-driver.js';

/** What a node has to be given for a test to read, or change, what it says to others; over TLS, what is encrypted there. */
function tapped({ cluster }: Door, tap: Tap): Partial<NodePorts> {
  return { drivers: [new TappedDriver(driverOf(cluster), tap)] };
}

const DENIED = { reason: RejectReason.Denied, minVersion: 1, maxVersion: 1 };

describe.each(SOCKET_DRIVERS)('H-03 the wrong secret, over %s', (driver) => {
  it('H-03 gets one refusal that says nothing, and no call through', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    const { script, answer } = await greet(peer, helloFor('x@127.0.0.1', door.name));
    peer.send(proofFrame(script, OTHER_SECRET));
    expect(await refusalOf(peer)).toEqual(DENIED);
    expect(Buffer.concat(peer.received)).toHaveLength(answer.length + 12 + 3);
    expect(door.counts.auth_failed).toBe(1);
    expect(door.sang).toEqual([]);
  });

  it('H-03 reaches the caller as invalid_cookie', async () => {
    await using door = await Door.open(driver);
    const x = door.cluster.create('x', { listen: false, secret: OTHER_SECRET });
    const reply = x.call(door.name, 'canary', 'sing');
    await expect(reply).rejects.toMatchObject({ code: 'invalid_cookie', maybeExecuted: false });
    await until(() => door.counts.auth_failed === 1);
    expect(x.stats()).toMatchObject({ connectedNodes: 0, counts: { dialled: 1, dial_failed: 1 } });
    expect(door.sang).toEqual([]);
  });
});

describe('H-04 a proof of the wrong length', () => {
  it.each([0, 1, 31, 33, 160])('H-04 of %i bytes is refused before any comparison', (length) => {
    let uses = 0;
    const watched: RoleKeys = {
      get client() {
        uses += 1;
        return keysOf().client;
      },
      get server() {
        uses += 1;
        return keysOf().server;
      },
    };
    const script = randomBytes(32);
    expect(verifyClient([watched], script, Buffer.alloc(length))).toBeUndefined();
    expect(uses).toBe(0);
    expect(verifyClient([watched], script, Buffer.alloc(32))).toBeUndefined();
    expect(uses).toBe(1);
  });

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each([0, 1, 31, 33])('H-04 of %i bytes gets the same refusal as any other', async (length) => {
      await using door = await Door.open(driver);
      const peer = await door.dial();
      const { script } = await greet(peer, helloFor('x@127.0.0.1', door.name));
      const right = proofFrame(script).subarray(12);
      peer.send(rawFrame(HandshakeType.Proof, 0, 0, Buffer.concat([right, Buffer.alloc(1)]).subarray(0, length)));
      expect(await refusalOf(peer)).toEqual(DENIED);
      expect(door.counts.auth_failed).toBe(1);
      expect(door.sang).toEqual([]);
    });

    it('H-04 of 2 MiB ends the connection at its header', async () => {
      await using door = await Door.open(driver);
      const peer = await door.dial();
      const { answer } = await greet(peer, helloFor('x@127.0.0.1', door.name));
      peer.send(rawFrame(HandshakeType.Proof, 0, 0, Buffer.alloc(0), 2 * 1024 * 1024));
      await peer.closed();
      expect(Buffer.concat(peer.received)).toHaveLength(answer.length);
      expect(door.counts.handshake_failed).toBe(1);
      expect(door.sang).toEqual([]);
    });

    it('H-04 of 2 MiB, all of them sent, ends it too', async () => {
      await using door = await Door.open(driver);
      const peer = await door.dial();
      await greet(peer, helloFor('x@127.0.0.1', door.name));
      peer.send(rawFrame(HandshakeType.Proof, 0, 0, Buffer.alloc(2 * 1024 * 1024)), bytesOf(CANARY_CALL));
      await peer.closed();
      expect(door.counts.handshake_failed).toBe(1);
      expect(door.sang).toEqual([]);
    });
  });
});

describe.each(SOCKET_DRIVERS)('H-05 a nonce turned around, over %s', (driver) => {
  const nonceOf = (hello: Buffer, at: number): Buffer => hello.subarray(at, at + 32);
  const IN_CLIENT_HELLO = 12 + 4 + 2 + 4;
  const IN_SERVER_HELLO = 12 + 4 + 1 + 4;

  it.each(['same', 'other'])('H-05 by a client, at the %s node: what that says is no proof', async (which) => {
    await using door = await Door.open(driver);
    const other = await door.cluster.start('c');
    const wanted = which === 'same' ? door.name : other.name;
    const port = which === 'same' ? door.port : portOf(door.cluster, other.name);
    const first = await door.dial();
    const { answer } = await greet(first, helloFor('x@127.0.0.1', door.name));
    const second = await door.dial({ port });
    const nonce = nonceOf(answer, IN_SERVER_HELLO);
    const mirrored = await greet(second, helloFor('x@127.0.0.1', wanted, { nonce }));
    first.send(rawFrame(HandshakeType.Proof, 0, 0, nonceOf(mirrored.answer, IN_SERVER_HELLO)));
    expect(await refusalOf(first)).toEqual(DENIED);
    expect(door.sang).toEqual([]);
  });

  it.each(['same', 'other'])(
    'H-05 by a server, at the %s node: the proof it gets opens no other door',
    async (which) => {
      await using door = await Door.open(driver);
      await using trap = await RawServer.listen(driver);
      const victim = await door.cluster.start('a');
      const wanted = which === 'same' ? victim.name : door.name;
      const port = which === 'same' ? portOf(door.cluster, victim.name) : door.port;
      redirect(door.cluster, door.name, trap.port);
      const reply = victim.call(door.name, 'canary', 'sing');
      const first = await trap.accept();
      const { frame } = await first.handshake(HandshakeType.ClientHello);
      const second = await door.dial({ port });
      const { answer } = await greet(
        second,
        helloFor('x@127.0.0.1', wanted, { nonce: nonceOf(frame, IN_CLIENT_HELLO) }),
      );
      first.send(serverHello(door.name, { nonce: nonceOf(answer, IN_SERVER_HELLO) }));
      const proof = await first.handshake(HandshakeType.Proof);
      second.send(proof.frame);
      expect(await refusalOf(second)).toEqual(DENIED);
      first.send(handshakeFrame(HandshakeType.Accept, proof.body));
      await expect(reply).rejects.toMatchObject({ code: 'invalid_cookie', maybeExecuted: false });
      expect(victim.stats().counts.peer_auth_failed).toBe(1);
      expect(door.sang).toEqual([]);
    },
  );

  it('H-05 a server shows nothing of its secret before it has seen a proof', async () => {
    const answers = await Promise.all(
      [SECRET, OTHER_SECRET].map(async (secret) => {
        await using cluster = new Cluster({ driver });
        const node = await cluster.start('b', { secret }, { random: new SeededRandom(7) });
        const peer = await RawPeer.dial(driver, portOf(cluster, node.name));
        const hello = helloFor('x@127.0.0.1', node.name, { nonce: Buffer.alloc(32), incarnation: Buffer.alloc(16) });
        const { answer } = await greet(peer, hello);
        peer.destroy();
        return answer.toString('hex');
      }),
    );
    expect(answers[0]).toBe(answers[1]);
  });
});

describe.each(SOCKET_DRIVERS)('H-06 a recorded handshake, over %s', (driver) => {
  async function recorded(door: Door): Promise<Buffer[]> {
    const up: Buffer[] = [];
    const sent = (bytes: Buffer): Buffer => (up.push(bytes), bytes);
    const caller = door.cluster.create('caller', { listen: false }, tapped(door, { sent }));
    await caller.call(door.name, 'canary', 'sing');
    await caller.close();
    return up;
  }

  it('H-06 played again word by word is refused', async () => {
    await using door = await Door.open(driver);
    const [hello, ...rest] = await recorded(door);
    const peer = await door.dial();
    await greet(peer, hello ?? Buffer.alloc(0));
    peer.send(rest[0] ?? Buffer.alloc(0));
    expect(await refusalOf(peer)).toEqual(DENIED);
    expect(door.counts.auth_failed).toBe(1);
    expect(door.sang).toHaveLength(1);
  });

  it('H-06 played again in one breath, call included, is refused', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    peer.send(Buffer.concat(await recorded(door)));
    await peer.closed();
    expect(door.node.stats().acceptedConnections).toBe(1);
    expect(door.sang).toHaveLength(1);
  });
});

describe.each(SOCKET_DRIVERS)('H-12 a hello changed on the way, over %s', (driver) => {
  /** Byte of the frame, and the bits of it that are turned: each yields a hello that is fine by itself. */
  const CHANGES: readonly (readonly [what: string, direction: Direction, at: number, bits: number])[] = [
    ['lowest version', 'up', 12 + 4, 1],
    ['highest version', 'up', 12 + 5, 2],
    ['optional features', 'up', 12 + 9, 1],
    ['nonce', 'up', 12 + 10, 1],
    ['incarnation', 'up', 12 + 42, 1],
    ['name', 'up', 12 + 59, 2],
    ['optional features', 'down', 12 + 8, 1],
    ['nonce', 'down', 12 + 9, 1],
    ['incarnation', 'down', 12 + 41, 1],
    ['message limit', 'down', 12 + 69, 1],
  ];

  it.each(CHANGES)('H-12 its %s, %s: refused', async (_what, direction, at, bits) => {
    await using door = await Door.open(driver);
    let passed = 0;
    const alter = (bytes: Buffer): Buffer => {
      const changed = Buffer.from(bytes);
      const index = at - passed;
      if (index in changed) changed[index] = (changed[index] ?? 0) ^ bits;
      passed += bytes.length;
      return changed;
    };
    const tap = direction === 'up' ? { sent: alter } : { received: alter };
    const a = door.cluster.create('a', { listen: false }, tapped(door, tap));
    const reply = a.call(door.name, 'canary', 'sing');
    await expect(reply).rejects.toMatchObject({ code: 'invalid_cookie', maybeExecuted: false });
    await until(() => door.counts.auth_failed === 1);
    expect(door.sang).toEqual([]);
  });

  it('H-12 so that the lower version is picked: refused, as the proof covers what was offered', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    const nonce = randomBytes(32);
    const incarnation = randomBytes(16);
    const offered = helloFor('x@127.0.0.1', door.name, { minVersion: 1, maxVersion: 2, nonce, incarnation });
    const tampered = helloFor('x@127.0.0.1', door.name, { minVersion: 1, maxVersion: 1, nonce, incarnation });
    const { answer } = await greet(peer, tampered);
    peer.send(proofFrame(transcript(offered, answer, peer.binding)));
    expect(await refusalOf(peer)).toEqual(DENIED);
    expect(door.counts.auth_failed).toBe(1);
    expect(door.sang).toEqual([]);
  });
});
