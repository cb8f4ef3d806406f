/** What the system refuses: writes, connections, descriptors, ports. Each is a typed error, and the node lives on. */
import { spawn, type ChildProcess } from 'node:child_process';
import { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { App } from '../nest/support.js';
import { Cluster, ofDriver, SECRET, SOCKET_DRIVERS, twoNodes, type SocketDriver } from '../support/cluster.js';
import { portOf, redirect, until } from '../support/door.js';
import { RawPeer } from '../support/raw-peer.js';

const B = 'b@127.0.0.1';

function systemError(syscall: string, code: string): Error {
  return Object.assign(new Error(`${syscall} ${code}`), { code, syscall });
}

/** From now on every write of this socket fails as the system's would. */
function failWrites(socket: Socket, code: string): void {
  socket._write = (_chunk, _encoding, callback) => callback(systemError('write', code));
  socket._writev = (_chunks, callback) => callback(systemError('write', code));
}

describe.each(SOCKET_DRIVERS)('R-12 a write that the system refuses, over %s', (driver) => {
  const CODES = ['EPIPE', 'ECONNRESET', 'ETIMEDOUT', 'ENOBUFS'];

  it.each(CODES)('R-12 %s, of a call: a typed error, and the next call gets a new connection', async (code) => {
    await using nodes = await twoNodes({ driver });
    using connecting = vi.spyOn(Socket.prototype, 'connect');
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    failWrites(connecting.mock.contexts[0] as Socket, code);
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({
      code: 'connection_lost',
      family: 'badtcp',
      maybeExecuted: true,
      details: { cause: code },
      message: expect.stringContaining(code) as string,
    });
    await expect(nodes.a.call(B, 'math', 'add', [3, 4])).resolves.toBe(7);
    expect(nodes.a.stats().counts).toMatchObject({ dialled: 2, connected: 2, connection_lost: 1 });
  });

  it.each(CODES)('R-12 %s, of an answer: the caller is told, the node and its other callers live on', async (code) => {
    await using nodes = await twoNodes({ driver });
    const healthy = nodes.create('healthy', { listen: false });
    await healthy.call(B, 'math', 'add', [1, 2]);
    using writing = vi.spyOn(Duplex.prototype, 'write');
    await nodes.a.call(B, 'math', 'add', [1, 2]);
    const port = portOf(nodes, B);
    const accepted = (writing.mock.contexts as Socket[]).find(({ localPort }) => localPort === port);
    if (accepted === undefined) throw new Error('b has answered');
    failWrites(accepted, code);
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({
      code: 'connection_lost',
      maybeExecuted: true,
    });
    expect(nodes.ran).toEqual(['add', 'add', 'add']);
    await expect(healthy.call(B, 'math', 'add', [3, 4])).resolves.toBe(7);
    expect(healthy.stats().counts).toEqual({ dialled: 1, connected: 1 });
    expect(nodes.b.stats()).toMatchObject({ acceptedConnections: 1, runningCalls: 0 });
  });
});

describe.each(SOCKET_DRIVERS)('R-12 a connection that the system refuses, over %s', (driver) => {
  const CODES = [
    'EMFILE',
    'ENFILE',
    'ENETUNREACH',
    'EHOSTUNREACH',
    'EADDRNOTAVAIL',
    'ECONNREFUSED',
    'ETIMEDOUT',
    'ECONNRESET',
  ];

  it.each(CODES)('R-12 %s: the node is down, with the cause and the time of the next attempt', async (code) => {
    await using nodes = await twoNodes({ driver });
    const { host, port } = nodes.discovery.locations.get(B) ?? {};
    using connecting = vi.spyOn(Socket.prototype, 'connect').mockImplementationOnce(function (this: Socket) {
      process.nextTick(() => this.destroy(systemError('connect', code)));
      return this;
    });
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).rejects.toMatchObject({
      code: 'node_down',
      family: 'badrpc',
      maybeExecuted: false,
      details: { cause: code, host, port, nextAttemptMs: expect.any(Number) as number },
      message: expect.stringContaining(`${host}:${port} (${code})`) as string,
    });
    await expect(nodes.a.call(B, 'math', 'add', [3, 4], { waitForReady: true })).resolves.toBe(7);
    expect(connecting).toHaveBeenCalledTimes(2);
    expect(nodes.ran).toEqual(['add']);
  });

  it('R-12 that never comes about is given up in time, and its socket with it', async () => {
    await using nodes = await twoNodes({ driver, options: { connectTimeout: 50 } });
    using connecting = vi.spyOn(Socket.prototype, 'connect').mockImplementationOnce(function (this: Socket) {
      return this;
    });
    const reply = nodes.a.call(B, 'math', 'add', [1, 2]);
    await expect(reply).rejects.toMatchObject({ code: 'node_down', details: { cause: 'ETIMEDOUT' } });
    expect(connecting.mock.contexts[0]).toMatchObject({ destroyed: true });
  });
});

/** Few, but as many as it takes to load the modules, several at a time. */
const FILES = 256;

/** A process that may open few files. */
class Child {
  private constructor(
    private readonly process: ChildProcess,
    readonly port: number,
  ) {}

