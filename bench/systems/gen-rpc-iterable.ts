/** This library through Nest, with a stream that is an async generator. */
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { GenRpcClient, GenRpcServer } from 'nestjs-gen-rpc';
import type { BenchClient, BenchServer } from '../system.js';
import { clientOptions, SERVER_NAME, SERVER_OPTIONS } from './bench-nodes.js';
import { sumOf } from './nest-math.js';

const COUNT = 'math.count';

@Controller()
class CountController {
  @MessagePattern(COUNT)
  async *count(@Payload() { items }: { items: number }): AsyncIterable<{ n: number }> {
    for (let n = 1; n <= items; n++) yield { n };
  }
}

@Module({ controllers: [CountController] })
class CountModule {}

export async function serve(): Promise<BenchServer> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(CountModule, {
    strategy: new GenRpcServer(SERVER_OPTIONS),
    logger: false,
  });
  const address = (await app.listen()) as unknown as { port: number };
  return { port: address.port, close: () => app.close() };
}

/** It takes part as far as the library has such streams. */
export async function connect(port: number): Promise<BenchClient> {
  const proxy = new GenRpcClient({ ...clientOptions(port), target: SERVER_NAME });
  await proxy.connect();
  const close = (): Promise<void> => proxy.close();
  if (!('stream' in proxy)) return { close };
  return { count: (items) => sumOf(proxy.send<{ n: number }>(COUNT, { items })), close };
}
