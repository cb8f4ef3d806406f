/** Discovery in Nest: from the container, for clients that call a module, and as an Observable. */
import {
  Controller,
  Inject,
  Injectable,
  Module,
  type DynamicModule,
  type INestApplicationContext,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, take, toArray } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { MembershipWatcher } from '../../lib/discovery/discovery.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { membershipOf } from '../../lib/nest/gen-rpc.membership.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { until } from '../support/door.js';
import { recordOf, ToldDiscovery } from '../support/told-discovery.js';
import { App, CapturedLogger, SECRET } from './support.js';

const heard: unknown[] = [];
const QUIET = { logger: new CapturedLogger(), abortOnError: false };
const WEB = { name: 'web@127.0.0.1', secret: SECRET, listen: false } as const;

@Controller()
class Stock {
  @MessagePattern('stock.count')
  count(@Payload() goods: string): string {
    return `12 of ${goods}`;
  }

  @EventPattern('stock.sold')
  sold(@Payload() goods: string): void {
    heard.push(goods);
  }
}

@Injectable()
class Registry {
  readonly records: unknown[] = [];
}

@Module({ providers: [Registry], exports: [Registry] })
class RegistryModule {}

/** What a user would write: a source that the container gives what it needs. */
@Injectable()
class RegistryDiscovery extends ToldDiscovery {
  constructor(@Inject(Registry) private readonly registry: Registry) {
    super();
  }

  override watch(watcher: MembershipWatcher): void {
    super.watch(watcher);
    this.tell(...this.registry.records);
  }
}

@Module({
  imports: [RegistryModule],
  providers: [RegistryDiscovery, { provide: 'DISCOVERY', useExisting: RegistryDiscovery }],
  exports: ['DISCOVERY'],
})
class DiscoveryModule {}

const modules = [{ name: 'stock', versions: [''] }];

/** An application with `module`, which learns that `app` has stock. */
async function webOf(app: App, module: DynamicModule, discovery?: ToldDiscovery): Promise<INestApplicationContext> {
  @Module({ imports: [module, RegistryModule] })
  class Web {}
  const web = await NestFactory.createApplicationContext(Web, QUIET);
  const source = discovery ?? web.get<ToldDiscovery>(RegistryDiscovery, { strict: false });
  source.tell(recordOf(app.node, { modules }));
  return web;
}

describe('discovery of GenRpcModule', () => {
  const told = new ToldDiscovery();
  const factory = { inject: [Registry], imports: [RegistryModule] };

  it.each<[string, () => DynamicModule, ToldDiscovery?]>([
    ['an instance', () => GenRpcModule.forRoot({ ...WEB, discovery: told }), told],
    [
      'the token of a provider',
      () => GenRpcModule.forRoot({ ...WEB, discovery: 'DISCOVERY', imports: [DiscoveryModule] }),
    ],
    [
      'an instance that a factory makes of what it injects',
      () => GenRpcModule.forRootAsync({ ...factory, useFactory: () => ({ ...WEB, discovery: told }) }),
      told,
    ],
    [
      'a token beside a factory',
      () => GenRpcModule.forRootAsync({ useFactory: () => WEB, discovery: 'DISCOVERY', imports: [DiscoveryModule] }),
    ],
  ])('may be %s', async (_, module, discovery) => {
    await using app = await App.start({ controllers: [Stock] });
    const web = await webOf(app, module(), discovery);
    try {
      await expect(web.get(GenRpcNode).call({ module: 'stock' }, 'stock', 'count', ['tea'])).resolves.toBe('12 of tea');
    } finally {
      await web.close();
    }
  });

  it('may be a class, which the container gives what it needs, and is closed with the application', async () => {
    await using app = await App.start({ controllers: [Stock] });
    const registry = new Registry();
    registry.records.push(recordOf(app.node, { modules }));

    @Module({ providers: [{ provide: Registry, useValue: registry }], exports: [Registry] })
    class Records {}

    const imports = [GenRpcModule.forRoot({ ...WEB, discovery: RegistryDiscovery, imports: [Records] })];
    const web = await NestFactory.createApplicationContext({ module: class {}, imports }, QUIET);
    const node = web.get(GenRpcNode);
    await expect(node.call({ module: 'stock' }, 'stock', 'count', ['tea'])).resolves.toBe('12 of tea');
    await web.close();
    await expect(node.call({ module: 'stock' }, 'stock', 'count', ['tea'])).rejects.toMatchObject({
      code: 'cancelled',
    });
  });

  it('that is none is an error of the options', async () => {
    const module = GenRpcModule.forRootAsync({ useFactory: () => ({ ...WEB, discovery: RegistryDiscovery }) });
    await expect(NestFactory.createApplicationContext({ module: class {}, imports: [module] }, QUIET)).rejects.toThrow(
      /discovery: expected an object with a function resolve/,
    );
  });
});

