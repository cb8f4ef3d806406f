/** How processes end: told to, by themselves, or broken; and what becomes of the calls that they had. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { isGenRpcError } from '../../lib/protocol/errors.js';
import { Cluster, ofDriver, SECRET, SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { portOf, redirect } from '../support/door.js';

const B = 'b@127.0.0.1';
const PROGRAM = join(import.meta.dirname, 'children/ending-node.mjs');

/** `b`, a process of its own. */
class Child {
  private constructor(
    private readonly folder: string,
    readonly process: ChildProcess,
    readonly port: number,
  ) {}

  static async start(driver: SocketDriver, options: Partial<GenRpcOptions> = {}, silent = false): Promise<Child> {
    const folder = mkdtempSync(join(tmpdir(), 'process-end-'));
    const given = JSON.stringify({ name: B, secret: SECRET, listen: { port: 0 }, ...ofDriver(driver), ...options });
    const env = { ...process.env, NODE_OPTIONS: '', OPTIONS: given, NOTES: join(folder, 'ran') };
    const child = fork(PROGRAM, { env, execArgv: [], silent });
    const [message] = (await once(child, 'message')) as [{ port: number }];
    return new Child(folder, child, message.port);
  }

  /** What has run, in the order in which it began. */
  get ran(): number[] {
    return readFileSync(join(this.folder, 'ran'), 'utf8').trim().split('\n').map(Number);
  }

  /** Resolves with exit code and signal. */
  ended(): Promise<unknown[]> {
    const { exitCode, signalCode } = this.process;
    return exitCode === null && signalCode === null
      ? once(this.process, 'exit')
      : Promise.resolve([exitCode, signalCode]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

describe.skipIf(process.platform === 'win32')('G-01 SIGTERM', { timeout: 60_000 }, () => {
  const IN_FLIGHT = 1_000;
  const LATE = 200;

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it(`G-01 with ${IN_FLIGHT} calls in flight: all are answered, later ones are not started, none runs twice`, async () => {
      await using cluster = new Cluster({ driver });
      await using child = await Child.start(driver);
      redirect(cluster, B, child.port);
      const a = cluster.create('a', { listen: false });
      const inFlight = Array.from({ length: IN_FLIGHT }, (_, id) => a.call(B, 'work', 'slow', [id]));
      while ((await a.call<number>(B, 'work', 'running')) < IN_FLIGHT);
      const ended = child.ended();
      child.process.kill('SIGTERM');
      // Calls that race with the end of what they are sent to.
      const late: number[] = [];
      const refused: number[] = [];
      for (let id = IN_FLIGHT; id < IN_FLIGHT + LATE; id += 1) {
        try {
          late.push(await a.call<number>(B, 'work', 'quick', [id]));
        } catch (error) {
          if (!isGenRpcError(error)) throw error;
          expect(error).toMatchObject({ maybeExecuted: false });
          expect(['refused', 'node_down']).toContain(error.code);
          refused.push(id);
        }
      }
      expect(await Promise.all(inFlight)).toEqual(inFlight.map((_, id) => id));
      expect(await ended).toEqual([0, null]);
      expect(refused.length).toBeGreaterThan(0);
      const ran = child.ran.sort((x, y) => x - y);
      expect(ran).toEqual([...inFlight.keys(), ...late]);
    });
  });
});

describe.each(SOCKET_DRIVERS)('G-10 a process that has closed its node, over %s', { timeout: 60_000 }, (driver) => {
  it('G-10 ends by itself, with connections in both directions open and calls pending until then', async () => {
    await using cluster = new Cluster({ driver });
    const c = await cluster.start('c');
    c.register('math', { add: ([x, y]: [number, number]) => x + y });
    // Everything that a node has timers for.
    await using child = await Child.start(driver, {
      ...{ clientInactivityTimeout: 60_000, serverInactivityTimeout: 60_000, asyncCallInactivityTimeout: 60_000 },
      nodes: { [c.name]: { port: portOf(cluster, c.name) }, 'nobody@127.0.0.1': { port: 1 } },
    });
    redirect(cluster, B, child.port);
    const a = cluster.create('a', { listen: false });
    const pending = a.call(B, 'work', 'slow', [1]);
    const lost = expect(pending).rejects.toMatchObject({ maybeExecuted: true });
    while ((await a.call<number>(B, 'work', 'running')) < 1);
    const said = once(child.process, 'message').then(([message]) => message as unknown);
    child.process.send({ close: [c.name] });
    expect(await said).toEqual({ left: [] });
    await lost;
    expect(await child.ended()).toEqual([0, null]);
    expect(c.stats()).toMatchObject({ acceptedConnections: 0, runningCalls: 0 });
  });
});

describe.each(SOCKET_DRIVERS)('G-11 an error that nobody catches, over %s', { timeout: 60_000 }, (driver) => {
  it('G-11 ends the process, as Node does it; callers hear of it at once, not after a silence', async () => {
    await using cluster = new Cluster({ driver });
    await using child = await Child.start(driver, {}, true);
    redirect(cluster, B, child.port);
    const a = cluster.create('a', { listen: false });
    const since = performance.now();
    const waiting = a.call(B, 'work', 'slow', [1]);
    const breaking = a.call(B, 'work', 'breakLater');
    for (const reply of [waiting, breaking]) {
      await expect(reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
    }
    // A silence would be found out after 15 s.
    expect(performance.now() - since).toBeLessThan(5_000);
    expect(await child.ended()).toEqual([1, null]);
    expect(a.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0 });
  });
});
