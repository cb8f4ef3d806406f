import 'reflect-metadata';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Controller, Inject, Injectable, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxy, ClientsModule, MessagePattern, type MicroserviceOptions, Payload } from '@nestjs/microservices';
import {
  GenRpcClient,
  GenRpcModule,
  GenRpcNode,
  GenRpcServer,
  InjectGenRpc,
  InjectGenRpcClient,
  type ModuleCalls,
} from 'nestjs-gen-rpc';
import { firstValueFrom } from 'rxjs';

export const SECRET = 'the same words on both sides';

/** The machine may be busy with other apps: however late the loop is, no call is refused. */
export const PATIENT = { concurrency: { loopDelay: Infinity } };

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
export class MathModule {}

@Injectable()
export class Calculator {
  private readonly typed: ModuleCalls<MathController>;

  constructor(
    @Inject('MATH') private readonly math: ClientProxy,
    @InjectGenRpcClient('math') private readonly shared: GenRpcClient,
    @InjectGenRpc() node: GenRpcNode,
    @Inject('TARGET') target: string,
  ) {
    this.typed = node.module<MathController>('math').at(target);
  }

  /** Asks in each way that there is. */
  async add(a: number, b: number): Promise<number> {
    const asked = [this.math, this.shared].map((client) => client.send<number, Pair>('math.add', { a, b }));
    const sums = await Promise.all([...asked.map((sum) => firstValueFrom(sum)), this.typed.add({ a, b })]);
    const [sum, ...others] = sums;
    if (sum === undefined || others.some((other) => other !== sum)) throw new Error(`They differ: ${sums.join()}`);
    return sum;
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

/** With a client of its own, one on the module's node, and that node itself. */
export function webModule(options: { name?: string; secret: string; target: string; clientPort?: number }): Type {
  const { target, ...rest } = options;
  @Module({
    imports: [
      ClientsModule.register([{ name: 'MATH', customClass: GenRpcClient, options }]),
      GenRpcModule.forRoot({ ...rest, name: 'shop@127.0.0.1', listen: false }),
      GenRpcModule.forFeature([{ name: 'math', target }]),
    ],
    providers: [Calculator, { provide: 'TARGET', useValue: target }],
  })
  class WebModule {}
  return WebModule;
}

/** Starts one Nest app that adds and another that asks it to, over loopback; leaves nothing running. */
export async function addAcrossNodes(a: number, b: number): Promise<number> {
  const port = await freePort();
  const strategy = new GenRpcServer({ name: 'math@127.0.0.1', secret: SECRET, listen: { port }, ...PATIENT });
  const math = await NestFactory.createMicroservice<MicroserviceOptions>(MathModule, { strategy, logger: false });
  await math.listen();

  const options = { name: 'web@127.0.0.1', secret: SECRET, target: 'math@127.0.0.1', clientPort: port };
  const web = await NestFactory.createApplicationContext(webModule(options), { logger: false });

  try {
    return await web.get(Calculator).add(a, b);
  } finally {
    await web.close();
    await math.close();
  }
}
