/** Hooks, contexts and extras, over this library and over Nest's own TCP. */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  Catch,
  Controller,
  Inject,
  Injectable,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type INestMicroservice,
  type NestInterceptor,
  type PreRequestHook,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
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
import { concatMap, defer, EMPTY, firstValueFrom, from, Observable, of, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { NEST } from '../support/nest-version.js';
import { BOTH, Entries, isTcpOfNest11, Side, type AnyServer } from './both.js';
import { itemsOf } from './support.js';

/** What the hooks of a test keep for whatever runs within them. */
const within = new AsyncLocalStorage<string>();

const where = (): string => within.getStore() ?? 'nowhere';

const later = async (): Promise<string> => {
  await new Promise(setImmediate);
  return where();
};

class Interceptor implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(concatMap((value) => of(`${String(value)} intercepted in ${where()}`)));
  }
}

@Injectable()
class Guard implements CanActivate {
  constructor(@Inject(Entries) private readonly entries: Entries) {}

  canActivate(context: ExecutionContext): boolean {
    this.entries.add(`guard of ${context.switchToRpc().getData<{ id: string }>().id} in ${where()}`);
    return true;
  }
}

@Controller()
class Within {
  constructor(@Inject(Entries) private readonly entries: Entries) {}

  @MessagePattern('value')
  value(): string {
    return where();
  }

  @MessagePattern('promise')
  promise(): Promise<string> {
    return later();
  }

  @MessagePattern('observable')
  observable(): Observable<string> {
    return defer(() => of(where(), where()));
  }

  @MessagePattern('observable.later')
  observableLater(): Observable<string> {
    return from([1, 2, 3]).pipe(concatMap(() => later()));
  }

  @UseInterceptors(Interceptor)
  @MessagePattern('intercepted')
  async intercepted(): Promise<string> {
    return later();
  }

  @EventPattern('event')
  async event(@Payload() { id }: { id: string }): Promise<void> {
    this.entries.add(`event ${id} in ${await later()}`);
  }

  @EventPattern('event.observable')
  eventObservable(@Payload() { id }: { id: string }): Observable<void> {
    return defer(() => of(this.entries.add(`event ${id} in ${where()}`)));
  }
}

const APP = { controllers: [Within], providers: [Entries] };
const GUARDED = { ...APP, providers: [Entries, { provide: APP_GUARD, useClass: Guard }] };

/** What each pattern says of a message `id` that runs within `id`. */
const EXPECTED: readonly [pattern: string, items: (id: string) => string[]][] = [
  ['value', (id) => [id]],
  ['promise', (id) => [id]],
  ['observable', (id) => [id, id]],
  ['observable.later', (id) => [id, id, id]],
  ['intercepted', (id) => [`${id} intercepted in ${id}`]],
];
const IDS = Array.from({ length: 25 }, (_, index) => `message ${index}`);

const idOf = (context: ExecutionContext): string => context.switchToRpc().getData<{ id: string }>().id;

/** The two ways in which hooks are written. */
const HOOKS: readonly [how: string, hook: PreRequestHook][] = [
  ['run', (context, next) => new Observable((observer) => within.run(idOf(context), () => next().subscribe(observer)))],
  [
    'enterWith',
    (context, next) => {
      within.enterWith(idOf(context));
      return next();
    },
  ],
];

describe.runIf(NEST >= 12).each(BOTH)('pre-request hooks over $name', (transport) => {
  it.each(HOOKS.flatMap(([how, hook]) => EXPECTED.map(([pattern, items]) => [how, pattern, hook, items] as const)))(
    `N-39 pre-request hooks keep AsyncLocalStorage, by %s, for 25 at once of: %s, over ${transport.name}`,
    async (_, pattern, hook, items) => {
      const configure = (app: INestMicroservice): void => void app.registerPreRequestHook(hook);
      await using side = await Side.start(transport, { ...GUARDED, configure });
      const replies = await Promise.all(IDS.map((id) => itemsOf(side.client.send(pattern, { id }))));
      expect(replies).toEqual(IDS.map(items));
      const guards = side.app.get(Entries).all;
      expect(guards.toSorted()).toEqual(IDS.map((id) => `guard of ${id} in ${id}`).toSorted());
    },
  );

  it.each(['event', 'event.observable'])(
    `N-39 pre-request hooks run for events too: %s, over ${transport.name}`,
    async (pattern) => {
      const [, [, hook]] = HOOKS as [unknown, (typeof HOOKS)[number]];
      const configure = (app: INestMicroservice): void => void app.registerPreRequestHook(hook);
      await using side = await Side.start(transport, { ...APP, configure });
      for (const id of IDS) side.client.emit(pattern, { id });
      const ran = await side.app.get(Entries).of(IDS.length);
      expect(ran.toSorted()).toEqual(IDS.map((id) => `event ${id} in ${id}`).toSorted());
    },
  );

  it(`N-39 pre-request hooks run one after the other, and each may end the message, over ${transport.name}`, async () => {
    const entries: string[] = [];
    const configure = (app: INestMicroservice): void => {
      app.registerPreRequestHook(
        (context, next) => {
          entries.push(`first, ${idOf(context)}`);
          return next();
        },
        (context, next) => {
          entries.push(`second, ${idOf(context)}`);
          return idOf(context) === 'refused' ? throwError(() => new RpcException('by a hook')) : next();
        },
      );
    };
    await using side = await Side.start(transport, { ...GUARDED, configure });
    await expect(itemsOf(side.client.send('value', { id: 'fine' }))).resolves.toEqual(['nowhere']);
    const refused = firstValueFrom(side.client.send('value', { id: 'refused' }));
    await expect(refused).rejects.toEqual({ status: 'error', message: 'by a hook' });
    expect(entries).toEqual(['first, fine', 'second, fine', 'first, refused', 'second, refused']);
    expect(side.app.get(Entries).all).toEqual(['guard of fine in nowhere']);
  });
});

