/** How long it takes to find out that nobody answers, at one place of a node or at several. */
import { describe, expect, it } from 'vitest';
import type { Location } from '../../lib/discovery/discovery.js';
import type { Channel } from '../../lib/driver/driver.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, type NodeSettings } from '../support/cluster.js';

const B = 'b@127.0.0.1';

/** `a` looks for `b` at places that accept whoever comes and say nothing, and behind them where it is. */
class Silence implements AsyncDisposable {
  readonly a: GenRpcNode;
  private readonly places: Location[] = [];
  private readonly accepted: Channel[] = [];

  private constructor(
    readonly cluster: Cluster,
    options: NodeSettings,
  ) {
    const discovery = { resolve: async () => this.places };
    this.a = cluster.create('a', { listen: false, discovery, ...options });
  }

  static async of(silent: number, isThere: boolean, options: NodeSettings = {}): Promise<Silence> {
    const silence = new Silence(new Cluster({ virtual: { seed: 2 } }), options);
    for (let n = 0; n < silent; n += 1) await silence.accept();
    if (isThere) await silence.start();
    return silence;
  }

  advance(ms: number): Promise<void> {
    return this.cluster.clock?.advance(ms) ?? expect.fail('no clock');
  }

  /** The outcome, once it is there, and when that was; looked at every 50 ms. */
  async outcomeOf(work: Promise<unknown>): Promise<{ outcome: unknown; ms: number }> {
    let outcome: unknown;
    let done = false;
    void work
      .catch((error: unknown) => error)
      .then((value) => {
        outcome = value;
        done = true;
      });
    let ms = 0;
    for (; !done; ms += 50) await this.advance(50);
    return { outcome, ms };
  }

  private async accept(): Promise<void> {
    const driver = this.cluster.network.driver('127.0.0.1');
    const { address } = await driver.listen(
      { host: '127.0.0.1', port: 0 },
      (channel) => void this.accepted.push(channel),
      (error) => expect.fail(error.message),
    );
    this.places.push({ driver: 'memory', ...address });
  }

  private async start(): Promise<void> {
    const b = await this.cluster.start('b');
    b.register('who', { am: () => 'b' });
    this.places.push(this.cluster.discovery.locations.get(B) ?? expect.fail('nowhere'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }
}

describe('connectTimeout', () => {
  it('is for all of it: what reaching a node has cost is not there for its handshake', async () => {
    await using silence = await Silence.of(1, false, { connectTimeout: 5000 });
    silence.cluster.network.delay('127.0.0.1', '127.0.0.1', 3000);
    const { outcome, ms } = await silence.outcomeOf(silence.a.connect(B));
    expect(outcome).toMatchObject({
      code: 'node_down',
      message: expect.stringContaining('The handshake was not done after 2000 ms'),
    });
    expect(ms).toBe(5000);
  });

  it('is for all places together: those that accept and say nothing leave time for the one behind them', async () => {
    await using silence = await Silence.of(3, true, { connectTimeout: 4000 });
    const { outcome, ms } = await silence.outcomeOf(silence.a.call(B, 'who', 'am'));
    expect(outcome).toBe('b');
    // A quarter of 4,000 each.
    expect(ms).toBeGreaterThanOrEqual(3000);
    expect(ms).toBeLessThan(3500);
  });

  it('is for all places together, also where there are as many of them as a node may have', async () => {
    await using silence = await Silence.of(16, false, { connectTimeout: 4000 });
    const { outcome, ms } = await silence.outcomeOf(silence.a.connect(B));
    expect(outcome).toMatchObject({ code: 'node_down' });
    expect(ms).toBe(4000);
  });

  it('leaves no handshake more than handshakeTimeout', async () => {
    await using silence = await Silence.of(3, true, { connectTimeout: 60_000, handshakeTimeout: 300 });
    const { outcome, ms } = await silence.outcomeOf(silence.a.call(B, 'who', 'am'));
    expect(outcome).toBe('b');
    expect(ms).toBeGreaterThanOrEqual(900);
    expect(ms).toBeLessThan(1400);
  });

  it('does not hold up a call beyond its own timeout', async () => {
    await using silence = await Silence.of(1, true, { connectTimeout: 60_000, handshakeTimeout: 60_000 });
    const { outcome, ms } = await silence.outcomeOf(silence.a.call(B, 'who', 'am', [], { timeout: 400 }));
    expect(outcome).toMatchObject({ code: 'timeout', maybeExecuted: false });
    expect(ms).toBeLessThanOrEqual(450);
  });
});
