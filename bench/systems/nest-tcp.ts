/** Nest's own TCP transport, by object patterns: it is slower with strings. Its messages are JSON. */
import type { AddressInfo, Server } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, Transport, type MicroserviceOptions } from '@nestjs/microservices';
import { HOST } from '../host.js';
import type { BenchClient, BenchServer } from '../system.js';
import { mathClient, mathModule, type Dialect } from './nest-math.js';

const DIALECT: Dialect = {
  patternOf: (fn) => ({ cmd: fn }),
  pack: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64'),
  unpack: (packed) => Buffer.from(packed as string, 'base64'),
};

export async function serve(): Promise<BenchServer> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(mathModule(DIALECT), {
    transport: Transport.TCP,
    options: { host: HOST, port: 0 },
    logger: false,
  });
  await app.listen();
  return { port: (app.unwrap<Server>().address() as AddressInfo).port, close: () => app.close() };
}

export function connect(port: number): Promise<BenchClient> {
  const options = { host: HOST, port };
  return mathClient(ClientProxyFactory.create({ transport: Transport.TCP, options }), DIALECT);
}
