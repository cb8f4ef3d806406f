/** What users of the library can write, and what the compiler keeps them from. Checked by `npm run typecheck`. */
import { Injectable, Module, type DynamicModule, type Provider } from '@nestjs/common';
import {
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  type AsyncMicroserviceOptions,
  type CustomClientOptions,
  type CustomTransportStrategy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import type { Observable } from 'rxjs';
import { describe, expect, expectTypeOf, it } from 'vitest';
import * as core from '../../lib/core.js';
import * as library from '../../lib/index.js';
import * as testing from '../../lib/testing.js';
import {
  Arg,
  GenRpcClient,
  GenRpcContext,
  GenRpcModule,
  GenRpcNode,
  GenRpcRecordBuilder,
  GenRpcServer,
  InjectGenRpc,
  isGenRpcError,
  RpcFunction,
  RpcModule,
  type GenRpcClientOptions,
  type GenRpcErrorCode,
  type GenRpcOptions,
  type GenRpcOptionsFactory,
  type GenRpcRecord,
  type GenRpcSharedClientOptions,
} from '../../lib/index.js';

const OPTIONS = { name: 'a@127.0.0.1', secret: 'a-fine-long-cookie-for-types' };

describe('the doors', () => {
  it('for Nest export these', () => {
    expect(Object.keys(library).toSorted()).toEqual([
      ...['AdmissionOptions', 'Arg', 'AsyncCall', 'BatchingOptions', 'CompressionOptions', 'GEN_RPC_TRANSPORT'],
      ...['GenRpcAsyncCall', 'GenRpcClient', 'GenRpcConfigError', 'GenRpcContext', 'GenRpcError', 'GenRpcModule'],
      ...['GenRpcNode', 'GenRpcOptions', 'GenRpcRecord', 'GenRpcRecordBuilder', 'GenRpcServer', 'InjectGenRpc'],
      ...['KeepaliveOptions', 'ListenOptions', 'Msgpack5Codec', 'MsgpackrCodec', 'NodeLocationOptions'],
      ...['ReconnectOptions', 'RpcFunction', 'RpcModule', 'isGenRpcError'],
    ]);
  });

  it('without Nest export these', () => {
    expect(Object.keys(core).toSorted()).toEqual([
      ...['AdmissionOptions', 'AsyncCall', 'BatchingOptions', 'CompressionOptions', 'GenRpcConfigError', 'GenRpcError'],
      ...['GenRpcNode', 'GenRpcOptions', 'KeepaliveOptions', 'ListenOptions', 'Msgpack5Codec', 'MsgpackrCodec'],
      ...['NodeLocationOptions', 'ReconnectOptions', 'createNode', 'isGenRpcError'],
    ]);
  });

  it('for tests export these', () => {
    expect(Object.keys(testing).toSorted()).toEqual(['MemoryLink', 'MemoryNetwork', 'SeededRandom', 'VirtualClock']);
  });

  it('name one and the same error and node', () => {
    expect(core.GenRpcError).toBe(library.GenRpcError);
    expect(core.GenRpcNode).toBe(library.GenRpcNode);
  });
});

describe('options', () => {
  it('need a name and a secret, and know no other names', () => {
    expectTypeOf(OPTIONS).toExtend<GenRpcOptions>();
    expectTypeOf<{ name: string }>().not.toExtend<GenRpcOptions>();
    expectTypeOf<{ secret: string }>().not.toExtend<GenRpcOptions>();
    expectTypeOf<GenRpcOptions['secret']>().toEqualTypeOf<string | readonly string[]>();
    // @ts-expect-error: no such option
    const misspelt: GenRpcOptions = { ...OPTIONS, callTimout: 1 };
    expect(misspelt).toBeDefined();
  });

  it('of a client need a target, and have no listener', () => {
    expectTypeOf<{ target: string; secret: string }>().toExtend<GenRpcClientOptions>();
    expectTypeOf<{ secret: string }>().not.toExtend<GenRpcClientOptions>();
    expectTypeOf<GenRpcClientOptions>().not.toHaveProperty('listen');
    expectTypeOf<{ target: string; node: GenRpcNode }>().toExtend<GenRpcSharedClientOptions>();
    expectTypeOf<GenRpcClientOptions['errors']>().toEqualTypeOf<'nest' | 'gen_rpc' | undefined>();
  });
});

describe('a node', () => {
  it('has typed verbs', () => {
    type Node = GenRpcNode;
    expectTypeOf<ReturnType<Node['call']>>().toEqualTypeOf<Promise<unknown>>();
    const call = (node: Node): Promise<number> => node.call<number>('b@c', 'math', 'add', [1, 2], { timeout: 5 });
    const versioned = (node: Node): Promise<string> =>
      node.call<string>({ node: 'b@c', key: { tenant: 1 } }, { module: 'm', version: '1' }, 'fn');
    expectTypeOf(call).returns.resolves.toBeNumber();
    expectTypeOf(versioned).returns.resolves.toBeString();
    expectTypeOf<Node['cast']>().returns.toBeBoolean();
    expectTypeOf<Node['nodes']>().returns.toEqualTypeOf<string[]>();
    // @ts-expect-error: arguments are a list
    expectTypeOf((node: Node) => node.call('b@c', 'm', 'fn', { a: 1 })).toBeFunction();
  });

  it('throws errors of a closed table', () => {
    expectTypeOf<'timeout'>().toExtend<GenRpcErrorCode>();
    expectTypeOf<'ECONNREFUSED'>().not.toExtend<GenRpcErrorCode>();
    const codeOf = (error: unknown): GenRpcErrorCode | undefined => (isGenRpcError(error) ? error.code : undefined);
    expectTypeOf(codeOf).returns.toEqualTypeOf<GenRpcErrorCode | undefined>();
    expectTypeOf<library.GenRpcError['family']>().toEqualTypeOf<'badrpc' | 'badtcp'>();
    expectTypeOf<library.GenRpcError['maybeExecuted']>().toBeBoolean();
  });
});

describe('in Nest, without casts', () => {
  it('the server is a strategy', () => {
    expectTypeOf<GenRpcServer>().toExtend<CustomTransportStrategy>();
    expectTypeOf<{ strategy: GenRpcServer }>().toExtend<MicroserviceOptions>();
    const async: AsyncMicroserviceOptions = {
      inject: [GenRpcServer],
      useFactory: (strategy: GenRpcServer): MicroserviceOptions => ({ strategy }),
    };
    expect(async.inject).toEqual([GenRpcServer]);
    expectTypeOf<ConstructorParameters<typeof GenRpcServer>>().toEqualTypeOf<[source: GenRpcOptions | GenRpcNode]>();
  });

  it('the client is a ClientProxy, and a custom class', () => {
    expectTypeOf<GenRpcClient>().toExtend<ClientProxy>();
    const options: GenRpcClientOptions = { target: 'b@127.0.0.1', secret: OPTIONS.secret };
    const custom: CustomClientOptions = { customClass: GenRpcClient, options };
    expectTypeOf(ClientProxyFactory.create(custom)).toExtend<ClientProxy>();
    expectTypeOf(ClientsModule.register([{ name: 'B', ...custom }])).toEqualTypeOf<DynamicModule>();
    expectTypeOf<GenRpcClient['status']>().toEqualTypeOf<Observable<'connected' | 'disconnected'>>();
    const send = (client: GenRpcClient): Observable<number> => client.send<number>('math.add', { a: 1 });
    const record = (client: GenRpcClient, data: GenRpcRecord<string>): Observable<unknown> =>
      client.emit('event', data);
    expectTypeOf(send).returns.toEqualTypeOf<Observable<number>>();
    expectTypeOf(record).returns.toEqualTypeOf<Observable<unknown>>();
  });

  it('the module is configured by options, a factory or a class', () => {
    @Injectable()
    class Factory implements GenRpcOptionsFactory {
      async createGenRpcOptions(): Promise<GenRpcOptions> {
        return OPTIONS;
      }
    }
    const modules: DynamicModule[] = [
      GenRpcModule.forRoot(OPTIONS),
      GenRpcModule.forRoot({ ...OPTIONS, isGlobal: false }),
      GenRpcModule.forRootAsync({ useFactory: () => OPTIONS }),
      GenRpcModule.forRootAsync({ inject: ['X'], useFactory: async (_: string) => OPTIONS }),
      GenRpcModule.forRootAsync({ useClass: Factory }),
      GenRpcModule.forRootAsync({ useExisting: Factory }),
    ];
    expect(modules).toHaveLength(6);
    // @ts-expect-error: a secret is needed
    expect(GenRpcModule.forRoot({ name: 'a@b' })).toBeDefined();
  });

  it('decorators go where they belong', () => {
    @RpcModule('typed', { version: '1.0.0' })
    class Typed {
      @InjectGenRpc() readonly property!: GenRpcNode;

      constructor(@InjectGenRpc() readonly parameter: GenRpcNode) {}

      @RpcFunction()
      fn(@Arg(0) a: number, @Arg(1) b: string): string {
        return `${a}${b}`;
      }
    }
    const provider: Provider = Typed;
    @Module({ controllers: [Typed] })
    class Root {}
    expect([provider, Root]).toHaveLength(2);
  });

  it('records and contexts are typed', () => {
    const builder = new GenRpcRecordBuilder({ id: 1 }).setTarget('b@c').setKey(7).setHeaders({ a: 'b' }).setTimeout(5);
    expectTypeOf(builder.setWaitForReady().build()).toEqualTypeOf<GenRpcRecord<{ id: number }>>();
    expectTypeOf<GenRpcContext['getNode']>().returns.toBeString();
    expectTypeOf<GenRpcContext['getPattern']>().returns.toBeString();
    expectTypeOf<GenRpcContext['getMetadata']>().returns.toEqualTypeOf<Record<string, string> | undefined>();
    expectTypeOf<GenRpcContext['getRemainingTime']>().returns.toBeNumber();
    expectTypeOf<GenRpcContext['getSignal']>().returns.toEqualTypeOf<AbortSignal>();
  });
});
