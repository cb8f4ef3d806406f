import {
  Catch,
  Controller,
  Injectable,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
  Inject,
  ParseIntPipe,
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
  CONTEXT,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  type RequestContext,
  RpcException,
} from '@nestjs/microservices';
import { IsInt, IsString, Min } from 'class-validator';
import { firstValueFrom, map, of, tap, throwError, type Observable } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { itemsOf, pairOf, signalOf } from './support.js';

let steps: string[] = [];
beforeEach(() => (steps = []));

const LEVELS = ['global', 'class', 'method'] as const;
type Level = (typeof LEVELS)[number];

function guard(level: Level): Type<CanActivate> {
  @Injectable()
  class Guard implements CanActivate {
    canActivate(context: ExecutionContext): boolean {
      steps.push(
        `${level} guard ${context.getType()} ${context.switchToRpc().getContext<GenRpcContext>().getPattern()}`,
      );
      return context.switchToRpc().getData<unknown>() !== `no ${level} guard`;
    }
  }
  return Guard;
}

function interceptor(level: Level): Type<NestInterceptor> {
  @Injectable()
  class Interceptor implements NestInterceptor {
    intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
      steps.push(`${level} interceptor before`);
      return next.handle().pipe(
        map((value) => `${level}(${String(value)})`),
        tap({ complete: () => steps.push(`${level} interceptor after`) }),
      );
    }
  }
  return Interceptor;
}

function pipe(level: Level): Type<PipeTransform> {
  @Injectable()
  class Pipe implements PipeTransform {
    transform(value: unknown, { type }: { type: string }): unknown {
      if (type === 'body') steps.push(`${level} pipe`);
      return value;
    }
  }
  return Pipe;
}

class Refusal extends Error {}

function filter(level: Level): Type<ExceptionFilter> {
  @Catch(Refusal)
  class Filter implements ExceptionFilter {
    catch(error: Refusal): Observable<never> {
      return throwError(() => ({ filteredBy: level, said: error.message }));
    }
  }
  return Filter;
}

const Of = Object.fromEntries(
  LEVELS.map((level) => [
    level,
    { guard: guard(level), interceptor: interceptor(level), pipe: pipe(level), filter: filter(level) },
  ]),
) as Record<Level, { guard: Type; interceptor: Type; pipe: Type; filter: Type }>;

@Controller()
@UseGuards(Of.class.guard)
@UseInterceptors(Of.class.interceptor)
@UsePipes(Of.class.pipe)
class Guarded {
  @UseGuards(Of.method.guard)
  @UseInterceptors(Of.method.interceptor)
  @UsePipes(Of.method.pipe)
  @MessagePattern('guarded.call')
  call(@Payload() value: string): string {
    steps.push('handler');
    return value;
  }

  @UseGuards(Of.method.guard)
  @UseInterceptors(Of.method.interceptor)
  @MessagePattern('guarded.stream')
  stream(@Payload() value: string): Observable<string> {
    return of(`${value}1`, `${value}2`);
  }

  @UseGuards(Of.method.guard)
  @UsePipes(Of.method.pipe)
  @EventPattern('guarded.event')
  event(@Payload() value: string): void {
    steps.push(`event ${value}`);
  }
}

const GLOBAL = [
  { provide: APP_GUARD, useClass: Of.global.guard },
  { provide: APP_INTERCEPTOR, useClass: Of.global.interceptor },
  { provide: APP_PIPE, useClass: Of.global.pipe },
  { provide: APP_FILTER, useClass: Of.global.filter },
];

