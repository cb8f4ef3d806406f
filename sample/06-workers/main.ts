/** One node served by two processes: each has some of its connections, and so some of its keys. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Module } from '@nestjs/common';
import { Ctx } from '@nestjs/microservices';
import { Arg, GenRpcContext, GenRpcModule, GenRpcNode, RpcFunction, RpcModule } from 'nestjs-gen-rpc';
import { secret } from '../secret.js';
import { serve } from '../serve.js';
import { report, say, timed, title } from '../story.js';
import type { Count } from './counter.js';
import { COUNTER, FRONT } from './nodes.js';
import { Workers } from './workers.js';

title('one node, served by two processes on one port');
const workers = new Workers();
const ports = new Map<string, number>();

@RpcModule('front')
class FrontController {
  private readonly names = new Map<number, string>();

  @RpcFunction()
  counted(@Arg(0) pid: number, @Ctx() context: GenRpcContext): void {
    this.names.set(pid, context.getNode());
  }

  /** Who has counted, by process. */
  callers(): string[] {
    return [...this.names.values()];
  }
}

@Module({
  imports: [
    GenRpcModule.forRoot({
      name: FRONT,
      secret,
      listen: { port: 0 },
      // The workers have to know this node's port before it can know theirs.
      nodes: (node) => ({ port: ports.get(node) ?? 1 }),
    }),
  ],
  controllers: [FrontController],
})
class FrontModule {}

const front = await serve(FrontModule);
const rpc = front.app.get(GenRpcNode);

try {
  const env = { GEN_RPC_SECRET: secret, NODE_LIFE: randomUUID(), FRONT_PORT: String(front.port) };
  ports.set(COUNTER, await workers.start(2, env));
  say('workers', `${COUNTER} is pid ${workers.pids.join(' and pid ')}`);
  const pid = await spread();
  callBack();
  await crash(pid);
} finally {
  await workers.stop();
  await front.app.close();
}

async function next(key: number): Promise<number> {
  const { pid, count } = await rpc.call<Count>({ node: COUNTER, key }, 'counter', 'next');
  say(`key ${key}`, `counter.next() → ${count}, by pid ${pid}`);
  return pid;
}

/** Resolves with the process that has key 1. */
async function spread(): Promise<number> {
  const pid = await next(1);
  const pids = [pid, await next(2), await next(4)];
  assert.deepEqual(new Set(pids), new Set(workers.pids));
  assert.deepEqual([await next(1), await next(2), await next(4)], pids);
  say('', 'the same key, the same connection, the same process: each counts on its own');
  return pid;
}

/** Without `life`, the second process would be a stranger with the name of the first, and replace it. */
function callBack(): void {
  assert.deepEqual(front.app.get(FrontController).callers(), [COUNTER, COUNTER]);
  assert.equal(rpc.stats().acceptedConnections, 2);
  say('life', `both call ${FRONT} back as ${COUNTER}, side by side: they have one \`life\``);
}

async function crash(pid: number): Promise<void> {
  const hanging = rpc.call({ node: COUNTER, key: 1 }, 'counter', 'hang');
  await next(1);
  const [lost] = await Promise.all([timed(() => hanging), workers.kill(pid)]);
  report('killed', `pid ${pid}, while it works for key 1`, lost, { code: 'connection_lost' });

  assert.notEqual(await next(1), pid);
  assert.notEqual(await next(2), pid);
  say('', 'key 1 has a new connection, and so another process with another count; key 2 noticed nothing');
}
