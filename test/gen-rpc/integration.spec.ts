/** One master and several nodes, each a process at an address of its own: calls to all of them, and what a break does. */
import { fork, type ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createNode } from '../../lib/node/create-node.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { ofDriver, SECRET, SOCKET_DRIVERS, type SocketDriver } from '../support/cluster.js';
import { until } from '../support/door.js';

/** `NODES` in the environment: how many processes beside the master. */
const COUNT = Number(process.env['NODES'] ?? 3);
const ADDRESSES = Array.from({ length: COUNT }, (_, index) => `127.0.0.${index + 2}`);
const MASTER = 'gen_rpc@127.0.0.1';

/** What `os.saw` of a child tells. */
interface Saw {
  readonly runningCalls: number;
  readonly acceptedConnections: number;
  readonly stopped: readonly { caller: string; reason: string }[];
  readonly heard: readonly unknown[];
}

/** The nodes find each other by their names alone: the host is the address, and the port is the same everywhere. */
class Machines {
  private readonly children = new Map<string, ChildProcess>();

  private constructor(
    readonly master: GenRpcNode,
    private readonly port: number,
    private readonly driver: SocketDriver,
  ) {}

  static async start(driver: SocketDriver): Promise<Machines> {
    const port = await freePort();
    const master = createNode({
      ...{ name: MASTER, secret: SECRET, clientPort: port, listen: { port }, ...ofDriver(driver) },
      reconnect: { min: 1, max: 1 },
    });
    await master.listen();
    master.register('os', { timestamp: () => ({ node: MASTER, pid: process.pid }) });
    const machines = new Machines(master, port, driver);
    try {
      await Promise.all(machines.names.map((name) => machines.boot(name)));
    } catch (error) {
      await machines[Symbol.asyncDispose]();
      throw error;
    }
    return machines;
  }

  get names(): string[] {
    return ADDRESSES.map((address) => `gen_rpc@${address}`);
  }

  pidOf(name: string): number | undefined {
    return this.children.get(name)?.pid;
  }

  /** Resolves once the node listens. */
  async boot(name: string): Promise<void> {
    const child = fork(join(import.meta.dirname, 'children/node.mjs'), {
      env: {
        ...process.env,
        NAME: name,
        PORT: String(this.port),
        SECRET,
        OPTIONS: JSON.stringify(ofDriver(this.driver)),
      },
      execArgv: [],
    });
    this.children.set(name, child);
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) => reject(new Error(`${name} ended with ${code} before it listened`)));
    });
  }

  /** Ends a process as a machine that loses power would, but that its system still closes its sockets. */
  async kill(name: string): Promise<void> {
    const child = this.children.get(name);
    if (child === undefined) return;
    this.children.delete(name);
    await new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill('SIGKILL');
    });
  }

  /** Has a node reset every socket that others have opened to it. */
  reset(name: string): void {
    this.children.get(name)?.send('reset');
  }

  saw(name: string): Promise<Saw> {
    return this.master.call<Saw>(name, 'os', 'saw');
  }

  /** Makes a call that does not end, and resolves once it runs; the promise is in an object, to be waited for later. */
  async running(name: string): Promise<{ reply: Promise<unknown> }> {
    const reply = this.master.call(name, 'os', 'never', [], { timeout: 60_000 });
    reply.catch(() => {});
    while ((await this.saw(name)).runningCalls < 2);
    return { reply };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.master.close();
    await Promise.all([...this.children.keys()].map((name) => this.kill(name)));
    const { pendingCalls, connectedNodes, acceptedConnections } = this.master.stats();
    expect([pendingCalls, connectedNodes, acceptedConnections]).toEqual([0, 0, 0]);
  }
}

