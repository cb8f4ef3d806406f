import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { FrameType } from '../../lib/protocol/frame.js';
import { Cluster, SECRET, twoNodes, type NodeSettings, type TwoNodes } from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { bytesOf, RawPeer, RawServer } from '../support/raw-peer.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';
const SETTINGS = { idle: 5000, interval: 2000, count: 3 };

/** What is held in memory stays with its sender, which a real system would take: not what these tests are about. */
const VIRTUAL = {
  virtual: { seed: 1 },
  options: { keepalive: SETTINGS, callTimeout: 3_600_000, sendTimeout: 3_600_000 },
};

function hold(nodes: TwoNodes): void {
  for (const link of nodes.network.links) link.hold();
}

describe('keepalive of a node', () => {
  it('finds a black hole after idle + count × interval, at both ends, and the pending call fails', async () => {
    await using nodes = await twoNodes(VIRTUAL);
    const failure = nodes.a.call(B, 'math', 'never').catch((error: unknown) => error);
    await nodes.clock?.advance(0);
    hold(nodes);
    // The last byte came from `a` with its call.
    await nodes.clock?.advance(10_900);
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 1, connectedNodes: 1 });
    expect(nodes.b.stats().acceptedConnections).toBe(1);
    await nodes.clock?.advance(101);
    await expect(failure).resolves.toMatchObject({
      code: 'connection_lost',
      maybeExecuted: true,
      message: expect.stringContaining('has sent nothing for 11000 ms'),
    });
    expect(nodes.a.stats()).toMatchObject({ connectedNodes: 0, counts: { connection_lost: 1 } });
    expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 0 });
  });

  it('tells the function there that its caller is gone', async () => {
    await using nodes = await twoNodes(VIRTUAL);
    const signals: AbortSignal[] = [];
    nodes.b.register('slow', { fn: (_: unknown, { signal }) => new Promise(() => signals.push(signal)) });
    nodes.a.call(B, 'slow', 'fn').catch(() => {});
    await nodes.clock?.advance(0);
    hold(nodes);
    await nodes.clock?.advance(11_000);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  });

  it('keeps an idle connection for ever, and a call that takes long', async () => {
    await using nodes = await twoNodes(VIRTUAL);
    const failure = nodes.a.call(B, 'math', 'never', [], { timeout: 600_000 }).catch((error: unknown) => error);
    await nodes.clock?.advance(599_000);
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 1, counts: { dialled: 1, connected: 1 } });
    await nodes.clock?.advance(600_000);
    await expect(failure).resolves.toMatchObject({ code: 'timeout' });
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });

  it('outlives an outage that ends in time', async () => {
    await using nodes = await twoNodes(VIRTUAL);
    await nodes.a.connect(B);
    hold(nodes);
    await nodes.clock?.advance(10_900);
    for (const link of nodes.network.links) link.release();
    await nodes.clock?.advance(60_000);
    expect(nodes.a.stats()).toMatchObject({ connectedNodes: 1, counts: { dialled: 1, connected: 1 } });
  });

  it('is over where a listener ends the node as soon as it hears of the connection', async () => {
    await using nodes = await twoNodes({
      ...VIRTUAL,
      options: { clientInactivityTimeout: 60_000, ...VIRTUAL.options },
    });
    nodes.a.onStatus((_, connected) => connected && nodes.a.abort());
    await expect(Promise.all([nodes.a.connect(B), nodes.clock?.advance(100)])).rejects.toMatchObject({
      code: 'cancelled',
    });
    await nodes.clock?.advance(100);
    expect(nodes.clock?.pending).toBe(0);
  });

  it('false: a silent peer is taken to be alive, and is not asked', async () => {
    await using nodes = await twoNodes({ virtual: { seed: 1 }, options: { keepalive: false } });
    await nodes.a.connect(B);
    const idle = nodes.clock?.pending;
    hold(nodes);
    await nodes.clock?.advance(86_400_000);
    expect(nodes.a.stats().connectedNodes).toBe(1);
    expect(nodes.b.stats().acceptedConnections).toBe(1);
    expect(idle).toBe(0);
  });

  it.each(['a', 'b'] as const)('of %s alone is enough for it to notice', async (watcher) => {
    await using cluster = new Cluster({ virtual: { seed: 1 } });
    const keepaliveOf = (name: string): NodeSettings => ({ keepalive: name === watcher && SETTINGS });
    const b = await cluster.start('b', keepaliveOf('b'));
    const a = cluster.create('a', { listen: false, ...keepaliveOf('a') });
    await a.connect(B);
    await cluster.clock?.advance(60_000);
    expect([a.stats().connectedNodes, b.stats().acceptedConnections]).toEqual([1, 1]);
    for (const link of cluster.network.links) link.hold();
    await cluster.clock?.advance(12_000);
    const gone = { a: [0, 1], b: [1, 0] }[watcher];
    expect([a.stats().connectedNodes, b.stats().acceptedConnections]).toEqual(gone);
  });
});