  static async start(driver: SocketDriver, files: number): Promise<Child> {
    const script = join(import.meta.dirname, 'children', 'few-files.mjs');
    const started = spawn('sh', ['-c', `ulimit -n ${files} && exec "$0" "$1"`, process.execPath, script], {
      env: { ...process.env, NODE_OPTIONS: '', OPTIONS: JSON.stringify({ ...ofDriver(driver), secret: SECRET }) },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const { port } = await new Promise<{ port: number }>((resolve, reject) => {
      started.once('message', (message) => resolve(message as { port: number }));
      started.once('exit', (status) => reject(new Error(`The child ended with ${status}.`)));
    });
    return new Child(started, port);
  }

  get isRunning(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGKILL');
    await ended;
  }
}

describe.skipIf(process.platform === 'win32')('R-13 a server that runs out of descriptors', () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('R-13 keeps its connections, and accepts again once there are some', async () => {
      await using cluster = new Cluster({ driver });
      await using child = await Child.start(driver, FILES);
      redirect(cluster, B, child.port);
      const a = cluster.create('a', { listen: false });
      expect(await a.call(B, 'files', 'exhaust')).toBe('EMFILE');

      // The system connects them; nobody is there yet for anything else.
      const strangers = await Promise.all(Array.from({ length: 5 }, () => RawPeer.dial('tcp', child.port)));
      // The connection from before works, and the node itself gets a typed error for what it cannot open.
      expect(await a.call(B, 'files', 'callOut')).toEqual({ code: 'node_down', cause: 'EMFILE' });
      for (const stranger of strangers) stranger.destroy();
      expect(child.isRunning).toBe(true);

      await a.call(B, 'files', 'release');
      const late = cluster.create('late', { listen: false });
      expect(await late.call(B, 'files', 'callOut', [], { waitForReady: true })).toMatchObject({ code: 'node_down' });
      for (const line of await late.call<string[]>(B, 'files', 'lines')) expect(line).not.toMatch(/\n/);
      expect(a.stats().counts).toEqual({ dialled: 1, connected: 1 });
    });

    it('R-13 counts what it could not accept, in one line a second, and accepts the next', async () => {
      using listening = vi.spyOn(Server.prototype, 'listen');
      await using nodes = await twoNodes({ driver });
      await nodes.a.call(B, 'math', 'add', [1, 2]);
      const server = listening.mock.contexts[0] as Server;
      for (let failed = 0; failed < 100; failed += 1) server.emit('error', systemError('accept', 'EMFILE'));
      expect(nodes.b.stats().counts).toMatchObject({ accepted: 1, accept_failed: 100 });
      expect(nodes.log.lines).toEqual([expect.stringContaining('accept EMFILE')]);
      const late = nodes.create('late', { listen: false });
      await expect(late.call(B, 'math', 'add', [3, 4])).resolves.toBe(7);
      expect(nodes.a.stats().counts).toEqual({ dialled: 1, connected: 1 });
    });
  });
});

describe.each(SOCKET_DRIVERS)('R-14 an address that cannot be listened on, over %s', (driver) => {
  const named = (code: string, host: string, port: number): unknown =>
    expect.objectContaining({
      code,
      host,
      port,
      message: expect.stringContaining(`${host}:${port} (${code})`) as string,
    });

  it('R-14 in use: the error of node.listen() names host and port', async () => {
    await using nodes = await twoNodes({ driver });
    const port = nodes.discovery.locations.get(B)?.port ?? 0;
    const second = nodes.create('second', { listen: { port } });
    await expect(second.listen()).rejects.toEqual(named('EADDRINUSE', '127.0.0.1', port));
    await expect(nodes.a.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
    await expect(second.call(B, 'math', 'add', [1, 2])).resolves.toBe(3);
  });

  it('R-14 of another machine: the error of node.listen() names host and port', async () => {
    await using cluster = new Cluster({ driver });
    const node = cluster.create('far', {
      listen: { host: '192.0.2.1', port: 5369, ...(driver === 'tcp' ? { allowPlaintext: true } : {}) },
    });
    await expect(node.listen()).rejects.toEqual(named('EADDRNOTAVAIL', '192.0.2.1', 5369));
  });

  it('R-14 in use: so does what GenRpcServer.listen() gives its callback', async () => {
    await using nodes = await twoNodes({ driver });
    const port = nodes.discovery.locations.get(B)?.port ?? 0;
    const server = new GenRpcServer({
      name: 'second@127.0.0.1',
      secret: SECRET,
      listen: { port },
      ...ofDriver(driver),
    });
    const error = await new Promise((resolve) => server.listen(resolve));
    expect(error).toEqual(named('EADDRINUSE', '127.0.0.1', port));
    await server.close();
  });

  it('R-14 in use: so does the error that ends the start of a Nest application', async () => {
    await using nodes = await twoNodes({ driver });
    const port = nodes.discovery.locations.get(B)?.port ?? 0;
    await expect(App.start({ options: { listen: { port }, ...ofDriver(driver) } })).rejects.toEqual(
      named('EADDRINUSE', '127.0.0.1', port),
    );
    await until(() => nodes.b.stats().handshakes === 0);
  });
});
