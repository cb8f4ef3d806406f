/** Z-08: guard, pipe, interceptor and filter stand in every way to a handler of Nest, and hold nothing when they fail. */
import {
  Catch,
  Controller,
  Injectable,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, APP_PIPE } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { finalize, firstValueFrom, of, Subject, throwError, type Observable } from 'rxjs';
import { beforeEach, describe, expect, it } from 'vitest';
import type { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import type { GenRpcError } from '../../lib/protocol/errors.js';
import { itemsOf, pairOf, SERVER, type Pair } from '../nest/support.js';
import { until } from '../support/door.js';

let steps: string[] = [];
beforeEach(() => (steps = []));

class Refusal extends Error {}

/** What a guard waits for. */
let hold: Promise<unknown> = Promise.resolve();

const patternOf = (context: ExecutionContext | ArgumentsHost): string =>
  context.switchToRpc().getContext<GenRpcContext>().getPattern();

@Injectable()
class Guard implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    steps.push(`guard ${patternOf(context)}`);
    const data = context.switchToRpc().getData<unknown>();
    if (data === 'late') await hold;
    if (data === 'late' || data === 'thrown by the guard') throw new Refusal('guard');
    return data !== 'refused by the guard';
  }
}

@Injectable()
class Pipe implements PipeTransform {
  transform(value: unknown): unknown {
    steps.push('pipe');
    if (value === 'thrown by the pipe') throw new Refusal('pipe');
    return `piped ${String(value)}`;
  }
}

@Injectable()
class Interceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    steps.push('interceptor');
    if (context.switchToRpc().getData<unknown>() === 'thrown by the interceptor') throw new Refusal('interceptor');
    return next.handle().pipe(finalize(() => steps.push('interceptor ends')));
  }
}

@Catch()
class Filter implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): Observable<never> {
    steps.push(`filter ${patternOf(host)}`);
    return throwError(() => ({ filtered: error.message }));
  }
}

const ENHANCERS = [
  { provide: APP_GUARD, useClass: Guard },
  { provide: APP_PIPE, useClass: Pipe },
  { provide: APP_INTERCEPTOR, useClass: Interceptor },
  { provide: APP_FILTER, useClass: Filter },
];

function handled(value: unknown): void {
  steps.push(`handler ${String(value)}`);
  if (value === 'piped thrown by the handler') throw new Refusal('handler');
}

const endless = new Subject<string>();

@Controller()
class Patterns {
  @MessagePattern('p.call')
  call(@Payload() value: unknown): unknown {
    handled(value);
    return value;
  }

  @MessagePattern('p.stream')
  stream(@Payload() value: unknown): Observable<string> {
    handled(value);
    return of('one', 'two');
  }

  @MessagePattern('p.endless')
  endless(@Payload() value: unknown): Observable<string> {
    handled(value);
    return endless;
  }

  @EventPattern('p.event')
  event(@Payload() value: unknown): void {
    handled(value);
  }
}

@RpcModule('module')
class Functions {
  @RpcFunction()
  call(@Payload() value: unknown): unknown {
    handled(value);
    return value;
  }
}

const start = (): Promise<Pair> => pairOf({ controllers: [Patterns, Functions], providers: ENHANCERS });

