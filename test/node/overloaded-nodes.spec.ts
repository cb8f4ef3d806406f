/** Calls of a module whose nodes have too much to do: going on to another node must not make that worse. */
import { describe, expect, it } from 'vitest';
import { FrameType } from '../../lib/protocol/frame.js';
import { NO_PAYLOAD } from '../../lib/protocol/payload.js';
import type { CallOptions } from '../../lib/node/call-options.js';
import type { NodeSettings } from '../support/cluster.js';
import { bytesOf, RawServer, type RawPeer } from '../support/raw-peer.js';
import { Town, WHO } from '../support/town.js';

const VIRTUAL = { virtual: { seed: 6, latency: () => 1 } };
const BROKE = { ratio: 0, perSecond: 0 };

/** `full` nodes that refuse all calls, and one that takes them where those are tried first. */
async function townWith(full: number, options: NodeSettings, priority = 0): Promise<Town> {
  const town = await Town.of([], VIRTUAL, { ejection: false, ...options });
  for (let n = 0; n < full; n += 1) await town.addFull(`full${n}`);
  await town.add('free', { priority });
  return town;
}

/** What becomes of a call, for whose answer there is time enough. */
async function settled(town: Town, options: CallOptions = {}): Promise<unknown> {
  const call = town.caller.call(WHO, 'who', 'am', [], options).catch((error: unknown) => error);
  await town.cluster.clock?.advance(100);
  return call;
}

describe('a call of a module that its node refuses because it has too much to do', () => {
  it.each([false, true])(
    'is made on other nodes from the budget of retries, with nine of ten full too (idempotent %s)',
    async (idempotent) => {
      await using town = await townWith(9, { retry: { perSecond: 0 } });
      const CALLS = 400;
      const ends: Promise<unknown>[] = [];
      for (let n = 0; n < CALLS; n += 1) {
        ends.push(town.caller.call(WHO, 'who', 'am', [], { idempotent, timeout: 2000 }).catch(() => {}));
        await town.cluster.clock?.advance(2);
      }
      await town.cluster.clock?.advance(3000);
      await Promise.all(ends);
      const refusals = [...town.nodes.values()].map((node) => node.stats().counts.call_overload ?? 0);
      const attempts = town.ran.length + refusals.reduce((sum, count) => sum + count);
      const { call_failed_over: onward = 0, call_retried: again = 0, ...counts } = town.caller.stats().counts;
      expect(attempts).toBe(CALLS + onward + again);
      expect(attempts).toBeLessThanOrEqual(1.2 * CALLS);
      // It was the budget that kept it so: all of it was used.
      expect(attempts).toBeGreaterThanOrEqual(1.2 * CALLS - 1);
      expect(counts.retry_budget_exhausted).toBeGreaterThan(0);
    },
  );

  it('goes on as long as there is budget, each time at the price of one retry', async () => {
    await using town = await townWith(2, { retry: { ratio: 0, perSecond: 3 } }, 1);
    await expect(settled(town)).resolves.toBe('free');
    await expect(settled(town)).resolves.toMatchObject({ code: 'refused', details: { limit: 'calls', running: 1 } });
    expect(town.caller.stats().counts).toMatchObject({ call_failed_over: 3, retry_budget_exhausted: 1 });
    await town.cluster.clock?.advance(1000);
    await expect(settled(town)).resolves.toBe('free');
  });

  it('goes on with retry: false too, on the budget that is the default', async () => {
    await using town = await townWith(1, { retry: false }, 1);
    for (let n = 0; n < 10; n += 1) await expect(settled(town)).resolves.toBe('free');
    expect(town.caller.stats().counts).toMatchObject({ call_failed_over: 10 });
  });

  it('with waitForReady waits without budget, for a node that can take it', async () => {
    await using town = await townWith(1, { retry: BROKE }, 1);
    const call = town.caller.call(WHO, 'who', 'am', [], { waitForReady: true, timeout: 10_000 });
    await town.cluster.clock?.advance(2500);
    expect(town.caller.stats().counts).not.toHaveProperty('call_failed_over');
    expect(town.ran).toEqual([]);
    town.discovery.tell(town.recordOf('free'));
    await town.cluster.clock?.advance(100);
    await expect(call).resolves.toBe('free');
  });
});

describe('a call of a module goes on without budget', () => {
  it('from nodes that cannot be reached', async () => {
    await using town = await Town.of([], VIRTUAL, { retry: BROKE, ejection: false });
    for (const name of ['gone', 'lost']) await town.add(name, { locations: [{ host: '127.0.0.1', port: 1 }] });
    await town.add('free', { priority: 1 });
    for (let n = 0; n < 20; n += 1) await expect(settled(town)).resolves.toBe('free');
    expect(town.caller.stats().counts.call_failed_over).toBeGreaterThan(1);
  });

  it('from a node that refuses it for another reason, because it is leaving say', async () => {
    const refuse = async (peer: RawPeer): Promise<void> => {
      await peer.welcome('leaving@127.0.0.1');
      for (let next = 0; ; next += 1) {
        await peer.until(() => peer.frames.length > next);
        const frame = peer.frames[next];
        if (frame?.type !== FrameType.Call) continue;
        const { id } = frame;
        peer.send(bytesOf({ type: FrameType.Error, id, code: 'refused', message: 'leaving', payload: NO_PAYLOAD }));
      }
    };
    await using leaving = await RawServer.listen('tcp', (peer) => void refuse(peer).catch(() => {}));
    await using town = await Town.of([], {}, { retry: BROKE, ejection: false });
    await town.add('leaving', { locations: [{ host: '127.0.0.1', port: leaving.port }] });
    await town.add('free', { priority: 1 });
    for (let n = 0; n < 5; n += 1) await expect(town.caller.call(WHO, 'who', 'am')).resolves.toBe('free');
    expect(town.caller.stats().counts).toMatchObject({ call_failed_over: 5 });
  });
});
