/** Processes that stand still: stopped by a debugger or the system, or busy with themselves. */
import { describe, expect, it } from 'vitest';
import { ChildNode, socketsOf } from '../support/child-node.js';
import { Cluster, SOCKET_DRIVERS } from '../support/cluster.js';
import { until } from '../support/door.js';

const A = 'a@127.0.0.1';
const CHILD = 'child@127.0.0.1';
const QUICK = { idle: 200, interval: 200, count: 1 };
/** Everything about connections is over soon, calls have their time. */
const IMPATIENT = {
  keepalive: QUICK,
  ...{ connectTimeout: 600, handshakeTimeout: 300, callTimeout: 60_000 },
  reconnect: { min: 10, max: 100 },
};

interface Seen {
  readonly ran: readonly string[];
  readonly told: readonly string[];
}

describe.skipIf(process.platform !== 'linux')('S-03 a peer that is stopped', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('S-03 is dead by its silence, learns of it when it wakes, and its stale answer reaches nobody', async () => {
      await using cluster = new Cluster({ driver, options: IMPATIENT });
      await using child = await ChildNode.start(cluster, CHILD, IMPATIENT);
      const a = await cluster.start('a');
      const sockets = socketsOf();
      const old = Promise.allSettled(['answers', 'never'].map((name) => a.call(CHILD, 'child', 'wait', [name])));
      while ((await child.ask<Seen>('seen')).ran.length < 2);
      await child.stop();
      const since = performance.now();
      const lost = { status: 'rejected', reason: { code: 'connection_lost', maybeExecuted: true } };
      expect(await old).toMatchObject([lost, lost]);
      expect(performance.now() - since).toBeLessThan(5000);
      // Destroyed, not ended: the peer would never take part in an orderly end.
      await until(() => socketsOf() <= sockets);
      expect(a.stats().openConnections).toBe(0);

      child.wake();
      await child.ask('answer', 'answers');
      while ((await child.stats()).acceptedConnections > 0);
      const { ran, told } = await child.ask<Seen>('seen');
      expect([ran, told]).toEqual([['answers', 'never'], expect.arrayContaining(['never'])]);
      await expect(a.call(CHILD, 'child', 'echo', ['after'], { waitForReady: true })).resolves.toBe('after');
      expect(a.stats().counts.late_frames).toBeUndefined();
    });

    it('S-03 with a call that it has not read yet: its answer to the old connection is no answer on the new one', async () => {
      await using cluster = new Cluster({ driver, options: IMPATIENT });
      await using child = await ChildNode.start(cluster, CHILD, IMPATIENT);
      const a = cluster.create('a', { listen: false });
      await a.call(CHILD, 'child', 'echo', [0]);
      await child.stop();
      await expect(a.call(CHILD, 'child', 'echo', ['stale'])).rejects.toMatchObject({
        code: 'connection_lost',
        maybeExecuted: true,
      });
      child.wake();
      // The numbers of calls begin anew with each connection: these have those of the ones that were lost.
      const fresh = ['new 1', 'new 2', 'new 3'].map((value) => {
        return a.call(CHILD, 'child', 'echo', [value], { waitForReady: true });
      });
      await expect(Promise.all(fresh)).resolves.toEqual(['new 1', 'new 2', 'new 3']);
      expect(a.stats()).toMatchObject({ pendingCalls: 0, openConnections: 1 });
    });

    it('S-03 that calls: its place here is given free, its call ends when it wakes, and the next one runs', async () => {
      await using cluster = new Cluster({ driver, options: IMPATIENT });
      const a = await cluster.start('a');
      const stopped: unknown[] = [];
      a.register('slow', {
        fn: (_args, { signal }) =>
          new Promise(() => signal.addEventListener('abort', () => stopped.push(signal.reason))),
      });
      a.register('math', { add: ([x, y]: [number, number]) => x + y });
      const nodes = { [A]: { port: cluster.discovery.locations.get(A)?.port } };
      await using child = await ChildNode.start(cluster, CHILD, { ...IMPATIENT, nodes });
      const old = child.ask('call', A, 'slow', 'fn', []);
      await until(() => a.stats().runningCalls === 1);
      await child.stop();
      await until(() => a.stats().acceptedConnections === 0);
      expect(stopped).toMatchObject([{ code: 'connection_lost' }]);
      child.wake();
      await expect(old).resolves.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
      const next = child.ask('call', A, 'math', 'add', [1, 2], { waitForReady: true });
      await expect(next).resolves.toEqual({ value: 3 });
    });
  });
});

describe.skipIf(process.platform !== 'linux')('S-11 a server in a debugger', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('S-11 for much longer than anybody waits: reached again afterwards, and no socket is left anywhere', async () => {
      await using cluster = new Cluster({ driver, options: IMPATIENT });
      await using child = await ChildNode.start(cluster, CHILD, IMPATIENT);
      const callers = ['a', 'c', 'd'].map((name) => cluster.create(name, { listen: false }));
      await Promise.all(callers.map((caller) => caller.call(CHILD, 'child', 'echo', [1])));
      const before = { here: socketsOf(), there: child.sockets };
      await child.stop();
      const waiting = callers.map((caller) => caller.call(CHILD, 'child', 'echo', ['late'], { waitForReady: true }));
      // What was sent over the old connection may have run; what asked to wait after that has not.
      const ends = Promise.allSettled(waiting);
      const patient = async (caller: (typeof callers)[number]): Promise<unknown> => {
        await until(() => caller.stats().openConnections === 0);
        return caller.call(CHILD, 'child', 'echo', ['waited'], { waitForReady: true });
      };
      const waited = Promise.all(callers.map(patient));
      // The system accepts for a process that stands still: each of these attempts is a handshake without an answer.
      await until(() => callers.every((caller) => (caller.stats().counts.dial_failed ?? 0) >= 5));
      child.wake();
      await expect(waited).resolves.toEqual(['waited', 'waited', 'waited']);
      for (const end of await ends) {
        expect(end).toMatchObject({ status: 'rejected', reason: { code: 'connection_lost', maybeExecuted: true } });
      }
      await until(() => socketsOf() <= before.here);
      let left = await child.stats();
      while (left.acceptedConnections > callers.length || left.handshakes > 0) left = await child.stats();
      await until(() => child.sockets <= before.there);
      expect(left).toMatchObject({ acceptedConnections: 3, runningCalls: 0 });
      for (const caller of callers) expect(caller.stats()).toMatchObject({ openConnections: 1, pendingCalls: 0 });
    });
  });
});
