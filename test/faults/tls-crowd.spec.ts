/** Many strangers at the door of TLS, and many that fail there: S-12, K-07. */
import { Server } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CertificateAuthority, selfSigned } from '../../lib/authority/certificate-authority.js';
import { DEFAULT_ADMISSION } from '../../lib/node/option-groups.js';
import { Cluster } from '../support/cluster.js';
import { crowd, strangersPossible, type Mute } from '../support/crowd.js';
import { Door, portOf, until } from '../support/door.js';
import { heldBytes } from '../support/heap.js';
import { RawPeer } from '../support/raw-peer.js';
import { clientHello, tlsVisit } from '../support/tls-peer.js';
import { LOOPBACK_TLS, tlsDriver } from '../support/tls.js';

const MIB = 1024 * 1024;

afterEach(() => vi.restoreAllMocks());

/** Tells how many sockets the server has that listens next. */
function nextServer(): () => Promise<number> {
  const all = vi.spyOn(Server.prototype, 'listen').mock.contexts as Server[];
  const at = all.length;
  return () =>
    new Promise((resolve, reject) => {
      all[at]?.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
    });
}

// Only Linux has all of 127.0.0.0/8 without being told.
describe.skipIf(process.platform !== 'linux')('S-12 silent connections over TLS', { timeout: 120_000 }, () => {
  const STRANGERS = strangersPossible();
  const HANDSHAKE_TIMEOUT = 2_000;
  /** What the fault list gives a server to be rid of them, behind their deadline; and this machine. */
  const RID_OF_THEM_MS = 1_000;
  const SLACK_MS = 2_000;

  /** Comes, as a node does, while they are there. */
  async function served(door: Door): Promise<number> {
    const client = door.cluster.create('client', { listen: false });
    const since = performance.now();
    expect(await client.call(door.name, 'health', 'ping')).toBe('pong');
    const took = performance.now() - since;
    await client.close();
    return took;
  }

  async function without(door: Door, size: number, hello: Buffer): Promise<void> {
    const mutes: Mute[] = [];
    try {
      // One in three says nothing, one begins to, and one does not go on.
      mutes.push(...(await crowd(door.port, size, (index) => [undefined, hello.subarray(0, 60), hello][index % 3])));
      const since = performance.now();
      expect(door.node.stats().handshakes).toBeGreaterThan(0);
      expect(await served(door)).toBeLessThan(1_000);
      await Promise.all(mutes.map((mute) => mute.over()));
      await until(() => door.node.stats().handshakes === 0);
      expect(performance.now() - since).toBeLessThan(HANDSHAKE_TIMEOUT + RID_OF_THEM_MS + SLACK_MS);
    } finally {
      for (const mute of mutes) mute.destroy();
    }
  }

  it(`S-12 ${STRANGERS} of one address: others get in at once, none is left, nor what it took`, async () => {
    const connections = nextServer();
    await using door = await Door.open('tls', { handshakeTimeout: HANDSHAKE_TIMEOUT });
    const hello = await clientHello();
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, door.node.stats().handshakes)), 1);
    await without(door, 200, hello);
    const before = await heldBytes();
    await without(door, STRANGERS, hello);
    clearInterval(watch);
    // And the client.
    expect(most).toBeLessThanOrEqual(DEFAULT_ADMISSION.perAddress + 1);
    const { handshake_timeout: late = 0, admission_refused: refused = 0 } = door.counts;
    expect(late + refused).toBe(STRANGERS + 200);
    await until(() => door.node.stats().acceptedConnections === 1);
    expect(await connections()).toBe(1);
    expect((await heldBytes()) - before).toBeLessThan(4 * MIB);
  });

  it('S-12 as many as may be there at once: another gets in once their deadline has passed, and nothing is left', async () => {
    const connections = nextServer();
    const size = 600;
    const admission = { total: size, perAddress: size };
    await using door = await Door.open('tls', { handshakeTimeout: HANDSHAKE_TIMEOUT, admission });
    const hello = await clientHello();
    const mutes = await crowd(door.port, size, (index) => [undefined, hello.subarray(0, 60), hello][index % 3]);
    await until(() => door.node.stats().handshakes === size);
    expect(await door.ping()).toBe('pong');
    await Promise.all(mutes.map((mute) => mute.over()));
    await until(() => door.node.stats().handshakes === 0);
    expect(await served(door)).toBeLessThan(5_000);
    expect(door.counts.handshake_timeout).toBe(size);
    await until(() => door.node.stats().acceptedConnections === 1);
    expect(await connections()).toBe(1);
  });
});

