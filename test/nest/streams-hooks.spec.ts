/** Processing hooks around replies that are streams: once at the start, once at whatever the end is. */
import {
  Controller,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { from, map, Observable, take } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { StreamItems } from '../../lib/nest/gen-rpc.stream-items.js';
import { until } from '../support/door.js';
import { itemsOf, pairOf, signalOf, type App, type Pair } from './support.js';
import { Counter, settled, type Item } from './streams-support.js';

class Through implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler<unknown>): Observable<unknown> {
    return next.handle().pipe(map((item) => item));
  }
}

class Streams {
  readonly counter = new Counter(100);

  async *generate(what: unknown): AsyncGenerator<Item> {
    yield* this.counter.generate(what === 'endless' ? Infinity : 3);
    if (what === 'fail') throw new Error('hidden');
  }
}

@Controller()
class Patterns extends Streams {
  @MessagePattern('generator')
  generator(@Payload() what: unknown): AsyncGenerator<Item> {
    return this.generate(what);
  }

  @MessagePattern('items')
  @StreamItems()
  @UseInterceptors(Through)
  items(@Payload() what: unknown): AsyncGenerator<Item> {
    return this.generate(what);
  }

  @MessagePattern('observable')
  observable(@Payload() what: unknown): Observable<Item> {
    return what === 'endless' ? this.counter.observe() : from(this.generate(what));
  }
}

@RpcModule('module')
class Functions extends Streams {
  @RpcFunction()
  async *generator(@Payload() what: unknown): AsyncGenerator<Item> {
    yield* this.generate(what);
  }
}

/** What the hooks were told. */
class Hooks {
  readonly log: string[] = [];

  install = (_: unknown, server: App['server']): void => {
    server.setOnProcessingStartHook((_transport, _context, next) => {
      this.log.push('start');
      void next();
    });
    server.setOnProcessingEndHook(() => this.log.push('end'));
  };

  /** Waits for the end, and for another that must not come. */
  async once(pair: Pair): Promise<void> {
    await until(() => this.log.length > 1);
    await until(() => pair.node.stats().runningCalls === 0);
    await settled(() => this.log.length);
    expect(this.log).toEqual(['start', 'end']);
  }
}

describe.each(['generator', 'items', 'observable', 'module.generator'])('around %s the hooks run once', (pattern) => {
  async function start(): Promise<{ pair: Pair; hooks: Hooks }> {
    const hooks = new Hooks();
    const pair = await pairOf({
      controllers: [Patterns, Functions],
      configure: hooks.install,
      options: { gracePeriod: 50 },
    });
    return { pair, hooks };
  }

  it('N-40 the hooks of a stream run once where it ends', async () => {
    const { pair, hooks } = await start();
    await using _ = pair;
    await expect(itemsOf(pair.caller.send(pattern, 'three'))).resolves.toHaveLength(3);
    await hooks.once(pair);
  });

  it('N-40 the hooks of a stream run once where it fails', async () => {
    const { pair, hooks } = await start();
    await using _ = pair;
    await expect(itemsOf(pair.caller.send(pattern, 'fail'))).rejects.toMatchObject({ status: 'error' });
    await hooks.once(pair);
  });

  it('N-40 the hooks of a stream run once where it is cancelled', async () => {
    const { pair, hooks } = await start();
    await using _ = pair;
    await itemsOf(pair.caller.send(pattern, 'endless').pipe(take(2)));
    await hooks.once(pair);
  });

  it('N-40 the hooks of a stream run once where its reader leaves while it waits', async () => {
    const { pair, hooks } = await start();
    await using _ = pair;
    const iterator = pair.caller.stream(pattern, 'endless')[Symbol.asyncIterator]();
    await iterator.next();
    if (pattern !== 'observable') await settled(() => pair.app.get(Patterns).counter.made);
    expect(hooks.log).toEqual(['start']);
    await iterator.return?.();
    await hooks.once(pair);
  });

  it('N-40 the hooks of a stream run once where its caller is gone', async () => {
    const { pair, hooks } = await start();
    await using _ = pair;
    const reply = itemsOf(pair.caller.send(pattern, 'endless'));
    await until(() => hooks.log.length === 1);
    pair.caller.unwrap().abort();
    await expect(reply).rejects.toMatchObject({ code: 'connection_lost' });
    await hooks.once(pair);
  });

  it('N-40 the hooks of a stream run once where it is out of time', async () => {
    const { pair, hooks } = await start();
    await using _ = pair;
    const record = new GenRpcRecordBuilder('endless').setTimeout(60).build();
    await expect(itemsOf(pair.caller.send(pattern, record))).rejects.toMatchObject({ code: 'timeout' });
    await hooks.once(pair);
  });

  it('N-40 the hooks of a stream run once where its node shuts down', async () => {
    const { pair, hooks } = await start();
    await using _ = pair;
    const failed = expect(itemsOf(pair.caller.send(pattern, 'endless'))).rejects.toMatchObject({
      code: 'shutting_down',
    });
    await until(() => hooks.log.length === 1);
    await pair.app.close();
    await failed;
    await hooks.once(pair);
  });
});

describe('the end', () => {
  it.each(['generator', 'observable'])(
    'N-40 the end of a stream is told where nobody reads it, though it was returned: %s',
    async (kind) => {
      const [returned, release] = [signalOf(), signalOf()];
      const begun: string[] = [];
      @Controller()
      class Late {
        @MessagePattern('late')
        async late(): Promise<unknown> {
          returned.resolve();
          await release.promise;
          const items = (async function* () {
            begun.push(kind);
            yield 1;
          })();
          return kind === 'generator' ? items : from(items);
        }
      }
      const hooks = new Hooks();
      await using pair = await pairOf({ controllers: [Late], configure: hooks.install });
      // A call of the node to itself is given up in the same turn, before or after the handler's stream is taken up.
      for (let turns = 0; turns < 12; turns += 1) {
        const abort = new AbortController();
        const reply = pair.node.call(pair.node.name, '', 'late', [], { signal: abort.signal });
        const failed = reply.then(
          () => 'done',
          () => 'failed',
        );
        await returned.promise;
        release.resolve();
        for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
        abort.abort();
        await failed;
        await until(() => hooks.log.length === 2 * (turns + 1));
        expect(hooks.log).toEqual(Array.from({ length: turns + 1 }, () => ['start', 'end']).flat());
      }
    },
  );
});

describe('a handler that makes its items itself', () => {
  it('waits until there is room, and is told when nobody waits for them', async () => {
    let made = 0;
    const ended = signalOf();
    @Controller()
    class Hand {
      @MessagePattern('hand')
      hand(@Ctx() context: GenRpcContext): Observable<string> {
        return new Observable<string>((observer) => {
          void (async () => {
            for (; !context.getSignal().aborted; made += 1) {
              await context.ready();
              observer.next('x'.repeat(200));
              await new Promise((resolve) => setImmediate(resolve));
            }
            ended.resolve();
          })();
        });
      }
    }
    await using pair = await pairOf({ controllers: [Hand] });
    const iterator = pair.caller.stream('hand', {})[Symbol.asyncIterator]();
    await iterator.next();
    expect(await settled(() => made)).toBeLessThan(4000);
    const before = made;
    for (let n = 0; n < before; n += 1) await iterator.next();
    await until(() => made > before);
    await settled(() => made);
    await iterator.return?.();
    await ended.promise;
  });
});