/** Who calls: the client's node, or the node that has the handler. */
const VERBS: readonly {
  readonly kind: string;
  readonly pattern: string;
  readonly replies: boolean;
  readonly run: (pair: Pair, value: string) => unknown;
}[] = [
  {
    kind: 'send',
    pattern: 'p.call',
    replies: true,
    run: ({ caller }, value) => firstValueFrom(caller.send('p.call', value)),
  },
  {
    kind: 'send with a key',
    pattern: 'p.call',
    replies: true,
    run: ({ caller }, value) => firstValueFrom(caller.send('p.call', new GenRpcRecordBuilder(value).setKey(1).build())),
  },
  {
    kind: 'send of a stream',
    pattern: 'p.stream',
    replies: true,
    run: ({ caller }, value) => itemsOf(caller.send('p.stream', value)),
  },
  {
    kind: 'asyncSend',
    pattern: 'p.call',
    replies: true,
    run: ({ caller }, value) => caller.asyncSend('p.call', value).yield(),
  },
  {
    kind: 'emit',
    pattern: 'p.event',
    replies: false,
    run: ({ caller }, value) => firstValueFrom(caller.emit('p.event', value), { defaultValue: undefined }),
  },
  {
    kind: 'emit, ordered',
    pattern: 'p.event',
    replies: false,
    run: ({ caller }, value) =>
      firstValueFrom(caller.emit('p.event', new GenRpcRecordBuilder(value).setOrdered().build()), {
        defaultValue: undefined,
      }),
  },
  {
    kind: 'call',
    pattern: 'p.call',
    replies: true,
    run: ({ caller }, value) => caller.unwrap().call(SERVER, 'p', 'call', [value]),
  },
  {
    kind: 'call of a module',
    pattern: 'module.call',
    replies: true,
    run: ({ caller }, value) => caller.unwrap().call(SERVER, 'module', 'call', [value]),
  },
  {
    kind: 'asyncCall',
    pattern: 'p.call',
    replies: true,
    run: ({ caller }, value) => caller.unwrap().asyncCall(SERVER, 'p', 'call', [value]).yield(),
  },
  {
    kind: 'cast',
    pattern: 'p.call',
    replies: false,
    run: ({ caller }, value) => caller.unwrap().cast(SERVER, 'p', 'call', [value]),
  },
  {
    kind: 'cast, ordered',
    pattern: 'p.event',
    replies: false,
    run: ({ caller }, value) => caller.unwrap().cast(SERVER, 'p', 'event', [value], { ordered: true }),
  },
  {
    kind: 'cast of a stream',
    pattern: 'p.stream',
    replies: false,
    run: ({ caller }, value) => caller.unwrap().cast(SERVER, 'p', 'stream', [value]),
  },
  {
    kind: 'abcast',
    pattern: 'p.event',
    replies: false,
    run: ({ caller }, value) => caller.unwrap().abcast([SERVER], 'p.event', value),
  },
  {
    kind: 'sbcast',
    pattern: 'p.event',
    replies: false,
    run: ({ caller }, value) => caller.unwrap().sbcast([SERVER], 'p.event', value),
  },
  {
    kind: 'evalEverywhere',
    pattern: 'p.event',
    replies: false,
    run: ({ caller }, value) => caller.unwrap().evalEverywhere([SERVER], 'p', 'event', [value]),
  },
  {
    kind: 'call of the own node',
    pattern: 'p.call',
    replies: true,
    run: ({ node }, value) => node.call(SERVER, 'p', 'call', [value]),
  },
  {
    kind: 'call of a stream of the own node',
    pattern: 'p.stream',
    replies: true,
    run: ({ node }, value) => node.call(SERVER, 'p', 'stream', [value]),
  },
  {
    kind: 'cast to the own node',
    pattern: 'p.event',
    replies: false,
    run: ({ node }, value) => node.cast(SERVER, 'p', 'event', [value]),
  },
  {
    kind: 'ordered cast to the own node',
    pattern: 'p.event',
    replies: false,
    run: ({ node }, value) => node.cast(SERVER, 'p', 'event', [value], { ordered: true }),
  },
  {
    kind: 'sbcast to the own node',
    pattern: 'p.event',
    replies: false,
    run: ({ node }, value) => node.sbcast([SERVER], 'p.event', value),
  },
];

/** What a caller is told by the filter, whichever verb asked. */
function saidTo(error: unknown): unknown {
  const details = (error as Partial<GenRpcError>).details ?? error;
  return (details as { filtered?: unknown }).filtered;
}

/** Where it fails, what the caller is told, and which steps are taken. */
const FAILURES = [
  ['refused by the guard', 'Forbidden resource', ['guard', 'filter']],
  ['thrown by the guard', 'guard', ['guard', 'filter']],
  ['thrown by the interceptor', 'interceptor', ['guard', 'interceptor', 'filter']],
  ['thrown by the pipe', 'pipe', ['guard', 'interceptor', 'pipe', 'filter', 'interceptor ends']],
  ['thrown by the handler', 'handler', ['guard', 'interceptor', 'pipe', 'handler', 'filter', 'interceptor ends']],
] as const;

const stepsOf = (names: readonly string[], pattern: string, value: string): string[] =>
  names.map((name) => {
    if (name === 'guard' || name === 'filter') return `${name} ${pattern}`;
    return name === 'handler' ? `handler piped ${value}` : name;
  });

