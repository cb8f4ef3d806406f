/** What happens to connections: made, refused, unused for a while, or gone in the middle of it. */
import { describe, expect, it } from 'vitest';
import type { Channel } from '../../lib/driver/driver.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType } from '../../lib/protocol/frame.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { Cluster } from '../support/cluster.js';
import { OTHER_SECRET, portOf, until } from '../support/door.js';
import { framesIn } from '../support/frames.js';
import { failure, pairOf, REMOTE, SERVER, type Pair, type Place } from './support.js';

const NOBODY = 'nobody@127.0.0.1';

/** Connections of the caller, as both ends know them. The bystander has one of its own. */
const connectionsOf = ({ caller, server }: Pair): [number, number] => [
  caller.stats().openConnections,
  server.stats().acceptedConnections - 1,
];

/** Nobody knows the connection any more. */
async function untilForgotten(pair: Pair, others = 0): Promise<void> {
  await until(() => connectionsOf(pair).every((count) => count === others));
  expect(pair.caller.isConnected(pair.target)).toBe(false);
}

describe.each(REMOTE)('%s', (_name, place) => {
  it('call_unreachable_peer', async () => {
    await using pair = await pairOf(place);
    const nobody = { node: NOBODY, key: place.key };
    const down = failure('node_down', 'badrpc', false, NOBODY, 'ECONNREFUSED', 'Next attempt in');
    const error = (await pair.caller.call(nobody, 'math', 'add').catch((caught: unknown) => caught)) as GenRpcError;
    expect(error).toEqual(down);
    // Known to be down: told at once, without another dial; and nobody else waits for it.
    await expect(pair.caller.call(nobody, 'math', 'add')).rejects.toEqual(down);
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(pair.counted()).toEqual({ dial_failed: 1 });
    const { nextAttemptMs } = error.details as { nextAttemptMs: number };
    await pair.clock.advance(nextAttemptMs);
    await expect(pair.caller.call(nobody, 'math', 'add')).rejects.toEqual(down);
    expect(pair.counted()).toEqual({ dial_failed: 2 });
    expect(pair.ran).toEqual(['add 1 2']);
    pair.failedDials = 2;
  });

  it('call_frequent_restart', async () => {
    const clock = new VirtualClock();
    await using cluster = new Cluster({ driver: place.driver, ports: { clock } });
    const caller = cluster.create('caller', { listen: false });
    const target = { node: SERVER, key: place.key };
    const port = await freePort(cluster);
    const ran: string[] = [];
    const start = async (life: number): Promise<GenRpcNode> => {
      const node = await cluster.start('server', { listen: { port } });
      node.register('life', { of: ([call]: [string]) => (ran.push(`${call} in ${life}`), life) });
      node.register('proc', { hang: () => new Promise(() => ran.push(`hang in ${life}`)) });
      return node;
    };
    let server = await start(0);
    for (let life = 0; life < 6; life += 1) {
      await expect(caller.call(target, 'life', 'of', ['call'])).resolves.toBe(life);
      const pending = caller.call(target, 'proc', 'hang');
      await until(() => ran.includes(`hang in ${life}`));
      server.abort();
      await expect(pending).rejects.toEqual(failure('connection_lost', 'badtcp', true, SERVER, 'proc.hang'));
      await server.close();
      const down = await caller.call(target, 'life', 'of', ['lost']).catch((caught: GenRpcError) => caught);
      expect(down).toEqual(failure('node_down', 'badrpc', false, SERVER));
      const patient = caller.call(target, 'life', 'of', ['patient'], { waitForReady: true });
      server = await start(life + 1);
      await clock.advance(100);
      await expect(patient).resolves.toBe(life + 1);
    }
    const expected = [0, 1, 2, 3, 4, 5].flatMap((life) => [
      `call in ${life}`,
      `hang in ${life}`,
      `patient in ${life + 1}`,
    ]);
    expect(ran).toEqual(expected);
    expect(caller.stats().counts).toEqual({ dialled: 13, connected: 7, dial_failed: 6, connection_lost: 6 });
  });

  it('client_inactivity_timeout', async () => {
    await using pair = await pairOf(place, { caller: { clientInactivityTimeout: 500 } });
    await outlives(pair);
    pair.dials = 2;
  });

  it('server_inactivity_timeout', async () => {
    await using pair = await pairOf(place, { server: { serverInactivityTimeout: 500 } });
    const busy = pair.bystander.call(SERVER, 'proc', 'hold', ['busy']);
    await until(() => pair.ran.length === 1);
    await outlives(pair);
    pair.letGo('busy');
    await expect(busy).resolves.toBe('busy');
    pair.dials = 2;
  });

  it('server_inactivity_timeout that crosses a call', async () => {
    await using pair = await pairOf(place, { server: { serverInactivityTimeout: 500 } });
    const busy = pair.bystander.call(SERVER, 'proc', 'hold', ['busy']);
    await pair.caller.call(pair.target, 'health', 'ping');
    await until(() => pair.ran.length === 1);
    const channel = pair.serverWire.accepted.at(-1);
    if (channel === undefined) throw new Error('the caller is connected');
    let crossing: Promise<unknown> | undefined;
    channel.onWrite = (bytes) => {
      expect(framesIn(bytes)).toMatchObject([{ type: FrameType.GoAway }]);
      channel.onWrite = undefined;
      crossing = pair.caller.call(pair.target, 'math', 'add', [1, 2]);
    };
    await pair.clock.advance(500);
    await until(() => crossing !== undefined);
    await expect(crossing).resolves.toBe(3);
    await untilForgotten(pair);
    expect(pair.ran).toEqual(['hold busy', 'add 1 2']);
    expect(pair.counted()).toEqual({});
    pair.letGo('busy');
    await busy;
  });

  it('server_inactivity_timeout of a connection that nothing was answered on', async () => {
    await using pair = await pairOf(place, { server: { serverInactivityTimeout: 500 } });
    const busy = pair.bystander.call(SERVER, 'proc', 'hold', ['busy']);
    expect(pair.caller.cast(pair.target, 'math', 'add', [1, 2])).toBe(true);
    await until(() => pair.ran.length === 2);
    await pair.clock.advance(500);
    await untilForgotten(pair);
    // A node that is left alone is not taken to be down.
    await expect(pair.caller.call(pair.target, 'math', 'add', [3, 4])).resolves.toBe(7);
    expect(pair.counted()).toEqual({});
    pair.letGo('busy');
    await busy;
    pair.dials = 2;
  });

  it('random_local_close', async () => {
    await using pair = await pairOf(place);
    await breaksAtRandom(pair, place, () => pair.callerWire.dialled.at(-1)?.kill());
  });

  it('random_remote_close', async () => {
    await using pair = await pairOf(place);
    await breaksAtRandom(pair, place, () => pair.serverWire.accepted.at(-1)?.kill());
  });

  it('wrong_cookie', async () => {
    await using pair = await pairOf(place, { caller: { secret: OTHER_SECRET } });
    const denied = failure('invalid_cookie', 'badrpc', false, SERVER);
    expect(pair.caller.cast(pair.target, 'math', 'add', [1, 2])).toBe(true);
    const fetched = pair.caller.asyncCall(pair.target, 'math', 'add', [1, 2]);
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).rejects.toEqual(denied);
    await expect(fetched.yield()).rejects.toEqual(denied);
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).rejects.toEqual(denied);
    expect(pair.caller.cast(pair.target, 'math', 'add', [1, 2])).toBe(false);
    await until(() => pair.server.stats().handshakes === 0);
    expect(pair.counted()).toEqual({
      dial_failed: 1,
      peer_auth_failed: 1,
      auth_failed: 1,
      cast_dropped: 1,
      cast_not_accepted: 1,
    });
    expect(pair.ran).toEqual([]);
    pair.dials = 0;
    pair.failedDials = 1;
  });

  it('authentication_timeout', async () => {
    await using pair = await pairOf(place, { server: { handshakeTimeout: 300 } });
    const stranger = await strangerAt(pair, place);
    await until(() => pair.server.stats().handshakes === 1);
    await pair.clock.advance(200);
    // A byte is no reason to wait longer.
    stranger.channel.send([Buffer.of(0)]);
    await pair.clock.advance(99);
    expect(stranger.closed).toBe(false);
    expect(pair.server.stats().handshakes).toBe(1);
    await pair.clock.advance(1);
    await until(() => stranger.closed && pair.server.stats().handshakes === 0);
    expect(pair.counted()).toEqual({ handshake_timeout: 1 });
    await expect(pair.caller.call(pair.target, 'math', 'add', [1, 2])).resolves.toBe(3);
  });

  it('authentication_timeout of a server that says nothing', async () => {
    await using pair = await pairOf(place, { caller: { handshakeTimeout: 300 } });
    const accepted: Channel[] = [];
    const onChannel = (channel: Channel): void => {
      channel.open({ data: () => {}, drain: () => {}, closed: () => {} });
      accepted.push(channel);
    };
    const listener = await pair.serverWire.listen({ host: '127.0.0.1', port: 0 }, onChannel, () => {});
    pair.cluster.discovery.locations.set('mute@127.0.0.1', { driver: place.driver, ...listener.address });
    let settled = false;
    const reply = pair.caller
      .call({ node: 'mute@127.0.0.1', key: place.key }, 'math', 'add', [1, 2])
      .finally(() => (settled = true));
    reply.catch(() => {});
    await until(() => accepted.length === 1 && pair.callerWire.dialled.length === 1);
    await pair.clock.advance(299);
    expect(settled).toBe(false);
    await pair.clock.advance(1);
    await expect(reply).rejects.toEqual(failure('node_down', 'badrpc', false, 'mute@127.0.0.1'));
    expect(pair.counted()).toEqual({ dial_failed: 1 });
    await listener.close();
    pair.dials = 0;
    pair.failedDials = 1;
  });
});

