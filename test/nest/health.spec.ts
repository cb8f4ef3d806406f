/** What an application's health checks hear of its node, at every point of its life, and of the nodes that it calls. */
import { createServer } from 'node:net';
import { once } from 'node:events';
import { Controller, Get, Inject, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import { HealthCheck, HealthCheckService, TerminusModule, type HealthCheckResult } from '@nestjs/terminus';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcHealthIndicator } from '../../lib/nest/gen-rpc.health.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster } from '../support/cluster.js';
import { tlsOf } from '../support/tls.js';
import { CapturedLogger, moduleOf, SECRET, SERVER, signalOf } from './support.js';

const DAY_MS = 86_400_000;

@Controller()
class Slow {
  readonly started = signalOf();
  readonly release = signalOf();

  @MessagePattern('slow')
  async slow(): Promise<string> {
    this.started.resolve();
    await this.release.promise;
    return 'done';
  }
}

/** An application beside HTTP, which does not listen yet. */
async function application(): Promise<INestApplication> {
  const root = moduleOf({
    imports: [GenRpcModule.forRoot({ name: SERVER, secret: SECRET, listen: { port: 0 } })],
    controllers: [Slow],
  });
  const app = await NestFactory.create(root, { logger: new CapturedLogger(), abortOnError: false });
  app.connectMicroservice<MicroserviceOptions>({ strategy: app.get(GenRpcServer) });
  return app;
}

describe('GenRpcHealthIndicator', () => {
  it('is live from the start until the node is closed, and ready only while calls may be sent to it', async () => {
    const app = await application();
    const health = app.get(GenRpcHealthIndicator);
    const seen = (): unknown[] => [health.isLive('rpc').rpc.status, health.isReady('rpc').rpc];
    const node = { node: SERVER };
    expect(seen()).toEqual([
      'up',
      { ...node, status: 'down', phase: 'starting', message: 'The node does not listen yet.' },
    ]);
    await app.startAllMicroservices();
    expect(seen()).toEqual(['up', { ...node, status: 'up', phase: 'open' }]);

    const { port } = (await app.get(GenRpcNode).listen()) as Endpoint;
    const client = new GenRpcClient({ target: SERVER, secret: SECRET, clientPort: port });
    const { started, release } = app.get(Slow);
    const reply = firstValueFrom(client.send('slow', {}));
    await started.promise;
    const closed = app.close();
    await new Promise((resolve) => setImmediate(resolve));
    const draining = 'The node drains: it takes no new calls.';
    expect(seen()).toEqual(['up', { ...node, status: 'down', phase: 'draining', message: draining }]);

    release.resolve();
    await expect(reply).resolves.toBe('done');
    await closed;
    const message = 'The node is closed.';
    expect(seen()).toEqual(['down', { ...node, status: 'down', phase: 'closed', message }]);
    expect(health.isLive('me').me).toEqual({ ...node, status: 'down', phase: 'closed', message });
    await client.close();
  });

  it('is ready at once where the node only calls', async () => {
    await using cluster = new Cluster();
    const health = new GenRpcHealthIndicator(cluster.create('a', { listen: false }));
    expect(health.isReady('rpc').rpc).toEqual({ status: 'up', node: 'a@127.0.0.1', phase: 'open' });
  });

  it('sees a node that drains by itself', async () => {
    await using cluster = new Cluster();
    const node = await cluster.start('a');
    const health = new GenRpcHealthIndicator(node);
    const drained = node.drain();
    expect(health.isReady('rpc').rpc).toMatchObject({ status: 'down', phase: 'draining' });
    expect(health.isLive('rpc').rpc.status).toBe('up');
    await drained;
  });

  it('connects to a peer once, and then sees that connection', async () => {
    await using cluster = new Cluster();
    const [a, b] = [await cluster.start('a'), await cluster.start('b')];
    const health = new GenRpcHealthIndicator(a);
    expect(await health.isConnected('stock', b.name)).toEqual({ stock: { status: 'up', peer: b.name } });
    expect(await health.isConnected('stock', b.name)).toEqual({ stock: { status: 'up', peer: b.name } });
    expect(await health.isConnected('self', a.name)).toEqual({ self: { status: 'up', peer: a.name } });
    expect([a.stats().openConnections, a.stats().counts.dialled]).toEqual([1, 1]);
    await b.close();
    const gone = await health.isConnected('stock', b.name);
    expect(gone.stock).toMatchObject({ status: 'down', peer: b.name, code: 'node_down' });
    expect(gone.stock.message).toContain(`${b.name} is down.`);
  });

  it('waits for a peer that says nothing no longer than it was told', async () => {
    await using cluster = new Cluster();
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const peer = 'b@127.0.0.1';
    const { port } = silent.address() as { port: number };
    cluster.discovery.locations.set(peer, { driver: 'tcp', host: '127.0.0.1', port });
    const a = await cluster.start('a');
    expect(await new GenRpcHealthIndicator(a).isConnected('stock', peer, { timeout: 50 })).toEqual({
      stock: { status: 'down', peer, code: 'timeout', message: `There was no connection to "${peer}" within 50 ms.` },
    });
    expect(a.stats().pendingCalls).toBe(0);
    silent.close();
  });

  it('says what is wrong with its own options', async () => {
    await using cluster = new Cluster();
    const health = new GenRpcHealthIndicator(await cluster.start('a'));
    const asked = await health.isConnected('stock', 'b@127.0.0.1', { timeout: 0 });
    expect(asked.stock).toMatchObject({ status: 'down', code: 'invalid_argument' });
    expect((await health.isConnected('stock', 'nobody')).stock).toMatchObject({ code: 'invalid_argument' });
  });

  it('warns before the certificate ends, is down below the mark, and not ready once it has expired', async () => {
    await using cluster = new Cluster({ driver: 'tls' });
    let passed = 0;
    const calendar = (): Date => new Date(Date.now() + passed * DAY_MS);
    const node = await cluster.start('a', { tls: await tlsOf('a@127.0.0.1', { days: 40 }) }, { calendar });
    const health = new GenRpcHealthIndicator(node);
    const known = { node: 'a@127.0.0.1', phase: 'open' };
    expect(health.isReady('rpc').rpc).toEqual({ ...known, status: 'up', certificateDays: 39 });
    expect(health.isCertified('tls').tls).toEqual({ ...known, status: 'up', certificateDays: 39 });
    passed = 30;
    const message = 'The certificate ends in 9 days.';
    expect(health.isCertified('tls').tls).toEqual({ ...known, status: 'up', certificateDays: 9, message });
    expect(health.isCertified('tls', { down: 10 }).tls).toMatchObject({ status: 'down', message });
    expect(health.isCertified('tls', { warn: 9 }).tls).toEqual({ ...known, status: 'up', certificateDays: 9 });
    expect(health.isReady('rpc').rpc.status).toBe('up');
    passed = 41;
    const expired = { status: 'down', certificateDays: -2, message: 'The certificate has expired.' };
    expect(health.isCertified('tls').tls).toEqual({ ...known, ...expired });
    expect(health.isReady('rpc').rpc).toEqual({ ...known, ...expired });
    expect(health.isLive('rpc').rpc.status).toBe('up');
  });

  it('has nothing to say of certificates where there are none', async () => {
    await using cluster = new Cluster();
    const node = await cluster.start('a');
    const { tls } = new GenRpcHealthIndicator(node).isCertified('tls');
    expect(tls).toEqual({ status: 'up', node: node.name, phase: 'open' });
  });
});

