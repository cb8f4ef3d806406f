/** Nest applications over TLS: module, strategy and client, whom a handler sees, and what those hear who are sent away. */
import { Controller, type CanActivate, type DynamicModule, type ExecutionContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type AsyncMicroserviceOptions, Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, type Observable, range } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { CertificateAuthority } from '../../lib/authority/certificate-authority.js';
import type { Endpoint } from '../../lib/driver/driver.js';
import type { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { GenRpcConfigError } from '../../lib/options/config-error.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { CertificateDirectory } from '../support/certificate-directory.js';
import { until } from '../support/door.js';
import { authority, LOOPBACK_TLS } from '../support/tls.js';
import { App, CapturedLogger, itemsOf, pairOf, SECRET, SERVER } from './support.js';

const WEB = 'web@127.0.0.1';

/** What a node of this name has as `tls`, by the authority of all. */
async function tlsOf(node: string) {
  const { cert, key } = await (await authority()).issue(node);
  return { ca: LOOPBACK_TLS.ca, cert, key };
}

@Controller()
class Visitors {
  readonly events: unknown[] = [];

  @MessagePattern('who')
  who(@Ctx() context: GenRpcContext): unknown {
    const { subject, names, fingerprint, validTo } = context.getCertificate() ?? {};
    return { node: context.getNode(), subject, names, fingerprint, left: Number(validTo) - Date.now() > 0 };
  }

  @MessagePattern('numbers')
  numbers(@Payload() count: number): Observable<number> {
    return range(1, count);
  }

  @EventPattern<string>('seen')
  seen(@Payload() data: unknown, @Ctx() context: GenRpcContext): void {
    this.events.push([data, context.getCertificate()?.names]);
  }
}

const APP = { controllers: [Visitors] };

describe('a handler', () => {
  it('N-71 sees whose certificate the caller showed', async () => {
    const { cert, key } = await (await authority()).issue(WEB, { commonName: 'The shop' });
    await using pair = await pairOf(
      { ...APP, options: { tls: LOOPBACK_TLS } },
      { name: WEB, tls: { ...LOOPBACK_TLS, cert, key } },
    );
    await expect(firstValueFrom(pair.caller.send('who', {}))).resolves.toEqual({
      node: WEB,
      subject: 'CN=The shop',
      names: ['IP Address:127.0.0.1', `URI:genrpc:${WEB}`],
      fingerprint: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
      left: true,
    });
  });

  it('N-71 sees none without TLS', async () => {
    await using pair = await pairOf(APP, { name: WEB });
    await expect(firstValueFrom(pair.caller.send('who', {}))).resolves.toEqual({ node: WEB, left: false });
  });

  it('N-71 is reached by those whom a guard lets in by their certificate, and by no others', async () => {
    const guard: CanActivate = {
      canActivate: (execution: ExecutionContext) => {
        const certificate = execution.switchToRpc().getContext<GenRpcContext>().getCertificate();
        return certificate?.names.includes(`URI:genrpc:${WEB}`) === true;
      },
    };
    const options = { tls: await tlsOf(SERVER) };
    await using app = await App.start({ ...APP, options, configure: (nest) => nest.useGlobalGuards(guard) });
    const web = app.client({ name: WEB, tls: await tlsOf(WEB) });
    const other = app.client({ name: 'other@127.0.0.1', tls: await tlsOf('other@127.0.0.1') });
    await expect(firstValueFrom(web.send('who', {}))).resolves.toMatchObject({ node: WEB });
    await expect(firstValueFrom(other.send('who', {}))).rejects.toMatchObject({ message: 'Forbidden resource' });
  });
});

@RpcModule('shelf')
class Shelf {
  @RpcFunction()
  names(@Ctx() context: GenRpcContext): unknown {
    return context.getCertificate()?.names;
  }
}

/** A module whose node is what an application is, in its own words: options, strategy, controllers. */
function applicationOf(options: GenRpcOptions): DynamicModule {
  @Module({ imports: [GenRpcModule.forRoot(options)], controllers: [Visitors, Shelf] })
  class Application {}
  return { module: Application };
}

async function start(name: string, options: Partial<GenRpcOptions> = {}, log = new CapturedLogger()) {
  const module = applicationOf({ name, secret: SECRET, listen: { port: 0 }, tls: await tlsOf(name), ...options });
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(module, {
    logger: log,
    abortOnError: false,
    inject: [GenRpcServer],
    useFactory: (strategy: GenRpcServer) => ({ strategy }),
  });
  const { port } = (await app.listen()) as unknown as Endpoint;
  return { app, node: app.get(GenRpcNode), port, log, [Symbol.asyncDispose]: () => app.close() };
}

describe('applications with GenRpcModule', () => {
  it('N-71 talk over TLS both ways: calls, events, streams, each with the certificate of the other', async () => {
    await using shop = await start(SERVER);
    await using web = await start(WEB, { nodes: { [SERVER]: { port: shop.port } } });
    const client = new GenRpcClient({ target: SERVER, node: web.node });
    const names = ['IP Address:127.0.0.1', `URI:genrpc:${WEB}`];
    await expect(web.node.call(SERVER, 'shelf', 'names')).resolves.toEqual(names);
    await expect(firstValueFrom(client.send('who', {}))).resolves.toMatchObject({ node: WEB, names });
    await expect(itemsOf(client.send('numbers', 3))).resolves.toEqual([1, 2, 3]);
    await firstValueFrom(client.emit('seen', 'tea'), { defaultValue: undefined });
    const { events } = shop.app.get(Visitors);
    await until(() => events.length === 1);
    expect(events).toEqual([['tea', names]]);
    // One connection for all of it, and by TLS: that there is none without is what the option means.
    expect(web.node.stats()).toMatchObject({ openConnections: 1 });
    expect(shop.node.endpoints()).toMatchObject([{ driver: 'tls', port: shop.port }]);

    await using back = await start('back@127.0.0.1', { nodes: { [WEB]: { port: web.port } } });
    await expect(back.node.call(WEB, 'shelf', 'names')).resolves.toContain('URI:genrpc:back@127.0.0.1');
  });

  it('show new certificates once their files are others, and say so in the log of Nest', async () => {
    using files = await CertificateDirectory.make();
    await using shop = await start(SERVER, { tls: await files.tlsOf(SERVER) });
    await using web = await start(WEB, {
      tls: await files.tlsOf(WEB),
      nodes: { [SERVER]: { port: shop.port } },
    });
    const client = new GenRpcClient({ target: SERVER, node: web.node });
    await expect(firstValueFrom(client.send('who', {}))).resolves.toMatchObject({ subject: `CN=${WEB}` });
    await files.renew(WEB, { commonName: 'The new one' });
    await until(() => web.node.stats().counts.certificate_renewed === 1);
    expect(web.log.said('log', `New certificates of ${WEB} are in use`)).toHaveLength(1);
    const anew = web.node.call<{ subject: string }>({ node: SERVER, key: 'anew' }, '', 'who', [{}]);
    await expect(anew).resolves.toMatchObject({ subject: 'CN=The new one' });
  });

  it('N-05 applications do not start with certificates that will not do, and name all that is wrong', async () => {
    const { cert } = await tlsOf('other@127.0.0.1');
    const { key } = await tlsOf(WEB);
    const error: unknown = await start(WEB, { tls: { ca: LOOPBACK_TLS.ca, cert, key } }).catch(
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(GenRpcConfigError);
    const { message, problems } = error as GenRpcConfigError;
    expect(message).toContain('2 problems in GenRpcModule.forRoot()');
    expect(problems.map(({ path }) => path)).toEqual(['tls.cert', 'tls.key']);
  });
});

describe('a client over mutual TLS', () => {
  it('N-71 hears, as from any Nest transport, that its certificate is not accepted; the server says why in its log', async () => {
    await using app = await App.start({ ...APP, options: { tls: await tlsOf(SERVER) } });
    const foreign = await CertificateAuthority.create();
    const { cert, key } = await foreign.issue(WEB);
    const client = app.client({ name: WEB, tls: { ca: [LOOPBACK_TLS.ca, foreign.cert], cert, key } });
    await expect(firstValueFrom(client.send('who', {}))).rejects.toMatchObject({ code: 'TLS_CLIENT_CERT_REFUSED' });
    expect(app.log.said('warn', 'by an authority that tls.ca does not hold')).toHaveLength(1);
  });

  it('of no name needs a certificate of this machine, and is told what else would do', async () => {
    const tls = await tlsOf(WEB);
    const made = (): GenRpcClient => new GenRpcClient({ target: SERVER, secret: SECRET, tls });
    expect(made).toThrow('name: expected the name that tls.cert is for, got undefined');
  });

  it('N-71 says nothing to a node of another name, and tells which one it found', async () => {
    await using app = await App.start({
      ...APP,
      options: { name: 'other@127.0.0.1', tls: await tlsOf('other@127.0.0.1') },
    });
    const client = app.client({ name: WEB, tls: await tlsOf(WEB) });
    await expect(firstValueFrom(client.send('who', {}))).rejects.toMatchObject({
      code: 'node_certificate_mismatch',
      message: expect.stringContaining('other@127.0.0.1'),
    });
    expect(app.node.stats().counts).not.toHaveProperty('connected');
  });

  it.each([
    ['without certificates finds no way in to a server that has them', LOOPBACK_TLS, undefined, 'may speak TLS'],
    ['with certificates finds none to a server without', undefined, LOOPBACK_TLS, 'may not speak TLS'],
  ])('%s, and is told what may be wrong, and where', async (_, ofServer, ofClient, said) => {
    await using app = await App.start({ ...APP, options: ofServer === undefined ? {} : { tls: ofServer } });
    const client = app.client(ofClient === undefined ? {} : { name: WEB, tls: ofClient });
    const { host, port } = app.address;
    await expect(firstValueFrom(client.send('who', {}))).rejects.toMatchObject({
      code: expect.any(String),
      message: expect.stringMatching(`${host}:${port}.*${said}`),
    });
    await until(() => app.node.stats().handshakes === 0);
    expect(app.node.stats().acceptedConnections).toBe(0);
  });
});

describe('an application that listens at several places', () => {
  const places = [{ port: 0 }, { driver: 'tcp', port: 0 }];
  const options = { tls: LOOPBACK_TLS, listen: places };

  it('N-72 answers at each, over TLS and without, and knows which caller has a certificate', async () => {
    await using app = await App.start({ ...APP, options });
    const [outside, inside] = app.node.endpoints();
    expect([outside?.driver, inside?.driver]).toEqual(['tls', 'tcp']);
    // `listen` of Nest tells the first.
    expect(app.address).toEqual({ host: outside?.host, port: outside?.port });
    const far = app.client({ name: WEB, tls: await tlsOf(WEB) });
    const near = app.client({ name: 'near@127.0.0.1', clientPort: inside?.port ?? 0 });
    await expect(firstValueFrom(far.send('who', {}))).resolves.toMatchObject({ node: WEB, subject: `CN=${WEB}` });
    await expect(firstValueFrom(near.send('who', {}))).resolves.toEqual({ node: 'near@127.0.0.1', left: false });
    expect(app.node.stats().acceptedConnections).toBe(2);
  });

  it('is at none of them after `close`', async () => {
    const app = await App.start({ ...APP, options });
    const ports = app.node.endpoints().map(({ port }) => port);
    await app[Symbol.asyncDispose]();
    for (const port of ports) {
      await using other = await App.start({ ...APP, options: { listen: { port } } });
      expect(other.address.port).toBe(port);
    }
  });

  it('N-05 an application fails to start where one of them is taken', async () => {
    await using taken = await App.start(APP);
    const listen = [...places, { driver: 'tcp', port: taken.address.port }];
    await expect(App.start({ ...APP, options: { ...options, listen } })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});
