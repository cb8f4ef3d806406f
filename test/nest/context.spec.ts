import {
  Controller,
  Injectable,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { EMPTY, firstValueFrom, lastValueFrom, NEVER, Observable, of, take, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { GEN_RPC_TRANSPORT } from '../../lib/nest/gen-rpc.tokens.js';
import { NEST } from '../support/nest-version.js';
import { App, itemsOf, pairOf, signalOf, type Pair } from './support.js';

@Injectable()
class NamesVersion implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    context.switchToRpc().getContext<GenRpcContext>().setReplyHeader('version', '2.1');
    return next.handle();
  }
}

@Controller()
class ContextController {
  readonly started = signalOf<GenRpcContext>();

  @MessagePattern('whoami')
  whoAmI(@Ctx() context: GenRpcContext): unknown {
    return { node: context.getNode(), local: context.getAddress().includes('127.0.0.1') };
  }

  @MessagePattern('pattern')
  pattern(@Ctx() context: GenRpcContext): string {
    return context.getPattern();
  }

  @MessagePattern({ b: 1, a: 2 })
  objectPattern(@Ctx() context: GenRpcContext): string {
    return context.getPattern();
  }

  @MessagePattern('metadata')
  metadata(@Ctx() context: GenRpcContext): unknown {
    return [context.getMetadata()];
  }

  @MessagePattern('shelf')
  @UseInterceptors(NamesVersion)
  shelf(@Payload() goods: string, @Ctx() context: GenRpcContext): string {
    context.setReplyHeader('shelf', 'A3');
    if (goods !== 'tea') throw new RpcException(`no ${goods}`);
    return goods;
  }

  @MessagePattern('remaining')
  remaining(@Ctx() context: GenRpcContext): number {
    return context.getRemainingTime();
  }

  @MessagePattern('endless')
  endless(@Ctx() context: GenRpcContext): Promise<never> {
    this.started.resolve(context);
    return new Promise((_, reject) => {
      context.getSignal().addEventListener('abort', () => reject(new Error('stopped')));
    });
  }
}

const APP = { controllers: [ContextController] };

function ask(pair: Pair, pattern: unknown, data: unknown = {}): Promise<unknown> {
  return firstValueFrom(pair.caller.send(pattern, data));
}