@Controller()
class Kinds {
  @MessagePattern('value')
  value(): number {
    return 1;
  }

  @MessagePattern('promise')
  async promise(): Promise<number> {
    return 1;
  }

  @MessagePattern('items')
  items(): Observable<number> {
    return of(1, 2, 3);
  }

  @MessagePattern('empty')
  empty(): Observable<never> {
    return EMPTY;
  }

  @MessagePattern('throws')
  throws(): never {
    throw new RpcException('thrown');
  }

  @MessagePattern('rejects')
  async rejects(): Promise<never> {
    throw new Error('rejected');
  }

  @MessagePattern('fails')
  fails(): Observable<never> {
    return throwError(() => new Error('failed'));
  }

  @EventPattern('event')
  event(_data: unknown): void {}

  @EventPattern('event')
  alsoEvent(_data: unknown): Observable<number> {
    return of(1, 2);
  }

  @EventPattern('event.throws')
  eventThrows(_data: unknown): void {
    throw new Error('thrown');
  }
}

/** Tells when hooks run. */
function watch(entries: Entries, transport: unknown): (app: unknown, server: AnyServer) => void {
  const tell = (what: string, id: unknown, context: unknown): void => {
    expect(id).toBe(transport);
    entries.add(`${what} ${(context as { getPattern(): string }).getPattern()}`);
  };
  return (_, server) => {
    server.setOnProcessingStartHook((id, context, done) => {
      tell('start', id, context);
      void done();
    });
    server.setOnProcessingEndHook((id, context) => tell('end', id, context));
  };
}

describe.each(BOTH)('processing hooks over $name', (transport) => {
  const patterns = ['value', 'promise', 'items', 'empty', 'throws', 'rejects', 'fails', 'event', 'event.throws'];

  it.each(patterns.filter((pattern) => pattern !== 'items' || !isTcpOfNest11(transport)))(
    `N-40 processing hooks run once before and once after: %s, over ${transport.name}`,
    async (pattern) => {
      const entries = new Entries();
      const configure = watch(entries, transport.id);
      await using side = await Side.start(transport, { controllers: [Kinds], configure });
      if (pattern.startsWith('event')) side.client.emit(pattern, {});
      else await itemsOf(side.client.send(pattern, {})).catch(() => {});
      await entries.of(2);
      await itemsOf(side.client.send('value', {}));
      await expect(entries.of(4)).resolves.toEqual([`start ${pattern}`, `end ${pattern}`, 'start value', 'end value']);
    },
  );

  it(`N-40 processing hooks do not run for a pattern that nobody handles, over ${transport.name}`, async () => {
    const entries = new Entries();
    const configure = watch(entries, transport.id);
    await using side = await Side.start(transport, { controllers: [Kinds], configure });
    side.client.emit('nobody.cares', {});
    await expect(itemsOf(side.client.send('nobody', {}))).rejects.toBeDefined();
    expect(entries.all).toEqual([]);
  });

  it.skipIf(isTcpOfNest11(transport)).each(EXPECTED)(
    `N-40 processing hooks keep AsyncLocalStorage for 25 at once of: %s, over ${transport.name}`,
    async (pattern, items) => {
      const configure = (_: unknown, server: AnyServer): void => {
        server.setOnProcessingStartHook((__, context, done) => {
          const { id } = (context as { getMetadata(): { id: string } }).getMetadata();
          void within.run(id, done);
        });
      };
      await using side = await Side.start(transport, { ...APP, configure });
      // A tracer has nothing but the context, so its id travels beside the data.
      side.attach((data) => ({ id: (data as { id: string }).id }));
      const replies = IDS.map((id) => itemsOf(side.send(pattern, { id })));
      await expect(Promise.all(replies)).resolves.toEqual(IDS.map(items));
    },
  );
});

