/** Two copies of this package in one process, as where one part of an application imports it and another requires it. */
import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { expect, it, vi } from 'vitest';
import type { Endpoint } from '../../lib/driver/driver.js';
import { createNode } from '../../lib/node/create-node.js';
import { RpcFunction, RpcModule } from '../../lib/nest/gen-rpc.decorators.js';
import { GenRpcClient } from '../../lib/nest/gen-rpc.client.js';
import type { GenRpcContext } from '../../lib/nest/gen-rpc.context.js';
import { GenRpcRecord, GenRpcRecordBuilder, isRecord } from '../../lib/nest/gen-rpc.record-builder.js';
import { GenRpcError, isGenRpcError } from '../../lib/protocol/errors.js';
import { CapturedLogger, moduleOf, pairOf, SECRET, SERVER } from './support.js';

vi.resetModules();
const other = {
  ...(await import('../../lib/nest/gen-rpc.client.js')),
  ...(await import('../../lib/nest/gen-rpc.record-builder.js')),
  ...(await import('../../lib/nest/gen-rpc.server.js')),
  ...(await import('../../lib/protocol/errors.js')),
};

@RpcModule('shelf')
class Shelf {
  @RpcFunction()
  fails(): never {
    throw new other.GenRpcError('handler_failed', 'deliberate', { details: { why: 'because' } });
  }
}

@Controller()
class Handlers {
  @MessagePattern('tenant')
  tenant(@Payload() data: unknown, @Ctx() context: GenRpcContext): unknown {
    return [data, context.getMetadata()?.['tenant']];
  }
}

it('N-75 there are two copies here, whose errors and records know each other', () => {
  expect(other.GenRpcClient).not.toBe(GenRpcClient);
  expect(other.GenRpcError).not.toBe(GenRpcError);
  expect(isGenRpcError(new other.GenRpcError('timeout'))).toBe(true);
  for (const Record of [GenRpcRecord, other.GenRpcRecord]) {
    const record = new Record(1, {});
    expect([isRecord(record), other.isRecord(record)]).toEqual([true, true]);
  }
  expect([null, undefined, 1, {}, { data: 1, directions: {} }].filter(isRecord)).toEqual([]);
});

it('N-75 a record of another copy is one to the client, and not data', async () => {
  await using pair = await pairOf({ controllers: [Handlers] });
  for (const Builder of [GenRpcRecordBuilder, other.GenRpcRecordBuilder]) {
    const record = new Builder('tea').setHeaders({ tenant: 'red' }).build();
    await expect(firstValueFrom(pair.caller.send('tenant', record))).resolves.toEqual(['tea', 'red']);
  }
});

it('N-75 an error of another copy is one of ours, and its details arrive', async () => {
  await using pair = await pairOf({ controllers: [Shelf] });
  const expected = { code: 'handler_failed', message: 'deliberate', details: { why: 'because' } };
  await expect(pair.caller.unwrap().call(SERVER, 'shelf', 'fails')).rejects.toMatchObject(expected);
});

it('N-75 a server and a client of another copy take a node of this one', async () => {
  const node = createNode({ name: SERVER, secret: SECRET, listen: { port: 0 } });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf({ controllers: [Handlers] }), {
    strategy: new other.GenRpcServer(node),
    logger: new CapturedLogger(),
    abortOnError: false,
  });
  const { port } = (await app.listen()) as unknown as Endpoint;
  const calling = createNode({ name: 'web@127.0.0.1', secret: SECRET, listen: false, clientPort: port });
  const client = new other.GenRpcClient({ target: SERVER, node: calling as never });
  await expect(firstValueFrom(client.send('tenant', 'tea'))).resolves.toEqual(['tea', undefined]);
  await app.close();
  // It belongs to whoever made it: the server has only stopped its intake.
  expect(node.stats()).toMatchObject({ phase: 'draining', acceptedConnections: 0 });
  await Promise.all([node.close(), calling.close()]);
});
