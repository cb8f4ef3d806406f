/** Starts a node that answers calls: any Nest microservice, whose strategy is that of `GenRpcModule`. */
import type { DynamicModule, INestMicroservice, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { type Endpoint, GenRpcServer } from 'nestjs-gen-rpc';

/** Resolves once it accepts calls, with its port: with `listen: { port: 0 }` the system picks a free one. */
export async function serve(module: Type | DynamicModule): Promise<{ app: INestMicroservice; port: number }> {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(module, {
    logger: ['error'],
    inject: [GenRpcServer],
    useFactory: (strategy: GenRpcServer) => ({ strategy }),
  });
  const { port } = (await app.listen()) as unknown as Endpoint;
  return { app, port };
}
