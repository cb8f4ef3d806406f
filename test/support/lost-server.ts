/** A caller whose server makes an end of their connection: what it is told, and where its next call goes. */
import { expect } from 'vitest';
import type { NodeStats } from '../../lib/node/node-stats.js';
import { FrameType } from '../../lib/protocol/frame.js';
import { Cluster, type SocketDriver } from './cluster.js';
import { redirect } from './door.js';
import { bytesOf, RawServer, type RawPeer } from './raw-peer.js';

const B = 'b@127.0.0.1';

/**
 * The pending call is told, and the next one is answered over a new connection.
 * @param end what the server does to the first one
 * @returns what the caller counted
 */
export async function loseServer(driver: SocketDriver, end: (peer: RawPeer) => void): Promise<NodeStats> {
  await using server = await RawServer.listen(driver);
  await using cluster = new Cluster({ driver });
  const a = cluster.create('a', { listen: false });
  redirect(cluster, B, server.port);
  const reply = a.call(B, 'math', 'add', [1, 2]);
  const lost = expect(reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
  const first = await (await server.accept()).welcome(B);
  await first.until(() => first.frames.length === 1);
  end(first);
  await lost;
  const second = a.call(B, 'math', 'add', [3, 4], { waitForReady: true });
  const peer = await (await server.accept()).welcome(B);
  await peer.until(() => peer.frames.length === 1);
  peer.send(bytesOf({ type: FrameType.Result, id: 1, payload: { kind: 'codec', bytes: Buffer.of(7) } }));
  await expect(second).resolves.toBe(7);
  return a.stats();
}
