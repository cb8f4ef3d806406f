/** A sample of what a Nest application may expect, in a user's own project: no cast, nothing but the public package. */
import 'reflect-metadata';
import { strict as assert } from 'node:assert';
import {
  Catch,
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  Param,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type DynamicModule,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  CONTEXT,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  type AsyncMicroserviceOptions,
  type ClientProvider,
  type ClientsModuleOptionsFactory,
  type MicroserviceOptions,
  type RequestContext,
} from '@nestjs/microservices';
import {
  GenRpcClient,
  GenRpcContext,
  GenRpcModule,
  GenRpcNode,
  GenRpcRecordBuilder,
  GenRpcServer,
} from 'nestjs-gen-rpc';
import { firstValueFrom, lastValueFrom, map, range, take, throwError, toArray, type Observable } from 'rxjs';
import { freePort, PATIENT, SECRET } from './app.js';

const NAME = 'shop@127.0.0.1';

@Injectable()
class MembersOnly implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return context.switchToRpc().getContext<GenRpcContext>().getMetadata()?.['member'] === 'yes';
  }
}

@Injectable()
class Trimmed implements PipeTransform<string, string> {
  transform(value: string): string {
    return value.trim();
  }
}

@Injectable()
class Loudly implements NestInterceptor<string, string> {
  intercept(_: ExecutionContext, next: CallHandler<string>): Observable<string> {
    return next.handle().pipe(map((text) => `${text}!`));
  }
}

@Catch(RpcException)
class Explained implements ExceptionFilter<RpcException> {
  catch(error: RpcException, host: ArgumentsHost): Observable<never> {
    return throwError(() => ({ said: error.message, data: host.switchToRpc().getData<unknown>() }));
  }
}

/** One for each message. */
@Injectable({ scope: Scope.REQUEST })
class OfMessage {
  private static made = 0;
  readonly number = (OfMessage.made += 1);

  constructor(@Inject(CONTEXT) private readonly message: RequestContext<string, GenRpcContext>) {}

  describe(): string {
    return `${String(this.message.getPattern())} ${this.message.getData()}`;
  }
}

@Controller()
class PerMessage {
  constructor(@Inject(OfMessage) private readonly own: OfMessage) {}

  @MessagePattern('scoped')
  scoped(): [number, string] {
    return [this.own.number, this.own.describe()];
  }
}

@Controller()
class Shop {
  readonly events: unknown[] = [];
  stopped = 0;
  private go = (): void => {};

  @MessagePattern({ cmd: 'sum', of: 'numbers' })
  async sum(@Payload() numbers: number[]): Promise<number> {
    return numbers.reduce((sum, one) => sum + one, 0);
  }

  @MessagePattern('range')
  range(@Payload() count: number): Observable<number> {
    return range(0, count);
  }

  @MessagePattern('endless')
  async *endless(): AsyncGenerator<number> {
    try {
      for (let n = 0; ; n += 1) yield n;
    } finally {
      this.stopped += 1;
    }
  }

  @UseGuards(MembersOnly)
  @UseInterceptors(Loudly)
  @UsePipes(Trimmed)
  @MessagePattern('greet')
  greet(@Payload() name: string): string {
    return `hello ${name}`;
  }

  @UseFilters(Explained)
  @MessagePattern('explained')
  explained(): never {
    throw new RpcException('sold out');
  }

  @MessagePattern('fails')
  fails(@Payload() how: string): never {
    throw how === 'rpc' ? new RpcException({ code: 7 }) : new Error('hidden');
  }

  @MessagePattern('slow')
  async slow(@Payload() value: string): Promise<string> {
    this.events.push('slow');
    await new Promise<void>((resolve) => (this.go = resolve));
    return value;
  }

  @EventPattern<string>('sold')
  sold(@Payload() what: string, @Ctx() context: GenRpcContext): void {
    this.events.push([what, context.getNode()]);
  }

  letGo(): void {
    this.go();
  }
}