/** A connection lives 500 ms of no use, neither more nor less, and is then closed without loss or complaint. */
async function outlives(pair: Pair): Promise<void> {
  const { caller, target, clock } = pair;
  const before = pair.ran.length;
  await caller.call(target, 'health', 'ping');
  await clock.advance(499);
  await caller.call(target, 'health', 'ping');
  await clock.advance(499);
  expect(caller.cast(target, 'math', 'add', [1, 2])).toBe(true);
  await until(() => pair.ran.length === before + 1);
  await clock.advance(499);
  // A call that takes longer is use enough.
  const long = caller.call(target, 'proc', 'hold', ['long']);
  await until(() => pair.ran.length === before + 2);
  await clock.advance(1700);
  pair.letGo('long');
  await expect(long).resolves.toBe('long');
  await clock.advance(499);
  expect(connectionsOf(pair)).toEqual([1, 1]);
  expect(caller.nodes()).toEqual([SERVER]);
  await clock.advance(1);
  await untilForgotten(pair);
  expect(caller.nodes()).toEqual([]);
  expect(pair.counted()).toEqual({});
  await expect(caller.call(target, 'math', 'add', [3, 4])).resolves.toBe(7);
  expect(connectionsOf(pair)).toEqual([1, 1]);
}

const ROUNDS = 12;