describe('guards, interceptors and pipes', () => {
  it('N-32 guards, interceptors and pipes run at every level, in the order of Nest', async () => {
    await using pair = await pairOf({ controllers: [Guarded], providers: GLOBAL });
    await expect(firstValueFrom(pair.caller.send('guarded.call', 'x'))).resolves.toBe('global(class(method(x)))');
    expect(steps).toEqual([
      ...LEVELS.map((level) => `${level} guard rpc guarded.call`),
      ...LEVELS.map((level) => `${level} interceptor before`),
      ...LEVELS.map((level) => `${level} pipe`),
      'handler',
      ...LEVELS.toReversed().map((level) => `${level} interceptor after`),
    ]);
  });

  it('N-32 guards, interceptors and pipes run where the application adds them by hand', async () => {
    await using pair = await pairOf({
      controllers: [Guarded],
      configure: (app) => {
        app.useGlobalGuards(new Of.global.guard());
        app.useGlobalInterceptors(new Of.global.interceptor());
        app.useGlobalPipes(new Of.global.pipe());
      },
    });
    await expect(firstValueFrom(pair.caller.send('guarded.call', 'x'))).resolves.toBe('global(class(method(x)))');
    expect(steps).toContain('global guard rpc guarded.call');
    expect(steps).toContain('global pipe');
  });

  it.each(LEVELS)('N-32 guards refuse at %s level, and the handler does not run', async (level) => {
    await using pair = await pairOf({ controllers: [Guarded], providers: GLOBAL });
    const reply = firstValueFrom(pair.caller.send('guarded.call', `no ${level} guard`));
    await expect(reply).rejects.toEqual({ status: 'error', message: 'Forbidden resource' });
    expect(steps).not.toContain('handler');
  });

  it('N-32 interceptors see every item of a stream', async () => {
    await using pair = await pairOf({ controllers: [Guarded], providers: GLOBAL });
    const items = await itemsOf(pair.caller.send('guarded.stream', 'x'));
    expect(items).toEqual(['global(class(method(x1)))', 'global(class(method(x2)))']);
  });

  it('N-32 guards and pipes run for events too', async () => {
    await using pair = await pairOf({ controllers: [Guarded], providers: GLOBAL });
    pair.caller.emit('guarded.event', 'no method guard');
    pair.caller.emit('guarded.event', 'passes');
    await firstValueFrom(pair.caller.send('guarded.call', 'x'));
    expect(steps.filter((step) => step.startsWith('event'))).toEqual(['event passes']);
    expect(steps.filter((step) => step === 'method guard rpc guarded.event')).toHaveLength(2);
  });
});

function refusing(level: Level): Type {
  class Refusing {
    refuse(): never {
      throw new Refusal('no');
    }
  }
  const { prototype } = Refusing;
  const refuse = Object.getOwnPropertyDescriptor(prototype, 'refuse') as PropertyDescriptor;
  MessagePattern('refuse')(prototype, 'refuse', refuse);
  if (level === 'method') UseFilters(Of.method.filter)(prototype, 'refuse', refuse);
  if (level !== 'global') UseFilters(Of.class.filter)(Refusing);
  Controller()(Refusing);
  return Refusing;
}