describe('keepalive over real sockets', () => {
  const FAST = { keepalive: { idle: 100, interval: 50, count: 2 }, callTimeout: 60_000 };

  it('asks a silent peer by PING, and answers one by PONG', async () => {
    await using cluster = new Cluster();
    const b = await cluster.start('b', FAST);
    const peer = await new PeerAt(await RawPeer.dial('tcp', portOf(cluster, b.name))).login();
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Ping));
    peer.send(bytesOf({ type: FrameType.Ping }));
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.Pong));
    await peer.closed();
    await until(() => b.stats().acceptedConnections === 0);
    expect(b.stats().counts.protocol_error).toBeUndefined();
  });

  it('takes any byte for an answer: half a frame, a PONG that nobody asked for', async () => {
    await using cluster = new Cluster();
    const b = await cluster.start('b', { keepalive: { idle: 400, interval: 200, count: 1 } });
    const peer = await new PeerAt(await RawPeer.dial('tcp', portOf(cluster, b.name))).login();
    const bytes = bytesOf({ type: FrameType.Pong }, { type: FrameType.Pong });
    const pingsBefore = (count: number): boolean => peer.frames.length >= count;
    for (let round = 0; round < 4; round += 1) {
      await peer.until(() => pingsBefore(round + 1));
      // Six bytes are half of a PONG.
      peer.send(bytes.subarray(round * 6, round * 6 + 6));
    }
    expect(b.stats().acceptedConnections).toBe(1);
    expect(new Set(peer.frames.map(({ type }) => type))).toEqual(new Set([FrameType.Ping]));
    peer.destroy();
    await until(() => b.stats().acceptedConnections === 0);
  });

  it('lets a peer live that reads slowly, and has not come to the question', async () => {
    await using server = await RawServer.listen('tcp');
    await using cluster = new Cluster();
    const a = cluster.create('a', {
      listen: false,
      keepalive: { idle: 200, interval: 200, count: 1 },
      maxQueuedBytes: 64 * 1024 * 1024,
    });
    cluster.discovery.locations.set(B, { driver: 'tcp', host: '127.0.0.1', port: server.port });
    const bytes = Buffer.alloc(500_000);
    for (let cast = 0; cast < 48; cast += 1) a.cast(B, 'files', 'put', [bytes]);
    const peer = await (await server.accept()).welcome(B);
    let read = 0;
    let pauses = 0;
    peer.socket.on('data', ({ length }: Buffer) => {
      read += length;
      // What is left by then waits in the systems at most: nothing tells the sender how they get on with it.
      if (pauses === 8 || read < (pauses + 1) * 1_000_000) return;
      pauses += 1;
      peer.socket.pause();
      setTimeout(() => peer.socket.resume(), 100);
    });
    await peer.until(() => peer.frames.filter(({ type }) => type === FrameType.Cast).length === 48);
    expect(pauses).toBe(8);
  });

  it('finds a black hole on the way, at both ends; the next call takes a new connection', async () => {
    await using nodes = await twoNodes({ options: FAST });
    await using proxy = await Proxy.to({ port: portOf(nodes, B) });
    redirect(nodes, B, proxy.port);
    const failure = nodes.a.call(B, 'math', 'never').catch((error: unknown) => error);
    await until(() => nodes.ran.length === 1);
    const heldAt = performance.now();
    proxy.hold();
    await expect(failure).resolves.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    const foundAfter = performance.now() - heldAt;
    // 200 ms, but the last byte may have come a little before; and the machine may be slow.
    expect(foundAfter).toBeGreaterThan(50);
    expect(foundAfter).toBeLessThan(5000);
    await until(() => nodes.b.stats().acceptedConnections === 0);
    proxy.release();
    await expect(nodes.a.call(B, 'math', 'add', [1, 2], { waitForReady: true })).resolves.toBe(3);
    expect(nodes.a.stats().counts.connected).toBe(2);
  });

  it('leaves a healthy connection alone, idle or not', async () => {
    await using nodes = await twoNodes({ options: { keepalive: { idle: 20, interval: 2000, count: 2 } } });
    let pings = 0;
    await using proxy = await Proxy.to(
      { port: portOf(nodes, B) },
      {
        allow: (_link, direction, bytes) => {
          pings += direction === 'up' && bytes === 12 ? 1 : 0;
          return bytes;
        },
      },
    );
    redirect(nodes, B, proxy.port);
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    await until(() => pings >= 10);
    await expect(nodes.a.call(B, 'math', 'add', [3, 4])).resolves.toBe(7);
    expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
  });
});

