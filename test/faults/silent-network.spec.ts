/** A network that breaks without a word: a cable that is pulled, packets of one direction that are lost, a peer that stops. */
import { describe, expect, it } from 'vitest';
import { SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { describeOnNetworks, Link } from '../support/net-namespace.js';
import { machineNow, NetNode, type End } from '../support/net-node.js';

const KEEPALIVE = { idle: 200, interval: 200, count: 2 };
const SILENCE_MS = KEEPALIVE.idle + KEEPALIVE.interval * KEEPALIVE.count;
/** For a slow machine. Without a heartbeat it would take the system over a minute. */
const SLACK_MS = 2000;
const OPTIONS = { keepalive: KEEPALIVE, reconnect: { min: 10, max: 100 }, connectTimeout: 1000 };
const MESSAGE = 4 * 1024 * 1024;
const LOST = { code: 'connection_lost', maybeExecuted: true };
/** As much as the systems of both ends may hold of a large message that has begun to move. */
const MOVING = 64 * 1024;

const ENDS = ['near', 'far'] as const;

/** `a` at the near end of a link, which has called `b` at the far one. */
class Pair {
  private constructor(
    readonly link: Link,
    readonly a: NetNode,
    readonly b: NetNode,
  ) {}

  static async start(driver: SocketDriver): Promise<Pair> {
    const link = await Link.create();
    try {
      const b = await NetNode.start(driver, link.far, 'b', OPTIONS);
      const a = await NetNode.start(driver, link.near, 'a', OPTIONS);
      expect(await a.call(b.name, 'echo', ['first', 1])).toMatchObject({ value: 1 });
      return new Pair(link, a, b);
    } catch (error) {
      await link[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Both ends find out in time, and keep neither socket nor call. */
  async foundOut(since: number): Promise<void> {
    for (const node of [this.a, this.b]) {
      const { at, destroyed } = await node.allGone();
      expect(at - since).toBeLessThan(SILENCE_MS + SLACK_MS);
      expect(destroyed).toBe(true);
      expect(await node.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0, acceptedConnections: 0 });
    }
  }

  /** As if nothing had been: over a new connection. */
  async healed(): Promise<void> {
    const { a, b } = this;
    expect(await a.call(b.name, 'echo', ['after', 2], { waitForReady: true })).toMatchObject({ value: 2 });
    expect((await a.stats()).counts).toMatchObject({ connected: 2, connection_lost: 1 });
    expect((await b.stats()).ran).toMatchObject({ first: 1, after: 1 });
  }

  async ranOnceAtMost(): Promise<void> {
    const { ran } = await this.b.stats();
    expect(Object.entries(ran).filter(([, times]) => times > 1)).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.a[Symbol.asyncDispose]();
    await this.b[Symbol.asyncDispose]();
    await this.link[Symbol.asyncDispose]();
  }
}

/** Waits until `node` has read so many bytes. */
async function hasRead(node: NetNode, bytes: number): Promise<void> {
  while ((await node.stats()).bytesRead < bytes);
}

describeOnNetworks('a cable that is pulled', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each(ENDS)('S-01 at the %s end, while nothing is going on: both ends find out', async (end) => {
      await using pair = await Pair.start(driver);
      const since = machineNow();
      await pair.link[end].down();
      await pair.foundOut(since);
      await pair.link[end].up();
      await pair.healed();
      await pair.ranOnceAtMost();
    });

    it.each(ENDS)('S-02 at the %s end, with calls in flight and bytes that nobody confirms', async (end) => {
      await using pair = await Pair.start(driver);
      const { a, b, link } = pair;
      const running = a.call(b.name, 'never', ['running']);
      while ((await b.stats()).runningCalls === 0);
      const since = machineNow();
      await link[end].down();
      // Written into a network that is no more.
      const written = Array.from({ length: 20 }, (_, call) => a.call(b.name, 'echo', [`written ${call}`, call]));
      const ends: End[] = await Promise.all([running, ...written]);
      expect(ends).toEqual(ends.map(() => expect.objectContaining(LOST) as unknown));
      await pair.foundOut(since);
      await link[end].up();
      await pair.healed();
      await pair.ranOnceAtMost();
      const { ran } = await b.stats();
      expect(Object.keys(ran).sort()).toEqual(['after', 'first', 'running']);
    });

    it.each(['up', 'down'] as const)('S-02 with half of a large message on its way %s', async (direction) => {
      await using pair = await Pair.start(driver);
      const { a, b, link } = pair;
      await Promise.all(link.ends.map((end) => end.limitOutgoing(20)));
      const [fn, args] = direction === 'up' ? ['take', ['x'.repeat(MESSAGE - 8)]] : ['give', [MESSAGE]];
      const half = a.call(b.name, String(fn), args as unknown[]);
      await hasRead(direction === 'up' ? b : a, MOVING);
      const since = machineNow();
      await link.far.down();
      expect(await half).toMatchObject(LOST);
      await pair.foundOut(since);
      await link.far.up();
      await pair.healed();
    });
  });
});

describeOnNetworks('packets of one direction that are lost', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it.each(ENDS)('S-04 those that leave the %s end: both ends find out', async (end) => {
      await using pair = await Pair.start(driver);
      const { a, b, link } = pair;
      const since = machineNow();
      await link[end].loseOutgoing();
      const reply = a.call(b.name, 'echo', ['one way', 1]);
      expect(await reply).toMatchObject(LOST);
      await pair.foundOut(since);
      // What arrives there runs; what is answered from there does not come back.
      expect((await b.stats()).ran['one way']).toBe(end === 'far' ? 1 : undefined);
      await link[end].freeOutgoing();
      await pair.healed();
      await pair.ranOnceAtMost();
    });
  });
});

describeOnNetworks('a peer that stands still', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('S-03 is found out; once it goes on it learns of it, and no old reply is taken for a new one', async () => {
      await using pair = await Pair.start(driver);
      const { a, b } = pair;
      const since = machineNow();
      b.signal('SIGSTOP');
      const old = a.call(b.name, 'echo', ['old', 'old']);
      expect(await old).toMatchObject(LOST);
      const { at, destroyed } = await a.allGone();
      expect(at - since).toBeLessThan(SILENCE_MS + SLACK_MS);
      expect(destroyed).toBe(true);
      const next = a.call(b.name, 'echo', ['new', 'new'], { waitForReady: true });
      b.signal('SIGCONT');
      expect(await next).toMatchObject({ value: 'new' });
      while ((await b.stats()).acceptedConnections > 1);
      await pair.ranOnceAtMost();
      expect((await a.stats()).counts).toMatchObject({ connection_lost: 1 });
    });
  });
});
