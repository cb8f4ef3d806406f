import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import type { CallContext } from '../../lib/server/module-registry.js';
import { Cluster, DRIVERS } from '../support/cluster.js';
import { CountedClock } from '../support/counted-clock.js';

/** `GEN_RPC_SOAK=1` makes the full million calls; otherwise as many as fit a few seconds. */
const SOAK = process.env['GEN_RPC_SOAK'] === '1';
const CALLS = SOAK ? 1_000_000 : 80_000;
const PER_KIND = 250;
const SAMPLES = 20;
/** The first samples are left out: code is compiled, buffers and tables find their size. */
const WARM_UP = 8;

const B = 'b@127.0.0.1';
const TIMEOUT_MS = 20;
const PATIENCE_MS = 2_000;

/** Runs until nobody waits for it any more. */
function untilAborted(_: unknown, { signal }: CallContext): Promise<string> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve('too late'), { once: true }));
}

const tally = { ok: 0, handler_failed: 0, timeout: 0, cancelled: 0 };

async function settle(reply: Promise<unknown>): Promise<void> {
  const code = await reply.then(
    () => 'ok',
    (error: GenRpcError) => error.code,
  );
  tally[code as keyof typeof tally] += 1;
}

/** As many calls of each kind, side by side. */
async function batch(a: GenRpcNode): Promise<void> {
  const givenUp: AbortController[] = [];
  const replies: Promise<void>[] = [];
  for (let n = 0; n < PER_KIND; n += 1) {
    const caller = new AbortController();
    givenUp.push(caller);
    replies.push(
      settle(a.call(B, 'soak', 'ok', [n, 'text'], { timeout: PATIENCE_MS })),
      settle(a.call(B, 'soak', 'fail', [n], { timeout: PATIENCE_MS })),
      settle(a.call(B, 'soak', 'wait', [n], { timeout: TIMEOUT_MS })),
      settle(a.call(B, 'soak', 'wait', [n], { timeout: PATIENCE_MS, signal: caller.signal })),
    );
  }
  await new Promise(setImmediate);
  for (const caller of givenUp) caller.abort();
  await Promise.all(replies);
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heapAfterCollection(): number {
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}

/** By how much the floor of `heaps` has risen a call: what comes and goes above it is not kept. */
function bytesKeptPerCall(heaps: readonly number[]): number {
  const steady = heaps.slice(WARM_UP);
  const third = Math.ceil(steady.length / 3);
  const risen = Math.min(...steady.slice(-third)) - Math.min(...steady.slice(0, third));
  return risen / ((CALLS / SAMPLES) * (steady.length - third));
}

describe.each(SOAK ? DRIVERS : ['tcp' as const])(
  'K-02 calls of every ending over %s',
  { timeout: SOAK ? 600_000 : 60_000 },
  (driver) => {
    it(`K-02 ${CALLS} of them leave no call, no timer and no memory behind`, async () => {
      Object.assign(tally, { ok: 0, handler_failed: 0, timeout: 0, cancelled: 0 });
      const clock = new CountedClock();
      await using cluster = new Cluster({ driver, ports: { clock } });
      const b = await cluster.start('b');
      b.register('soak', {
        ok: (args) => args,
        fail: () => {
          throw new GenRpcError('handler_failed', 'on purpose');
        },
        wait: untilAborted,
      });
      const a = cluster.create('a', { listen: false });
      const heaps: number[] = [];
      const batches = CALLS / (4 * PER_KIND);
      for (let done = 1; done <= batches; done += 1) {
        await batch(a);
        if (done % (batches / SAMPLES) === 0) heaps.push(heapAfterCollection());
      }
      expect(tally).toEqual({ ok: CALLS / 4, handler_failed: CALLS / 4, timeout: CALLS / 4, cancelled: CALLS / 4 });
      // Of every end of the connection, the timer of its heartbeat stays.
      while (b.stats().runningCalls > 0 || clock.pending > 2) await new Promise(setImmediate);
      expect(a.stats()).toMatchObject({ pendingCalls: 0, counts: { connected: 1, dialled: 1 } });
      expect(b.stats().runningCalls).toBe(0);
      // One entry of a table has more than a hundred bytes: kept of one call in four, that is 25. Noise alone reached 15.
      expect(bytesKeptPerCall(heaps), `heaps: ${heaps.join(', ')}`).toBeLessThan(SOAK ? 1 : 20);
    });
  },
);
