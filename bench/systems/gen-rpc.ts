/** This library through Nest on both sides. */
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { GenRpcClient, GenRpcServer } from 'nestjs-gen-rpc';
import type { BenchClient, BenchServer } from '../system.js';
import { clientOptions, SERVER_NAME, SERVER_OPTIONS } from './bench-nodes.js';
import { mathClient, mathModule, type Dialect } from './nest-math.js';

const DIALECT: Dialect = {
  patternOf: (fn) => `math.${fn}`,
  pack: (bytes) => bytes,
  unpack: (packed) => packed as Buffer,
};

export async function serve(): Promise<BenchServer> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(mathModule(DIALECT), {
    strategy: new GenRpcServer(SERVER_OPTIONS),
    logger: false,
  });
  const address = (await app.listen()) as unknown as { port: number };
  return { port: address.port, close: () => app.close() };
}

export function connect(port: number): Promise<BenchClient> {
  return mathClient(new GenRpcClient({ ...clientOptions(port), target: SERVER_NAME }), DIALECT);
}
