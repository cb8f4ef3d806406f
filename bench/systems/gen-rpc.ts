/** This library through Nest on both sides. */
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { GenRpcClient, GenRpcServer } from 'nestjs-gen-rpc';
import type { BenchClient, BenchServer, System } from '../system.js';
import { clientOptions, SERVER_NAME, serverOptions } from './bench-nodes.js';
import { mathClient, mathModule, type Dialect } from './nest-math.js';
import type { Wire } from './wire.js';

const DIALECT: Dialect = {
  patternOf: (fn) => `math.${fn}`,
  pack: (bytes) => bytes,
  unpack: (packed) => packed as Buffer,
};

export function over(wire: Wire): System {
  return { serve: () => serve(wire), connect: (port) => connect(port, wire) };
}

async function serve(wire: Wire): Promise<BenchServer> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(mathModule(DIALECT), {
    strategy: new GenRpcServer(serverOptions(wire)),
    logger: false,
  });
  const address = (await app.listen()) as unknown as { port: number };
  return { port: address.port, close: () => app.close() };
}

function connect(port: number, wire: Wire): Promise<BenchClient> {
  return mathClient(new GenRpcClient({ ...clientOptions(port, wire), target: SERVER_NAME }), DIALECT);
}
