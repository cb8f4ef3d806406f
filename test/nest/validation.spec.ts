/** What is wrong with arguments, field by field, where their caller reads it: over sockets, through every kind of pipe. */
import 'reflect-metadata';
import {
  BadRequestException,
  UnprocessableEntityException,
  UsePipes,
  ValidationPipe,
  type INestMicroservice,
  type PipeTransform,
  type ValidationError,
} from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { Payload, RpcException } from '@nestjs/microservices';
import { Type } from 'class-transformer';
import { IsInt, IsString, Max, Min, MinLength, ValidateNested } from 'class-validator';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { App, SERVER, type AppSettings } from './support.js';
import { until } from '../support/door.js';
import { NEST } from '../support/nest-version.js';

class Line {
  @IsString()
  @MinLength(3)
  goods!: string;

  @IsInt()
  @Min(1)
  @Max(9)
  count!: number;
}

class Order {
  @IsString()
  customer!: string;

  @ValidateNested({ each: true })
  @Type(() => Line)
  lines!: Line[];
}

const GOOD: Order = { customer: 'me', lines: [{ goods: 'tea', count: 2 }] };
const BAD = {
  customer: 7,
  lines: [
    { goods: 'tea', count: 2 },
    { goods: 'x', count: 12 },
  ],
};
const SAID = [
  'customer must be a string',
  'lines.1.goods must be longer than or equal to 3 characters',
  'lines.1.count must not be greater than 9',
];

const handled: unknown[] = [];

/** Takes the same order in each way that arguments have, and says of what class it is here. */
@RpcModule('orders')
class Orders {
  @RpcFunction()
  first(@Arg(0) order: Order, @Arg(1) _note?: string): string {
    return order.constructor.name;
  }

  @RpcFunction()
  whole(@Payload() order: Order): string {
    return order.constructor.name;
  }

  @RpcFunction()
  async *each(@Arg(0) order: Order): AsyncGenerator<string> {
    for (const { goods } of order.lines) yield goods;
  }

  @RpcFunction()
  handle(@Payload() order: Order): void {
    handled.push(order);
  }
}

@RpcModule('orders')
class PipesOfParameters {
  @RpcFunction()
  first(@Arg(0, new ValidationPipe({ transform: true })) order: Order): string {
    return order.constructor.name;
  }

  @RpcFunction()
  whole(@Payload(new ValidationPipe({ transform: true })) order: Order): string {
    return order.constructor.name;
  }
}

@RpcModule('orders')
class PipesOfMethods {
  @RpcFunction()
  @UsePipes(new ValidationPipe({ transform: true }))
  first(@Arg(0) order: Order): string {
    return order.constructor.name;
  }

  @UsePipes(new ValidationPipe({ transform: true }))
  @RpcFunction()
  whole(@Payload() order: Order): string {
    return order.constructor.name;
  }
}

@UsePipes(new ValidationPipe({ transform: true }))
@RpcModule('orders')
class PipesOfClass {
  @RpcFunction()
  first(@Arg(0) order: Order): string {
    return order.constructor.name;
  }

  @RpcFunction()
  whole(@Payload() order: Order): string {
    return order.constructor.name;
  }
}

function withPipe(pipe: PipeTransform): AppSettings {
  return { controllers: [Orders], configure: (app: INestMicroservice) => void app.useGlobalPipes(pipe) };
}

/** What a verb says of an argument that it calls a function with. */
async function failureOf(app: App, fn: string, arg: unknown): Promise<GenRpcError> {
  const reply = app.client().unwrap().call(SERVER, 'orders', fn, [arg]);
  return reply.then(
    () => expect.fail('It was accepted.'),
    (error: unknown) => error as GenRpcError,
  );
}