/** A client that knows the secret and does nothing by itself. */
class PeerAt {
  constructor(private readonly peer: RawPeer) {}

  login(): Promise<RawPeer> {
    return this.peer.login(A, B);
  }
}

const run = promisify(execFile);

/** Runs a script that has a node `rpc`, connected to `b` at `port`, with a quick heartbeat. */
async function script(port: number, body: string): Promise<string> {
  const options = {
    ...{ name: A, secret: SECRET, listen: false, nodes: { [B]: { port } } },
    keepalive: { idle: 50, interval: 100, count: 1 },
  };
  const code = `
    import { createNode } from 'nestjs-gen-rpc/core';
    const rpc = createNode(${JSON.stringify(options)});
    ${body}`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: join(import.meta.dirname, '../..'),
    timeout: 15_000,
  });
  return stdout.trim();
}

describe('keepalive in a process', () => {
  it('does not keep alive one that has nothing else to do', async () => {
    await using nodes = await twoNodes();
    const ended = script(portOf(nodes, B), `console.log(await rpc.call('${B}', 'math', 'add', [1, 2]));`);
    await expect(ended).resolves.toBe('3');
  });

  it('goes on while a call is pending', async () => {
    await using nodes = await twoNodes();
    nodes.b.register('slow', { fn: () => new Promise((resolve) => setTimeout(() => resolve('late'), 600)) });
    const ended = script(
      portOf(nodes, B),
      `console.log(await rpc.call('${B}', 'slow', 'fn'), rpc.stats().counts.connected);`,
    );
    await expect(ended).resolves.toBe('late 1');
  });

  it('is not misled by a process that stands still again and again', async () => {
    await using nodes = await twoNodes();
    const body = `
      await Promise.all(Array.from({ length: 16 }, (_, key) => rpc.connect({ node: '${B}', key })));
      const standStill = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
      let left = 10;
      const again = () => {
        standStill(150);
        if ((left -= 1) > 0) setImmediate(again);
        else console.log(rpc.stats().counts.connection_lost ?? 0);
      };
      setImmediate(again);`;
    await expect(script(portOf(nodes, B), body)).resolves.toBe('0');
  });
});
