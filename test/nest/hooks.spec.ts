/** Hooks around what Nest's own transports do not have, and hooks that fail. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Catch, Controller, type ExceptionFilter, type INestMicroservice } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcRecordBuilder, type GenRpcRecord } from '../../lib/nest/gen-rpc.record-builder.js';
import type { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { StreamItems } from '../../lib/nest/gen-rpc.stream-items.js';
import { until } from '../support/door.js';
import { NEST } from '../support/nest-version.js';
import { itemsOf, pairOf } from './support.js';

const within = new AsyncLocalStorage<string>();

/** More than a window, so that most of it waits for its reader. */
const ITEMS = 2000;

async function* where(): AsyncGenerator<string> {
  try {
    for (let n = 0; n < ITEMS; n += 1) yield within.getStore() ?? 'nowhere';
  } finally {
    ended.push(within.getStore() ?? 'nowhere');
  }
}

const ended: string[] = [];

@Controller()
class Generators {
  @MessagePattern('generator')
  generator(@Payload() _id: unknown): AsyncGenerator<string> {
    return where();
  }

  @StreamItems()
  @MessagePattern('items')
  items(@Payload() _id: unknown): AsyncGenerator<string> {
    return where();
  }

  @MessagePattern('value')
  value(@Payload() id: string): string {
    return id;
  }

  @MessagePattern('throws')
  throws(): never {
    throw new Error('hidden');
  }
}

@RpcModule('module')
class Functions {
  @RpcFunction()
  async *generator(@Payload() _id: unknown): AsyncGenerator<string> {
    yield* where();
  }
}

const APP = { controllers: [Generators, Functions] };
const PATTERNS = ['generator', 'items', 'module.generator'];
const IDS = ['a', 'b', 'c'];

/** With what processing hooks know it by: they are shown no data. */
const named = (id: string): GenRpcRecord => new GenRpcRecordBuilder(id).setHeaders({ id }).build();

async function expectAll(pair: Awaited<ReturnType<typeof pairOf>>, pattern: string): Promise<void> {
  ended.length = 0;
  const replies = await Promise.all(IDS.map((id) => itemsOf(pair.caller.send(pattern, named(id)))));
  for (const [index, items] of replies.entries()) expect(new Set(items)).toEqual(new Set([IDS[index]]));
  expect(replies.map((items) => items.length)).toEqual(IDS.map(() => ITEMS));
  expect(ended.toSorted()).toEqual(IDS);
}

describe('a generator', () => {
  it.runIf(NEST >= 12).each(PATTERNS)(
    'N-39 a generator runs, to its last item, within what pre-request hooks entered: %s',
    async (pattern) => {
      const configure = (app: INestMicroservice): void => {
        app.registerPreRequestHook((context, next) => {
          const id = context.switchToRpc().getData<string>();
          return new Observable((observer) => within.run(id, () => next().subscribe(observer)));
        });
      };
      await using pair = await pairOf({ ...APP, configure });
      await expectAll(pair, pattern);
    },
  );

  const enter = (_: unknown, server: GenRpcServer): void => {
    server.setOnProcessingStartHook((__, context, done) => {
      void within.run((context as GenRpcContext).getMetadata()?.['id'] ?? '', done);
    });
  };

  it.each(PATTERNS)(
    'N-40 a generator runs, to its last item, within what processing hooks entered: %s',
    async (pattern) => {
      await using pair = await pairOf({ ...APP, configure: enter });
      await expectAll(pair, pattern);
    },
  );

  it('N-40 a generator tidies up, when its caller leaves, within what processing hooks entered', async () => {
    await using pair = await pairOf({ ...APP, configure: enter });
    ended.length = 0;
    await expect(firstValueFrom(pair.caller.send('generator', named('a')))).resolves.toBe('a');
    await until(() => ended.length > 0);
    expect(ended).toEqual(['a']);
  });
});

