/** A connection that breaks at every point of a call: how the call settles, what is said of it, and what ran. */
import { describe, expect, it } from 'vitest';
import { isGenRpcError, type GenRpcError } from '../../lib/protocol/errors.js';
import { FrameType } from '../../lib/protocol/frame.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, twoNodes, type TwoNodes } from '../support/cluster.js';
import { until } from '../support/door.js';
import { Proxy, type Direction, type ProxyLink } from '../support/proxy.js';
import { bytesOf, RawServer, type RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';
const RAW = 'raw@127.0.0.1';

type Fault = 'reset' | 'end' | 'black hole';

/** Bytes of the handshake and of one call with its answer, as they pass a proxy. */
interface Lengths {
  readonly handshake: Record<Direction, number>;
  readonly call: Record<Direction, number>;
}

/** `a` reaches `b` through a proxy that lets this many bytes of a direction pass, and then does its worst. */
async function broken(fault: Fault, direction: Direction, passing: number) {
  const nodes = await twoNodes({ driver: 'tcp', virtual: { seed: 1 } });
  const home = nodes.discovery.locations.get(B);
  if (home === undefined) throw new Error('b listens');
  let done = false;
  const allow = (link: ProxyLink, way: Direction, bytes: number): number => {
    if (done) return 0;
    if (way !== direction || link.passed[way] + bytes <= passing) return bytes;
    done = true;
    if (fault === 'reset') setImmediate(() => link.reset());
    if (fault === 'end') setImmediate(() => link.end());
    return passing - link.passed[way];
  };
  const proxy = await Proxy.to(home, { allow });
  nodes.discovery.locations.set(B, { ...home, port: proxy.port });
  return Object.assign(nodes, { proxy });
}

/** One call, and what became of it; time passes until something has. */
async function callOnce(nodes: TwoNodes): Promise<{ outcomes: unknown[]; connectedBefore: boolean }> {
  const outcomes: unknown[] = [];
  nodes.a.call(B, 'math', 'add', [1, 2], { timeout: 8000 }).then(
    (value) => outcomes.push(value),
    (error: unknown) => outcomes.push(error),
  );
  let quiet = 0;
  while (outcomes.length === 0) {
    quiet += 1;
    // A few turns for what is under way; then time passes, as it does in a black hole.
    if (quiet > 50) await nodes.clock?.advance(100);
    else await new Promise(setImmediate);
  }
  return { outcomes, connectedBefore: nodes.a.stats().counts.connected === 1 };
}

async function lengthsOf(): Promise<Lengths> {
  await using nodes = await broken('end', 'up', Infinity);
  await using proxy = nodes.proxy;
  await nodes.a.connect(B);
  const link = proxy.links[0];
  if (link === undefined) throw new Error('the proxy was used');
  const handshake = { ...link.passed };
  await nodes.a.call(B, 'math', 'add', [1, 2], { timeout: 8000 });
  return {
    handshake,
    call: { up: link.passed.up - handshake.up, down: link.passed.down - handshake.down },
  };
}

/** Every offset of the call or its answer; of the handshake, the frame boundaries and some bytes about them. */
function offsets(length: number, phase: 'handshake' | 'call'): number[] {
  if (phase === 'call') return Array.from({ length }, (_, at) => at);
  // The second frame of a handshake is header and one proof: 44 bytes.
  return [0, 1, 11, 12, 13, length - 45, length - 44, length - 43, length - 1];
}

describe.each<Fault>(['reset', 'end', 'black hole'])('R-01 a connection whose end is a %s', (fault) => {
  it.each<Direction>(['up', 'down'])('R-01 within its handshake, %s: the call was never sent', async (direction) => {
    const { handshake } = await lengthsOf();
    for (const at of offsets(handshake[direction], 'handshake')) {
      await using nodes = await broken(fault, direction, at);
      await using _ = nodes.proxy;
      const { outcomes } = await callOnce(nodes);
      expect(outcomes, `cut at ${at}`).toMatchObject([{ code: 'node_down', maybeExecuted: false }]);
      expect(nodes.ran).toEqual([]);
    }
  });

  it.each<Direction>(['up', 'down'])('R-01 at every byte of a call, %s: it settles once, and may have run', async (direction) => {
    const { handshake, call } = await lengthsOf();
    // A black hole is told from silence by its deadline alone; what is said of the call is the same.
    const code = fault === 'black hole' ? 'timeout' : 'connection_lost';
    for (const at of offsets(call[direction], 'call')) {
      await using nodes = await broken(fault, direction, handshake[direction] + at);
      await using _ = nodes.proxy;
      await nodes.a.connect(B);
      const { outcomes } = await callOnce(nodes);
      expect(outcomes, `cut at ${at}`).toMatchObject([{ code, maybeExecuted: true }]);
      await until(() => nodes.b.stats().runningCalls === 0);
      expect(nodes.ran, `cut at ${at}`).toEqual(direction === 'down' ? ['add'] : []);
      expect(nodes.a.stats().pendingCalls).toBe(0);
    }
  });
});