/** Again and again a connection breaks among calls in all their stages; the one beside it does not. */
async function breaksAtRandom(pair: Pair, place: Place, kill: () => void): Promise<void> {
  const { caller, target, ran } = pair;
  const random = new SeededRandom(place.key === undefined ? 3 : 5);
  const beside = caller.call({ node: SERVER, key: 'beside' }, 'proc', 'hold', ['beside']);
  await until(() => ran.includes('hold beside'));
  for (let round = 0; round < ROUNDS; round += 1) {
    await expect(caller.call(target, 'health', 'ping')).resolves.toBe('pong');
    expect(connectionsOf(pair)).toEqual([2, 2]);
    const calls: Promise<unknown>[] = [caller.call(target, 'proc', 'hang')];
    for (let number = 0; number < 20; number += 1) {
      calls.push(caller.call(target, 'math', 'add', [round, number]));
      if (random.fraction() < 0.2) await new Promise((resolve) => setImmediate(resolve));
    }
    kill();
    const ends = await Promise.allSettled(calls);
    await untilForgotten(pair, 1);
    expect(ends[0]).toMatchObject({ status: 'rejected', reason: { code: 'connection_lost' } });
    // Whatever still ran for the caller is told.
    const times = (what: string): number => ran.filter((one) => one === what).length;
    await until(() => times('killed') === times('hang'));
    for (const [index, end] of ends.slice(1).entries()) honest(end, round, index, ran);
  }
  pair.letGo('beside');
  await expect(beside).resolves.toBe('beside');
  expect(pair.counted()).toMatchObject({ connection_lost: ROUNDS });
  pair.dials = ROUNDS + 1;
}

/** Answered, or lost; it ran at most once, and if it is said not to have run, it has not. */
function honest(end: PromiseSettledResult<unknown>, round: number, index: number, ran: readonly string[]): void {
  const times = ran.filter((one) => one === `add ${round} ${index}`).length;
  if (end.status === 'fulfilled')
    return expect({ value: end.value, times }).toEqual({ value: round + index, times: 1 });
  const { maybeExecuted } = end.reason as GenRpcError;
  expect(end.reason).toEqual(failure('connection_lost', 'badtcp', maybeExecuted, SERVER, 'math.add'));
  expect(times).toBeLessThanOrEqual(maybeExecuted ? 1 : 0);
}

/** Somebody who has come through the driver, and says nothing by himself. */
async function strangerAt(pair: Pair, { driver }: Place) {
  const endpoint = { host: '127.0.0.1', port: portOf(pair.cluster, SERVER) };
  expect(pair.cluster.discovery.locations.get(SERVER)?.driver).toBe(driver);
  const channel = await pair.callerWire.connect(endpoint, new AbortController().signal);
  const stranger = { channel, closed: false };
  channel.open({ data: () => {}, drain: () => {}, closed: () => (stranger.closed = true) });
  return stranger;
}

/** A port that a node had, and that nobody else is likely to take. */
async function freePort(cluster: Cluster): Promise<number> {
  const node = await cluster.start('early');
  const port = portOf(cluster, node.name);
  await node.close();
  return port;
}
