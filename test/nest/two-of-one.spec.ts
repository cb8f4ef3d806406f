/** Two of a kind, made of one and the same options object: what the one is told or goes through, the other does not feel. */
import { Controller, Module, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientsModule, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { connectGenRpc } from '../../lib/nest/gen-rpc.connect.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { getGenRpcClientToken } from '../../lib/nest/gen-rpc.tokens.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import { until } from '../support/door.js';
import { NEST } from '../support/nest-version.js';
import { App, CapturedLogger, SECRET, SERVER, type AppSettings } from './support.js';

const QUIET = { logger: new CapturedLogger(), abortOnError: false };

@Controller()
class Echo {
  @MessagePattern('echo.value')
  echo(@Payload() value: unknown): unknown {
    return value;
  }
}

/** As somebody writes it who means it to be used again: nobody may write into it either. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) for (const part of Object.values(Object.freeze(value))) frozen(part);
  return value;
}

const OPTIONS: GenRpcOptions = frozen({
  name: SERVER,
  secret: [SECRET],
  listen: { port: 0 },
  nodes: { 'other@127.0.0.1': { port: 1, modules: ['math'] } },
  moduleControl: 'blacklist',
  moduleList: ['secret'],
  reconnect: { min: 10, max: 100 },
  retry: { idempotent: ['echo'] },
  concurrency: { calls: 50 },
  advertise: { weight: 2 },
});

function echo(app: App, value: unknown): Promise<unknown> {
  return firstValueFrom(app.client().send('echo.value', value));
}

/** Two servers of the one object, each with what `configure` does to the first alone. */
async function twins(configure: AppSettings['configure'] = () => {}): Promise<readonly [App, App]> {
  const one = await App.start({ controllers: [Echo], options: OPTIONS, configure });
  return [one, await App.start({ controllers: [Echo], options: OPTIONS })];
}

describe('two servers of one options object', () => {
  it('N-10 have statuses, listeners and ends of their own', async () => {
    const heard: string[] = [];
    const [one, other] = await twins((_, server) => server.on('close', () => heard.push('one closed')));
    await using _other = other;
    const statuses: Record<string, string[]> = { one: [], other: [] };
    one.server.status.subscribe((status) => statuses['one']?.push(status));
    other.server.status.subscribe((status) => statuses['other']?.push(status));
    other.server.on('close', () => heard.push('other closed'));
    await one[Symbol.asyncDispose]();
    expect(statuses).toEqual({ one: ['connected', 'disconnected'], other: ['connected'] });
    expect(heard).toEqual(['one closed']);
    expect(other.node.stats().phase).toBe('open');
    await expect(echo(other, 1)).resolves.toBe(1);
  });

  it.runIf(NEST >= 12)('N-10 have hooks of their own', async () => {
    const hooked: string[] = [];
    const [one, other] = await twins((app, server) => {
      app.registerPreRequestHook((_, next) => (hooked.push('before'), next() as Observable<unknown>));
      server.setOnProcessingStartHook((_, __, done) => {
        hooked.push('start');
        void done();
      });
      server.setOnProcessingEndHook(() => hooked.push('end'));
    });
    await using _one = one;
    await using _other = other;
    await echo(other, 1);
    expect(hooked).toEqual([]);
    await echo(one, 1);
    expect(hooked).toEqual(['start', 'before', 'end']);
  });

  it('N-10 have handlers of their own', async () => {
    const [one, other] = await twins((_, server) => server.addHandler('late', async () => 'late'));
    await using _one = one;
    await using _other = other;
    await expect(firstValueFrom(one.client().send('late', {}))).resolves.toBe('late');
    await expect(firstValueFrom(other.client().send('late', {}))).rejects.toContain('no matching message handler');
    one.node.register('later', { fn: () => 'later' });
    await expect(firstValueFrom(other.client().send('later.fn', {}))).rejects.toContain('no matching message handler');
    expect(other.server.getHandlers().has('late')).toBe(false);
    expect(new GenRpcServer(OPTIONS).getHandlers().size).toBe(0);
  });

  it('N-10 have policies, counts and memberships of their own', async () => {
    const [one, other] = await twins();
    await using _one = one;
    await using _other = other;
    one.node.setModulePolicy('whitelist', ['nothing']);
    await expect(echo(one, 1)).rejects.toMatchObject({ code: 'unauthorized' });
    await expect(echo(other, 1)).resolves.toBe(1);
    expect(one.node.stats().counts).toMatchObject({ accepted: 1, call_refused: 1 });
    expect(other.node.stats().counts).toEqual({ accepted: 1 });
    expect(one.node.members()).toEqual(other.node.members());
    expect(one.node.members()[0]).not.toBe(other.node.members()[0]);
  });

  it('N-10 have serializers that they use each for itself, and one object of them', async () => {
    const packets = frozen({
      serializer: { serialize: ({ response }: { response: unknown }) => ({ response: [response] }) },
    });
    await using one = await App.start({ controllers: [Echo], options: OPTIONS, packets });
    await using other = await App.start({ controllers: [Echo], options: OPTIONS, packets });
    await expect(Promise.all([echo(one, 1), echo(other, 2)])).resolves.toEqual([[1], [2]]);
  });
});

describe('two clients of one options object', () => {
  it.runIf(NEST >= 12)('N-10 have nodes, statuses, hooks and ends of their own', async () => {
    await using app = await App.start({ controllers: [Echo] });
    const options = frozen({ target: SERVER, secret: SECRET, clientPort: app.address.port, reconnect: { min: 5 } });
    const [one, other] = [new GenRpcClient(options), new GenRpcClient(options)];
    expect(one.unwrap<GenRpcNode>().name).not.toBe(other.unwrap<GenRpcNode>().name);
    const heard: string[] = [];
    one.status.subscribe((status) => heard.push(`one ${status}`));
    other.status.subscribe((status) => heard.push(`other ${status}`));
    one.on('connect', () => heard.push('one heard'));
    other.on('disconnect', () => heard.push('other heard'));
    one.setOnDispatchHook(() => heard.push('one hooked'));
    await firstValueFrom(one.send('echo.value', 1));
    expect(heard).toEqual(['one hooked', 'one connected', 'one heard']);
    await firstValueFrom(other.send('echo.value', 1));
    expect(heard.slice(3)).toEqual(['other connected']);
    expect(app.node.stats().acceptedConnections).toBe(2);
    await one.close();
    expect(heard.slice(4)).toEqual(['one disconnected']);
    await expect(firstValueFrom(other.send('echo.value', 2))).resolves.toBe(2);
    await other.close();
    expect(heard.slice(5)).toEqual(['other disconnected', 'other heard']);
  });

  it('N-10 are two where ClientsModule is given the object twice', async () => {
    await using app = await App.start({ controllers: [Echo] });
    const options = frozen({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    const names = ['ONE', 'OTHER'];
    const register = ClientsModule.register(names.map((name) => ({ name, customClass: GenRpcClient, options })));
    const context = await NestFactory.createApplicationContext({ module: class {}, imports: [register] }, QUIET);
    const [one, other] = names.map((name) => context.get<GenRpcClient>(name));
    await one?.connect();
    await other?.connect();
    await one?.close();
    await expect(firstValueFrom(other?.send('echo.value', 1) ?? expect.fail())).resolves.toBe(1);
    await context.close();
    await until(() => app.node.stats().acceptedConnections === 0);
  });
});

describe('two applications of one GenRpcModule options object', () => {
  const module = GenRpcModule.forRoot(OPTIONS);
  const feature = GenRpcModule.forFeature(frozen([{ name: 'self', target: SERVER }]));

  /** The very same dynamic modules in both. */
  @Module({ imports: [module, feature], controllers: [Echo] })
  class Root {}

  async function start(): Promise<INestApplication> {
    const app = await NestFactory.create(Root, QUIET);
    connectGenRpc(app);
    await app.startAllMicroservices();
    return app;
  }

  it('N-10 have nodes, strategies and clients of their own, and each closes its own', async () => {
    const [one, other] = [await start(), await start()];
    for (const token of [GenRpcNode, GenRpcServer, getGenRpcClientToken('self')]) {
      expect(one.get(token)).not.toBe(other.get(token));
    }
    one.get(GenRpcNode).setModulePolicy('whitelist');
    const ask = (app: INestApplication): Promise<unknown> =>
      firstValueFrom(app.get<GenRpcClient>(getGenRpcClientToken('self')).send('echo.value', 'self'));
    await expect(ask(one)).rejects.toMatchObject({ code: 'unauthorized' });
    await expect(ask(other)).resolves.toBe('self');
    expect(other.get(GenRpcNode).stats().counts.call_refused).toBeUndefined();
    const statuses: string[] = [];
    other.get(GenRpcServer).status.subscribe((status) => statuses.push(status));
    await one.close();
    await expect(ask(other)).resolves.toBe('self');
    expect(statuses).toEqual(['connected']);
    await other.close();
    expect(statuses).toEqual(['connected', 'disconnected']);
  });
});
