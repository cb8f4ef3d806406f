/** One request over three Nest applications as one trace of OpenTelemetry: who called whom, and how it ended. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import type { DynamicModule, Type } from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { trace } from '@opentelemetry/api';
import { Arg, GenRpcModule, GenRpcNode, InjectGenRpc, isGenRpcError, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { createNode } from 'nestjs-gen-rpc/core';
import { openTelemetry } from 'nestjs-gen-rpc/opentelemetry';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { say, title } from '../story.js';
import { register, trees } from './spans.js';

const [SHOP, PRICES, LOG] = ['shop@127.0.0.1', 'prices@127.0.0.1', 'log@127.0.0.1'] as const;
const ports = new Map<string, number>();

@RpcModule('log')
class LogController {
  @RpcFunction()
  write(@Arg(0) _line: string): void {}
}

@RpcModule('prices')
class PricesController {
  @RpcFunction()
  async quote(@Arg(0) goods: string): Promise<number> {
    await turn();
    if (goods === 'unicorn') throw new RpcException('nobody sells those');
    return goods.length;
  }
}

@RpcModule('shop')
class ShopController {
  constructor(@InjectGenRpc() private readonly rpc: GenRpcNode) {}

  @RpcFunction()
  async order(@Arg(0) goods: string): Promise<number> {
    const price = await this.rpc.call<number>(PRICES, 'prices', 'quote', [goods]);
    this.rpc.cast(LOG, 'log', 'write', [`${goods} sold`]);
    return price;
  }
}

class Application {}

const nodes = async (node: string): Promise<{ port: number }> => ({ port: ports.get(node) ?? 0 });

/** The whole of it: `tracing: openTelemetry()`, in each application. */
async function start(name: string, controller: Type): ReturnType<typeof serve> {
  const rpc = GenRpcModule.forRoot({ name, secret, listen: { port: 0 }, nodes, tracing: openTelemetry() });
  const application: DynamicModule = { module: Application, imports: [rpc], controllers: [controller] };
  const served = await serve(application);
  ports.set(name, served.port);
  return served;
}

title('one trace over three applications');
register();
const log = await start(LOG, LogController);
const prices = await start(PRICES, PricesController);
const shop = await start(SHOP, ShopController);
const web = createNode({ name: 'web@127.0.0.1', secret, listen: false, nodes, tracing: openTelemetry() });

/** As an instrumented HTTP server would begin it. */
async function request(name: string, goods: string): Promise<number | string> {
  return trace.getTracer('web').startActiveSpan(name, async (span) => {
    try {
      return await web.call<number>(SHOP, 'shop', 'order', [goods]);
    } catch (error) {
      return isGenRpcError(error) ? error.code : String(error);
    } finally {
      span.end();
    }
  });
}

try {
  assert.equal(await request('GET /unicorn', 'unicorn'), 'handler_failed');
  assert.equal(await request('GET /tea', 'tea'), 3);
  // Nobody waits for a cast.
  while (!trees().some((line) => line.includes('SERVER log/write'))) await turn();
} finally {
  await web.close();
  for (const { app } of [shop, prices, log]) await app.close();
}
for (const line of trees()) say('', line);