describe('the context of a call', () => {
  it('N-41 the context names the calling node, as the handshake proved it', async () => {
    await using pair = await pairOf(APP, { name: 'web@127.0.0.1' });
    await expect(ask(pair, 'whoami', { node: 'liar@10.0.0.1' })).resolves.toEqual({
      node: 'web@127.0.0.1',
      local: true,
    });
  });

  it('N-41 the context names a client without a name too', async () => {
    await using pair = await pairOf(APP);
    await expect(ask(pair, 'whoami')).resolves.toMatchObject({ node: pair.caller.unwrap().name });
    expect(pair.caller.unwrap().name).toMatch(/^client-[0-9a-f]{12}@/);
  });

  it('N-41 the context knows the pattern, normalised', async () => {
    await using pair = await pairOf(APP);
    await expect(ask(pair, 'pattern')).resolves.toBe('pattern');
    await expect(ask(pair, { a: 2, b: 1 })).resolves.toBe('{"a":2,"b":1}');
  });

  it('N-41 the context has no metadata where the caller sent none', async () => {
    await using pair = await pairOf(APP);
    await expect(ask(pair, 'metadata')).resolves.toEqual([undefined]);
  });

  it('N-63 has the headers of a record, which are those of one message', async () => {
    await using pair = await pairOf(APP);
    const headers = (tenant: string) => new GenRpcRecordBuilder({}).setHeaders({ tenant }).build();
    const [a, none, b] = [
      ask(pair, 'metadata', headers('a')),
      ask(pair, 'metadata'),
      ask(pair, 'metadata', headers('b')),
    ];
    await expect(Promise.all([a, none, b])).resolves.toEqual([[{ tenant: 'a' }], [undefined], [{ tenant: 'b' }]]);
  });

  it('N-63 headers of a reply, by handlers and interceptors, are heard before it, and before an error', async () => {
    await using pair = await pairOf(APP);
    const heard: unknown[] = [];
    const asking = (goods: string) => {
      const builder = new GenRpcRecordBuilder(goods);
      builder.onReplyHeaders((headers, node) => heard.push([node, Object.fromEntries(headers)]));
      return ask(pair, 'shelf', builder.build()).then(
        (value) => heard.push(value),
        (error: unknown) => heard.push(error),
      );
    };
    await asking('tea');
    await asking('salt');
    const said = [pair.node.name, { version: '2.1', shelf: 'A3' }];
    expect(heard).toEqual([said, 'tea', said, { status: 'error', message: 'no salt' }]);
    // Who does not ask for them is answered as ever.
    await expect(ask(pair, 'shelf', 'tea')).resolves.toBe('tea');
  });

  it.runIf(NEST >= 12)('N-62 has what the dispatch hook says, beside the headers of a record', async () => {
    await using pair = await pairOf(APP);
    const record = new GenRpcRecordBuilder({}).setHeaders({ tenant: 'a', trace: 'record' }).build();
    const hooked: unknown[] = [];
    pair.caller.setOnDispatchHook((packet) => {
      hooked.push(packet.pattern);
      packet.metadata = { trace: 'hook' };
    });
    await expect(ask(pair, 'metadata')).resolves.toEqual([{ trace: 'hook' }]);
    await expect(ask(pair, 'metadata', record)).resolves.toEqual([{ tenant: 'a', trace: 'hook' }]);
    expect(hooked).toEqual(['metadata', 'metadata']);
  });

  it('N-58 knows what is left of the deadline: of the client, or of the record', async () => {
    await using pair = await pairOf(APP, { callTimeout: 5000 });
    const byDefault = (await ask(pair, 'remaining')) as number;
    expect(byDefault).toBeGreaterThan(3000);
    expect(byDefault).toBeLessThanOrEqual(5001);
    const record = new GenRpcRecordBuilder({}).setTimeout(800).build();
    const byRecord = (await ask(pair, 'remaining', record)) as number;
    expect(byRecord).toBeGreaterThan(100);
    expect(byRecord).toBeLessThanOrEqual(801);
  });

  it('N-57 has a signal that aborts at the deadline', async () => {
    await using pair = await pairOf(APP);
    await pair.caller.connect();
    const record = new GenRpcRecordBuilder({}).setTimeout(40).build();
    const reply = ask(pair, 'endless', record);
    const context = await pair.app.get(ContextController).started.promise;
    const aborted = new Promise((resolve) => context.getSignal().addEventListener('abort', resolve));
    expect(context.getSignal().aborted).toBe(false);
    await expect(reply).rejects.toMatchObject({ code: 'timeout', maybeExecuted: true });
    await aborted;
    expect(context.getRemainingTime()).toBe(0);
  });

  it('N-57 has a signal that aborts when the caller unsubscribes', async () => {
    await using pair = await pairOf(APP);
    const subscription = pair.caller.send('endless', {}).subscribe();
    const context = await pair.app.get(ContextController).started.promise;
    const aborted = new Promise((resolve) => context.getSignal().addEventListener('abort', resolve));
    subscription.unsubscribe();
    await aborted;
    expect(context.getSignal().reason).toMatchObject({ code: 'cancelled' });
  });

  it('N-57 has a signal that aborts when the caller is gone', async () => {
    await using pair = await pairOf(APP);
    const reply = ask(pair, 'endless');
    const context = await pair.app.get(ContextController).started.promise;
    const aborted = new Promise((resolve) => context.getSignal().addEventListener('abort', resolve));
    pair.caller.unwrap().abort();
    await expect(reply).rejects.toMatchObject({ code: 'connection_lost' });
    await aborted;
  });
});

describe('a record', () => {
  it('sends one message to another node than the client does', async () => {
    @Controller()
    class Other {
      @MessagePattern('pattern')
      answer(): string {
        return 'the other node';
      }
    }
    await using other = await App.start({ controllers: [Other], options: { name: 'other@127.0.0.1' } });
    await using pair = await pairOf(APP, { nodes: { 'other@127.0.0.1': { port: other.address.port } } });
    const record = new GenRpcRecordBuilder({}).setTarget('other@127.0.0.1').build();
    await expect(ask(pair, 'pattern', record)).resolves.toBe('the other node');
    await expect(ask(pair, 'pattern')).resolves.toBe('pattern');
    expect(pair.caller.unwrap().nodes().toSorted()).toEqual(['other@127.0.0.1', 'server@127.0.0.1']);
  });

  it('with a key takes a connection of its own, the same for the same key', async () => {
    await using pair = await pairOf(APP);
    const keyed = (key: unknown) => new GenRpcRecordBuilder({}).setKey(key).build();
    await ask(pair, 'pattern');
    await ask(pair, 'pattern', keyed('tenant-a'));
    await ask(pair, 'pattern', keyed('tenant-a'));
    expect(pair.caller.unwrap().stats().counts.connected).toBe(2);
  });

  it('is refused with a timeout that is none', async () => {
    await using pair = await pairOf(APP);
    for (const timeout of [0, -1, Number.NaN, Infinity, 2 ** 31]) {
      const record = new GenRpcRecordBuilder({}).setTimeout(timeout).build();
      await expect(ask(pair, 'pattern', record)).rejects.toMatchObject({ code: 'invalid_argument' });
    }
  });

  it('carries null, which a bare message cannot', async () => {
    await using pair = await pairOf({ controllers: [Echo] });
    await expect(ask(pair, 'echo', new GenRpcRecordBuilder(null).build())).resolves.toBe(null);
  });
});

@Controller()
class Echo {
  @MessagePattern('echo')
  echo(@Payload() value: unknown): unknown {
    return value;
  }

