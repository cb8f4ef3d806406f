/** Nest's own TCP transport, by object patterns: it is slower with strings. */
import type { AddressInfo, Server } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, Transport, type MicroserviceOptions } from '@nestjs/microservices';
import type { BenchClient, BenchServer } from '../system.js';
import { mathClient, mathModule, type MathPatterns } from './nest-math.js';

const PATTERNS: MathPatterns = { add: { cmd: 'add' }, note: { cmd: 'note' }, notes: { cmd: 'notes' } };

export async function serve(): Promise<BenchServer> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(mathModule(PATTERNS), {
    transport: Transport.TCP,
    options: { host: '127.0.0.1', port: 0 },
    logger: false,
  });
  await app.listen();
  return { port: (app.unwrap<Server>().address() as AddressInfo).port, close: () => app.close() };
}

export function connect(port: number): Promise<BenchClient> {
  const options = { host: '127.0.0.1', port };
  return mathClient(ClientProxyFactory.create({ transport: Transport.TCP, options }), PATTERNS);
}
