/** Enhancers, over this library and over Nest's own TCP: nobody who swaps the one for the other may notice. */
import {
  Catch,
  Controller,
  DefaultValuePipe,
  Inject,
  Injectable,
  ParseIntPipe,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, APP_PIPE } from '@nestjs/core';
import {
  BaseRpcContext,
  CONTEXT,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  type RequestContext,
} from '@nestjs/microservices';
import { IsInt, IsString, Min } from 'class-validator';
import { firstValueFrom, map, of, throwError, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { BOTH, Entries, Side } from './both.js';
import { itemsOf } from './support.js';

const LEVELS = ['global', 'class', 'method'] as const;
type Level = (typeof LEVELS)[number];

class Refusal extends Error {}

/** One of each kind, which say that they ran. */
function enhancersOf(level: Level): Record<'guard' | 'interceptor' | 'pipe' | 'filter', Type> {
  @Injectable()
  class Guard implements CanActivate {
    constructor(@Inject(Entries) private readonly entries: Entries) {}

    canActivate(context: ExecutionContext): boolean {
      this.entries.add(
        `${level} guard of ${context.getType()} ${context.getClass().name}.${context.getHandler().name}`,
      );
      return context.switchToRpc().getData() !== `no ${level} guard`;
    }
  }

  @Injectable()
  class Interceptor implements NestInterceptor {
    constructor(@Inject(Entries) private readonly entries: Entries) {}

    intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
      const pattern = context.switchToRpc().getContext<{ getPattern(): string }>().getPattern();
      this.entries.add(`${level} interceptor before ${pattern}`);
      return next.handle().pipe(
        map((value) => {
          this.entries.add(`${level} interceptor after`);
          return `${level}(${String(value)})`;
        }),
      );
    }
  }

  @Injectable()
  class Pipe implements PipeTransform {
    constructor(@Inject(Entries) private readonly entries: Entries) {}

    transform(value: unknown, { type }: { type: string }): unknown {
      if (type === 'body') this.entries.add(`${level} pipe`);
      return value;
    }
  }

  @Catch(Refusal)
  class Filter implements ExceptionFilter {
    constructor(@Inject(Entries) private readonly entries: Entries) {}

    catch(error: Refusal, host: ArgumentsHost): Observable<never> {
      this.entries.add(`${level} filter of ${host.getType()}`);
      return throwError(() => ({
        filteredBy: level,
        said: error.message,
        data: host.switchToRpc().getData<unknown>(),
      }));
    }
  }
  return { guard: Guard, interceptor: Interceptor, pipe: Pipe, filter: Filter };
}

const [GLOBAL, CLASS, METHOD] = [enhancersOf('global'), enhancersOf('class'), enhancersOf('method')];

@Controller()
@UseGuards(CLASS.guard)
@UseInterceptors(CLASS.interceptor)
@UsePipes(CLASS.pipe)
class Enhanced {
  constructor(@Inject(Entries) private readonly entries: Entries) {}

  @UseGuards(METHOD.guard)
  @UseInterceptors(METHOD.interceptor)
  @UsePipes(METHOD.pipe)
  @MessagePattern('enhanced')
  call(@Payload() data: string): string {
    this.entries.add(`handler of ${data}`);
    return data;
  }

  @MessagePattern('enhanced.items')
  items(@Payload() data: string): Observable<string> {
    return of(`${data}1`, `${data}2`);
  }

  @UseGuards(METHOD.guard)
  @EventPattern('enhanced.event')
  event(@Payload() data: string): void {
    this.entries.add(`event ${data}`);
  }
}

@Controller()
@UseFilters(CLASS.filter)
class Refusing {
  @UseFilters(METHOD.filter)
  @MessagePattern('refuse.method')
  method(): never {
    throw new Refusal('no');
  }

  @MessagePattern('refuse.class')
  class(): never {
    throw new Refusal('no');
  }

  @MessagePattern('refuse.other')
  other(): never {
    throw new RpcException('not a refusal');
  }
}

@Controller()
class RefusingGlobally {
  @MessagePattern('refuse.global')
  async global(): Promise<never> {
    throw new Refusal('no');
  }

