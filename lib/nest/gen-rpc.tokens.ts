/** What Nest knows this library by. */
import { Inject } from '@nestjs/common';
import { GenRpcNode } from '../node/gen-rpc-node.js';

/** Names this transport in `@MessagePattern(pattern, GEN_RPC_TRANSPORT)`: such a handler is bound here only. */
export const GEN_RPC_TRANSPORT = Symbol('GEN_RPC_TRANSPORT');

/** The options of the node that `GenRpcModule` owns. */
export const GEN_RPC_OPTIONS = Symbol('GEN_RPC_OPTIONS');

/** The discovery of that node, where the container finds it. */
export const GEN_RPC_DISCOVERY = Symbol('GEN_RPC_DISCOVERY');

/** What clients of `forFeature` ask for, instead of the class alone: where it is missing, Nest shows this. */
export const GEN_RPC_ROOT_NODE = 'the node of GenRpcModule.forRoot()';

/** Injects the node that `GenRpcModule` owns; the class `GenRpcNode` is its token. */
export const InjectGenRpc = (): ParameterDecorator & PropertyDecorator => Inject(GenRpcNode);

/** The token of a client of `GenRpcModule.forFeature`: for `overrideProvider` and the like. Nest shows it when it is missing. */
export const getGenRpcClientToken = (name: string): string => `GenRpcModule.forFeature([{ name: '${name}', … }])`;

/** Injects the client that `GenRpcModule.forFeature` made under `name`: a `GenRpcClient`. */
export const InjectGenRpcClient = (name: string): ParameterDecorator & PropertyDecorator =>
  Inject(getGenRpcClientToken(name));
