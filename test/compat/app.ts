import 'reflect-metadata';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Controller, Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxy, ClientsModule, MessagePattern, type MicroserviceOptions, Payload } from '@nestjs/microservices';
import { GenRpcClient, GenRpcServer } from 'nestjs-gen-rpc';
import { firstValueFrom } from 'rxjs';

export const SECRET = 'the same words on both sides';

interface Pair {
  a: number;
  b: number;
}

@Controller()
class MathController {
  @MessagePattern('math.add')
  add(@Payload() { a, b }: Pair): number {
    return a + b;
  }
}

@Module({ controllers: [MathController] })
class MathModule {}

@Injectable()
class Calculator {
  constructor(@Inject('MATH') private readonly math: ClientProxy) {}

  add(a: number, b: number): Promise<number> {
    return firstValueFrom(this.math.send<number, Pair>('math.add', { a, b }));
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts one Nest app that adds and another that asks it to, over loopback; leaves nothing running. */
export async function addAcrossNodes(a: number, b: number): Promise<number> {
  const port = await freePort();
  const strategy = new GenRpcServer({ name: 'math@127.0.0.1', secret: SECRET, listen: { port } });
  const math = await NestFactory.createMicroservice<MicroserviceOptions>(MathModule, { strategy, logger: false });
  await math.listen();

  const options = { name: 'web@127.0.0.1', secret: SECRET, target: 'math@127.0.0.1', clientPort: port };
  @Module({
    imports: [ClientsModule.register([{ name: 'MATH', customClass: GenRpcClient, options }])],
    providers: [Calculator],
  })
  class WebModule {}
  const web = await NestFactory.createApplicationContext(WebModule, { logger: false });

  try {
    return await web.get(Calculator).add(a, b);
  } finally {
    await web.close();
    await math.close();
  }
}