@Controller()
class Contexts {
  @MessagePattern<string>('context')
  context(@Ctx() context: BaseRpcContext & { getPattern(): string; getMetadata(): unknown }): unknown {
    return [
      context instanceof BaseRpcContext,
      context.getPattern(),
      context.getMetadata() === undefined ? 'none' : context.getMetadata(),
      context.getArgs().length > 0 && context.getArgByIndex(0) === context.getArgs()[0],
    ];
  }
}

describe.each(BOTH)('the context over $name', (transport) => {
  it.skipIf(isTcpOfNest11(transport))(
    `N-41 the context is one of Nest's, with pattern and metadata, over ${transport.name}`,
    async () => {
      await using side = await Side.start(transport, { controllers: [Contexts] });
      await expect(firstValueFrom(side.client.send('context', {}))).resolves.toEqual([true, 'context', 'none', true]);
      side.attach(() => ({ trace: 'abc' }));
      const reply = firstValueFrom(side.send('context', {}));
      await expect(reply).resolves.toEqual([true, 'context', { trace: 'abc' }, true]);
    },
  );
});

/** Everybody who is shown the context of one message. */
class Witnesses {
  readonly contexts: unknown[] = [];
}

@Catch()
class WitnessFilter implements ExceptionFilter {
  constructor(@Inject(Witnesses) private readonly witnesses: Witnesses) {}

  catch(_: unknown, host: ArgumentsHost): Observable<never> {
    this.witnesses.contexts.push(host.switchToRpc().getContext(), host.getArgByIndex(1));
    return throwError(() => 'filtered');
  }
}

@Injectable()
class WitnessGuard implements CanActivate, NestInterceptor {
  constructor(@Inject(Witnesses) private readonly witnesses: Witnesses) {}

  canActivate(host: ExecutionContext): boolean {
    this.witnesses.contexts.push(host.switchToRpc().getContext());
    return true;
  }

  intercept(host: ExecutionContext, next: CallHandler): Observable<unknown> {
    this.witnesses.contexts.push(host.switchToRpc().getContext());
    return next.handle();
  }
}

@Controller({ scope: Scope.REQUEST })
@UseGuards(WitnessGuard)
@UseInterceptors(WitnessGuard)
@UseFilters(WitnessFilter)
class Witnessed {
  constructor(
    @Inject(CONTEXT) private readonly request: RequestContext,
    @Inject(Witnesses) private readonly witnesses: Witnesses,
  ) {}

  @MessagePattern<string>('witnessed')
  witnessed(@Ctx() context: BaseRpcContext): never {
    this.witnesses.contexts.push(context, this.request.getContext());
    throw new Error('for the filter');
  }
}

describe.each(BOTH)('the context of one message over $name', (transport) => {
  it(`N-41 the context is the same to guard, interceptor, handler, CONTEXT and filter, over ${transport.name}`, async () => {
    const seen: unknown[] = [];
    const configure = (_: unknown, server: AnyServer): void => {
      server.setOnProcessingStartHook((__, context, done) => {
        seen.push(context);
        void done();
      });
    };
    await using side = await Side.start(transport, { controllers: [Witnessed], providers: [Witnesses], configure });
    await expect(firstValueFrom(side.client.send('witnessed', {}))).rejects.toBe('filtered');
    const { contexts } = side.app.get(Witnesses);
    expect(contexts).toHaveLength(6);
    expect(new Set([...seen, ...contexts]).size).toBe(1);
  });
});

describe.each(BOTH)('extras over $name', (transport) => {
  @Controller()
  class Extras {
    @MessagePattern('message', transport.id as symbol, { audience: 'partners', tags: [1, 2] })
    message(): string {
      return 'answered';
    }

    @MessagePattern('none')
    none(): string {
      return 'answered';
    }

    @EventPattern('event', { audience: 'all' })
    event(_data: unknown): void {}
  }

  it(`N-42 extras stay with their handlers, over ${transport.name}`, async () => {
    await using side = await Side.start(transport, { controllers: [Extras] });
    const extras = Array.from(side.server.getHandlers(), ([pattern, handler]) => [pattern, handler.extras]);
    expect(extras).toEqual([
      ['message', { audience: 'partners', tags: [1, 2] }],
      ['none', {}],
      ['event', { audience: 'all' }],
    ]);
    await expect(firstValueFrom(side.client.send('message', {}))).resolves.toBe('answered');
    await expect(firstValueFrom(side.client.send('none', {}))).resolves.toBe('answered');
  });
});
