/** Nest's own TCP transport, by object patterns: it is slower with strings. Its messages are JSON. */
import type { AddressInfo, Server } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, Transport, type MicroserviceOptions } from '@nestjs/microservices';
import { credentials } from '../certificates.js';
import { HOST } from '../host.js';
import type { BenchClient, BenchServer, System } from '../system.js';
import { mathClient, mathModule, type Dialect } from './nest-math.js';
import { mutual, type Wire } from './wire.js';

const DIALECT: Dialect = {
  patternOf: (fn) => ({ cmd: fn }),
  pack: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64'),
  unpack: (packed) => Buffer.from(packed as string, 'base64'),
};

export function over(wire: Wire): System {
  return { serve: () => serve(wire), connect: (port) => connect(port, wire) };
}

async function serve(wire: Wire): Promise<BenchServer> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(mathModule(DIALECT), {
    transport: Transport.TCP,
    options: { host: HOST, port: 0, ...(wire === 'tls' && { tlsOptions: mutual() }) },
    logger: false,
  });
  await app.listen();
  return { port: (app.unwrap<Server>().address() as AddressInfo).port, close: () => app.close() };
}

function connect(port: number, wire: Wire): Promise<BenchClient> {
  const options = { host: HOST, port, ...(wire === 'tls' && { tlsOptions: credentials() }) };
  return mathClient(ClientProxyFactory.create({ transport: Transport.TCP, options }), DIALECT);
}
