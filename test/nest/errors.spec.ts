import { Controller, HttpException, NotFoundException, UsePipes, ValidationPipe } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { IsInt } from 'class-validator';
import { firstValueFrom, throwError, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import { GenRpcError, isGenRpcError } from '../../lib/protocol/errors.js';
import { App, pairOf, SECRET, SERVER, type Pair } from './support.js';

class Dto {
  @IsInt()
  id!: number;
}

@Controller()
class Failing {
  @MessagePattern('fails.rpc.text')
  text(): never {
    throw new RpcException('m');
  }

  @MessagePattern('fails.rpc.object')
  object(): never {
    throw new RpcException({ code: 'OUT_OF_STOCK', left: 0, nested: { at: new Date(0) } });
  }

  @MessagePattern('fails.rpc.promise')
  async promise(): Promise<never> {
    throw new RpcException('m');
  }

  @MessagePattern('fails.rpc.observable')
  observable(): Observable<never> {
    return throwError(() => new RpcException('m'));
  }

  @MessagePattern('fails.plain')
  plain(): never {
    throw new Error('SELECT secret FROM users');
  }

  @MessagePattern('fails.text')
  justText(): never {
    // oxlint-disable-next-line typescript/only-throw-error
    throw 'just text';
  }

  @MessagePattern('fails.http')
  http(): never {
    throw new NotFoundException('no such order');
  }

  @UsePipes(new ValidationPipe())
  @MessagePattern('fails.validation')
  validation(@Payload() dto: Dto): Dto {
    return dto;
  }

  @MessagePattern('fails.gen_rpc')
  deliberate(): never {
    throw new GenRpcError('handler_failed', 'deliberate', { details: { why: 'because' } });
  }

  @MessagePattern('returns.function')
  unserialisable(): unknown {
    return { fn: (): void => {} };
  }

  @MessagePattern('works')
  works(): string {
    return 'works';
  }
}

const APP = { controllers: [Failing] };
const HIDDEN = { status: 'error', message: 'Internal server error' };

async function errorOf(pair: Pair, pattern: unknown, data: unknown = {}): Promise<unknown> {
  return firstValueFrom(pair.caller.send(pattern, data)).then(
    (value) => expect.fail(`${String(value)} instead of an error`),
    (error: unknown) => error,
  );
}

describe("with the client's default, errors look as with Nest's own transports", () => {
  it.each([
    ['fails.rpc.text', { status: 'error', message: 'm' }],
    ['fails.rpc.promise', { status: 'error', message: 'm' }],
    ['fails.rpc.observable', { status: 'error', message: 'm' }],
    ['fails.rpc.object', { code: 'OUT_OF_STOCK', left: 0, nested: { at: new Date(0) } }],
    ['fails.plain', HIDDEN],
    ['fails.text', HIDDEN],
    ['fails.http', HIDDEN],
    ['fails.validation', HIDDEN],
    ['fails.gen_rpc', HIDDEN],
    ['fails.unknown', 'There is no matching message handler defined in the remote service.'],
  ])('N-43 of %s', async (pattern, expected) => {
    await using pair = await pairOf(APP);
    await expect(errorOf(pair, pattern)).resolves.toEqual(expected);
    await expect(firstValueFrom(pair.caller.send('works', {}))).resolves.toBe('works');
  });

  it('N-43 what no caller may see is in the log of the server', async () => {
    await using pair = await pairOf(APP);
    await errorOf(pair, 'fails.plain');
    expect(pair.log.said('error', 'SELECT secret')).toHaveLength(1);
  });

  it('N-24 a reply that cannot be encoded is an error at once, and the connection lives', async () => {
    await using pair = await pairOf(APP);
    await expect(errorOf(pair, 'returns.function')).resolves.toMatchObject({ code: 'encode_error' });
    await expect(firstValueFrom(pair.caller.send('works', {}))).resolves.toBe('works');
    expect(pair.caller.unwrap().stats().counts.connected).toBe(1);
  });

  it('N-47 a dead port is ECONNREFUSED, as the system says it, and no unhandled rejection', async () => {
    await using pair = await pairOf(APP);
    const away = pair.client({ target: 'away@127.0.0.1', clientPort: 1 });
    await expect(firstValueFrom(away.send('works', {}))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(away.connect()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('N-47 a host that does not exist is named by the system too', async () => {
    await using pair = await pairOf(APP);
    const away = pair.client({ target: 'away@no-such-host.invalid' });
    await expect(firstValueFrom(away.send('works', {}))).rejects.toMatchObject({
      code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/),
    });
  });

  it('N-44 serializeError and serializeResponse of a subclass have the last word', async () => {
    class Own extends GenRpcClient {
      protected override serializeError(error: unknown): unknown {
        return { wrapped: error };
      }

      protected override serializeResponse(response: unknown): unknown {
        return { wrapped: response };
      }
    }
    await using app = await App.start(APP);
    const own = new Own({ target: SERVER, secret: SECRET, clientPort: app.address.port });
    await expect(firstValueFrom(own.send('works', {}))).resolves.toEqual({ wrapped: 'works' });
    await expect(firstValueFrom(own.send('fails.rpc.text', {}))).rejects.toEqual({
      wrapped: { status: 'error', message: 'm' },
    });
    await own.close();
  });
});

describe("with errors: 'gen_rpc', every error is a GenRpcError", () => {
  it.each([
    ['fails.rpc.text', { code: 'handler_failed', message: 'm', details: { status: 'error', message: 'm' } }],
    [
      'fails.rpc.object',
      { code: 'handler_failed', details: { code: 'OUT_OF_STOCK', left: 0, nested: { at: new Date(0) } } },
    ],
    ['fails.plain', { code: 'handler_failed', message: 'Internal server error' }],
    ['fails.unknown', { code: 'undefined_function', maybeExecuted: false }],
    ['returns.function', { code: 'encode_error', maybeExecuted: true }],
  ])('N-45 of %s', async (pattern, expected) => {
    await using pair = await pairOf(APP, { errors: 'gen_rpc' });
    const error = await errorOf(pair, pattern);
    expect(isGenRpcError(error)).toBe(true);
    expect(error).toMatchObject({ ...expected, family: 'badrpc' });
  });

  it('N-45 a dead port', async () => {
    await using pair = await pairOf(APP);
    const away = pair.client({ target: 'away@127.0.0.1', clientPort: 1, errors: 'gen_rpc' });
    const expected = { code: 'node_down', details: { cause: 'ECONNREFUSED' }, maybeExecuted: false };
    await expect(firstValueFrom(away.send('works', {}))).rejects.toMatchObject(expected);
  });

  it('N-45 a dead port says so once, and then what the system said', async () => {
    await using pair = await pairOf(APP);
    const away = pair.client({ target: 'away@127.0.0.1', clientPort: 1, errors: 'gen_rpc' });
    const said = { cause: { code: 'ECONNREFUSED', syscall: 'connect' } };
    // The first waits for the attempt, the second is told of it.
    await expect(firstValueFrom(away.send('works', {}))).rejects.toMatchObject(said);
    await expect(firstValueFrom(away.send('works', {}))).rejects.toMatchObject(said);
  });
});

describe('the verbs, on handlers of plain controllers', () => {
  it.each([
    ['fails.rpc', 'text', { code: 'handler_failed', message: 'm', details: { status: 'error', message: 'm' } }],
    ['fails.rpc', 'object', { code: 'handler_failed', details: { code: 'OUT_OF_STOCK', nested: { at: new Date(0) } } }],
    ['fails', 'http', { code: 'handler_failed', message: 'Internal server error' }],
    ['returns', 'function', { code: 'encode_error', maybeExecuted: true }],
    ['fails', 'plain', { code: 'handler_failed', message: 'Internal server error' }],
    ['fails', 'unknown', { code: 'undefined_function' }],
  ])('N-45 give a GenRpcError: %s, %s', async (module, fn, expected) => {
    await using pair = await pairOf(APP);
    const node = pair.caller.unwrap();
    const error: unknown = await node.call(SERVER, module, fn).catch((cause: unknown) => cause);
    expect(isGenRpcError(error)).toBe(true);
    expect(error).toMatchObject(expected);
  });
});

describe('an HttpException in a plain controller', () => {
  it.each(['nest', 'gen_rpc'] as const)(
    "N-43 stays hidden, as with Nest's own transports: errors %s",
    async (errors) => {
      await using pair = await pairOf(APP, { errors });
      const error = await errorOf(pair, 'fails.http');
      expect(JSON.stringify(error)).not.toContain('no such order');
      expect(error).not.toBeInstanceOf(HttpException);
    },
  );
});
