/** What both serving nodes do alike: read their settings, listen, tell where, and leave when told to. */
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { type Endpoint, type GenRpcOptions, GenRpcServer } from 'nestjs-gen-rpc';

/** As main.ts handed them over. */
export function options(): GenRpcOptions {
  return JSON.parse(process.env['GEN_RPC_OPTIONS'] ?? '{}') as GenRpcOptions;
}

export async function serve(module: Type): Promise<void> {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(module, {
    logger: ['error'],
    inject: [GenRpcServer],
    useFactory: (strategy: GenRpcServer) => ({ strategy }),
  });
  app.enableShutdownHooks();
  const address = (await app.listen()) as unknown as Endpoint;
  process.send?.(address);
  // A node whose starter is gone must not stay behind.
  process.once('disconnect', () => void app.close().then(() => process.exit(0)));
}