describe('an argument that ValidationPipe refuses', () => {
  const transform = new ValidationPipe({ transform: true });

  it.each<[string, AppSettings]>([
    ['a parameter', { controllers: [PipesOfParameters] }],
    ['a method', { controllers: [PipesOfMethods] }],
    ['a class', { controllers: [PipesOfClass] }],
    ['the application', withPipe(transform)],
    ['the container', { controllers: [Orders], providers: [{ provide: APP_PIPE, useValue: transform }] }],
  ])('is named field by field to the caller: a pipe of %s', async (_, settings) => {
    await using app = await App.start(settings);
    const orders = app.client().unwrap().module<Orders>('orders').at(SERVER);
    for (const fn of ['first', 'whole'] as const) {
      await expect(orders[fn](GOOD)).resolves.toBe('Order');
      const error = await failureOf(app, fn, BAD);
      expect(error).toBeInstanceOf(GenRpcError);
      expect({ ...error, message: error.message }).toMatchObject({
        code: 'handler_failed',
        message: `Bad Request Exception: ${SAID.join('; ')}`,
        details: { statusCode: 400, error: 'Bad Request', message: SAID },
      });
    }
  });

  it.each([[undefined], [null], [7], ['tea'], [[]]])('may be no object at all: %o', async (value) => {
    await using app = await App.start(withPipe(transform));
    const { code, details } = await failureOf(app, 'first', value);
    expect({ code, details }).toMatchObject({ code: 'handler_failed', details: { statusCode: 400 } });
  });

  it('keeps a stream from beginning, and a cast from being handled, which is counted', async () => {
    await using app = await App.start(withPipe(transform));
    const orders = app.client().unwrap().module<Orders>('orders');
    const items: string[] = [];
    const read = async (order: Order): Promise<void> => {
      for await (const item of orders.streamFrom(SERVER).each(order)) items.push(item);
    };
    await read(GOOD);
    await expect(read(BAD as never)).rejects.toMatchObject({ details: { message: SAID } });
    expect(items).toEqual(['tea']);
    expect(orders.castTo(SERVER, { ordered: true }).handle(BAD as never)).toBe(true);
    expect(orders.castTo(SERVER, { ordered: true }).handle(GOOD)).toBe(true);
    await until(() => handled.length > 0);
    expect(handled).toEqual([GOOD]);
    expect(app.node.stats().counts).toMatchObject({ cast_failed: 1 });
  });

  it('has the shape of any exceptionFactory that is meant for callers', async () => {
    const fieldsOf = (errors: ValidationError[]): Record<string, string[]> => {
      return Object.fromEntries(errors.map(({ property, constraints = {} }) => [property, Object.keys(constraints)]));
    };
    const refused: [(errors: ValidationError[]) => unknown, Partial<GenRpcError>][] = [
      [
        (errors) => new UnprocessableEntityException({ fields: fieldsOf(errors) }),
        { message: 'Unprocessable Entity Exception', details: { statusCode: 422, fields: { customer: ['isString'] } } },
      ],
      [
        (errors) => new BadRequestException(errors),
        { details: { statusCode: 400, message: [{ property: 'customer', constraints: { isString: SAID[0] } }] } },
      ],
      [
        (errors) => new RpcException({ message: 'no such order', fields: fieldsOf(errors) }),
        { message: 'no such order', details: { fields: { customer: ['isString'] } } },
      ],
      [
        (errors) => new GenRpcError('handler_failed', 'refused', { details: fieldsOf(errors) }),
        { message: 'refused', details: { customer: ['isString'] } },
      ],
    ];
    for (const [exceptionFactory, said] of refused) {
      await using app = await App.start(withPipe(new ValidationPipe({ exceptionFactory })));
      const { code, message, details } = await failureOf(app, 'first', { ...GOOD, customer: 7 });
      expect({ code, message, details }).toMatchObject({ code: 'handler_failed', ...said });
    }
  });

  it('says as much as the pipe is told to', async () => {
    const said = ['customer must be a string'];
    for (const [options, message] of [
      // Nest 11 knows one format.
      [{ errorFormat: 'grouped' }, NEST >= 12 ? { customer: said } : said],
      [{ disableErrorMessages: true }, undefined],
      [{ whitelist: true, forbidNonWhitelisted: true }, ['property rank should not exist', ...said]],
    ] as const) {
      await using app = await App.start(withPipe(new ValidationPipe(options)));
      const { details } = await failureOf(app, 'first', { ...GOOD, customer: 7, rank: 1 });
      expect(details).toHaveProperty('message', message ?? 'Bad Request');
    }
  });

  it('is named in the message as far as a line goes', async () => {
    await using app = await App.start(withPipe(transform));
    const lines = Array.from({ length: 4 }, () => ({ goods: 'x', count: 0 }));
    const { message, details } = await failureOf(app, 'first', { customer: 'me', lines });
    expect(message).toMatch(/^Bad Request Exception: lines\.0\.goods .*; lines\.2\.goods [^;]*; and 3 more$/);
    expect((details as { message: string[] }).message).toHaveLength(8);
  });

  it('is told to the caller of send too', async () => {
    await using app = await App.start(withPipe(transform));
    const reply = firstValueFrom(app.client().send('orders.whole', BAD));
    await expect(reply).rejects.toEqual({ statusCode: 400, error: 'Bad Request', message: SAID });
  });
});