  @MessagePattern('refuse.items')
  items(): Observable<never> {
    return throwError(() => new Refusal('no'));
  }
}

const PROVIDERS = [
  Entries,
  { provide: APP_GUARD, useClass: GLOBAL.guard },
  { provide: APP_INTERCEPTOR, useClass: GLOBAL.interceptor },
  { provide: APP_PIPE, useClass: GLOBAL.pipe },
  { provide: APP_FILTER, useClass: GLOBAL.filter },
];
const APP = { controllers: [Enhanced, Refusing, RefusingGlobally], providers: PROVIDERS };

describe.each(BOTH)('over $name', (transport) => {
  it(`N-32 guards, interceptors and pipes run at every level, in order, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    await expect(firstValueFrom(side.client.send('enhanced', 'x'))).resolves.toBe('global(class(method(x)))');
    expect(side.app.get(Entries).all).toEqual([
      ...LEVELS.map((level) => `${level} guard of rpc Enhanced.call`),
      ...LEVELS.map((level) => `${level} interceptor before enhanced`),
      ...LEVELS.map((level) => `${level} pipe`),
      'handler of x',
      ...LEVELS.toReversed().map((level) => `${level} interceptor after`),
    ]);
  });

  it.each(LEVELS)(`N-32 a guard at %s level refuses, over ${transport.name}`, async (level) => {
    await using side = await Side.start(transport, APP);
    const reply = firstValueFrom(side.client.send('enhanced', `no ${level} guard`));
    await expect(reply).rejects.toEqual({ status: 'error', message: 'Forbidden resource' });
    expect(side.app.get(Entries).all).not.toContainEqual(expect.stringMatching(/^handler|before/));
  });

  it(`N-32 interceptors see each item, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const items = await itemsOf(side.client.send('enhanced.items', 'x'));
    expect(items).toEqual(['global(class(x1))', 'global(class(x2))']);
  });

  it(`N-32 all of them run around events, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    side.client.emit('enhanced.event', 'no method guard');
    side.client.emit('enhanced.event', 'x');
    const ran = await side.app.get(Entries).of(12);
    expect(ran.filter((entry) => entry.startsWith('event'))).toEqual(['event x']);
    expect(ran).toContain('class pipe');
    expect(ran).toContain('global interceptor after');
  });

  it.each(['method', 'class', 'global'])(
    `N-32 a filter at %s level has the error, over ${transport.name}`,
    async (level) => {
      await using side = await Side.start(transport, APP);
      const reply = firstValueFrom(side.client.send(`refuse.${level}`, { n: 1 }));
      await expect(reply).rejects.toEqual({ filteredBy: level, said: 'no', data: { n: 1 } });
      const filters = side.app.get(Entries).all.filter((entry) => entry.includes('filter'));
      expect(filters).toEqual([`${level} filter of rpc`]);
    },
  );

  it(`N-35 a filter replaces the error of an Observable, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const reply = itemsOf(side.client.send('refuse.items', {}));
    await expect(reply).rejects.toEqual({ filteredBy: 'global', said: 'no', data: {} });
  });

  it(`N-35 a filter leaves alone what it does not catch, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, APP);
    const reply = firstValueFrom(side.client.send('refuse.other', {}));
    await expect(reply).rejects.toEqual({ status: 'error', message: 'not a refusal' });
  });

  it.each([
    ['what an RpcException says', () => throwError(() => new RpcException('m').getError()), 'm'],
    ['an object', () => throwError(() => ({ why: { n: 1 } })), { why: { n: 1 } }],
    ['text', () => throwError(() => 'm'), 'm'],
  ])(`N-35 a filter answers with %s, over ${transport.name}`, async (_, answer: () => Observable<never>, expected) => {
    @Catch()
    class Answering implements ExceptionFilter {
      catch(): Observable<never> {
        return answer();
      }
    }
    const controllers = [RefusingGlobally];
    const configure = (app: { useGlobalFilters(filter: ExceptionFilter): unknown }): void => {
      app.useGlobalFilters(new Answering());
    };
    await using side = await Side.start(transport, { controllers, configure });
    await expect(firstValueFrom(side.client.send('refuse.global', {}))).rejects.toEqual(expected);
  });

  it(`N-35 a filter makes a value of the error, over ${transport.name}`, async () => {
    @Catch()
    class Forgiving implements ExceptionFilter {
      catch(): Observable<string> {
        return of('never mind');
      }
    }
    const controllers = [RefusingGlobally];
    await using side = await Side.start(transport, {
      controllers,
      configure: (app) => app.useGlobalFilters(new Forgiving()),
    });
    await expect(firstValueFrom(side.client.send('refuse.global', {}))).resolves.toBe('never mind');
  });
});

class AddDto {
  @IsInt()
  @Min(0)
  a!: number;

  @IsString()
  b!: string;
}

@Controller()
class Parameters {
  @UsePipes(new ValidationPipe())
  @MessagePattern('validated')
  validated(@Payload() dto: AddDto): string {
    return `${dto.a} ${dto.b}`;
  }

  @UsePipes(new ValidationPipe({ exceptionFactory: (errors) => new RpcException(errors.map((e) => e.property)) }))
  @MessagePattern('explained')
  explained(@Payload() dto: AddDto): AddDto {
    return dto;
  }

  @UsePipes(new ValidationPipe({ transform: true, whitelist: true }))
  @MessagePattern('transformed')
  transformed(@Payload() dto: AddDto): unknown {
    return [dto instanceof AddDto, dto];
  }

  @MessagePattern('property')
  property(@Payload('id') id: unknown): unknown {
    return [id];
  }

  @MessagePattern('first')
  first(@Payload('0') first: unknown): unknown {
    return [first];
  }

  @MessagePattern('piped')
  piped(@Payload('id', new DefaultValuePipe('7'), ParseIntPipe) id: number): unknown {
    return [typeof id, id];
  }

  @MessagePattern('context')
  context(@Ctx() context: BaseRpcContext & { getPattern(): string }, @Payload('id') id: number): unknown {
    return [id, context instanceof BaseRpcContext, context.getPattern()];
  }

  @MessagePattern('plain')
  plain(data: unknown): unknown {
    return data;
  }

  @MessagePattern('several')
  several(@Payload('a') a: unknown, @Payload('b') b: unknown, @Payload() whole: unknown): unknown {
    return [a, b, whole];
  }
}

const HIDDEN = { status: 'error', message: 'Internal server error' };

describe.each(BOTH)('parameters over $name', (transport) => {
  it(`N-33 ValidationPipe lets through what is valid, and hides why not, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, { controllers: [Parameters] });
    await expect(firstValueFrom(side.client.send('validated', { a: 1, b: 'x' }))).resolves.toBe('1 x');
    await expect(firstValueFrom(side.client.send('validated', { a: -1, b: 'x' }))).rejects.toEqual(HIDDEN);
  });

  it(`N-33 ValidationPipe says why not where it is told how, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, { controllers: [Parameters] });
    await expect(firstValueFrom(side.client.send('explained', { a: -1, b: 5 }))).rejects.toEqual(['a', 'b']);
  });

  it(`N-33 ValidationPipe transforms, and takes away what nobody asked for, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, { controllers: [Parameters] });
    const reply = firstValueFrom(side.client.send('transformed', { a: 1, b: 'x', c: 'more' }));
    await expect(reply).resolves.toEqual([true, { a: 1, b: 'x' }]);
  });

  it.each([
    ['one property', 'property', { id: 5 }, [5]],
    ['one property, through pipes', 'piped', { id: '42' }, ['number', 42]],
    ['one property, which is not there, through pipes', 'piped', {}, ['number', 7]],
    ['the context, in front of the payload', 'context', { id: 5 }, [5, true, 'context']],
    ['the payload, without a decorator', 'plain', { id: 5 }, { id: 5 }],
    ['a list, whole', 'plain', [5, 6], [5, 6]],
    ['a list of one, whole', 'plain', [5], [5]],
    ['a list of nothing, whole', 'plain', [], []],
    ['one of a list', 'first', [5, 6], [5]],
    ['several of them', 'several', { a: 1, b: 2 }, [1, 2, { a: 1, b: 2 }]],
  ])(`N-34 a parameter is %s, over ${transport.name}`, async (_, pattern, data, expected) => {
    await using side = await Side.start(transport, { controllers: [Parameters] });
    await expect(firstValueFrom(side.client.send(pattern, data))).resolves.toEqual(expected);
  });

  it(`N-34 a parameter that its pipe refuses is an error, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, { controllers: [Parameters] });
    await expect(firstValueFrom(side.client.send('piped', { id: 'x' }))).rejects.toEqual(HIDDEN);
  });
});

@Injectable({ scope: Scope.REQUEST })
class PerRequest {
  private static made = 0;
  readonly number = (PerRequest.made += 1);
  constructor(@Inject(CONTEXT) readonly request: RequestContext<{ id: number }>) {}
}

@Injectable({ scope: Scope.TRANSIENT })
class PerUser {
  constructor(@Inject(PerRequest) readonly perRequest: PerRequest) {}
}

@Controller()
class Scoped {
  constructor(
    @Inject(PerRequest) private readonly one: PerRequest,
    @Inject(PerUser) private readonly user: PerUser,
    @Inject(Entries) private readonly entries: Entries,
  ) {}

  @MessagePattern('scoped')
  async answer(@Payload() data: { id: number }): Promise<unknown> {
    await new Promise(setImmediate);
    const { request } = this.one;
    return [this.user.perRequest === this.one, request.getData() === data, request.getData().id, request.getPattern()];
  }

  @MessagePattern('scoped.number')
  which(): number {
    return this.one.number;
  }

  @MessagePattern('scoped.items')
  items(): Observable<number> {
    return of(this.one.request.getData().id, this.one.request.getData().id);
  }

  @MessagePattern('scoped.fails')
  fail(): never {
    throw new RpcException(`for ${this.one.request.getData().id}`);
  }

  @EventPattern('scoped.event')
  event(_data: unknown): void {
    this.entries.add(`event ${this.one.request.getData().id}`);
  }
}

@Injectable({ scope: Scope.REQUEST })
class ScopedGuard implements CanActivate {
  constructor(@Inject(CONTEXT) private readonly request: RequestContext<{ id: number }>) {}

  canActivate(context: ExecutionContext): boolean {
    return this.request.getData() === context.switchToRpc().getData() && this.request.getData().id !== 13;
  }
}

const SCOPED = {
  controllers: [Scoped],
  providers: [Entries, PerRequest, PerUser, { provide: APP_GUARD, useClass: ScopedGuard }],
};

describe.each(BOTH)('request scope over $name', (transport) => {
  it(`N-37 50 requests at once have their own providers, and CONTEXT is theirs, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, SCOPED);
    const ids = Array.from({ length: 50 }, (_, id) => id + 100);
    const replies = await Promise.all(ids.map((id) => firstValueFrom(side.client.send('scoped', { id }))));
    expect(replies).toEqual(ids.map((id) => [true, true, id, 'scoped']));
    const numbers = await Promise.all(ids.map((id) => firstValueFrom(side.client.send('scoped.number', { id }))));
    expect(new Set(numbers).size).toBe(ids.length);
  });

  it(`N-37 a request-scoped guard refuses one of them, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, SCOPED);
    const refused = firstValueFrom(side.client.send('scoped', { id: 13 }));
    await expect(refused).rejects.toEqual({ status: 'error', message: 'Forbidden resource' });
    await expect(firstValueFrom(side.client.send('scoped', { id: 1 }))).resolves.toContain(1);
  });

  it(`N-37 items, errors and events of request-scoped controllers are as of others, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, SCOPED);
    await expect(itemsOf(side.client.send('scoped.items', { id: 2 }))).resolves.toEqual([2, 2]);
    const failure = firstValueFrom(side.client.send('scoped.fails', { id: 3 }));
    await expect(failure).rejects.toEqual({ status: 'error', message: 'for 3' });
    side.client.emit('scoped.event', { id: 4 });
    await expect(side.app.get(Entries).of(1)).resolves.toEqual(['event 4']);
  });
});
