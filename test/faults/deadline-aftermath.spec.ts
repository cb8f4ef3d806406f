/** The function in the middle of a chain fails with what it called, because its own call is over: that is no accident. */
import { describe, expect, it } from 'vitest';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { Cluster } from '../support/cluster.js';
import { HandClock } from '../support/hand.js';

async function chain(): Promise<Cluster> {
  const cluster = new Cluster({ virtual: { seed: 1, latency: () => 5 } });
  const [b, c] = [await cluster.start('b'), await cluster.start('c')];
  c.register('c', { wait: () => new Promise(() => {}) });
  b.register('b', {
    relay: () => b.call('c@127.0.0.1', 'c', 'wait'),
    short: () => b.call('c@127.0.0.1', 'c', 'wait', [], { timeout: 50 }),
  });
  return cluster;
}

describe('the function in the middle', () => {
  it.each([
    ['its caller is out of time', { timeout: 100 }, 'timeout'],
    ['its caller gives up', {}, 'cancelled'],
  ])('has not failed where %s', async (_, options, code) => {
    await using cluster = await chain();
    const a = cluster.create('a', { listen: false });
    const abort = new AbortController();
    const reply = a.call('b@127.0.0.1', 'b', 'relay', [], 'timeout' in options ? options : { signal: abort.signal });
    const failed = reply.catch((error: GenRpcError) => error.code);
    await cluster.clock?.advance(60);
    abort.abort();
    await cluster.clock?.advance(200);
    expect(await failed).toBe(code);
    expect(cluster.log.lines).toEqual([]);
  });

  it('has failed where what it called took longer than it allowed, and it had time left', async () => {
    await using cluster = await chain();
    const a = cluster.create('a', { listen: false });
    const failed = a.call('b@127.0.0.1', 'b', 'short').catch((error: GenRpcError) => error.code);
    await cluster.clock?.advance(200);
    expect(await failed).toBe('handler_failed');
    expect(cluster.log.lines).toHaveLength(1);
  });

  it('is out of time to a caller that has not looked at the clock yet', async () => {
    await using cluster = await chain();
    const a = cluster.create('a', { listen: false }, { clock: new HandClock() });
    const connected = a.connect('b@127.0.0.1');
    await cluster.clock?.advance(100);
    await connected;
    const failed = a.call('b@127.0.0.1', 'b', 'relay', [], { timeout: 100 }).catch((error: GenRpcError) => error);
    await cluster.clock?.advance(300);
    expect(await failed).toMatchObject({ code: 'timeout', maybeExecuted: true });
    expect(cluster.log.lines).toEqual([]);
  });
});
