import { Controller, type Type } from '@nestjs/common';
import {
  EventPattern,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  ServerTCP,
  Transport,
} from '@nestjs/microservices';
import { NestFactory } from '@nestjs/core';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GEN_RPC_TRANSPORT } from '../../lib/nest/gen-rpc.tokens.js';
import { GenRpcServer } from '../../lib/nest/gen-rpc.server.js';
import { App, CapturedLogger, moduleOf, pairOf, SECRET } from './support.js';

/** A controller that answers `pattern` with 'answered'. */
function answering(...patterns: unknown[]): { controllers: Type[] } {
  @Controller()
  class Answering {
    answer(): string {
      return 'answered';
    }
  }
  const answer = Object.getOwnPropertyDescriptor(Answering.prototype, 'answer') as PropertyDescriptor;
  MessagePattern(patterns)(Answering.prototype, 'answer', answer);
  return { controllers: [Answering] };
}

describe('a pattern', () => {
  it.each([
    ['a plain name', 'answer', 'answer'],
    ['module and function', 'math.add', 'math.add'],
    ['several dots', 'a.b.c.d', 'a.b.c.d'],
    ['a dot in front', '.hidden', '.hidden'],
    ['a dot behind', 'trailing.', 'trailing.'],
    ['nothing but a dot', '.', '.'],
    ['an empty string', '', ''],
    ['spaces and a line break', ' a\nb ', ' a\nb '],
    ['beyond ASCII', 'größe.日本', 'größe.日本'],
    ['a number', 42, 42],
    ['a number, called by a string', 42, '42'],
    ['a string, called by a number', '42', 42],
    ['an object', { cmd: 'sum' }, { cmd: 'sum' }],
    ['an object with its keys in another order', { b: 1, a: { d: 2, c: 3 } }, { a: { c: 3, d: 2 }, b: 1 }],
    ['an object with a dot in it', { cmd: 'math.sum' }, { cmd: 'math.sum' }],
    ['__proto__', '__proto__', '__proto__'],
    ['constructor', 'constructor', 'constructor'],
    ['a function named toString', 'math.toString', 'math.toString'],
  ])('N-16 %s finds its handler', async (_, registered, sent) => {
    await using pair = await pairOf(answering(registered));
    await expect(firstValueFrom(pair.caller.send(sent, {}))).resolves.toBe('answered');
  });

  // To Nest's own transports these are JSON, and find no handler.
  it.each(['true', 'null', '{"a":1}', '"quoted"', '[1]', '1e3', ' 1'])('N-17 %s finds its handler', async (pattern) => {
    await using pair = await pairOf(answering(pattern));
    await expect(firstValueFrom(pair.caller.send(pattern, {}))).resolves.toBe('answered');
  });

  it('N-16 a pattern of a list finds the handler, each of them', async () => {
    await using pair = await pairOf(answering('first', { second: true }, 3));
    for (const pattern of ['first', { second: true }, 3]) {
      await expect(firstValueFrom(pair.caller.send(pattern, {}))).resolves.toBe('answered');
    }
  });

  it.each([
    ['a name', 'nobody'],
    ['a name with a dot', 'math.nobody'],
    ['an object', { cmd: 'nobody' }],
    ['an object with one key more', { cmd: 'sum', version: 1 }],
    ['__proto__', '__proto__'],
    ['constructor', 'constructor'],
    ['an inherited function', 'answer.toString'],
    ['the other case', 'ANSWER'],
  ])('N-18 a pattern that nobody handles is said so, in the words of Nest: %s', async (_, pattern) => {
    await using pair = await pairOf(answering('answer', { cmd: 'sum' }));
    const reply = firstValueFrom(pair.caller.send(pattern, {}));
    await expect(reply).rejects.toBe('There is no matching message handler defined in the remote service.');
  });

  it('N-70 that is nested 1,000 levels deep is an error of that call alone', async () => {
    await using pair = await pairOf(answering('answer'));
    let deep: object = {};
    for (let level = 0; level < 1000; level += 1) deep = { deep };
    await expect(firstValueFrom(pair.caller.send(deep, {}))).rejects.toBeDefined();
    await expect(firstValueFrom(pair.caller.send('answer', {}))).resolves.toBe('answered');
  });

  it('N-21 a pattern of two handlers calls the last one, with a warning', async () => {
    @Controller()
    class Twice {
      @MessagePattern('twice')
      first(): string {
        return 'first';
      }

      @MessagePattern('twice')
      second(): string {
        return 'second';
      }
    }
    await using pair = await pairOf({ controllers: [Twice] });
    await expect(firstValueFrom(pair.caller.send('twice', {}))).resolves.toBe('second');
    expect(pair.log.said('warn', 'Two handlers for twice')).toHaveLength(1);
  });
});

describe('a handler of one transport', () => {
  @Controller()
  class Bound {
    @MessagePattern('ours', GEN_RPC_TRANSPORT)
    ours(@Payload() value: unknown): unknown {
      return value;
    }

    @MessagePattern('tcp', Transport.TCP)
    tcp(@Payload() value: unknown): unknown {
      return value;
    }

    @EventPattern('tcp.event', Transport.TCP)
    event(@Payload() _event: unknown): void {}
  }

  it('N-07 a handler of one transport is bound here when it is ours, and not when it is meant for another', async () => {
    await using pair = await pairOf({ controllers: [Bound] });
    await expect(firstValueFrom(pair.caller.send('ours', 1))).resolves.toBe(1);
    await expect(firstValueFrom(pair.caller.send('tcp', 1))).rejects.toContain('no matching message handler');
  });

  it('N-07 a handler of one transport is not bound by another transport when it is ours', async () => {
    const strategy = new ServerTCP({ port: 0 });
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf({ controllers: [Bound] }), {
      strategy,
      logger: new CapturedLogger(),
    });
    await app.init();
    expect([...strategy.getHandlers().keys()]).toEqual(['tcp', 'tcp.event']);
    await app.close();
  });
});

describe('two servers from one options object', () => {
  it('N-10 two servers from one options object share nothing', async () => {
    const options = { name: 'twin@127.0.0.1', secret: SECRET, listen: { port: 0 } };
    await using one = await App.start({ ...answering('one'), options });
    await using two = await App.start({ ...answering('two'), options });
    expect(one.node).not.toBe(two.node);
    expect(one.address.port).not.toBe(two.address.port);
    const target = 'twin@127.0.0.1';
    await expect(firstValueFrom(one.client({ target }).send('one', {}))).resolves.toBe('answered');
    await expect(firstValueFrom(two.client({ target }).send('one', {}))).rejects.toContain('no matching');
    expect(new GenRpcServer(options).getHandlers().size).toBe(0);
  });
});
