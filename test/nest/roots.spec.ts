/** Two nodes in one application, where each module means its own: the log says which there are, and what to write. */
import { NestFactory } from '@nestjs/core';
import { Transport } from '@nestjs/microservices';
import { expect, it } from 'vitest';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { CapturedLogger, moduleOf, SECRET } from './support.js';

const CALLS = { secret: SECRET, listen: false } as const;

async function saidBy(...roots: ReturnType<typeof GenRpcModule.forRoot>[]): Promise<string[]> {
  const logger = new CapturedLogger();
  const imports = roots.map((root) => moduleOf({ imports: [root] }));
  const app = await NestFactory.create(moduleOf({ imports }), { logger, abortOnError: false });
  // Initialised later, which Nest does all over again.
  const tcp = { transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } } as const;
  app.connectMicroservice(tcp, { deferInitialization: true });
  await app.startAllMicroservices();
  await app.init();
  await app.close();
  return logger.said('warn', 'forRoot()');
}

it('two modules that each call forRoot are told of, once', async () => {
  const [one, other] = ['one@127.0.0.1', 'other@127.0.0.1'].map((name) => GenRpcModule.forRoot({ ...CALLS, name }));
  await expect(saidBy(one!, other!)).resolves.toEqual([
    'warn GenRpcModule.forRoot() is there 2 times, with the nodes one@127.0.0.1, other@127.0.0.1: whoever injects ' +
      'GenRpcNode gets one of them, and connectGenRpc(app) connects one. Import it once in an application, or pass ' +
      '`isGlobal: false` to each where several are meant.',
  ]);
});

it('so are two of the same name', async () => {
  const root = () => GenRpcModule.forRoot({ ...CALLS, name: 'same@127.0.0.1' });
  await expect(saidBy(root(), root())).resolves.toEqual([expect.stringContaining('same@127.0.0.1, same@127.0.0.1')]);
});

it('one that several import is not, nor several that are not global', async () => {
  const shared = GenRpcModule.forRoot({ ...CALLS, name: 'shared@127.0.0.1' });
  await expect(saidBy(shared, shared)).resolves.toEqual([]);
  const local = (name: string) => GenRpcModule.forRoot({ ...CALLS, name, isGlobal: false });
  await expect(saidBy(shared, local('a@127.0.0.1'), local('b@127.0.0.1'))).resolves.toEqual([]);
});
