/** The module owns a node: made with the application, closed with it. The strategy is a view on it. */
import {
  ConfigurableModuleBuilder,
  Inject,
  Module,
  type DynamicModule,
  type ModuleMetadata,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { createNode } from '../node/create-node.js';
import { GenRpcNode } from '../node/gen-rpc-node.js';
import type { Discovery } from '../discovery/discovery.js';
import {
  discoveryProvider,
  nodeOptionsOf,
  type DiscoverySource,
  type GenRpcModuleOptions,
} from './gen-rpc.discovery.js';
import type { GenRpcFeatureClient } from './gen-rpc.client-options.js';
import { featureOf } from './gen-rpc.feature.js';
import { GenRpcHealthIndicator } from './gen-rpc.health.js';
import { GenRpcIntake, GenRpcIntakeModule } from './gen-rpc.intake.js';
import { nestLog } from './gen-rpc.log.js';
import { GenRpcServer } from './gen-rpc.server.js';
import { GEN_RPC_DISCOVERY, GEN_RPC_OPTIONS, GEN_RPC_ROOT_NODE } from './gen-rpc.tokens.js';
import { GenRpcUnserved } from './gen-rpc.unserved.js';
import { GenRpcUnstarted } from './gen-rpc.unstarted.js';

/** Made by `useClass` and `useExisting` of `forRootAsync`. */
export interface GenRpcOptionsFactory {
  createGenRpcOptions(): GenRpcModuleOptions | Promise<GenRpcModuleOptions>;
}

/** Beside the options of the node. */
interface ModuleExtras {
  /** `false`: only for modules that import this one. Default true. */
  readonly isGlobal?: boolean;
  readonly discovery?: DiscoverySource | undefined;
  /** What exports the provider that `discovery` names, or what its class needs. */
  readonly imports?: ModuleMetadata['imports'];
}

const NO_EXTRAS: ModuleExtras = { isGlobal: true, discovery: undefined, imports: [] };

const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<GenRpcModuleOptions>({
  optionsInjectionToken: GEN_RPC_OPTIONS,
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createGenRpcOptions')
  .setExtras(NO_EXTRAS, (definition, { isGlobal = true, discovery, imports = [] }) => ({
    ...definition,
    global: isGlobal,
    imports: [...new Set([...(definition.imports ?? []), ...imports])],
    providers: [...(definition.providers ?? []), discoveryProvider(discovery)],
  }))
  .build();

/** Of a module without options, until `forRoot` puts its own in their place. */
function noOptions(): never {
  const where = 'once in an application: other modules need not import it, unless isGlobal is false';
  const wanted = 'GenRpcModule.forRoot(options) or GenRpcModule.forRootAsync(...)';
  throw new Error(`imports: [GenRpcModule] says nothing of the node. Import ${wanted}, ${where}.`);
}

@Module({
  imports: [GenRpcIntakeModule],
  providers: [
    { provide: GEN_RPC_OPTIONS, useFactory: noOptions },
    { provide: GEN_RPC_DISCOVERY, useValue: undefined },
    { provide: GEN_RPC_ROOT_NODE, useExisting: GenRpcNode },
    {
      provide: GenRpcNode,
      inject: [GEN_RPC_OPTIONS, GEN_RPC_DISCOVERY],
      useFactory: (options: GenRpcModuleOptions, discovery: Discovery | undefined) =>
        createNode(nodeOptionsOf(options, discovery), { log: nestLog }, 'GenRpcModule.forRoot()'),
    },
    { provide: GenRpcServer, inject: [GenRpcNode], useFactory: (node: GenRpcNode) => new GenRpcServer(node) },
    GenRpcHealthIndicator,
    GenRpcUnserved,
    GenRpcUnstarted,
  ],
  exports: [GenRpcNode, GEN_RPC_ROOT_NODE, GenRpcServer, GenRpcHealthIndicator],
})
export class GenRpcModule extends ConfigurableModuleClass implements OnApplicationShutdown {
  constructor(
    @Inject(GenRpcNode) private readonly node: GenRpcNode,
    @Inject(GenRpcIntake) intake: GenRpcIntake,
  ) {
    super();
    intake.nodes.add(node);
  }

  /**
   * Clients on the node of `forRoot`, for `@InjectGenRpcClient(name)` in whatever imports this. They work until that
   * node is closed, at the very end of the application.
   * @param imports what exports `GenRpcModule`, where that is not global
   * @throws GenRpcConfigError naming every problem.
   */
  static forFeature(
    clients: readonly GenRpcFeatureClient[],
    { imports = [] }: Pick<ModuleMetadata, 'imports'> = {},
  ): DynamicModule {
    return featureOf(clients, imports);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.node.close();
  }
}
