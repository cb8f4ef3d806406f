/** Lets a hybrid application answer calls, in one line. */
import type { INestApplication, INestMicroservice, NestHybridApplicationOptions } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { GenRpcServer } from './gen-rpc.server.js';
import { strategiesOf } from './gen-rpc.strategies.js';

/**
 * Connects the strategy of the application's `GenRpcModule`, to answer once `app.startAllMicroservices()` is called.
 * @param options as for `app.connectMicroservice`: `inheritAppConfig` brings the application's global pipes and the like
 * @throws Error when no module of the application imports `GenRpcModule.forRoot()`, and when it is connected already.
 */
export function connectGenRpc(app: INestApplication, options: NestHybridApplicationOptions = {}): INestMicroservice {
  const modules = app.get(ModulesContainer);
  // Asked for what is not there, Nest ends the process.
  const isThere = [...modules.values()].some(({ providers }) => providers.has(GenRpcServer));
  if (!isThere) {
    throw new Error('connectGenRpc(): no module of the application imports GenRpcModule.forRoot() or forRootAsync().');
  }
  const strategy = app.get(GenRpcServer);
  if (strategiesOf(modules).includes(strategy)) {
    throw new Error(
      'connectGenRpc(): the strategy of GenRpcModule is connected to this application already: once is enough.',
    );
  }
  return app.connectMicroservice<MicroserviceOptions>({ strategy }, options);
}