describe.each(VERBS)('Z-08 by $kind', ({ pattern, replies, run }) => {
  it('Z-08 all of them run, in the order of Nest', async () => {
    await using pair = await start();
    await run(pair, 'tea');
    await until(() => steps.includes('interceptor ends'));
    expect(steps).toEqual(stepsOf(['guard', 'interceptor', 'pipe', 'handler', 'interceptor ends'], pattern, 'tea'));
  });

  it.each(FAILURES)('Z-08 %s: the filter is asked, nobody else goes on', async (value, said, taken) => {
    await using pair = await start();
    const end = await Promise.resolve(run(pair, value)).catch((error: unknown) => ({ error }));
    await until(() => steps.length >= taken.length);
    expect(steps).toEqual(stepsOf(taken, pattern, value));
    if (replies) expect(saidTo((end as { error: unknown }).error)).toBe(said);
    await until(() => pair.node.stats().runningCalls === 0 && pair.node.stats().pendingCalls === 0);
    await expect(firstValueFrom(pair.caller.send('p.call', 'again'))).resolves.toBe('piped again');
  });
});

describe('Z-08 a guard that takes its time and then throws', () => {
  it('Z-08 holds up nobody, and nothing when it is done', async () => {
    await using pair = await start();
    let release = (): void => {};
    hold = new Promise<void>((resolve) => (release = resolve));
    const late = VERBS.map(({ run }) => Promise.resolve(run(pair, 'late')).catch((error: unknown) => error));
    await until(() => steps.length === VERBS.length - 1);
    // Of the two ordered ones of a lane, one waits for the other.
    expect(new Set(steps.map((step) => step.split(' ')[0]))).toEqual(new Set(['guard']));
    for (let call = 0; call < 100; call += 1) {
      expect(await firstValueFrom(pair.caller.send('p.call', 'quick'))).toBe('piped quick');
    }
    release();
    await Promise.all(late);
    await until(() => pair.node.stats().runningCalls === 0 && pair.node.stats().pendingCalls === 0);
    expect(steps.filter((step) => step.startsWith('filter'))).toHaveLength(VERBS.length);
    expect(steps.filter((step) => step.startsWith('handler'))).toHaveLength(100);
  });

  it('Z-08 of a stream whose reader has left: the handler does not begin', async () => {
    await using pair = await start();
    let release = (): void => {};
    hold = new Promise<void>((resolve) => (release = resolve));
    const reading = pair.caller.send('p.stream', 'late').subscribe();
    await until(() => steps.length === 1);
    reading.unsubscribe();
    release();
    await until(() => pair.node.stats().runningCalls === 0);
    expect(steps.filter((step) => step.startsWith('handler'))).toEqual([]);
  });
});

describe('Z-08 a stream that goes on', () => {
  it('Z-08 is let go of, interceptor and all, when its reader leaves', async () => {
    await using pair = await start();
    const items: unknown[] = [];
    const reading = pair.caller.send('p.endless', 'tea').subscribe((item) => items.push(item));
    await until(() => endless.observed);
    endless.next('one');
    await until(() => items.length === 1);
    expect(steps).toEqual(stepsOf(['guard', 'interceptor', 'pipe', 'handler'], 'p.endless', 'tea'));
    reading.unsubscribe();
    await until(() => !endless.observed);
    expect(steps.at(-1)).toBe('interceptor ends');
    await until(() => pair.node.stats().runningCalls === 0);
  });

  it('Z-08 that fails after items is filtered, and its reader told', async () => {
    await using pair = await start();
    const failing = new Subject<string>();
    const items: unknown[] = [];
    const told = new Promise<unknown>((resolve) => {
      pair.caller.send('p.endless', 'tea').subscribe({ next: (item) => items.push(item), error: resolve });
    });
    await until(() => endless.observed);
    endless.next('one');
    endless.next('two');
    endless.error(new Refusal('stream'));
    expect(await told).toEqual({ filtered: 'stream' });
    expect(items).toEqual(['one', 'two']);
    expect(steps.at(-1)).toMatch(/^(filter p\.endless|interceptor ends)$/);
    failing.complete();
  });
});
