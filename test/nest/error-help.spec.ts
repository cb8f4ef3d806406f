/** What a caller's log shows of an error is enough to act on: what failed, where, why, and where to read on. */
import { inspect } from 'node:util';
import { Controller, NotFoundException, UsePipes, ValidationPipe } from '@nestjs/common';
import { MessagePattern, RpcException } from '@nestjs/microservices';
import { IsInt } from 'class-validator';
import { firstValueFrom, NEVER, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { Arg, RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcRecordBuilder } from '../../lib/nest/gen-rpc.record-builder.js';
import { systemClock } from '../../lib/system/system.js';
import { TcpDriver } from '../../lib/driver/tcp.driver.js';
import { GenRpcError } from '../../lib/protocol/errors.js';
import { Cluster } from '../support/cluster.js';
import { TappedDriver } from '../support/tapped-driver.js';
import { pairOf, SERVER, type Pair } from './support.js';

class Line {
  @IsInt()
  count!: number;
}

@RpcModule('orders')
class Orders {
  @RpcFunction()
  find(): never {
    throw new NotFoundException('There is no order 7.');
  }

  @RpcFunction()
  reserve(): never {
    throw new RpcException({ code: 'OUT_OF_STOCK', left: 0 });
  }

  @UsePipes(new ValidationPipe())
  @RpcFunction()
  add(@Arg(0) line: Line): Line {
    return line;
  }

  @RpcFunction()
  wait(): Observable<never> {
    return NEVER;
  }
}

@Controller()
class Plain {
  @MessagePattern('plain.breaks')
  breaks(): never {
    throw new Error('SELECT secret FROM users');
  }
}

const APP = { controllers: [Orders, Plain] };

async function shownOf(reply: Promise<unknown>): Promise<string> {
  return reply.then(
    () => expect.fail('it did not fail'),
    (error: unknown) => inspect(error, { depth: 5 }),
  );
}

/** By what a caller asks for it, and what its log must show then: by our names, and by Nest's. */
const FAILURES: readonly {
  readonly fn: string;
  readonly args?: readonly unknown[];
  readonly code: string;
  readonly shown: readonly string[];
  readonly asNest: readonly string[];
}[] = [
  {
    fn: 'find',
    code: 'handler_failed',
    shown: ['There is no order 7.', 'statusCode: 404', `call: 'orders.find on ${SERVER}'`],
    asNest: ['There is no order 7.', 'statusCode: 404'],
  },
  {
    fn: 'reserve',
    code: 'handler_failed',
    shown: ["code: 'OUT_OF_STOCK'", 'left: 0', `call: 'orders.reserve on ${SERVER}'`],
    asNest: ["code: 'OUT_OF_STOCK'", 'left: 0'],
  },
  {
    fn: 'add',
    args: [{ count: 'many' }],
    code: 'handler_failed',
    shown: ['count must be an integer number', 'statusCode: 400', `call: 'orders.add on ${SERVER}'`],
    asNest: ['count must be an integer number', 'statusCode: 400'],
  },
  {
    fn: 'fnid',
    code: 'undefined_function',
    shown: ['Did you mean orders.find?', `call: 'orders.fnid on ${SERVER}'`],
    asNest: ['There is no matching message handler defined in the remote service.'],
  },
  {
    fn: 'wait',
    code: 'timeout',
    shown: [`orders.wait on ${SERVER} did not reply within 50 ms.`],
    asNest: [`orders.wait on ${SERVER} did not reply within 50 ms.`, 'docs/errors.md#timeout'],
  },
];

const helpOf = (code: string): string => `help: 'nestjs-gen-rpc/docs/errors.md#${code}'`;

function sent(pair: Pair, fn: string, args: readonly unknown[]): Promise<unknown> {
  const record = new GenRpcRecordBuilder(args).setTimeout(fn === 'wait' ? 50 : 5000).build();
  return firstValueFrom(pair.caller.send(`orders.${fn}`, record));
}

describe("a caller's log shows what failed, where, why, and where to read on", () => {
  it.each(FAILURES)("orders.$fn through a client with errors: 'gen_rpc'", async ({ fn, args = [], code, shown }) => {
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    const log = await shownOf(sent(pair, fn, args));
    for (const part of [...shown, helpOf(code)]) expect(log).toContain(part);
  });

  it.each(FAILURES)('orders.$fn through a client that is as those of Nest', async ({ fn, args = [], asNest }) => {
    await using pair = await pairOf(APP);
    const log = await shownOf(sent(pair, fn, args));
    for (const part of asNest) expect(log).toContain(part);
  });

  it.each(FAILURES)('orders.$fn through a verb', async ({ fn, args = [], code, shown }) => {
    await using pair = await pairOf(APP);
    const options = { timeout: fn === 'wait' ? 50 : 5000 };
    const log = await shownOf(pair.caller.unwrap().call(SERVER, 'orders', fn, args, options));
    for (const part of [...shown, helpOf(code)]) expect(log).toContain(part);
  });

  it.each(['nest', 'gen_rpc'] as const)('a node that is down, with errors: %s, and through a verb', async (errors) => {
    await using pair = await pairOf(APP);
    const away = pair.client({ target: 'away@127.0.0.1', clientPort: 1, errors });
    const logs = [
      await shownOf(firstValueFrom(away.send('orders.find', []))),
      await shownOf(away.unwrap().call('away@127.0.0.1', 'orders', 'find')),
    ];
    for (const log of logs) {
      for (const part of [
        'away@127.0.0.1 is down. Cannot connect to 127.0.0.1:1 (ECONNREFUSED).',
        helpOf('node_down'),
      ]) {
        expect(log).toContain(part);
      }
    }
  });

  it('an accident says which function it was; the rest is in the log of its node', async () => {
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    const log = await shownOf(firstValueFrom(pair.caller.send('plain.breaks', {})));
    expect(log).toContain(`call: 'plain.breaks on ${SERVER}'`);
    expect(log).not.toContain('SELECT');
    expect(pair.log.said('error', 'SELECT secret')).toHaveLength(1);
  });
});

describe('an unknown name, in the words of Nest', () => {
  it("is told in the caller's log, once for each", async () => {
    await using pair = await pairOf(APP);
    for (const fn of ['fnid', 'fnid', 'resreve']) await shownOf(sent(pair, fn, []));
    expect(pair.log.said('warn', 'errors.md#undefined_function')).toEqual([
      expect.stringMatching(/"orders\.fnid on server@127\.0\.0\.1" failed: .*Did you mean orders\.find\?/),
      expect.stringMatching(/"orders\.resreve on server@127\.0\.0\.1" failed: .*Did you mean orders\.reserve\?/),
    ]);
  });
});

describe('help and call', () => {
  it('never cross the wire, and are in no message', async () => {
    await using cluster = new Cluster();
    const bytes: Buffer[] = [];
    const tap = { sent: (sent: Buffer) => (bytes.push(sent), sent) };
    const b = await cluster.start('b', {}, { drivers: [new TappedDriver(new TcpDriver(systemClock), tap)] });
    b.register('math', {
      fail: () => {
        throw new GenRpcError('handler_failed', 'deliberate', { details: 'told', call: 'elsewhere' });
      },
    });
    const a = await cluster.start('a');
    const error = await a.call(b.name, 'math', 'fail').catch((caught: GenRpcError) => caught);
    expect(error).toMatchObject({ message: 'deliberate', details: 'told', call: `math.fail on ${b.name}` });
    const wire = Buffer.concat(bytes).toString('latin1');
    expect(wire).toContain('deliberate');
    expect(wire).not.toMatch(/errors\.md|elsewhere|math\.fail on/);
  });

  it('call is not there where no other node has answered', () => {
    expect(inspect(new GenRpcError('timeout'))).not.toContain('call');
  });
});

describe('a target that is not reached', () => {
  const meant = (name: string): string => `No node of this name is known here: did you mean ${name}?`;
  /** Where nobody is, for whatever nothing is told of. */
  const NOBODY = 1;

  /** What `target` fails with, for a node that was told of two others. */
  async function failure(pair: Pair, target: string, port: number): Promise<GenRpcError> {
    const nodes = { [SERVER]: { port: pair.address.port }, 'stock@10.9.9.9': { host: '127.0.0.1', port: NOBODY } };
    const client = pair.client({ target, nodes, clientPort: port, errors: 'gen_rpc' });
    return firstValueFrom(client.send('orders.find', [])).then(
      () => expect.fail('it did not fail'),
      (error: GenRpcError) => error,
    );
  }

  it.each([
    ['sever@127.0.0.1', SERVER],
    ['Server@127.0.0.1', SERVER],
    ['stock@127.0.0.1', 'stock@10.9.9.9'],
  ])('and not known is said to be so, with the one that is near: %s', async (target, near) => {
    await using pair = await pairOf(APP);
    const down = await failure(pair, target, NOBODY);
    expect(down).toMatchObject({ code: 'node_down', details: { cause: 'ECONNREFUSED', port: NOBODY } });
    expect(down.message).toContain(`(ECONNREFUSED). ${meant(near)} Next attempt in`);
    const another = await failure(pair, target, pair.address.port);
    expect(another).toMatchObject({ code: 'wrong_node', details: { wanted: target } });
    expect(another.message).toContain(`is not ${target}. ${meant(near)} Next attempt in`);
  });

  it.each(['stock@10.9.9.9', 'orders@127.0.0.1'])(
    'is said to be down where it is known, or none is near: %s',
    async (target) => {
      await using pair = await pairOf(APP);
      const { message } = await failure(pair, target, NOBODY);
      expect(message).toContain(`${target} is down.`);
      expect(message).not.toContain('did you mean');
    },
  );
});