/** As docs/HEALTH.md has it, but for the name of the peer. */
@Controller('health')
class HealthController {
  constructor(
    @Inject(HealthCheckService) private readonly health: HealthCheckService,
    @Inject(GenRpcHealthIndicator) private readonly rpc: GenRpcHealthIndicator,
    @Inject('PEER') private readonly peer: string,
  ) {}

  @Get('live')
  @HealthCheck()
  live(): Promise<HealthCheckResult> {
    return this.health.check([() => this.rpc.isLive('rpc')]);
  }

  @Get('ready')
  @HealthCheck()
  ready(): Promise<HealthCheckResult> {
    return this.health.check([() => this.rpc.isReady('rpc')]);
  }

  @Get('peers')
  @HealthCheck()
  peers(): Promise<HealthCheckResult> {
    return this.health.check([
      () => this.rpc.isConnected('peer', this.peer, { timeout: 5000 }),
      () => this.rpc.isCertified('certificate'),
    ]);
  }
}

describe('@nestjs/terminus', () => {
  it('N-73 answers over HTTP with what the node that runs says: one connection for health and calls', async () => {
    await using cluster = new Cluster();
    const peer = await cluster.start('peer');
    peer.register('math', { add: ([x, y]: [number, number]) => x + y });
    const [{ port: peerPort } = { port: 0 }] = peer.endpoints();
    const options = { name: SERVER, secret: SECRET, listen: { port: 0 }, nodes: { [peer.name]: { port: peerPort } } };
    const root = moduleOf({
      imports: [TerminusModule.forRoot({ logger: false }), GenRpcModule.forRoot(options)],
      controllers: [HealthController],
      providers: [{ provide: 'PEER', useValue: peer.name }],
    });
    const app = await NestFactory.create(root, { logger: new CapturedLogger(), abortOnError: false });
    const microservice = app.connectMicroservice<MicroserviceOptions>({ strategy: app.get(GenRpcServer) });
    await app.listen(0, '127.0.0.1');
    const url = await app.getUrl();
    const ask = async (path: string): Promise<unknown[]> => {
      const answer = await fetch(`${url}/health/${path}`, { headers: { connection: 'close' } });
      const { status, details } = (await answer.json()) as HealthCheckResult;
      return [answer.status, status, details];
    };

    expect(await ask('live')).toEqual([200, 'ok', { rpc: { status: 'up', node: SERVER, phase: 'starting' } }]);
    const message = 'The node does not listen yet.';
    expect(await ask('ready')).toEqual([
      ...[503, 'error', { rpc: { status: 'down', node: SERVER, phase: 'starting', message } }],
    ]);
    await microservice.listen();
    expect(await ask('ready')).toEqual([200, 'ok', { rpc: { status: 'up', node: SERVER, phase: 'open' } }]);

    const certificate = { status: 'up', node: SERVER, phase: 'open' };
    const connected = [200, 'ok', { peer: { status: 'up', peer: peer.name }, certificate }];
    expect([await ask('peers'), await ask('peers')]).toEqual([connected, connected]);
    const node = app.get(GenRpcNode);
    expect(await node.call(peer.name, 'math', 'add', [1, 2])).toBe(3);
    expect([node.stats().counts.dialled, peer.stats().acceptedConnections]).toEqual([1, 1]);

    await peer.close();
    const [code, status, details] = await ask('peers');
    expect([code, status]).toEqual([503, 'error']);
    expect(details).toMatchObject({ peer: { status: 'down', peer: peer.name, code: 'node_down' }, certificate });
    expect(await ask('ready')).toEqual([200, 'ok', { rpc: { status: 'up', node: SERVER, phase: 'open' } }]);
    await app.close();
  });
});
