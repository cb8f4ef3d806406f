/** Handlers that call other applications: guards, pipes and interceptors in between do not hide whose call it is. */
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, mergeMap, NEVER, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import type { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { until } from '../support/door.js';
import { Proxy } from '../support/proxy.js';
import { SlowEnhancers } from './slow-enhancers.js';
import { App } from './support.js';

const TIMEOUT = 5_000;

/** What the last of the chain saw of its calls. */
interface Seen {
  readonly left: number[];
  readonly keys: (string | undefined)[];
  stopped: number;
}

class Last {
  static seen: Seen;
}

@Controller()
class LastController {
  @MessagePattern('last.wait')
  wait(@Ctx() context: GenRpcContext): Observable<never> {
    Last.seen.left.push(context.getRemainingTime());
    context.getSignal().addEventListener('abort', () => (Last.seen.stopped += 1));
    return NEVER;
  }

  @MessagePattern('last.echo')
  echo(@Payload() data: unknown, @Ctx() context: GenRpcContext): unknown {
    Last.seen.left.push(context.getRemainingTime());
    Last.seen.keys.push(context.getCallKey());
    return data;
  }
}

class Middle {
  static client: GenRpcClient;
}

@Controller()
@SlowEnhancers()
class MiddleController {
  @MessagePattern('middle.promise')
  async promise(): Promise<unknown> {
    await new Promise((resolve) => setImmediate(resolve));
    return lastValueFrom(Middle.client.send('last.wait', {}));
  }

  @MessagePattern('middle.cold')
  cold(): Observable<unknown> {
    return Middle.client.send('last.wait', {});
  }

  @MessagePattern('middle.second')
  second(): Promise<unknown> {
    const first = Middle.client.send('last.echo', {});
    return lastValueFrom(first.pipe(mergeMap(() => Middle.client.send('last.wait', {}))));
  }

  @MessagePattern('middle.async')
  async async(): Promise<unknown> {
    return Middle.client.asyncSend('last.wait', {}).yield();
  }

  @MessagePattern('middle.detached')
  async detached(): Promise<unknown> {
    const record = new GenRpcRecordBuilder({})
      .setDetached()
      .setTimeout(3 * TIMEOUT)
      .build();
    return lastValueFrom(Middle.client.send('last.wait', record));
  }
}

/** A caller, an application that calls another, and that one. */
class Chain {
  readonly seen: Seen = { left: [], keys: [], stopped: 0 };

  private constructor(
    private readonly last: App,
    private readonly middle: App,
    readonly toMiddle: GenRpcClient,
    readonly toLast: GenRpcClient,
  ) {
    Last.seen = this.seen;
    Middle.client = toLast;
  }

  static async start(): Promise<Chain> {
    const last = await App.start({ controllers: [LastController] });
    const middle = await App.start({ controllers: [MiddleController] });
    return new Chain(last, middle, middle.client(), last.client());
  }

  get address() {
    return this.last.address;
  }

  clientOfLast(port: number): GenRpcClient {
    return this.last.client({ clientPort: port });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.middle[Symbol.asyncDispose]();
    await this.last[Symbol.asyncDispose]();
  }
}

const record = (timeout: number) => new GenRpcRecordBuilder({}).setTimeout(timeout).build();

describe('a message that a handler sends', () => {
  it.each(['promise', 'cold', 'second', 'async'])('gets what is left, and ends with it: %s', async (how) => {
    await using chain = await Chain.start();
    const failures: unknown[] = [];
    const call = chain.toMiddle.send(`middle.${how}`, record(TIMEOUT));
    const subscription = call.subscribe({ error: (error: unknown) => failures.push(error) });
    const messages = how === 'second' ? 2 : 1;
    await until(() => chain.seen.left.length === messages);
    for (const left of chain.seen.left) expect(left).toBeLessThanOrEqual(TIMEOUT);
    subscription.unsubscribe();
    await until(() => chain.seen.stopped === 1);
    await until(() => chain.toLast.unwrap().stats().pendingCalls === 0);
    expect(failures).toEqual([]);
  });

  it('may be detached', async () => {
    await using chain = await Chain.start();
    const subscription = chain.toMiddle.send('middle.detached', record(TIMEOUT)).subscribe({ error() {} });
    await until(() => chain.seen.left.length === 1);
    expect(chain.seen.left[0]).toBeGreaterThan(2 * TIMEOUT);
    subscription.unsubscribe();
    // The cancellation has come through once a later call of the same connection is answered.
    const failure = firstValueFrom(chain.toMiddle.send('middle.nothing', {}));
    await expect(failure).rejects.toBeDefined();
    expect(chain.seen.stopped).toBe(0);
    expect(chain.toLast.unwrap().stats().pendingCalls).toBe(1);
  });

  it('is made again where its record says that it may be, with one key', async () => {
    await using chain = await Chain.start();
    let lost = 0;
    // The first answer is lost on its way, and its connection with it.
    const allow = (link: { reset(): void }, direction: string, bytes: number): number => {
      if (direction === 'up' || chain.seen.keys.length !== 2 || lost > 0) return bytes;
      lost += 1;
      setImmediate(() => link.reset());
      return 0;
    };
    await using proxy = await Proxy.to(chain.address, { allow });
    const client = chain.clientOfLast(proxy.port);
    const idempotent = new GenRpcRecordBuilder('data').setIdempotent().build();
    expect(await firstValueFrom(client.send('last.echo', 'plain'))).toBe('plain');
    expect(await firstValueFrom(client.send('last.echo', idempotent))).toBe('data');
    expect(lost).toBe(1);
    expect(chain.seen.keys).toEqual([undefined, expect.stringMatching(/^[0-9a-f]{16}$/), chain.seen.keys[1]]);
  });
});
