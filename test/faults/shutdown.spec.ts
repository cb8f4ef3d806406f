/** How a node closes among peers that are no help: ones that say nothing, and ones that do not read. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { FrameType, type Frame } from '../../lib/protocol/frame.js';
import { Cluster, SOCKET_DRIVERS } from '../support/cluster.js';
import { greet, portOf, redirect, until } from '../support/door.js';
import { bytesOf, helloFor, RawPeer, RawServer } from '../support/raw-peer.js';

const COUNT = 50;
const CLOSE_MS = 500;
const B = 'b@127.0.0.1';
/** Strangers are many of one address here, and are to stay. */
const PATIENT = { admission: { perAddress: 2 * COUNT }, handshakeTimeout: 60_000 };

/** More than what moves while nobody reads; all of them are less than a process keeps for those who do not. */
const MUCH = Buffer.alloc(4 * 1024 * 1024);

const CALL_FOR_MUCH: Frame = {
  type: FrameType.Call,
  id: 1,
  name: { module: 'much', fn: 'give', version: '' },
  timeoutMs: 60_000,
  single: false,
  headers: undefined,
  payload: { kind: 'codec', bytes: Buffer.of(0x90) },
};

async function logIn(peer: RawPeer, index: number): Promise<void> {
  await peer.login(`paused${index}@127.0.0.1`, B);
  peer.socket.pause();
}

/** What each of the crowd does before the node closes. */
const CROWDS: Readonly<Record<string, (peer: RawPeer, index: number) => Promise<unknown>>> = {
  'strangers that say nothing': async () => {},
  'strangers that say hello and no more': (peer) => greet(peer, helloFor('x@127.0.0.1', B)),
  'callers that do not read': logIn,
  'callers that do not read what they have asked for': async (peer, index) => {
    await logIn(peer, index);
    peer.send(bytesOf(CALL_FOR_MUCH));
  },
};

/** Sockets that servers of this process have accepted since. */
class Accepted implements Disposable {
  readonly sockets: Socket[] = [];
  private readonly add = (message: unknown): void => void this.sockets.push((message as { socket: Socket }).socket);

  constructor() {
    subscribe('net.server.socket', this.add);
  }

  [Symbol.dispose](): void {
    unsubscribe('net.server.socket', this.add);
  }
}

describe.each(Object.entries(CROWDS))(`G-04 among ${COUNT} %s`, (who, behave) => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it(`G-04 close() takes less than ${CLOSE_MS} ms, and leaves no socket`, { timeout: 60_000 }, async () => {
      using accepted = new Accepted();
      await using cluster = new Cluster({ driver });
      const b = await cluster.start('b', PATIENT);
      let asked = 0;
      b.register('much', { give: () => ((asked += 1), MUCH) });
      const port = portOf(cluster, B);
      const peers = await Promise.all(Array.from({ length: COUNT }, () => RawPeer.dial(driver, port)));
      try {
        await Promise.all(peers.map((peer, index) => behave(peer, index)));
        await until(() => b.stats().acceptedConnections + b.stats().handshakes === COUNT);
        if (who.endsWith('asked for')) await until(() => asked === COUNT && b.stats().runningCalls === 0);
        const since = performance.now();
        await b.close();
        expect(performance.now() - since).toBeLessThan(CLOSE_MS);
        expect(accepted.sockets.map(({ destroyed }) => destroyed)).toEqual(peers.map(() => true));
        expect(b.stats()).toMatchObject({ acceptedConnections: 0, runningCalls: 0 });
      } finally {
        for (const peer of peers) peer.destroy();
      }
    });
  });
});

describe.each(SOCKET_DRIVERS)('G-04 among nodes that do not read what they are sent, over %s', (driver) => {
  it(`G-04 close() of a caller takes less than ${CLOSE_MS} ms`, async () => {
    await using cluster = new Cluster({ driver });
    await using server = await RawServer.listen(driver);
    redirect(cluster, B, server.port);
    const a = cluster.create('a', { listen: false });
    const connected = a.connect(B);
    const peer = await server.accept();
    await peer.welcome(B);
    peer.socket.pause();
    await connected;
    const replies = [1, 2].map(() => a.call(B, 'much', 'take', ['x'.repeat(MUCH.length - 16)]));
    const failed = replies.map((reply) => expect(reply).rejects.toMatchObject({ code: 'cancelled' }));
    const since = performance.now();
    await Promise.all([a.close(), ...failed]);
    expect(performance.now() - since).toBeLessThan(CLOSE_MS);
    expect(a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 0 });
  });
});
