/** Nest's gRPC transport on both sides. */
import 'reflect-metadata';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientProxyFactory,
  GrpcMethod,
  Transport,
  type ClientGrpcProxy,
  type GrpcOptions,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { firstValueFrom, map, range, type Observable } from 'rxjs';
import { HOST } from '../host.js';
import type { BenchClient, BenchServer } from '../system.js';
import {
  PACKAGE,
  PACKAGE_NAME,
  SERVICE_NAME,
  type Bytes,
  type Item,
  type Pair,
  type Sum,
  type Wish,
} from './grpc-bench.js';
import { sumOf } from './nest-math.js';

// A type, not an interface: Nest wants an index signature.
type MathService = {
  add(pair: Pair): Observable<Sum>;
  count(wish: Wish): Observable<Item>;
  echo(bytes: Bytes): Observable<Bytes>;
  fetch(wish: Wish): Observable<Bytes>;
};

@Controller()
class MathController {
  @GrpcMethod(SERVICE_NAME, 'add')
  add({ a, b }: Pair): Sum {
    return { value: a + b };
  }

  @GrpcMethod(SERVICE_NAME, 'count')
  count({ items = 0 }: Wish): Observable<Item> {
    return range(1, items).pipe(map((n) => ({ n })));
  }

  @GrpcMethod(SERVICE_NAME, 'echo')
  echo(bytes: Bytes): Bytes {
    return bytes;
  }

  @GrpcMethod(SERVICE_NAME, 'fetch')
  fetch({ size = 0 }: Wish): Bytes {
    return { bytes: Buffer.alloc(size, 1) };
  }
}

@Module({ controllers: [MathController] })
class MathModule {}

const optionsAt = (port: number): GrpcOptions & { transport: Transport.GRPC } => ({
  transport: Transport.GRPC,
  options: { url: `${HOST}:${port}`, package: PACKAGE_NAME, packageDefinition: PACKAGE },
});

export async function serve(): Promise<BenchServer> {
  const port = await freePort();
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(MathModule, {
    ...optionsAt(port),
    logger: false,
  });
  await app.listen();
  return { port, close: () => app.close() };
}

export async function connect(port: number): Promise<BenchClient> {
  const proxy = ClientProxyFactory.create(optionsAt(port)) as ClientGrpcProxy;
  const math = proxy.getService<MathService>(SERVICE_NAME);
  await firstValueFrom(math.add({ a: 1, b: 1 }));
  return {
    add: async (a, b) => (await firstValueFrom(math.add({ a, b }))).value,
    count: (items) => sumOf(math.count({ items })),
    echo: async (bytes) => (await firstValueFrom(math.echo({ bytes }))).bytes,
    fetch: async (size) => (await firstValueFrom(math.fetch({ size }))).bytes,
    close: () => proxy.close(),
  };
}

/** Its server does not say which one it got. */
async function freePort(): Promise<number> {
  const listener = createServer().listen(0, HOST);
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  listener.close();
  await once(listener, 'close');
  return port;
}