/** The shop, asked by `ask`. */
async function withShop(ask: (client: GenRpcClient, shop: Shop, port: number) => Promise<void>): Promise<void> {
  @Module({ controllers: [Shop, PerMessage], providers: [OfMessage] })
  class ShopModule {}

  const port = await freePort();
  const strategy = new GenRpcServer({ name: NAME, secret: SECRET, listen: { port }, ...PATIENT });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(ShopModule, { strategy, logger: false });
  await app.listen();
  const client = new GenRpcClient({ name: 'web@127.0.0.1', target: NAME, secret: SECRET, clientPort: port });
  try {
    await ask(client, app.get(Shop), port);
  } finally {
    await client.close();
    await app.close();
  }
}

/** Waits, a turn of the loop at a time, until `check` holds. */
async function until(check: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!check()) {
    assert(Date.now() < end, `waited in vain until ${String(check)}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function requests(): Promise<void> {
  await withShop(async (client) => {
    assert.equal(await firstValueFrom(client.send<number>({ of: 'numbers', cmd: 'sum' }, [1, 2, 3])), 6);
    assert.deepEqual(await lastValueFrom(client.send<number>('range', 4).pipe(toArray())), [0, 1, 2, 3]);
    const [first, second] = await Promise.all(
      ['a', 'b'].map((data) => firstValueFrom(client.send<[number, string]>('scoped', data))),
    );
    assert.deepEqual([first?.[1], second?.[1]], ['scoped a', 'scoped b']);
    assert.notEqual(first?.[0], second?.[0]);
  });
}

async function eventsAndStreams(): Promise<void> {
  await withShop(async (client, shop) => {
    await lastValueFrom(client.emit('sold', 'tea'), { defaultValue: undefined });
    await until(() => shop.events.length === 1);
    assert.deepEqual(shop.events, [['tea', 'web@127.0.0.1']]);
    assert.deepEqual(await lastValueFrom(client.send<number>('endless', {}).pipe(take(3), toArray())), [0, 1, 2]);
    for await (const n of client.stream<number>('endless', {})) if (n === 1000) break;
    await until(() => shop.stopped === 2);
  });
}

async function enhancers(): Promise<void> {
  await withShop(async (client) => {
    const member = new GenRpcRecordBuilder(' Ann ').setHeaders({ member: 'yes' }).build();
    assert.equal(await firstValueFrom(client.send<string>('greet', member)), 'hello Ann!');
    const refused = { status: 'error', message: 'Forbidden resource' };
    await assert.rejects(firstValueFrom(client.send('greet', 'Ann')), (error) => isLike(error, refused));
    const explained = { said: 'sold out', data: 'tea' };
    await assert.rejects(firstValueFrom(client.send('explained', 'tea')), (error) => isLike(error, explained));
  });
}

async function errors(): Promise<void> {
  await withShop(async (client) => {
    await assert.rejects(firstValueFrom(client.send('fails', 'rpc')), (error) => isLike(error, { code: 7 }));
    const hidden = { status: 'error', message: 'Internal server error' };
    await assert.rejects(firstValueFrom(client.send('fails', 'plain')), (error) => isLike(error, hidden));
    const unknown = 'There is no matching message handler defined in the remote service.';
    await assert.rejects(firstValueFrom(client.send('unknown', {})), (error) => error === unknown);
    const away = new GenRpcClient({ target: NAME, secret: SECRET, clientPort: await freePort() });
    await assert.rejects(firstValueFrom(away.send('range', 1)), { code: 'ECONNREFUSED' });
    await assert.rejects(away.connect(), { code: 'ECONNREFUSED' });
    await away.close();
  });
}

function isLike(error: unknown, expected: object): boolean {
  assert.deepEqual({ ...Object(error) }, expected);
  return true;
}

async function clients(): Promise<void> {
  await withShop(async (_, __, port) => {
    const provided: ClientProvider = {
      customClass: GenRpcClient,
      options: { target: NAME, secret: SECRET, clientPort: port },
    };

    @Injectable()
    class Options implements ClientsModuleOptionsFactory {
      createClientOptions(): ClientProvider {
        return provided;
      }
    }

    const ways: DynamicModule[] = [
      ClientsModule.register([{ name: 'SHOP', ...provided }]),
      ClientsModule.register({ isGlobal: true, clients: [{ name: 'SHOP', ...provided }] }),
      ClientsModule.registerAsync([{ name: 'SHOP', useFactory: (): ClientProvider => provided }]),
      ClientsModule.registerAsync([{ name: 'SHOP', useClass: Options }]),
    ];
    for (const way of ways) {
      @Injectable()
      class Buyer {
        constructor(@Inject('SHOP') readonly shop: ClientProxy) {}
      }

      @Module({ imports: [way], providers: [Buyer] })
      class BuyerModule {}

      const app = await NestFactory.createApplicationContext(BuyerModule, { logger: false });
      assert.equal(await lastValueFrom(app.get(Buyer).shop.send<number>('range', 3)), 2);
      await app.close();
    }
    const made = ClientProxyFactory.create(provided);
    assert.equal(await lastValueFrom(made.send<number>('range', 2)), 1);
    await made.close();
  });
}

/** HTTP and RPC in one application, whose node the module owns; the client shares it. */
async function hybrid(): Promise<void> {
  await withShop(async (_, __, port) => {
    @Controller()
    class Web {
      constructor(@Inject('SHOP') private readonly shop: ClientProxy) {}

      @Get('range/:count')
      range(@Param('count') count: string): Observable<number[]> {
        return this.shop.send<number>('range', Number(count)).pipe(toArray());
      }

      @MessagePattern('web.ping')
      ping(): string {
        return 'pong';
      }
    }

    const own = await freePort();
    @Module({
      imports: [
        GenRpcModule.forRootAsync({
          useFactory: () => ({
            ...{ name: 'web@127.0.0.1', secret: SECRET, clientPort: port },
            ...{ listen: { port: own }, ...PATIENT },
          }),
        }),
        ClientsModule.registerAsync([
          {
            name: 'SHOP',
            inject: [GenRpcNode],
            useFactory: (node: GenRpcNode): ClientProvider => ({
              customClass: GenRpcClient,
              options: { node, target: NAME },
            }),
          },
        ]),
      ],
      controllers: [Web],
    })
    class WebModule {}

    const app = await NestFactory.create(WebModule, { logger: false });
    app.connectMicroservice<AsyncMicroserviceOptions>({
      inject: [GenRpcServer],
      useFactory: (strategy: GenRpcServer): MicroserviceOptions => ({ strategy }),
    });
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    const response = await fetch(`${await app.getUrl()}/range/3`, { headers: { connection: 'close' } });
    assert.equal(await response.text(), '[0,1,2]');
    const asking = new GenRpcClient({ target: 'web@127.0.0.1', secret: SECRET, clientPort: own });
    assert.equal(await firstValueFrom(asking.send<string>('web.ping', {})), 'pong');
    await asking.close();
    await app.close();
  });
}

async function shutdown(): Promise<void> {
  const port = await freePort();
  @Module({ controllers: [Shop] })
  class ShopModule {}

  const strategy = new GenRpcServer({ name: NAME, secret: SECRET, listen: { port }, ...PATIENT });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(ShopModule, { strategy, logger: false });
  await app.listen();
  const shop = app.get(Shop);
  const client = new GenRpcClient({ target: NAME, secret: SECRET, clientPort: port });
  const reply = firstValueFrom(client.send<string>('slow', 'answered'));
  await until(() => shop.events.length === 1);
  const closed = app.close();
  shop.letGo();
  assert.equal(await reply, 'answered');
  await closed;
  await assert.rejects(firstValueFrom(client.send('range', 1)), { code: 'ECONNREFUSED' });
  await client.close();
  await app.close();
}

/** By what they are called in a report. */
export const BEHAVIOURS: ReadonlyMap<string, () => Promise<void>> = new Map([
  ['requests, items, object patterns, request scope', requests],
  ['events, and streams that stop when nobody reads', eventsAndStreams],
  ['guard, pipe, interceptor and filter', enhancers],
  ['errors', errors],
  ['clients out of ClientsModule, in each of its forms', clients],
  ['HTTP beside it, by GenRpcModule', hybrid],
  ['shutdown', shutdown],
]);