it('N-40 the hook of the end runs once where an iterator, told to end, ends the item that is waited for as well', async () => {
  let [starts, ends, waiting] = [0, 0, false];
  @Controller()
  class Iterators {
    @MessagePattern('iterator')
    iterator(): AsyncIterable<never> {
      let finish: (result: IteratorResult<never>) => void = () => {};
      const iterator: AsyncIterator<never> = {
        next: () => {
          waiting = true;
          return new Promise((resolve) => (finish = resolve));
        },
        return: () => {
          finish({ done: true, value: undefined });
          return Promise.resolve({ done: true, value: undefined });
        },
      };
      return { [Symbol.asyncIterator]: () => iterator };
    }
  }
  const configure = (_: unknown, server: GenRpcServer): void => {
    server.setOnProcessingStartHook((__, ___, done) => {
      starts += 1;
      void done();
    });
    server.setOnProcessingEndHook(() => void (ends += 1));
  };
  await using pair = await pairOf({ controllers: [Iterators], configure });
  const subscription = pair.caller.send('iterator', {}).subscribe();
  await until(() => waiting);
  subscription.unsubscribe();
  await until(() => ends > 0 && pair.node.stats().runningCalls === 0);
  await new Promise(setImmediate);
  expect([starts, ends]).toEqual([1, 1]);
});

@Catch()
class Broken implements ExceptionFilter {
  catch(): never {
    throw new TypeError('the filter failed');
  }
}

it('N-40 the hook of the end runs once where a filter fails, or a deserializer', async () => {
  const hooks: string[] = [];
  const configure = (app: INestMicroservice, server: GenRpcServer): void => {
    app.useGlobalFilters(new Broken());
    server.setOnProcessingStartHook((_, __, done) => {
      hooks.push('start');
      void done();
    });
    server.setOnProcessingEndHook(() => void hooks.push('end'));
  };
  const deserialize = (packet: { pattern: string; data: unknown }): typeof packet => {
    if (packet.data === 'unreadable') throw new Error('not readable');
    return packet;
  };
  const packets = { deserializer: { deserialize } };
  await using pair = await pairOf({ ...APP, configure, packets });
  for (const [pattern, data] of [
    ['throws', 'x'],
    ['value', 'unreadable'],
  ]) {
    hooks.length = 0;
    const reply = firstValueFrom(pair.caller.send(pattern, data));
    await expect(reply).rejects.toEqual({ status: 'error', message: `${pattern} failed.` });
    expect(hooks).toEqual(['start', 'end']);
  }
});

describe('a processing hook that fails', () => {
  const failures: [how: string, hook: () => void | Promise<void>][] = [
    [
      'throws',
      () => {
        throw new Error('the hook failed');
      },
    ],
    ['rejects', () => Promise.reject(new Error('the hook failed'))],
  ];

  it.each(failures)(
    'N-40 a hook that fails at the start fails the call at once, and is in the log: it %s',
    async (_, hook) => {
      const configure = (__: unknown, server: GenRpcServer): void =>
        server.setOnProcessingStartHook(hook as () => void);
      await using pair = await pairOf({ ...APP, configure });
      const reply = firstValueFrom(pair.caller.send('value', 'x'));
      await expect(reply).rejects.toEqual({ status: 'error', message: 'value failed.' });
      expect(pair.log.said('error', 'the hook failed')).toHaveLength(1);
    },
  );

  it('N-40 a hook that fails at the end changes nothing for the caller, and is in the log', async () => {
    const configure = (_: unknown, server: GenRpcServer): void => {
      server.setOnProcessingEndHook(() => {
        throw new Error('the hook failed');
      });
    };
    await using pair = await pairOf({ ...APP, configure });
    await expect(firstValueFrom(pair.caller.send('value', 'x'))).resolves.toBe('x');
    await expect(itemsOf(pair.caller.send('generator', 'x'))).resolves.toHaveLength(ITEMS);
    expect(pair.log.said('error', 'the hook failed')).toHaveLength(2);
  });
});