describe('a client whose target is a module', () => {
  it('sends and emits to whoever has it, and tells whether anybody is connected', async () => {
    await using app = await App.start({ controllers: [Stock] });
    const discovery = new ToldDiscovery();
    const client = app.client({ target: { module: 'stock' }, discovery });
    const status: string[] = [];
    client.status.subscribe((one) => status.push(one));
    discovery.tell(recordOf(app.node, { modules }));
    await expect(firstValueFrom(client.send('stock.count', 'tea'))).resolves.toBe('12 of tea');
    await lastValueFrom(client.emit('stock.sold', 'tea'), { defaultValue: undefined });
    await until(() => heard.includes('tea'));
    expect(status).toEqual(['connected']);
    app.node.abort();
    await until(() => status.length === 2);
    expect(status).toEqual(['connected', 'disconnected']);
    await expect(firstValueFrom(client.send('stock.count', 'tea'))).rejects.toMatchObject({
      message: expect.stringContaining('is down'),
    });
  });

  it('is connected while a node is that has the module, whatever else changes', async () => {
    await using one = await App.start({ controllers: [Stock], options: { name: 'one@127.0.0.1' } });
    await using two = await App.start({ controllers: [Stock], options: { name: 'two@127.0.0.1' } });
    const discovery = new ToldDiscovery();
    const client = one.client({ target: { module: 'stock' }, discovery });
    const status: string[] = [];
    client.status.subscribe((now) => status.push(now));
    const node = client.unwrap();
    const tell = (...have: App[]): Promise<void> => {
      discovery.tell(...[one, two].map((app) => recordOf(app.node, { modules: have.includes(app) ? modules : [] })));
      return new Promise(setImmediate);
    };
    await tell();
    await node.connect('one@127.0.0.1');
    expect(status).toEqual([]);
    // A node that is connected already gets the module.
    await tell(one);
    expect(status).toEqual(['connected']);
    await node.connect('two@127.0.0.1');
    // The last one with the module loses it in the same breath in which another gets it.
    await tell(two);
    expect(status).toEqual(['connected']);
    await tell();
    expect(status).toEqual(['connected', 'disconnected']);
  });

  it('is connected until the last node with the module is lost', async () => {
    await using one = await App.start({ controllers: [Stock], options: { name: 'one@127.0.0.1' } });
    await using two = await App.start({ controllers: [Stock], options: { name: 'two@127.0.0.1' } });
    const discovery = new ToldDiscovery();
    const client = one.client({ target: { module: 'stock' }, discovery });
    const status: string[] = [];
    client.status.subscribe((now) => status.push(now));
    const node = client.unwrap();
    discovery.tell(...[one, two].map((app) => recordOf(app.node, { modules })));
    await Promise.all([node.connect('one@127.0.0.1'), node.connect('two@127.0.0.1')]);
    one.node.abort();
    await until(() => !node.isConnected('one@127.0.0.1'));
    expect(status).toEqual(['connected']);
    two.node.abort();
    await until(() => status.length === 2);
    expect(status).toEqual(['connected', 'disconnected']);
  });

  it('is disconnected once it is closed, also on a node that others use', async () => {
    await using app = await App.start({ controllers: [Stock] });
    const discovery = new ToldDiscovery();
    const module = GenRpcModule.forRoot({ ...WEB, discovery });
    const web = await webOf(app, module, discovery);
    const node = web.get(GenRpcNode);
    const client = new GenRpcClient({ node, target: { module: 'stock' } });
    const status: string[] = [];
    client.status.subscribe((now) => status.push(now));
    await client.connect();
    await client.close();
    discovery.tell(recordOf(app.node));
    await new Promise(setImmediate);
    expect(status).toEqual(['connected', 'disconnected']);
    expect(node.isConnected({ module: 'stock' })).toBe(true);
    await web.close();
  });

  it('may be one for a single message, by its record, with a key and a version', async () => {
    await using app = await App.start({ controllers: [Stock] });
    const discovery = new ToldDiscovery();
    const client = app.client({ target: 'nobody@127.0.0.1', discovery });
    discovery.tell(recordOf(app.node, { modules }));
    const record = new GenRpcRecordBuilder('rice').setTarget({ module: 'stock' }).setKey(7).build();
    await expect(firstValueFrom(client.send('stock.count', record))).resolves.toBe('12 of rice');
    const newer = new GenRpcRecordBuilder('rice').setTarget({ module: 'stock', version: '^2' }).build();
    await expect(firstValueFrom(client.send('stock.count', newer))).rejects.toMatchObject({
      message: expect.stringContaining('No node that is known has module stock in version ^2'),
    });
  });

  it.each([{}, { module: 7 }, { module: 'a', version: 1 }, 7, 'no name'])('is checked: %j', (target) => {
    expect(() => new GenRpcClient({ secret: SECRET, target: target as never })).toThrow(/target: expected the name/);
  });
});

describe('membershipOf', () => {
  it('tells who comes, changes and goes, as long as somebody listens', async () => {
    const discovery = new ToldDiscovery();
    const module = GenRpcModule.forRoot({ ...WEB, discovery });
    const web = await NestFactory.createApplicationContext({ module: class {}, imports: [module] }, QUIET);
    const events = lastValueFrom(membershipOf(web.get(GenRpcNode)).pipe(take(3), toArray()));
    const at = (port: number): unknown => ({ name: 'a@10.0.0.1', locations: [{ port }] });
    discovery.tell(at(1), { name: 'b@10.0.0.2', locations: [{}] });
    discovery.tell(at(2), { name: 'b@10.0.0.2', locations: [{}] });
    discovery.tell(at(3));
    expect((await events).map(({ type, member }) => `${type} ${member.name}`)).toEqual([
      'up a@10.0.0.1',
      'up b@10.0.0.2',
      'changed a@10.0.0.1',
    ]);
    await web.close();
    expect(discovery.closed).toBe(1);
  });
});