describe('filters', () => {
  it.each(LEVELS)('N-35 filters replace the error, the one at %s level first', async (level) => {
    await using pair = await pairOf({ controllers: [refusing(level)], providers: GLOBAL });
    const reply = firstValueFrom(pair.caller.send('refuse', {}));
    await expect(reply).rejects.toEqual({ filteredBy: level, said: 'no' });
  });

  it('N-24 filters that fail themselves end the call at once, and what they threw stays here', async () => {
    @Catch()
    class Broken implements ExceptionFilter {
      catch(): never {
        throw new TypeError('at /home/app/filter.ts:7');
      }
    }
    await using pair = await pairOf({
      controllers: [refusing('global')],
      configure: (app) => app.useGlobalFilters(new Broken()),
    });
    const reply = firstValueFrom(pair.caller.send('refuse', {}));
    await expect(reply).rejects.toEqual({ status: 'error', message: 'refuse failed.' });
    expect(pair.log.said('error', 'filter.ts:7')).toHaveLength(1);
  });

  it.each([
    ['an RpcException with text', () => new RpcException('m'), { status: 'error', message: 'm' }],
    ['an RpcException with an object', () => new RpcException({ why: 1 }), { why: 1 }],
    ['text', () => 'm', 'm'],
    [
      'an Error that nobody looked at',
      () => new Error('SELECT secret'),
      { status: 'error', message: 'refuse failed.' },
    ],
  ])('N-35 filters may answer with %s', async (_, answer: () => unknown, expected) => {
    @Catch(Refusal)
    class Answering implements ExceptionFilter {
      catch(): Observable<never> {
        return throwError(answer);
      }
    }
    await using pair = await pairOf({
      controllers: [refusing('global')],
      configure: (app) => app.useGlobalFilters(new Answering()),
    });
    await expect(firstValueFrom(pair.caller.send('refuse', {}))).rejects.toEqual(expected);
  });

  it('N-35 filters may make a value of an error', async () => {
    @Catch(Refusal)
    class Forgiving implements ExceptionFilter {
      catch(): Observable<string> {
        return of('never mind');
      }
    }
    await using pair = await pairOf({
      controllers: [refusing('global')],
      configure: (app) => app.useGlobalFilters(new Forgiving()),
    });
    await expect(firstValueFrom(pair.caller.send('refuse', {}))).resolves.toBe('never mind');
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
  @UsePipes(
    new ValidationPipe({ exceptionFactory: (errors) => new RpcException({ invalid: errors.map((e) => e.property) }) }),
  )
  @MessagePattern('validated')
  validated(@Payload() dto: AddDto): string {
    return `${dto.a} ${dto.b}`;
  }

  @UsePipes(new ValidationPipe({ transform: true }))
  @MessagePattern('transformed')
  transformed(@Payload() dto: AddDto): boolean {
    return dto instanceof AddDto;
  }

  @MessagePattern('one.property')
  property(@Payload('id', ParseIntPipe) id: number): unknown {
    return [typeof id, id];
  }

  @MessagePattern('context')
  context(@Payload('id') id: number, @Ctx() context: GenRpcContext): unknown {
    return [id, context instanceof GenRpcContext, context.getPattern()];
  }

  @MessagePattern('no.decorators')
  plain(data: unknown): unknown {
    return data;
  }
}

describe('parameters', () => {
  it('N-33 parameters are validated by ValidationPipe', async () => {
    await using pair = await pairOf({ controllers: [Parameters] });
    await expect(firstValueFrom(pair.caller.send('validated', { a: 1, b: 'x' }))).resolves.toBe('1 x');
    const refused = firstValueFrom(pair.caller.send('validated', { a: -1, b: 5 }));
    await expect(refused).rejects.toEqual({ invalid: ['a', 'b'] });
  });

  it('N-33 parameters are transformed by ValidationPipe', async () => {
    await using pair = await pairOf({ controllers: [Parameters] });
    await expect(firstValueFrom(pair.caller.send('transformed', { a: 1, b: 'x' }))).resolves.toBe(true);
  });

  it('N-34 parameters may be one property, through pipes of its own', async () => {
    await using pair = await pairOf({ controllers: [Parameters] });
    await expect(firstValueFrom(pair.caller.send('one.property', { id: '42' }))).resolves.toEqual(['number', 42]);
    const refused = firstValueFrom(pair.caller.send('one.property', { id: 'x' }));
    await expect(refused).rejects.toEqual({ status: 'error', message: 'Internal server error' });
  });

  it('N-34 parameters are payload and context, or without decorators the payload alone', async () => {
    await using pair = await pairOf({ controllers: [Parameters] });
    await expect(firstValueFrom(pair.caller.send('context', { id: 7 }))).resolves.toEqual([7, true, 'context']);
    await expect(firstValueFrom(pair.caller.send('no.decorators', 7))).resolves.toBe(7);
  });
});

describe('a request-scoped controller', () => {
  it('N-37 a request-scoped controller is made for every message, and knows it', async () => {
    const event = signalOf<string>();
    let made = 0;

    @Controller({ scope: Scope.REQUEST })
    class Scoped {
      constructor(@Inject(CONTEXT) private readonly request: RequestContext<unknown, GenRpcContext>) {
        made += 1;
      }

      @MessagePattern('scoped')
      answer(@Payload() data: unknown): unknown {
        return [made, data, this.request.getData(), this.request.getPattern(), this.request.getContext().getNode()];
      }

      @MessagePattern('scoped.stream')
      stream(): Observable<number> {
        return of(made, made);
      }

      @MessagePattern('scoped.fails')
      fail(): never {
        throw new RpcException('scoped');
      }

      @EventPattern('scoped.event')
      event(@Payload() data: string): void {
        event.resolve(`${made} ${data} ${this.request.getContext().getPattern()}`);
      }
    }

    await using pair = await pairOf({ controllers: [Scoped] }, { name: 'caller@127.0.0.1' });
    for (const count of [1, 2]) {
      const reply = firstValueFrom(pair.caller.send('scoped', { count }));
      await expect(reply).resolves.toEqual([count, { count }, { count }, 'scoped', 'caller@127.0.0.1']);
    }
    await expect(itemsOf(pair.caller.send('scoped.stream', {}))).resolves.toEqual([3, 3]);
    await expect(firstValueFrom(pair.caller.send('scoped.fails', {}))).rejects.toEqual({
      status: 'error',
      message: 'scoped',
    });
    pair.caller.emit('scoped.event', 'happened');
    await expect(event.promise).resolves.toBe('5 happened scoped.event');
  });
});
