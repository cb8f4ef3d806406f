/** A server that is connected and never told to listen is told of once HTTP is there, and none that is started. */
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Transport } from '@nestjs/microservices';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectGenRpc } from '../../lib/nest/gen-rpc.connect.js';
import { GenRpcModule } from '../../lib/nest/gen-rpc.module.js';
import { until } from '../support/door.js';
import { CapturedLogger, moduleOf, SECRET, SERVER } from './support.js';

const TCP = { transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } } as const;

/** Whatever any of the applications says: Nest has one logger. */
const log = new CapturedLogger();

async function appOf(name: string): Promise<INestApplication> {
  const imports = [GenRpcModule.forRoot({ name, secret: SECRET, listen: { port: 0 } })];
  return NestFactory.create(moduleOf({ imports }), { logger: log, abortOnError: false });
}

describe('a server beside HTTP', () => {
  const apps: INestApplication[] = [];

  async function listening(name: string, before: (app: INestApplication) => unknown): Promise<INestApplication> {
    const app = await appOf(name);
    apps.push(app);
    await before(app);
    return app.listen(0, '127.0.0.1').then(() => app);
  }

  beforeAll(async () => {
    await listening('started-before@127.0.0.1', (app) => {
      connectGenRpc(app);
      return app.startAllMicroservices();
    });
    const later = await listening('started-after@127.0.0.1', (app) => connectGenRpc(app));
    await later.startAllMicroservices();
    const alone = await listening('alone@127.0.0.1', () => {});
    await connectGenRpc(alone).listen();
    await listening('only-calls@127.0.0.1', () => {});
    const closed = await listening('closed@127.0.0.1', (app) => connectGenRpc(app));
    await closed.close();
    // The last one: whoever else had something to say has said it before.
    await listening(SERVER, async (app) => {
      // One that is initialised later, and with it, as Nest does that, all of the application a second time.
      app.connectMicroservice(TCP, { deferInitialization: true });
      await app.startAllMicroservices();
      connectGenRpc(app);
    });
    await until(() => log.said('warn', SERVER).length > 0);
  });

  afterAll(() => Promise.all(apps.map((app) => app.close())));

  it('that nothing has started is told of, and what starts it', () => {
    expect(log.said('warn', SERVER)).toEqual([
      `warn The server of GenRpcModule is connected, but was not started: ${SERVER} listens nowhere. Call ` +
        'app.startAllMicroservices() after connectGenRpc(app).',
    ]);
  });

  it.each(['started-before', 'started-after', 'alone', 'only-calls', 'closed'])(
    'is not told of where it is %s',
    (name) => {
      expect(log.said('warn', name)).toEqual([]);
    },
  );
});