/** A port that is free at every address of this machine. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// Only Linux has all of 127.0.0.0/8 without being told.
describe.skipIf(process.platform !== 'linux')(`a master and ${COUNT} processes at ${ADDRESSES[0]} and on`, () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('call', async () => {
      await using machines = await Machines.start(driver);
      const { master, names } = machines;
      for (const name of names) {
        expect(await master.call(name, 'os', 'timestamp')).toEqual({ node: name, pid: machines.pidOf(name) });
      }
      expect(master.nodes()).toEqual(names);
      expect(new Set(names.map((name) => machines.pidOf(name))).size).toBe(COUNT);
    });

    it('multicall', async () => {
      await using machines = await Machines.start(driver);
      const { master, names } = machines;
      expect((await master.multicall(names, 'os', 'timestamp')).outcomes.map(({ node }) => node)).toEqual(names);
      const everyone = await master.multicall<{ node: string }>('os', 'timestamp');
      expect(everyone.badNodes).toEqual([]);
      expect(everyone.results.map(({ node }) => node)).toEqual([MASTER, ...master.nodes()]);
      expect(await master.sbcast(names, 'news', 'extra')).toEqual({ good: names, bad: [] });
      for (const name of names) expect((await machines.saw(name)).heard).toEqual(['extra']);
    });

    it('multicall from every node to every other, the master among them', async () => {
      await using machines = await Machines.start(driver);
      const { master, names } = machines;
      const all = [MASTER, ...names];
      const answers = await Promise.all(names.map((name) => master.call(name, 'relay', 'multicall', [all])));
      expect(answers).toEqual(names.map(() => ({ from: all, badNodes: [] })));
      for (const name of names) {
        const others = all.filter((other) => other !== name);
        expect(new Set(await master.call<string[]>(name, 'os', 'nodes'))).toEqual(new Set(others));
        const { from } = await master.call<{ from: string[] }>(name, 'relay', 'multicall', [null]);
        expect(new Set(from)).toEqual(new Set(all));
      }
      expect(master.stats().acceptedConnections).toBe(COUNT);
    });

    it('a process that is killed in the middle of a call', async () => {
      await using machines = await Machines.start(driver);
      const { master, names } = machines;
      const [victim = '', ...others] = names;
      await master.multicall(names, 'os', 'timestamp');
      const call = await machines.running(victim);
      const asked = master.multicall(names, 'os', 'never', [], { timeout: 60_000 });
      const giveUp = new AbortController();
      const abortable = master.multicall(names, 'os', 'never', [], { timeout: 60_000, signal: giveUp.signal });
      while ((await machines.saw(victim)).runningCalls < 4);
      await machines.kill(victim);
      const lost = { code: 'connection_lost', family: 'badtcp', maybeExecuted: true };
      await expect(call.reply).rejects.toMatchObject(lost);
      await until(() => !master.nodes().includes(victim));
      expect(new Set(master.nodes())).toEqual(new Set(others));
      // Whoever lives still answers, and whoever does not is told apart at once.
      const after = await master.multicall<{ node: string }>(names, 'os', 'timestamp');
      expect(after.results.map(({ node }) => node)).toEqual(others);
      expect(after.outcomes[0]).toMatchObject({ ok: false, error: { code: 'node_down', maybeExecuted: false } });
      expect(await master.sbcast(names, 'news', 'still')).toEqual({ good: others, bad: [victim] });
      giveUp.abort();
      const { outcomes } = await abortable;
      expect(outcomes).toMatchObject([{ error: lost }, ...others.map(() => ({ error: { code: 'cancelled' } }))]);
      // The same name, another process.
      await machines.boot(victim);
      const again = await master.call(victim, 'os', 'timestamp', [], { waitForReady: true });
      expect(again).toEqual({ node: victim, pid: machines.pidOf(victim) });
      expect(await machines.saw(victim)).toMatchObject({ acceptedConnections: 1, heard: [], stopped: [] });
      await master.close();
      expect((await asked).outcomes).toMatchObject([
        { error: lost },
        ...others.map(() => ({ error: { code: 'cancelled' } })),
      ]);
    });

    it('a socket that is reset in the middle of a call: what each side saw', async () => {
      await using machines = await Machines.start(driver);
      const { master, names } = machines;
      const [victim = '', ...others] = names;
      await master.multicall(names, 'os', 'timestamp');
      const call = await machines.running(victim);
      machines.reset(victim);
      await expect(call.reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
      // The caller dials again by itself; the function was told that nobody waits any more.
      expect(await machines.saw(victim)).toEqual({
        runningCalls: 1,
        acceptedConnections: 1,
        stopped: [{ caller: MASTER, reason: 'connection_lost' }],
        heard: [],
      });
      expect(master.stats().counts).toEqual({
        dialled: COUNT + 1,
        connected: COUNT + 1,
        connection_lost: 1,
      });
      for (const name of others)
        expect(await machines.saw(name)).toMatchObject({ stopped: [], acceptedConnections: 1 });
      expect((await master.multicall(names, 'os', 'timestamp')).badNodes).toEqual([]);
    });
  });
});
