/** Who may call, as gen_rpc's own suite asks it: whatever comes of the handshake, the canary never runs for a stranger. */
import { describe, expect, it } from 'vitest';
import { proveServer } from '../../lib/protocol/handshake.js';
import { handshakeFrame, HandshakeType, RejectReason } from '../../lib/protocol/handshake-frames.js';
import { Cluster, DRIVERS, driverOf, SOCKET_DRIVERS, type NodeSettings } from '../support/cluster.js';
import {
  answerAs,
  CANARY_CALL,
  Door,
  greet,
  keysOf,
  OTHER_SECRET,
  proofFrame,
  redirect,
  refusalOf,
  until,
  type Greeting,
} from '../support/door.js';
import type { Direction } from '../support/proxy.js';
import { bytesOf, helloFor, rawFrame, RawServer, type RawPeer } from '../support/raw-peer.js';
import { TappedDriver } from '../support/tapped-driver.js';

const SLAVE = 'slave@127.0.0.1';

describe.each(DRIVERS)('over %s', (driver) => {
  /** A node with a canary, and one that calls it. */
  async function canary(of: { slave?: NodeSettings; master?: NodeSettings } = {}) {
    const cluster = new Cluster({ driver, options: { reconnect: { min: 1, max: 1 } } });
    const slave = await cluster.start('slave', of.slave);
    const sang: string[] = [];
    slave.register('canary', { sing: (_args, { caller }) => (sang.push(caller.node), 'canary_is_dead') });
    const master = await cluster.start('master', of.master);
    return Object.assign(cluster, { slave, master, sang });
  }

  it('challenge_response_ok', async () => {
    await using nodes = await canary();
    expect(await nodes.master.call(SLAVE, 'canary', 'sing')).toBe('canary_is_dead');
    expect(await nodes.master.call({ node: SLAVE, key: 'destination' }, 'canary', 'sing')).toBe('canary_is_dead');
    expect(nodes.sang).toEqual([nodes.master.name, nodes.master.name]);
    expect(nodes.slave.stats().counts).toEqual({ accepted: 2 });
    expect(nodes.master.stats().counts).toEqual({ dialled: 2, connected: 2 });
  });

  it.each([
    ['challenge_response_invalid_cookie_client', { master: { secret: OTHER_SECRET } }],
    ['challenge_response_invalid_cookie_server', { slave: { secret: OTHER_SECRET } }],
  ])('%s', async (_title, of) => {
    await using nodes = await canary(of);
    const { master, slave, sang } = nodes;
    const denied = { code: 'invalid_cookie', family: 'badrpc', maybeExecuted: false };
    for (const target of [SLAVE, { node: SLAVE, key: 'destination' }]) {
      await expect(master.call(target, 'canary', 'sing')).rejects.toMatchObject(denied);
    }
    await until(() => slave.stats().counts.auth_failed === 2);
    // No other verb finds a way in.
    const { outcomes } = await master.multicall([SLAVE], 'canary', 'sing');
    expect(outcomes).toMatchObject([{ ok: false, error: denied }]);
    expect(await master.sbcast([SLAVE], 'canary.sing')).toEqual({ good: [], bad: [SLAVE] });
    master.abcast([SLAVE], 'canary.sing');
    await until(() => (master.stats().counts.cast_dropped ?? 0) + (master.stats().counts.cast_not_accepted ?? 0) === 1);
    await until(() => slave.stats().handshakes === 0);
    expect(master.nodes()).toEqual([]);
    expect(slave.stats().acceptedConnections).toBe(0);
    expect(sang).toEqual([]);
    for (const line of nodes.log.lines) expect(line).not.toMatch(/cookie-for-tests/);
  });

  it('cr_invalid_server', async () => {
    await using nodes = await canary();
    const place = nodes.discovery.locations.get(SLAVE);
    if (place !== undefined) nodes.discovery.locations.set('bad_node@127.0.0.1', place);
    for (const target of ['bad_node@127.0.0.1', { node: 'bad_node@127.0.0.1', key: 'foo' }]) {
      const reply = nodes.master.call(target, 'canary', 'sing');
      await expect(reply).rejects.toMatchObject({ code: 'wrong_node', maybeExecuted: false });
    }
    expect(nodes.sang).toEqual([]);
  });
});

/** A whole handshake of a node that knows the secret, as it went by: what the client sent, and what the server did. */
async function recorded(door: Door): Promise<Record<Direction, Buffer[]>> {
  const heard: Record<Direction, Buffer[]> = { up: [], down: [] };
  const tap = {
    sent: (bytes: Buffer) => (heard.up.push(bytes), bytes),
    received: (bytes: Buffer) => (heard.down.push(bytes), bytes),
  };
  const drivers = [new TappedDriver(driverOf(door.cluster), tap)];
  const caller = door.cluster.create('recorded', { listen: false }, { drivers });
  await caller.connect(door.name);
  await caller.close();
  return heard;
}

