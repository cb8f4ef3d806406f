/** A server whose process is killed: its clients, in another process, are told at once and find the next one. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { until } from '../support/door.js';
import { SECRET, SERVER } from './support.js';

const PROGRAM = join(import.meta.dirname, 'children/server.mjs');
const CALLS = 20;

class Process implements AsyncDisposable {
  called = 0;

  private constructor(
    private readonly child: ChildProcess,
    readonly port: number,
  ) {
    child.on('message', () => (this.called += 1));
  }

  /** Resolves once its application listens. */
  static async start(port = 0): Promise<Process> {
    const env = { ...process.env, NODE_OPTIONS: '', NAME: SERVER, SECRET, PORT: String(port) };
    const child = fork(PROGRAM, [], { env, execArgv: [] });
    const chosen = await new Promise<number>((resolve, reject) => {
      child.once('message', (message) => resolve(message as number));
      child.once('exit', (status) => reject(new Error(`The child ended with ${status}.`)));
    });
    return new Process(child, chosen);
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

it('N-48 whose process is killed: what waits fails at once, nothing is kept, the next message connects again', async () => {
  await using server = await Process.start();
  const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: server.port });
  try {
    expect(await firstValueFrom(client.send('echo', 'x'))).toBe('x');
    const lost = Array.from({ length: CALLS }, () =>
      expect(lastValueFrom(client.send('never', 1))).rejects.toMatchObject({
        code: 'connection_lost',
        maybeExecuted: true,
      }),
    );
    await until(() => server.called === CALLS);
    const since = performance.now();
    await server.kill();
    await Promise.all(lost);
    // Not the heartbeat's fifteen seconds, nor the deadline's.
    expect(performance.now() - since).toBeLessThan(5000);
    const node = client.unwrap();
    expect(node.stats()).toMatchObject({ pendingCalls: 0, openConnections: 0 });
    await expect(firstValueFrom(client.send('echo', 'x'))).rejects.toMatchObject({ code: 'ECONNREFUSED' });

    await using again = await Process.start(server.port);
    const next = new GenRpcRecordBuilder('again').setWaitForReady().build();
    expect(await firstValueFrom(client.send('echo', next))).toBe('again');
    expect(again.called).toBe(0);
    expect(node.stats()).toMatchObject({ pendingCalls: 0, openConnections: 1 });
  } finally {
    await client.close();
  }
});
