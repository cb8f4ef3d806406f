/** Says at the start that an application has handlers and no server for them: otherwise nobody would. */
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost, MetadataScanner, ModulesContainer } from '@nestjs/core';
import { MessagePattern } from '@nestjs/microservices';
import { GenRpcNode } from '../node/gen-rpc-node.js';
import type { GenRpcModuleOptions } from './gen-rpc.discovery.js';
import { nestLog } from './gen-rpc.log.js';
import { strategiesOf, type Strategy } from './gen-rpc.strategies.js';
import { GEN_RPC_OPTIONS, GEN_RPC_TRANSPORT } from './gen-rpc.tokens.js';

const MAX_NAMES = 3;

interface Handler {
  /** Class and method. */
  readonly name: string;
  /** What `@MessagePattern` binds it to; `undefined`: whatever there is. */
  readonly transport: unknown;
}

@Injectable()
export class GenRpcUnserved implements OnApplicationBootstrap {
  private readonly listen: GenRpcModuleOptions['listen'];
  private told = false;

  constructor(
    // A test may have the node made of nothing.
    @Inject(GEN_RPC_OPTIONS) options: GenRpcModuleOptions | undefined,
    @Inject(GenRpcNode) private readonly node: GenRpcNode,
    @Inject(ModulesContainer) private readonly modules: ModulesContainer,
    @Inject(HttpAdapterHost) private readonly http: HttpAdapterHost,
  ) {
    this.listen = options?.listen;
  }

  /** Nest may come here more than once. */
  onApplicationBootstrap(): void {
    const handlers = this.told || !this.mayListen() ? [] : this.unserved();
    if (handlers.length === 0) return;
    this.told = true;
    nestLog.warn(
      `GenRpcModule has ${shown(handlers)} but no server: ${this.node.name} listens nowhere. ` +
        'Call connectGenRpc(app) before app.startAllMicroservices() and app.listen(), ' +
        'or pass `listen: false` to GenRpcModule to be a client only.',
    );
  }

  /** Only beside HTTP can a server be forgotten: a microservice has one, and a context is made to have none. */
  private mayListen(): boolean {
    if (this.listen === false || this.node.endpoints().length > 0) return false;
    return Boolean((this.http as Partial<HttpAdapterHost>).httpAdapter);
  }

  /**
   * Handlers without a transport that another server has got may be meant for that one alone: they count only where
   * `listen` was written, which somebody who only calls has no reason for.
   */
  private unserved(): Handler[] {
    const strategies = strategiesOf(this.modules);
    if (strategies.some(({ transportId }) => transportId === GEN_RPC_TRANSPORT)) return [];
    const handlers = handlersIn(this.modules).filter(isForUs);
    if (this.listen !== undefined) return handlers;
    return handlers.filter((handler) => !strategies.some((strategy) => isBoundTo(strategy, handler)));
  }
}

function isForUs({ transport }: Handler): boolean {
  return transport === undefined || transport === GEN_RPC_TRANSPORT;
}

/** As Nest does it. */
function isBoundTo({ transportId }: Strategy, { transport }: Handler): boolean {
  return transport === undefined || transportId === undefined || transport === transportId;
}

function handlersIn(modules: ModulesContainer): Handler[] {
  const scanner = new MetadataScanner();
  const key = transportKey();
  const controllers = [...modules.values()].flatMap((module) => [...module.controllers.values()]);
  const classes = new Set(
    controllers.map(({ metatype }) => metatype).filter((metatype) => typeof metatype === 'function'),
  );
  return [...classes].flatMap((controller) => {
    const prototype = controller.prototype as Readonly<Record<string, object>>;
    const methods = scanner.getAllMethodNames(prototype).map((name) => ({ name, method: prototype[name] ?? {} }));
    return methods
      .filter(({ method }) => Reflect.hasMetadata(key, method))
      .map(({ name, method }) => ({
        name: `${controller.name}.${name}`,
        transport: Reflect.getMetadata(key, method) as unknown,
      }));
  });
}

/** Where `@MessagePattern` and `@EventPattern` leave the transport, a probe tells. */
function transportKey(): unknown {
  const probe = (): void => {};
  MessagePattern('', GEN_RPC_TRANSPORT)({}, '', { value: probe });
  const keys = Reflect.getMetadataKeys(probe) as unknown[];
  return keys.find((key) => Reflect.getMetadata(key, probe) === GEN_RPC_TRANSPORT);
}

function shown(handlers: readonly Handler[]): string {
  const names = handlers.slice(0, MAX_NAMES).map(({ name }) => name);
  if (handlers.length > MAX_NAMES) names.push('…');
  return `${handlers.length} ${handlers.length === 1 ? 'handler' : 'handlers'} (${names.join(', ')})`;
}
