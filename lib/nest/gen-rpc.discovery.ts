/** Where the node of `GenRpcModule` has its discovery from: an instance, or the container. */
import type { InjectionToken, Provider, Type } from '@nestjs/common';
import type { Discovery } from '../discovery/discovery.js';
import type { GenRpcOptions } from '../node/options.js';
import { GEN_RPC_DISCOVERY } from './gen-rpc.tokens.js';

/**
 * An instance; a class, of which the container makes one; or the token of a provider, which is global or exported by
 * `imports`. One instance serves one node, which closes it.
 */
export type DiscoverySource = Discovery | Type<Discovery> | string | symbol;

/** As `GenRpcOptions`; `discovery` may also be found by the container. */
export interface GenRpcModuleOptions extends Omit<GenRpcOptions, 'discovery'> {
  /** What a factory returns has an instance here: a class or a token stands beside the factory. */
  readonly discovery?: DiscoverySource | undefined;
}

export function discoveryProvider(source: DiscoverySource | undefined): Provider {
  if (typeof source === 'function') return { provide: GEN_RPC_DISCOVERY, useClass: source };
  if (typeof source === 'string' || typeof source === 'symbol') {
    return { provide: GEN_RPC_DISCOVERY, useExisting: source satisfies InjectionToken };
  }
  return { provide: GEN_RPC_DISCOVERY, useValue: source };
}

/** What `createNode` is told, which says so where a factory has returned nothing. */
export function nodeOptionsOf(options: GenRpcModuleOptions, found: Discovery | undefined): GenRpcOptions {
  if (options === undefined) return options;
  return { ...options, discovery: found ?? options.discovery } as GenRpcOptions;
}
