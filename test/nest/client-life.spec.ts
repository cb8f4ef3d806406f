/** The life of a client: before it connects, while its server is away, when there are several places, and its end. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Controller, Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxy, ClientsModule, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { until } from '../support/door.js';
import { App, CapturedLogger, SECRET, SERVER, signalOf } from './support.js';

@Controller()
class Echo {
  readonly started = signalOf();
  readonly release = signalOf();

  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('slow')
  async slow(@Payload() value: unknown): Promise<unknown> {
    this.started.resolve();
    await this.release.promise;
    return value;
  }

  @EventPattern('event')
  event(@Payload() _data: unknown): void {}
}

const APP = { controllers: [Echo] };
const PROGRAM = join(import.meta.dirname, 'children/client.mjs');

function echo(client: ClientProxy, value: unknown = 'x'): Promise<unknown> {
  return firstValueFrom(client.send('echo', value));
}

describe('a client that is not connected', () => {
  it('N-51 has its node, a status to wait for, and listeners that hear later', async () => {
    await using app = await App.start(APP);
    const client = app.client();
    const seen: string[] = [];
    client.status.subscribe((status) => seen.push(status));
    client.on('connect', () => seen.push('on connect'));
    const node = client.unwrap();
    expect(node).toBeInstanceOf(GenRpcNode);
    expect(seen).toEqual([]);
    await client.connect();
    expect(client.unwrap()).toBe(node);
    expect(seen).toEqual(['connected', 'on connect']);
    client.on('connect', () => seen.push('late'));
    await expect(firstValueFrom(client.status)).resolves.toBe('connected');
    expect(seen).toEqual(['connected', 'on connect']);
  });

  it('N-47 tells an event that its port is dead, also where nobody listens to that', async () => {
    await using app = await App.start(APP);
    const client = app.client({ clientPort: 1 });
    client.emit('event', 1);
    await expect(lastValueFrom(client.emit('event', 2))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(client.connect()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    client.send('echo', 3).subscribe({ error: () => {} });
  });
});

describe('a server that is away', () => {
  it('N-49 is tried ever more rarely, however often somebody sends, and found when it is back', async () => {
    const app = await App.start(APP);
    const { port } = app.address;
    const client = new GenRpcClient({
      ...{ target: SERVER, secret: SECRET, clientPort: port },
      reconnect: { min: 40, max: 5000 },
    });
    const seen: string[] = [];
    client.status.subscribe((status) => seen.push(status));
    await echo(client);
    await app[Symbol.asyncDispose]();
    await until(() => seen.at(-1) === 'disconnected');
    let refused = 0;
    const end = performance.now() + 600;
    while (performance.now() < end) {
      await expect(echo(client)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      refused += 1;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const { dialled = 0 } = client.unwrap().stats().counts;
    expect(refused).toBeGreaterThan(30);
    // One that led to a connection, and some whose waits doubled from 40 ms: with their jitter 12 is once in 100,000.
    expect(dialled).toBeGreaterThan(1);
    expect(dialled).toBeLessThan(12);
    expect(seen).toEqual(['connected', 'disconnected']);
    await using again = await App.start({ ...APP, options: { listen: { port } } });
    const patient = new GenRpcRecordBuilder('back').setWaitForReady().setTimeout(10_000).build();
    await expect(echo(client, patient)).resolves.toBe('back');
    expect(seen).toEqual(['connected', 'disconnected', 'connected']);
    expect(again.node.stats().acceptedConnections).toBe(1);
    await client.close();
    expect(seen.at(-1)).toBe('disconnected');
  });
});

describe('a process with a client ends by itself', () => {
  it.each(['closed', 'idle', 'unused'])('N-52 once it is %s', async (how) => {
    await using app = await App.start(APP);
    const env = { ...process.env, NODE_OPTIONS: '', PORT: String(app.address.port), SECRET, TARGET: SERVER, HOW: how };
    const child = spawn(process.execPath, [PROGRAM], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (text: Buffer) => (said += text.toString()));
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(said.trim()).toBe(how === 'unused' ? '' : how);
    await until(() => app.node.stats().acceptedConnections === 0);
  });
});

describe('a client of a module', () => {
  it('N-54 is closed with the application: what waits is told, and the server sees it go', async () => {
    await using app = await App.start(APP);
    const options = { target: SERVER, secret: SECRET, clientPort: app.address.port };

    @Injectable()
    class Service {
      constructor(@Inject('ECHO') readonly client: ClientProxy) {}
    }

    @Module({ providers: [Service], exports: [Service] })
    class Feature {}

    // Global: the module that uses it does not import it.
    const clients = ClientsModule.register({
      isGlobal: true,
      clients: [{ name: 'ECHO', customClass: GenRpcClient, options }],
    });

    @Module({ imports: [clients, Feature] })
    class Root {}

    const context = await NestFactory.createApplicationContext(Root, { logger: new CapturedLogger() });
    const { client } = context.get(Service);
    const node = client.unwrap<GenRpcNode>();
    await echo(client);
    expect(app.node.stats().acceptedConnections).toBe(1);
    const slow = expect(firstValueFrom(client.send('slow', 1))).rejects.toMatchObject({ code: 'cancelled' });
    await app.app.get(Echo).started.promise;
    await context.close();
    await slow;
    expect(node.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0 });
    await until(() => app.node.stats().acceptedConnections === 0);
    app.app.get(Echo).release.resolve();
  });
});

describe('a client of several places', () => {
  it('N-72 sends each message where its record says, over a connection for each', async () => {
    @Controller()
    class Named {
      @MessagePattern('name')
      name(): string {
        return 'the other';
      }
    }
    await using one = await App.start(APP);
    await using other = await App.start({ controllers: [Named], options: { name: 'other@127.0.0.1' } });
    const client = one.client({ nodes: { 'other@127.0.0.1': { port: other.address.port } } });
    const toOther = new GenRpcRecordBuilder({}).setTarget('other@127.0.0.1').build();
    await expect(Promise.all([echo(client), firstValueFrom(client.send('name', toOther))])).resolves.toEqual([
      'x',
      'the other',
    ]);
    expect(client.unwrap().nodes().toSorted()).toEqual(['other@127.0.0.1', SERVER]);
  });

  it('N-72 asks where its node is for each new connection, and so finds the one that is up', async () => {
    const first = await App.start(APP);
    await using second = await App.start(APP);
    const places = [first.address.port, second.address.port];
    let asked = 0;
    const nodes = (): { port: number } => ({ port: places[asked++ % places.length] ?? 0 });
    const client = second.client({ nodes, reconnect: { min: 1, max: 10 } });
    await echo(client);
    expect(first.node.stats().acceptedConnections).toBe(1);
    first.node.abort();
    await first.app.close();
    await until(() => !client.unwrap().isConnected(SERVER));
    const patient = new GenRpcRecordBuilder('elsewhere').setWaitForReady().build();
    await expect(echo(client, patient)).resolves.toBe('elsewhere');
    expect(second.node.stats().acceptedConnections).toBe(1);
  });
});

describe('a server that closes', () => {
  it('N-67 tells its callers, who go elsewhere, while what it runs is answered', async () => {
    const old = await App.start(APP);
    let port = old.address.port;
    await using young = await App.start(APP);
    const client = young.client({ nodes: () => ({ port }) });
    const running = firstValueFrom(client.send('slow', 'answered'));
    await old.app.get(Echo).started.promise;
    port = young.address.port;
    const closed = old.app.close();
    await until(() => !client.unwrap().isConnected(SERVER));
    for (let n = 0; n < 20; n += 1) await expect(echo(client, n)).resolves.toBe(n);
    expect(young.node.stats().acceptedConnections).toBe(1);
    old.app.get(Echo).release.resolve();
    await expect(running).resolves.toBe('answered');
    await closed;
    expect(old.node.stats()).toMatchObject({ runningCalls: 0, acceptedConnections: 0 });
  });

  it('N-64 is done as soon as it is idle, however long it might wait', async () => {
    const app = await App.start({ ...APP, options: { gracePeriod: 60_000 } });
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    await echo(client);
    const since = performance.now();
    await app[Symbol.asyncDispose]();
    expect(performance.now() - since).toBeLessThan(5000);
    await client.close();
  });
});
