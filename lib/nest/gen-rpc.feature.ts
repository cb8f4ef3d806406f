/** Clients on the one node of an application, each injected by its name. */
import { Module, type DynamicModule, type FactoryProvider, type ModuleMetadata } from '@nestjs/common';
import { GenRpcConfigError, type Problem } from '../options/config-error.js';
import type { GenRpcNode } from '../node/gen-rpc-node.js';
import { problemsOf, strangersIn, type GenRpcFeatureClient } from './gen-rpc.client-options.js';
import { GenRpcClient } from './gen-rpc.client.js';
import { GEN_RPC_ROOT_NODE, getGenRpcClientToken } from './gen-rpc.tokens.js';

type Clients = readonly GenRpcFeatureClient[];

/** Nobody injects it. But Nest may tell modules apart by the values in them, and the factories of clients look alike. */
const GEN_RPC_CLIENTS = Symbol('GEN_RPC_CLIENTS');

@Module({})
class GenRpcFeatureModule {}

/** @throws GenRpcConfigError naming every problem. */
export function featureOf(clients: Clients, imports: NonNullable<ModuleMetadata['imports']>): DynamicModule {
  const problems = clients.flatMap((client, at) => problemsOfClient(client, at, clients));
  if (problems.length > 0) throw new GenRpcConfigError('GenRpcModule.forFeature()', problems);
  const providers = clients.map(providerOf);
  return {
    module: GenRpcFeatureModule,
    imports: [...imports],
    providers: [{ provide: GEN_RPC_CLIENTS, useValue: clients }, ...providers],
    exports: providers.map(({ provide }) => provide),
  };
}

function providerOf({ name, ...options }: GenRpcFeatureClient): FactoryProvider<GenRpcClient> {
  return {
    provide: getGenRpcClientToken(name),
    inject: [GEN_RPC_ROOT_NODE],
    useFactory: (node: GenRpcNode) => new GenRpcClient({ ...options, node }),
  };
}

function problemsOfClient(client: GenRpcFeatureClient, at: number, clients: Clients): Problem[] {
  const { name } = client;
  const path = `[${at}].`;
  const problems = [...problemsOf(client, path), ...strangersIn(client, 'name', path)];
  const isTaken = clients.findIndex((other) => other.name === name) < at;
  if (typeof name === 'string' && name !== '' && !isTaken) return problems;
  return [{ path: `${path}name`, expected: 'a name that no other client has', got: name }, ...problems];
}
