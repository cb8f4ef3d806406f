/** One application, old transports and this one, as during a move: docs/MIGRATION.md. */
import 'reflect-metadata';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { fromJSON } from '@grpc/proto-loader';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  type INestApplication,
  Injectable,
  type NestInterceptor,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type ClientGrpcProxy,
  ClientProxyFactory,
  GrpcMethod,
  type GrpcOptions,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  TcpContext,
  Transport,
} from '@nestjs/microservices';
import { firstValueFrom, type Observable, of, toArray } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { GEN_RPC_TRANSPORT } from '../../lib/nest/gen-rpc.tokens.js';
import { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { CapturedLogger, moduleOf, SECRET, SERVER } from './support.js';

const HOST = '127.0.0.1';
const NO_HANDLER = 'There is no matching message handler defined in the remote service.';
const HERO = { id: { type: 'int32', id: 1 }, name: { type: 'string', id: 2 } };
const call = (responseStream: boolean): object => ({ requestType: 'Hero', responseType: 'Hero', responseStream });
const PACKAGE = fromJSON({
  nested: {
    heroes: { nested: { Hero: { fields: HERO }, Heroes: { methods: { find: call(false), all: call(true) } } } },
  },
} as Parameters<typeof fromJSON>[0]);

interface Hero {
  id: number;
  name: string;
}

// A type, not an interface: Nest wants an index signature.
type Heroes = { find(hero: Partial<Hero>): Observable<Hero>; all(hero: Partial<Hero>): Observable<Hero> };

@Controller()
class HeroesController {
  @MessagePattern('heroes.find')
  find(@Payload() { id }: { id: number }): Hero {
    return { id, name: 'Ann' };
  }

  @MessagePattern('heroes.all')
  all(): Observable<Hero> {
    return of({ id: 1, name: 'Ann' }, { id: 2, name: 'Bob' });
  }

  @MessagePattern('heroes.here', GEN_RPC_TRANSPORT)
  onlyHere(): string {
    return 'here';
  }

  @MessagePattern('heroes.there', Transport.TCP)
  onlyThere(): string {
    return 'there';
  }

  @GrpcMethod('Heroes', 'find')
  findByGrpc(request: { id: number }): Hero {
    return this.find(request);
  }

  @GrpcMethod('Heroes', 'all')
  allByGrpc(): Observable<Hero> {
    return this.all();
  }
}

/** Tells who still comes the old way. */
@Injectable()
class WhoIsLeft implements NestInterceptor {
  readonly seen: string[] = [];

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const its = context.switchToRpc().getContext<unknown>();
    this.seen.push(its instanceof TcpContext ? 'old' : its instanceof GenRpcContext ? 'new' : 'grpc');
    return next.handle();
  }
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, HOST);
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  listener.close();
  await once(listener, 'close');
  return port;
}

class Moving {
  private constructor(
    readonly whoIsLeft: WhoIsLeft,
    private readonly app: INestApplication,
    readonly clients: { readonly tcp: ReturnType<typeof ClientProxyFactory.create>; readonly here: GenRpcClient },
    private readonly grpc: ClientGrpcProxy,
  ) {}

  static async start(): Promise<Moving> {
    const options: GrpcOptions['options'] = {
      url: `${HOST}:${await freePort()}`,
      package: 'heroes',
      packageDefinition: PACKAGE,
    };
    const node = GenRpcModule.forRoot({ name: SERVER, secret: SECRET, listen: { port: 0 } });
    const app = await NestFactory.create(moduleOf({ imports: [node], controllers: [HeroesController] }), {
      logger: new CapturedLogger(),
      abortOnError: false,
    });
    const whoIsLeft = new WhoIsLeft();
    app.useGlobalInterceptors(whoIsLeft);
    const shared = { inheritAppConfig: true };
    const tcp = app.connectMicroservice<MicroserviceOptions>(
      { transport: Transport.TCP, options: { host: HOST, port: 0 } },
      shared,
    );
    app.connectMicroservice<MicroserviceOptions>({ transport: Transport.GRPC, options }, shared);
    app.connectMicroservice<MicroserviceOptions>({ strategy: app.get(GenRpcServer) }, shared);
    const { port } = await app.startAllMicroservices().then(() => tcp.unwrap<Server>().address() as AddressInfo);
    const { port: clientPort = 0 } = (await app.get(GenRpcNode).listen()) ?? {};
    const clients = {
      tcp: ClientProxyFactory.create({ transport: Transport.TCP, options: { host: HOST, port } }),
      here: new GenRpcClient({ target: SERVER, secret: SECRET, clientPort }),
    };
    const grpc = ClientProxyFactory.create({ transport: Transport.GRPC, options }) as ClientGrpcProxy;
    await app.init();
    return new Moving(whoIsLeft, app, clients, grpc);
  }

  get heroes(): Heroes {
    return this.grpc.getService<Heroes>('Heroes');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clients.tcp.close();
    await this.clients.here.close();
    this.grpc.close();
    await this.app.close();
  }
}

describe('an application that is moving', () => {
  it('answers alike over Transport.TCP, over gRPC and over this library', async () => {
    await using moving = await Moving.start();
    const { tcp, here } = moving.clients;
    const ann = { id: 7, name: 'Ann' };
    await expect(firstValueFrom(tcp.send('heroes.find', { id: 7 }))).resolves.toEqual(ann);
    await expect(firstValueFrom(moving.heroes.find({ id: 7 }))).resolves.toEqual(ann);
    await expect(firstValueFrom(here.send('heroes.find', { id: 7 }))).resolves.toEqual(ann);
    const all = [{ id: 1, name: 'Ann' }, expect.objectContaining({ name: 'Bob' })];
    await expect(firstValueFrom(tcp.send('heroes.all', {}).pipe(toArray()))).resolves.toEqual(all);
    await expect(firstValueFrom(moving.heroes.all({}).pipe(toArray()))).resolves.toEqual(all);
    await expect(firstValueFrom(here.send('heroes.all', {}).pipe(toArray()))).resolves.toEqual(all);
  });

  it('binds to one transport what is meant for one', async () => {
    await using moving = await Moving.start();
    const { tcp, here } = moving.clients;
    await expect(firstValueFrom(here.send('heroes.here', {}))).resolves.toBe('here');
    await expect(firstValueFrom(tcp.send('heroes.there', {}))).resolves.toBe('there');
    await expect(firstValueFrom(tcp.send('heroes.here', {}))).rejects.toBe(NO_HANDLER);
    await expect(firstValueFrom(here.send('heroes.there', {}))).rejects.toBe(NO_HANDLER);
  });

  it('tells by an interceptor who still comes the old way', async () => {
    await using moving = await Moving.start();
    const { tcp, here } = moving.clients;
    await firstValueFrom(here.send('heroes.find', { id: 7 }));
    await firstValueFrom(tcp.send('heroes.find', { id: 7 }));
    await firstValueFrom(moving.heroes.find({ id: 7 }));
    expect(moving.whoIsLeft.seen).toEqual(['new', 'old', 'grpc']);
  });
});