  @MessagePattern('promise')
  async promise(@Payload() value: unknown): Promise<unknown> {
    return value;
  }

  @MessagePattern('stream')
  stream(@Payload() count: number): Observable<number> {
    return of(...Array.from({ length: count }, (_, index) => index));
  }

  @MessagePattern('none')
  none(): Observable<never> {
    return EMPTY;
  }

  @MessagePattern('throws')
  throws(): never {
    throw new Error('hidden');
  }

  @MessagePattern('stream.fails')
  fails(): Observable<never> {
    return throwError(() => new Error('hidden'));
  }

  @MessagePattern('never')
  never(): Observable<never> {
    return NEVER;
  }

  @MessagePattern('naturals')
  naturals(): Observable<number> {
    return new Observable((observer) => {
      observer.next(0);
      const timer = setInterval(() => observer.next(1), 1);
      return () => clearInterval(timer);
    });
  }

  @EventPattern('event')
  event(@Payload() _data: unknown): void {}
}

/** Counts the processing hooks of an application; `balanced` resolves when as many ended as started. */
class Hooks {
  readonly log: string[] = [];
  private readonly waiters = new Set<() => void>();

  install = (_: unknown, server: App['server']): void => {
    server.setOnProcessingStartHook((transport, context, next) => {
      this.note('start', transport, context);
      void next();
    });
    server.setOnProcessingEndHook((transport, context) => this.note('end', transport, context));
  };

  async until(entries: number): Promise<string[]> {
    while (this.log.length < entries) await new Promise<void>((resolve) => this.waiters.add(resolve));
    return this.log;
  }

  private note(what: string, transport: unknown, context: unknown): void {
    expect(transport).toBe(GEN_RPC_TRANSPORT);
    this.log.push(`${what} ${(context as GenRpcContext).getPattern()}`);
    for (const waiter of this.waiters) waiter();
  }
}

describe('the processing hooks', () => {
  it.each(['echo', 'promise', 'stream', 'none', 'throws', 'stream.fails'])(
    'N-40 processing hooks run once each around %s',
    async (pattern) => {
      const hooks = new Hooks();
      await using pair = await pairOf({ controllers: [Echo], configure: hooks.install });
      await itemsOf(pair.caller.send(pattern, 3)).catch(() => {});
      await expect(hooks.until(2)).resolves.toEqual([`start ${pattern}`, `end ${pattern}`]);
      await ask(pair, 'echo');
      await expect(hooks.until(4)).resolves.toHaveLength(4);
    },
  );

  it('N-40 processing hooks run once each around an event', async () => {
    const hooks = new Hooks();
    await using pair = await pairOf({ controllers: [Echo], configure: hooks.install });
    await lastValueFrom(pair.caller.emit('event', 1));
    await expect(hooks.until(2)).resolves.toEqual(['start event', 'end event']);
  });

  it('N-40 processing hooks end when the caller unsubscribes', async () => {
    const hooks = new Hooks();
    await using pair = await pairOf({ controllers: [Echo], configure: hooks.install });
    await itemsOf(pair.caller.send('naturals', {}).pipe(take(2)));
    await expect(hooks.until(2)).resolves.toEqual(['start naturals', 'end naturals']);
  });

  it('N-40 processing hooks end when the deadline passes', async () => {
    const hooks = new Hooks();
    await using pair = await pairOf({ controllers: [Echo], configure: hooks.install });
    // Within the deadline it has only to arrive.
    await pair.caller.connect();
    await expect(ask(pair, 'never', new GenRpcRecordBuilder({}).setTimeout(30).build())).rejects.toMatchObject({
      code: 'timeout',
    });
    await expect(hooks.until(2)).resolves.toEqual(['start never', 'end never']);
  });

  it('N-40 processing hooks end when the caller is gone before the handler returns its Observable', async () => {
    const [started, release] = [signalOf(), signalOf()];
    @Controller()
    class Late {
      @MessagePattern('late')
      async late(): Promise<Observable<never>> {
        started.resolve();
        await release.promise;
        return NEVER;
      }
    }
    const hooks = new Hooks();
    await using pair = await pairOf({ controllers: [Late, Echo], configure: hooks.install });
    const subscription = pair.caller.send('late', {}).subscribe();
    await started.promise;
    subscription.unsubscribe();
    await ask(pair, 'echo');
    release.resolve();
    await expect(hooks.until(4)).resolves.toEqual(['start late', 'start echo', 'end echo', 'end late']);
  });

  it('N-40 processing hooks end when the caller is gone', async () => {
    const hooks = new Hooks();
    await using pair = await pairOf({ controllers: [Echo], configure: hooks.install });
    const reply = ask(pair, 'never');
    await hooks.until(1);
    pair.caller.unwrap().abort();
    await expect(reply).rejects.toMatchObject({ code: 'connection_lost' });
    await expect(hooks.until(2)).resolves.toEqual(['start never', 'end never']);
  });
});
