/** What applications use of Nest besides, over this library and over Nest's own TCP: parameters, scopes, values, previews. */
import 'reflect-metadata';
import {
  Catch,
  ClassSerializerInterceptor,
  Controller,
  createParamDecorator,
  Inject,
  Injectable,
  Scope,
  SetMetadata,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { ContextIdFactory, INQUIRER, ModuleRef, NestFactory, Reflector, SerializedGraph } from '@nestjs/core';
import {
  BaseRpcContext,
  BaseRpcExceptionFilter,
  CONTEXT,
  Ctx,
  MessagePattern,
  Payload,
  RpcException,
  type MicroserviceOptions,
  type RequestContext,
} from '@nestjs/microservices';
import { Exclude, Expose } from 'class-transformer';
import { firstValueFrom, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { BOTH, Side, type AnyServer } from './both.js';
import { CapturedLogger, itemsOf, moduleOf } from './support.js';

type Context = BaseRpcContext & { getPattern(): string };

const Caller = createParamDecorator((prefix: string, host: ExecutionContext) => {
  const rpc = host.switchToRpc();
  return `${prefix} ${host.getType()} ${rpc.getContext<Context>().getPattern()} ${JSON.stringify(rpc.getData())}`;
});

const Roles = (...roles: string[]) => SetMetadata('roles', roles);

@Injectable()
class RolesGuard implements CanActivate {
  constructor(@Inject(Reflector) private readonly reflector: Reflector) {}

  canActivate(host: ExecutionContext): boolean {
    const roles = this.reflector.getAllAndMerge<string[]>('roles', [host.getHandler(), host.getClass()]);
    const [data, context] = host.getArgs<[{ role: string }, Context]>();
    return roles.includes(data.role) && context === host.switchToRpc().getContext() && host.getArgByIndex(0) === data;
  }
}

@Catch(TypeError)
class TypeErrors extends BaseRpcExceptionFilter {
  override catch(error: TypeError, host: ArgumentsHost): Observable<unknown> {
    // oxlint-disable-next-line promise/valid-params -- a filter's, and no promise's
    return super.catch(new RpcException({ kind: 'TypeError', said: error.message }), host);
  }
}

@Injectable({ scope: Scope.TRANSIENT })
class Label {
  constructor(@Inject(INQUIRER) private readonly owner: object) {}

  get text(): string {
    return this.owner.constructor.name;
  }
}

@Injectable({ scope: Scope.REQUEST })
class Visit {
  constructor(@Inject(CONTEXT) readonly request: RequestContext<{ id: number }>) {}
}

class Money {
  constructor(
    readonly amount: number,
    private readonly currency: string,
  ) {}

  get shown(): string {
    return `${this.amount} ${this.currency}`;
  }
}

/** As the decimals, documents and identifiers of many libraries. */
class Decimal {
  constructor(private readonly digits: string) {}

  toJSON(): string {
    return this.digits;
  }
}

class User {
  readonly id = 1;

  @Exclude()
  readonly password = 'secret';

  @Expose()
  get greeting(): string {
    return `user ${this.id}`;
  }
}

@Controller()
@Roles('admin')
class Usual {
  constructor(
    @Inject(Label) private readonly label: Label,
    @Inject(ModuleRef) private readonly modules: ModuleRef,
  ) {}

  @MessagePattern('caller')
  caller(@Caller('by') caller: string, @Payload('id') id: number): unknown {
    return [caller, id];
  }

  @Roles('editor')
  @UseGuards(RolesGuard)
  @MessagePattern('roles')
  roles(): string {
    return 'allowed';
  }

  @UseFilters(TypeErrors)
  @MessagePattern('type.error')
  typeError(): never {
    throw new TypeError('no type');
  }

  @MessagePattern('label')
  whose(): string {
    return this.label.text;
  }

  @MessagePattern('resolve')
  async resolve(@Payload() data: { id: number }, @Ctx() context: Context): Promise<unknown> {
    const contextId = ContextIdFactory.create();
    const request = { getData: () => data, getContext: () => context, getPattern: () => context.getPattern() };
    this.modules.registerRequestByContextId(request, contextId);
    const visit = await this.modules.resolve(Visit, contextId, { strict: false });
    return visit.request.getData().id;
  }

  @MessagePattern('instance')
  instance(): unknown {
    return { price: new Money(5, 'EUR'), of: [new Money(7, 'EUR')] };
  }

  @MessagePattern('to.json')
  toJson(): unknown {
    return { price: new Decimal('1.50'), at: new URL('http://example.com/') };
  }

  @UseInterceptors(ClassSerializerInterceptor)
  @MessagePattern('serialized')
  serialized(): User {
    return new User();
  }

  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
}

const APP = { controllers: [Usual], providers: [Label, Visit] };

describe.each(BOTH)('over $name', (transport) => {
  it.each<[string, string, unknown, unknown]>([
    ["a parameter of the user's own decorator", 'caller', { id: 7 }, ['by rpc caller {"id":7}', 7]],
    ['metadata of class and method, by Reflector', 'roles', { role: 'admin' }, 'allowed'],
    ['metadata of the method, by Reflector', 'roles', { role: 'editor' }, 'allowed'],
    ['whoever a transient provider is for', 'label', {}, 'Usual'],
    ['a request-scoped provider, by ModuleRef', 'resolve', { id: 7 }, 7],
    ['what is in an instance of a class', 'instance', {}, instances()],
    ['what toJSON makes of a value', 'to.json', {}, { price: '1.50', at: 'http://example.com/' }],
    ['what ClassSerializerInterceptor leaves', 'serialized', {}, { id: 1, greeting: 'user 1' }],
    ['instances that a client sends', 'echo', new Money(5, 'EUR'), { amount: 5, currency: 'EUR' }],
    ['toJSON of what a client sends', 'echo', { price: new Decimal('1.50') }, { price: '1.50' }],
  ])(`a handler has %s, over ${transport.name}`, async (_, pattern, data, expected) => {
    await using side = await Side.start(transport, APP);
    await expect(itemsOf(side.client.send(pattern, data))).resolves.toEqual([expected]);
  });

  it(`a guard that reads metadata refuses, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const refused = firstValueFrom(side.client.send('roles', { role: 'guest' }));
    await expect(refused).rejects.toEqual({ status: 'error', message: 'Forbidden resource' });
  });

  it(`a filter that extends Nest's own has the error, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const failed = firstValueFrom(side.client.send('type.error', {}));
    await expect(failed).rejects.toEqual({ kind: 'TypeError', said: 'no type' });
  });

  const microserviceOf = (server: AnyServer, options: object) =>
    NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(APP), {
      ...options,
      strategy: server as never,
      logger: new CapturedLogger(),
      abortOnError: false,
    });

  it(`a snapshot for Nest's devtools tells of the handlers, over ${transport.name}`, async () => {
    const server = transport.server();
    const app = await microserviceOf(server, { snapshot: true });
    await app.listen();
    const { entrypoints } = JSON.parse(app.get(SerializedGraph).toString()) as { entrypoints: object };
    const entries = Object.values(entrypoints).flat() as { type: string; metadata: { key: string } }[];
    expect(entries.map(({ type, metadata }) => `${type} ${metadata.key}`)).toContain('microservice caller');
    await app.close();
  });

  it(`a preview is made and closed without listening, over ${transport.name}`, async () => {
    const server = transport.server();
    const app = await microserviceOf(server, { preview: true, snapshot: true });
    await app.init();
    await app.close();
    expect(server.getHandlers().size).toBe(0);
  });
});

function instances(): unknown {
  const [five, seven] = [5, 7].map((amount) => ({ amount, currency: 'EUR' }));
  return { price: five, of: [seven] };
}