/** `GEN_RPC_SOAK=1` runs what the fault list asks for in full; otherwise as much as fits some seconds. */
const SOAK = process.env['GEN_RPC_SOAK'] === '1';

describe('K-07 handshakes of TLS that fail', { timeout: SOAK ? 900_000 : 120_000 }, () => {
  /** There are two of them. */
  const ROUND = SOAK ? 10_000 : 1_000;
  const ADMISSION = { perAddress: 100, failuresPerMinute: 1_000_000 };
  const AT_ONCE = 20;
  const KINDS = 5;

  it(`K-07 ${2 * ROUND} of them leave no socket and nothing on the heap, and a second round takes no more`, async () => {
    const connections = nextServer();
    await using door = await Door.open('tls', { admission: ADMISSION });
    const hello = await clientHello();
    const { cert, key } = await selfSigned('x@127.0.0.1');
    const raw = async (bytes: Buffer, end: 'wait' | 'reset'): Promise<void> => {
      const peer = await RawPeer.dial('tcp', door.port);
      peer.send(bytes);
      if (end === 'reset') {
        await peer.until(() => peer.received.length > 0);
        peer.socket.resetAndDestroy();
      }
      await peer.closed();
    };
    const kinds: (() => Promise<unknown>)[] = [
      () => raw(Buffer.from('no TLS at all'), 'wait'),
      () => raw(hello, 'reset'),
      () => tlsVisit(door.port, { cert: '', key: '' }),
      () => tlsVisit(door.port, { cert, key }),
      () => tlsVisit(door.port, { ...LOOPBACK_TLS, maxVersion: 'TLSv1.2' }),
    ];
    expect(kinds).toHaveLength(KINDS);
    const fail = async (times: number): Promise<void> => {
      for (let from = 0; from < times; from += AT_ONCE) {
        await Promise.all(Array.from({ length: AT_ONCE }, async (_, index) => kinds[(from + index) % KINDS]?.()));
      }
      await until(() => door.node.stats().handshakes === 0);
    };
    await fail(ROUND / 10);
    const before = await heldBytes();
    const grown: number[] = [];
    const resident: number[] = [];
    for (const _ of [1, 2]) {
      await fail(ROUND);
      grown.push((await heldBytes()) - before);
      resident.push(process.memoryUsage.rss());
    }
    const all = 2.1 * ROUND;
    const { tls_failed: broken = 0, certificate_refused: refused = 0, handshake_failed: gone = 0 } = door.counts;
    expect(broken + refused + gone).toBe(all);
    expect(refused).toBe((2 * all) / KINDS);
    expect(door.counts.accepted).toBe(all + 1);
    expect(await connections()).toBe(1);
    for (const bytes of grown) expect(bytes).toBeLessThan(4 * MIB);
    const [first = 0, second = 0] = resident;
    expect(second - first).toBeLessThan(64 * MIB);
  });

  it(`K-07 ${ROUND} dials that fail leave none either`, async () => {
    const connections = nextServer();
    await using cluster = new Cluster({ driver: 'tls' });
    const b = await cluster.start('b', { admission: ADMISSION });
    const at = { host: '127.0.0.1', port: portOf(cluster, b.name) };
    const other = (await CertificateAuthority.create()).cert;
    const driver = tlsDriver({ ...LOOPBACK_TLS, ca: other });
    const fail = async (times: number): Promise<void> => {
      for (let done = 0; done < times; done += AT_ONCE) {
        const dials = Array.from({ length: AT_ONCE }, () => driver.connect(at, new AbortController().signal));
        for (const { status } of await Promise.allSettled(dials)) expect(status).toBe('rejected');
      }
      await until(() => b.stats().handshakes === 0);
    };
    await fail(ROUND / 10);
    const before = await heldBytes();
    await fail(ROUND);
    expect((await heldBytes()) - before).toBeLessThan(4 * MIB);
    expect(await connections()).toBe(0);
    expect(b.stats().counts.accepted).toBe(1.1 * ROUND);
  });
});
