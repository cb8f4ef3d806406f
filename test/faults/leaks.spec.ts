/** What must not be left behind: by connections that come and go, by strangers who only ever say their name. */
import { readdirSync } from 'node:fs';
import { getHeapSnapshot } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { createNode } from '../../lib/node/create-node.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { silentLog } from '../../lib/ports/log.js';
import { HandshakeType } from '../../lib/protocol/handshake-frames.js';
import { Cluster, SECRET } from '../support/cluster.js';
import { CountedClock } from '../support/counted-clock.js';
import { Door, greet, OTHER_SECRET, portOf, proofFrame, until } from '../support/door.js';
import { helloFor, RawPeer } from '../support/raw-peer.js';

/** `GEN_RPC_SOAK=1` runs what the fault list asks for in full; otherwise as much as fits a few seconds. */
const SOAK = process.env['GEN_RPC_SOAK'] === '1';
const AT_ONCE = 16;
/** Nobody is sent away unheard here. */
const ADMISSION = { perAddress: 512, failuresPerMinute: 1_000_000 };

/** What a process has of the system, and who listens to it. */
function belongings() {
  const resources: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1;
  const listeners = process.eventNames().map((name) => [String(name), process.listenerCount(name)]);
  // Immediates and timeouts of the test runner come and go.
  const { Immediate: _, Timeout: timeouts = 0, ...lasting } = resources;
  return { timeouts, lasting, fds: readdirSync('/proc/self/fd').length, listeners };
}

async function cycles(count: number, cycle: (index: number) => Promise<void>): Promise<void> {
  for (let index = 0; index < count; index += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - index) }, (_, at) => cycle(index + at)));
  }
}

describe('K-01 connecting, proving, closing', { timeout: SOAK ? 600_000 : 60_000 }, () => {
  const CYCLES = SOAK ? 100_000 : 2_000;

  /** Runs a tenth to warm up, then all of them, and compares what the process has before and after. */
  async function leavesNothing(
    b: GenRpcNode,
    clock: CountedClock,
    cycle: (index: number) => Promise<void>,
  ): Promise<void> {
    const quiet = async (): Promise<void> => {
      await until(() => b.stats().acceptedConnections === 0 && b.stats().handshakes === 0);
      for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    };
    await cycles(CYCLES / 10, cycle);
    await quiet();
    const before = belongings();
    await cycles(CYCLES, cycle);
    await quiet();
    await until(() => belongings().fds <= before.fds && clock.pending === 0);
    const after = belongings();
    expect({ ...after, timeouts: 0 }).toEqual({ ...before, timeouts: 0 });
    expect(after.timeouts).toBeLessThanOrEqual(before.timeouts + 1);
    expect(b.stats()).toMatchObject({ acceptedConnections: 0, handshakes: 0, runningCalls: 0 });
    expect(b.stats().counts.accepted).toBe(CYCLES + CYCLES / 10);
  }

  it(`K-01 ${CYCLES} times by nodes leaves no fd, no resource, no listener`, async () => {
    const clock = new CountedClock();
    await using cluster = new Cluster({ driver: 'tcp', ports: { log: silentLog, clock } });
    const b = await cluster.start('b', { admission: ADMISSION });
    await leavesNothing(b, clock, async (index) => {
      const { discovery } = cluster;
      const node = createNode({ name: `n${index}@127.0.0.1`, secret: SECRET, listen: false, discovery }, { clock });
      await node.connect(b.name);
      if (index % 2 === 0) await node.close();
      else node.abort();
    });
  });

  it(`K-01 ${CYCLES} times by clients that hang up at every stage leaves none either`, async () => {
    const clock = new CountedClock();
    await using cluster = new Cluster({ driver: 'tcp', ports: { log: silentLog, clock } });
    const b = await cluster.start('b', { admission: ADMISSION });
    const port = portOf(cluster, b.name);
    const guess = proofFrame(Buffer.alloc(32), OTHER_SECRET);
    await leavesNothing(b, clock, async (index) => {
      const peer = await RawPeer.dial('tcp', port);
      const stage = index % 4;
      if (stage > 0) await greet(peer, helloFor('x@127.0.0.1', b.name));
      if (stage > 1) peer.send(guess);
      if (stage > 2) await peer.handshake(HandshakeType.Reject);
      if (index % 8 < 4) peer.destroy();
      else peer.socket.resetAndDestroy();
      await peer.closed();
    });
  });
});

describe('K-05 names of strangers', { timeout: 120_000 }, () => {
  const NAMES = 10_000;
  const GHOST = /ghost_\d+_nowhere/g;

  /** The different strings of the heap that match. */
  async function inHeap(pattern: RegExp): Promise<Set<string>> {
    const found = new Set<string>();
    let tail = '';
    for await (const chunk of getHeapSnapshot()) {
      const text = tail + String(chunk);
      for (const [match] of text.matchAll(pattern)) found.add(match);
      tail = text.slice(-300);
    }
    return found;
  }

  it(`K-05 ${NAMES} of them are forgotten with their handshakes`, async () => {
    await using door = await Door.open('tcp', { admission: ADMISSION });
    const nameOf = (index: number): string => ['ghost', index, 'nowhere'].join('_').concat('@127.0.0.1');
    await cycles(NAMES, async (index) => {
      const peer = await RawPeer.dial('tcp', door.port);
      const wrongNode = index % 3 === 0;
      peer.send(
        helloFor(nameOf(index), wrongNode ? nameOf(index) : door.name, index % 3 === 1 ? { maxVersion: 0 } : {}),
      );
      if (index % 3 === 2) {
        await peer.handshake(HandshakeType.ServerHello);
        peer.send(proofFrame(Buffer.alloc(32), OTHER_SECRET));
      }
      await peer.closed();
    });
    await until(() => door.node.stats().handshakes === 0);
    const third = Math.ceil(NAMES / 3);
    expect(door.counts).toMatchObject({ wrong_node: third, version_mismatch: third - 1, auth_failed: third - 1 });
    expect(door.node.stats().acceptedConnections).toBe(1);
    // What must be found, to know that it would be; and what the log of this test has kept.
    const kept = Buffer.from(nameOf(NAMES)).toString('latin1');
    const logged = new Set(door.cluster.log.lines.flatMap((line) => line.match(GHOST) ?? []));
    const found = await inHeap(GHOST);
    expect(found).toContain(kept.slice(0, kept.indexOf('@')));
    expect([...found].filter((name) => !logged.has(name)).length).toBeLessThan(20);
  });
});