describe.each(SOCKET_DRIVERS)('a client whose proof is, over %s', (driver) => {
  const ofBytes = (body: Uint8Array): Buffer => rawFrame(HandshakeType.Proof, 0, 0, body);
  const right = (script: Uint8Array): Buffer => proofFrame(script).subarray(12);
  const DENIED = { reason: RejectReason.Denied, minVersion: 1, maxVersion: 1 };

  /** Sends a proof and the canary call behind it, which is what this is about. */
  async function refused(door: Door, peer: RawPeer, proof: Buffer): Promise<void> {
    peer.send(proof);
    expect(await refusalOf(peer)).toEqual(DENIED);
    expect(door.counts.auth_failed).toBe(1);
    expect(door.sang).toEqual([]);
  }

  it.each<[what: string, proof: (script: Uint8Array) => Buffer]>([
    ['empty', () => ofBytes(Buffer.alloc(0))],
    ['short', (script) => ofBytes(right(script).subarray(0, 31))],
    ['long', (script) => ofBytes(Buffer.concat([right(script), Buffer.alloc(1)]))],
    [
      'right, but for the first of its bits',
      (script) => ofBytes(right(script).map((b, at) => (at === 0 ? b ^ 128 : b))),
    ],
    ['of another secret', (script) => proofFrame(script, OTHER_SECRET)],
  ])('%s', async (_what, proof) => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    const { script } = await greet(peer, helloFor('x@127.0.0.1', door.name));
    await refused(door, peer, proof(script));
  });

  it('truncated', async () => {
    await using door = await Door.open(driver);
    const peer = await door.dial();
    const { script, answer } = await greet(peer, helloFor('x@127.0.0.1', door.name));
    peer.send(proofFrame(script).subarray(0, 12 + 16));
    peer.socket.end();
    await peer.closed();
    expect(Buffer.concat(peer.received)).toHaveLength(answer.length);
    await until(() => door.counts.handshake_failed === 1);
    expect(door.sang).toEqual([]);
  });

  it('replayed', async () => {
    await using door = await Door.open(driver);
    const { up } = await recorded(door);
    const [hello = Buffer.alloc(0), proof = Buffer.alloc(0)] = up;
    const peer = await door.dial();
    await greet(peer, hello);
    await refused(door, peer, proof);
  });

  it('reflected: the one by which the node itself wanted to be let in', async () => {
    await using door = await Door.open(driver);
    await using trap = await RawServer.listen(driver);
    redirect(door.cluster, 'trap@127.0.0.1', trap.port);
    const connected = door.node.connect('trap@127.0.0.1');
    const lured = await trap.accept();
    await answerAs(lured, 'trap@127.0.0.1');
    const { frame } = await lured.handshake(HandshakeType.Proof);
    const peer = await door.dial();
    await greet(peer, helloFor('x@127.0.0.1', door.name));
    await refused(door, peer, frame);
    lured.destroy();
    await expect(connected).rejects.toMatchObject({ code: 'node_down' });
  });

  it('missing: the call comes in its place, or behind it unasked', async () => {
    await using door = await Door.open(driver);
    const [first, second] = [await door.dial(), await door.dial()];
    await greet(first, helloFor('x@127.0.0.1', door.name));
    first.send(bytesOf(CANARY_CALL));
    const { script } = await greet(second, helloFor('y@127.0.0.1', door.name));
    second.send(Buffer.concat([proofFrame(script), bytesOf(CANARY_CALL)]));
    await Promise.all([first.closed(), second.closed()]);
    expect(door.counts.handshake_failed).toBe(2);
    expect(door.sang).toEqual([]);
  });
});

describe.each(SOCKET_DRIVERS)('a server whose proof is, over %s', (driver) => {
  interface Said extends Greeting {
    /** Of the client. */
    readonly proofs: Buffer;
  }
  const ofBytes = (body: Uint8Array): Buffer => handshakeFrame(HandshakeType.Accept, body);
  const right = ({ script, proofs }: Said): Uint8Array => proveServer(keysOf(), script, proofs);

  /** Lets a node with a call to make meet a server that ends its handshake with `verdict`; the call must not leave. */
  async function noCall(verdict: (said: Said) => Buffer, code = 'invalid_cookie', then?: 'end'): Promise<void> {
    await using cluster = new Cluster({ driver });
    await using impostor = await RawServer.listen(driver);
    redirect(cluster, SLAVE, impostor.port);
    const master = cluster.create('master', { listen: false });
    const reply = master.call(SLAVE, 'canary', 'sing');
    const peer = await impostor.accept();
    const greeting = await answerAs(peer, SLAVE);
    const { body, frame } = await peer.handshake(HandshakeType.Proof);
    peer.send(verdict({ ...greeting, proofs: body }));
    if (then === 'end') peer.socket.end();
    await expect(reply).rejects.toMatchObject({ code, maybeExecuted: false });
    await peer.closed();
    expect(Buffer.concat(peer.received)).toHaveLength(greeting.hello.length + frame.length);
    expect(master.stats().connectedNodes).toBe(0);
  }

  it.each<[what: string, verdict: (said: Said) => Buffer]>([
    ['empty', () => ofBytes(Buffer.alloc(0))],
    ['short', (said) => ofBytes(right(said).subarray(0, 31))],
    ['long', (said) => ofBytes(Buffer.concat([right(said), Buffer.alloc(1)]))],
    ['of another secret', ({ script, proofs }) => ofBytes(proveServer(keysOf(OTHER_SECRET), script, proofs))],
    ['reflected', ({ proofs }) => ofBytes(proofs)],
  ])('%s', async (_what, verdict) => noCall(verdict));

  it('truncated', async () => noCall((said) => ofBytes(right(said)).subarray(0, 12 + 16), 'node_down', 'end'));

  it('replayed', async () => {
    await using door = await Door.open(driver);
    const { down } = await recorded(door);
    const accept = Buffer.concat(down).subarray(-(12 + 32));
    expect(accept[4]).toBe(HandshakeType.Accept);
    await noCall(() => accept);
  });

  it('refused to the client: auth_client_fail', async () => {
    const reject = handshakeFrame(HandshakeType.Reject, Buffer.of(RejectReason.Denied, 1, 1));
    await noCall(() => reject);
  });
});
