/** Closing more than once, too early, and in the middle of something else. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { connectGenRpc } from '../../lib/nest/gen-rpc.connect.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { until } from '../support/door.js';
import { App, CapturedLogger, moduleOf, SECRET, SERVER, signalOf } from './support.js';

@Controller()
class Slow {
  readonly started = signalOf();
  readonly release = signalOf();

  @MessagePattern('slow')
  async slow(@Payload() value: unknown): Promise<unknown> {
    this.started.resolve();
    await this.release.promise;
    return value;
  }
}

const OPTIONS = { name: SERVER, secret: SECRET, listen: { port: 0 } };
const QUIET = { logger: new CapturedLogger(), abortOnError: false };
const PROGRAM = join(import.meta.dirname, 'children/closing.mjs');
const CLOSED = { code: 'cancelled', message: `${SERVER} was closed, and listens no more.` };

function appOf(strategy: GenRpcServer) {
  const root = moduleOf({ controllers: [Slow] });
  return NestFactory.createMicroservice<MicroserviceOptions>(root, { strategy, ...QUIET });
}

/** A port that is free. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Somebody else gets the port, at once. */
async function expectFree(port: number): Promise<void> {
  const server = createServer().listen({ port, host: '127.0.0.1', exclusive: true });
  await once(server, 'listening');
  server.close();
  await once(server, 'close');
}

/** What has settled so far. */
function watched(...promises: readonly Promise<unknown>[]): boolean[] {
  const settled = promises.map(() => false);
  for (const [at, promise] of promises.entries()) void promise.finally(() => (settled[at] = true));
  return settled;
}

describe('a server', () => {
  it('N-66 closes once, however often and at once it is told: all are done when it is', async () => {
    const app = await App.start({ controllers: [Slow] });
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    const seen: unknown[] = [];
    app.server.status.subscribe((status) => seen.push(status));
    app.server.on('close', () => seen.push('on close'));
    const { started, release } = app.app.get(Slow);
    const reply = firstValueFrom(client.send('slow', 1));
    await started.promise;
    const closed = [app.server.close(), app.server.close(), app.node.drain(), app.app.close()];
    const settled = watched(...closed);
    await until(() => app.node.stats().phase === 'draining');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(settled).toEqual([false, false, false, false]);
    release.resolve();
    await expect(reply).resolves.toBe(1);
    await Promise.all(closed);
    await app.app.close();
    expect(seen).toEqual(['connected', 'disconnected', 'on close']);
    await client.close();
    await expectFree(app.address.port);
  });

  it('N-66 whose node is closed while it drains ends both, and tells who waits', async () => {
    const app = await App.start({ controllers: [Slow], options: { gracePeriod: 600_000 } });
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    const lost = expect(firstValueFrom(client.send('slow', 1))).rejects.toMatchObject({ code: 'shutting_down' });
    await app.app.get(Slow).started.promise;
    const drained = app.app.close();
    await until(() => app.node.stats().phase === 'draining');
    await Promise.all([app.node.close(), drained, lost]);
    app.app.get(Slow).release.resolve();
    await client.close();
    await expectFree(app.address.port);
  });

  it.each<[string, Partial<GenRpcOptions>]>([
    ['on a port', {}],
    ['nowhere', { listen: false }],
  ])('N-66 that was closed does not begin to listen: %s', async (_, options) => {
    const port = await freePort();
    const server = new GenRpcServer({ ...OPTIONS, listen: { port }, ...options });
    const app = await appOf(server);
    const seen: unknown[] = [];
    server.status.subscribe((status) => seen.push(status));
    await server.close();
    await server.close();
    await expect(app.listen()).rejects.toMatchObject(CLOSED);
    await expectFree(port);
    await app.close();
    expect(seen).toEqual([]);
    expect(() => server.unwrap()).toThrow('not listening yet');
  });

  it('N-66 that is closed while it begins to listen says so, and leaves the port', async () => {
    const port = await freePort();
    const server = new GenRpcServer({ ...OPTIONS, listen: { port } });
    const app = await appOf(server);
    await app.init();
    const seen: unknown[] = [];
    server.status.subscribe((status) => seen.push(status));
    const listening = expect(app.listen()).rejects.toMatchObject(CLOSED);
    await Promise.all([server.close(), server.close(), listening]);
    await expectFree(port);
    await app.close();
    expect(seen).toEqual([]);
  });
});

describe('an application with GenRpcModule', () => {
  @Module({ imports: [GenRpcModule.forRoot(OPTIONS)], controllers: [Slow] })
  class Root {}

  it('N-66 closes twice at once, while a call runs, which is answered', async () => {
    const app = await NestFactory.create(Root, QUIET);
    connectGenRpc(app);
    await app.startAllMicroservices();
    const node = app.get(GenRpcNode);
    const port = node.endpoints()[0]?.port ?? 0;
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: port });
    const reply = firstValueFrom(client.send('slow', 1));
    await app.get(Slow).started.promise;
    const closed = [app.close(), app.close(), app.get(GenRpcServer).close()];
    await until(() => node.stats().phase === 'draining');
    app.get(Slow).release.resolve();
    await expect(reply).resolves.toBe(1);
    await Promise.all(closed);
    expect(node.stats()).toMatchObject({ phase: 'closed', acceptedConnections: 0, runningCalls: 0 });
    await expectFree(port);
    await client.close();
  });

  it('N-66 closes without having listened, and does not listen afterwards', async () => {
    const app = await NestFactory.create(Root, QUIET);
    connectGenRpc(app);
    await app.init();
    await app.close();
    await expect(app.startAllMicroservices()).rejects.toMatchObject(CLOSED);
    expect(app.get(GenRpcNode).endpoints()).toEqual([]);
  });
});

describe('a client', () => {
  it('N-66 closes once, however often it is told: all are done when its connections are', async () => {
    await using app = await App.start({ controllers: [Slow] });
    const client = app.client();
    await client.connect();
    const node = client.unwrap();
    const order: string[] = [];
    const closed = ['first', 'second'].map(async (which) => {
      await client.close();
      order.push(which);
    });
    await Promise.all(closed);
    expect(order).toEqual(['first', 'second']);
    expect(node.stats()).toMatchObject({ phase: 'closed', openConnections: 0 });
    await client.close();
  });

  it('N-66 that is closed while it connects says so', async () => {
    await using app = await App.start({ controllers: [Slow] });
    const client = app.client();
    const lost = expect(client.connect()).rejects.toMatchObject({ code: 'cancelled' });
    await Promise.all([client.close(), lost]);
    await until(() => app.node.stats().acceptedConnections + app.node.stats().handshakes === 0);
  });
});

describe('a process ends by itself once its application', () => {
  it.each(['listened', 'never listened', 'was listening still', 'was draining still'])(
    'N-66 is closed, which %s',
    async (how) => {
      const env = { ...process.env, SECRET, HOW: how };
      const child = spawn(process.execPath, [PROGRAM], { env, stdio: ['ignore', 'pipe', 'inherit'] });
      let said = '';
      child.stdout.on('data', (text: Buffer) => (said += text.toString()));
      expect(await once(child, 'exit')).toEqual([0, null]);
      expect(said.trim()).toBe('closed');
    },
  );
});
