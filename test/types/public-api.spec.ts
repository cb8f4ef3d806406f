/** What users of the library can write, and what the compiler keeps them from. Checked by `npm run typecheck`. */
import {
  Injectable,
  Module,
  ParseIntPipe,
  type DynamicModule,
  type INestApplication,
  type INestMicroservice,
  type ParameterDecoratorOptions,
  type Provider,
} from '@nestjs/common';
import {
  Client,
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  type AsyncMicroserviceOptions,
  type ClientProvider,
  type ClientsModuleOptionsFactory,
  type CustomClientOptions,
  type CustomTransportStrategy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import type { Observable } from 'rxjs';
import { describe, expect, expectTypeOf, it } from 'vitest';
import * as core from '../../lib/core.js';
import * as library from '../../lib/index.js';
import * as opentelemetry from '../../lib/opentelemetry.js';
import * as testing from '../../lib/testing.js';
import {
  Arg,
  connectGenRpc,
  GenRpcClient,
  GenRpcContext,
  GenRpcItemStream,
  GenRpcModule,
  GenRpcNode,
  GenRpcRecordBuilder,
  GenRpcServer,
  InjectGenRpc,
  InjectGenRpcClient,
  isGenRpcError,
  RpcFunction,
  RpcModule,
  type ArgOptions,
  type AsyncCall,
  type CallOutcome,
  type CastReport,
  type EventHandler,
  type GenRpcAsyncCall,
  type GenRpcClientOptions,
  type GenRpcDirections,
  type GenRpcErrorCode,
  type GenRpcFeatureClient,
  type GenRpcOptions,
  type GenRpcOptionsFactory,
  type GenRpcRecord,
  type GenRpcSharedClientOptions,
  type LocateNode,
  type ModuleFunction,
  type MulticallResult,
  type SbcastResult,
  type Target,
  type Targets,
  type Tracing,
} from '../../lib/index.js';

const OPTIONS = { name: 'a@127.0.0.1', secret: 'a-fine-long-cookie-for-types' };

/** What both the door for Nest and the one without it export. */
const COMMON = `
  AdmissionOptions AdvertiseOptions AsyncCall BatchingOptions CompressionOptions ConcurrencyOptions
  DnsDiscovery EjectionOptions EtcdDiscovery EtcdOptions EtcdTlsOptions FileDiscovery
  GenRpcConfigError GenRpcError GenRpcNode GenRpcOptions KeepaliveOptions ListenOptions
  MembershipOptions Msgpack5Codec MsgpackrCodec NodeLocationOptions ReconnectOptions RetryOptions
  TlsCredentialOptions TlsOptions isGenRpcError
`;

const FOR_NEST = `
  Arg GEN_RPC_TRANSPORT GenRpcAsyncCall GenRpcClient GenRpcContext GenRpcHealthIndicator
  GenRpcItemStream GenRpcModule GenRpcRecord GenRpcRecordBuilder GenRpcServer InjectGenRpc
  InjectGenRpcClient RpcFunction RpcModule StreamItems connectGenRpc getGenRpcClientToken membershipOf
`;

const WITHOUT_NEST = `
  createNode
`;

const FOR_TESTS = `
  CertificateAuthority MemoryLink MemoryNetwork SeededRandom VirtualClock createTestCluster selfSigned
  writeCertificate
`;

const FOR_OPEN_TELEMETRY = `
  openTelemetry
`;

const namesIn = (...texts: string[]): string[] => texts.flatMap((text) => text.trim().split(/\s+/)).toSorted();

describe('the doors', () => {
  it.each<[string, object, string[]]>([
    ['for Nest', library, namesIn(COMMON, FOR_NEST)],
    ['without Nest', core, namesIn(COMMON, WITHOUT_NEST)],
    ['for tests', testing, namesIn(FOR_TESTS)],
    ['for OpenTelemetry', opentelemetry, namesIn(FOR_OPEN_TELEMETRY)],
  ])('%s export these', (_, door, names) => {
    expect(Object.keys(door).toSorted()).toEqual(names);
  });

  it('name one and the same error and node', () => {
    expect(core.GenRpcError).toBe(library.GenRpcError);
    expect(core.GenRpcNode).toBe(library.GenRpcNode);
  });
});

describe('tracing', () => {
  it("is an option of every node, by OpenTelemetry or by something of one's own", () => {
    const own: Tracing = { outgoing: () => undefined, incoming: ({ known }) => (known ? undefined : undefined) };
    expectTypeOf({ ...OPTIONS, tracing: own }).toExtend<GenRpcOptions>();
    expectTypeOf(opentelemetry.openTelemetry).toBeCallableWith();
    expectTypeOf(opentelemetry.openTelemetry).toBeCallableWith({ baggage: true });
    expectTypeOf(opentelemetry.openTelemetry).returns.toEqualTypeOf<Tracing>();
    expectTypeOf<GenRpcClientOptions['tracing']>().toEqualTypeOf<Tracing | undefined>();
    // @ts-expect-error: no such option
    const misspelt: opentelemetry.OpenTelemetryOptions = { bagage: true };
    expect([own, misspelt]).toHaveLength(2);
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

type Node = GenRpcNode;

describe('a node', () => {
  it('has typed verbs', () => {
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

  it('has async calls, whose result is fetched later', () => {
    const call = (node: Node): AsyncCall<number> =>
      node.asyncCall<number>('b@c', 'math', 'add', [1, 2], { timeout: 5 });
    expectTypeOf<ReturnType<Node['asyncCall']>>().toEqualTypeOf<AsyncCall>();
    expectTypeOf(call).returns.toHaveProperty('cancel');
    expectTypeOf<AsyncCall<number>['yield']>().toEqualTypeOf<() => Promise<number>>();
    expectTypeOf<AsyncCall<number>['nbYield']>().returns.resolves.toEqualTypeOf<{ value: number } | 'timeout'>();
    expectTypeOf<Parameters<AsyncCall['nbYield']>>().toEqualTypeOf<[timeout?: number | undefined]>();
    expectTypeOf<AsyncCall['taken']>().toBeBoolean();
    // @ts-expect-error: the result is not there yet
    expectTypeOf((handle: AsyncCall<number>) => handle.value).toBeFunction();
    // @ts-expect-error: it is not a promise, and cannot be waited for by mistake
    expectTypeOf((handle: AsyncCall<number>) => handle.then(() => {})).toBeFunction();
  });

  it('calls many, with targets and without', () => {
    const all = (node: Node) => node.multicall<number>('math', 'add', [1, 2], { timeout: 5 });
    const some = (node: Node, targets: Targets) => node.multicall<number>(targets, 'math', 'add', [1, 2]);
    const mixed = (node: Node) =>
      node.multicall(['b@c', { node: 'd@e', key: 7 }] as const, { module: 'math', version: '^1.0.0' }, 'add');
    expectTypeOf(all).returns.resolves.toEqualTypeOf<MulticallResult<number>>();
    expectTypeOf(some).returns.resolves.toEqualTypeOf<MulticallResult<number>>();
    expectTypeOf(mixed).returns.resolves.toEqualTypeOf<MulticallResult<unknown>>();
    expectTypeOf<MulticallResult<number>['results']>().toEqualTypeOf<readonly number[]>();
    expectTypeOf<MulticallResult<number>['badNodes']>().toEqualTypeOf<readonly string[]>();
    expectTypeOf<Targets>().toEqualTypeOf<readonly (string | Target)[]>();
    // @ts-expect-error: a function is needed
    expectTypeOf((node: Node) => node.multicall(['b@c'], 'math')).toBeFunction();
    // @ts-expect-error: targets are a list
    expectTypeOf((node: Node) => node.multicall({ node: 'b@c' }, 'math', 'add', [1, 2])).toBeFunction();
    // @ts-expect-error: arguments are a list
    expectTypeOf((node: Node) => node.multicall('math', 'add', 1)).toBeFunction();
    // @ts-expect-error: a target has a node
    expectTypeOf((node: Node) => node.multicall([{ key: 7 }], 'math', 'add')).toBeFunction();
    // @ts-expect-error: replies have no order
    expectTypeOf((node: Node) => node.multicall('math', 'add', [], { ordered: true })).toBeFunction();
  });

  it('tells the outcomes of many apart by ok', () => {
    const told = (outcome: CallOutcome<number>): number | GenRpcErrorCode =>
      outcome.ok ? outcome.value : outcome.error.code;
    expectTypeOf(told).returns.toEqualTypeOf<number | GenRpcErrorCode>();
    expectTypeOf<CallOutcome<number>['ms']>().toBeNumber();
    expectTypeOf<CallOutcome<number>['node']>().toBeString();
    // @ts-expect-error: nobody knows yet whether there is a value
    expectTypeOf((outcome: CallOutcome<number>) => outcome.value).toBeFunction();
    // @ts-expect-error: nor an error
    expectTypeOf((outcome: CallOutcome<number>) => outcome.error).toBeFunction();
  });

  it('casts to many and says who accepted', () => {
    const evaluated = (node: Node) => node.evalEverywhere(['b@c'], 'log', 'write', ['x'], { ordered: true });
    const everywhere = (node: Node) => node.evalEverywhere('log', 'write');
    const broadcast = (node: Node) => node.abcast(['b@c'], 'price.changed', { tea: 5 }, { headers: { a: 'b' } });
    const everyone = (node: Node) => node.abcast('price.changed');
    const heard = (node: Node) => node.sbcast('price.changed', { tea: 5 }, { timeout: 5 });
    for (const cast of [evaluated, everywhere, broadcast, everyone]) {
      expectTypeOf(cast).returns.toEqualTypeOf<CastReport>();
    }
    expectTypeOf(heard).returns.resolves.toEqualTypeOf<SbcastResult>();
    // @ts-expect-error: nobody waits for a cast
    expectTypeOf((node: Node) => node.evalEverywhere('log', 'write', [], { timeout: 5 })).toBeFunction();
    // @ts-expect-error: nor for a message
    expectTypeOf((node: Node) => node.abcast('price.changed', 1, { timeout: 5 })).toBeFunction();
    // @ts-expect-error: a name is text
    expectTypeOf((node: Node) => node.sbcast(['b@c'], 7)).toBeFunction();
  });

  it('registers handlers that say what they take', () => {
    const event: EventHandler = (message: { tea: number }, { caller }) => [message.tea, caller.node];
    const fn: ModuleFunction = ([a, b]: [number, number], { signal }) => (signal.aborted ? a : b);
    const register = (node: Node): void => {
      node.registerEvent('price.changed', event);
      node.register('math', { fn }, { version: '1.0.0' });
      node.setModulePolicy('whitelist', ['math.*']);
      node.setModulePolicy('disabled');
    };
    expectTypeOf(register).returns.toBeVoid();
    // @ts-expect-error: no such policy
    expectTypeOf((node: Node) => node.setModulePolicy('greylist', [])).toBeFunction();
    const located: LocateNode = async (node) => ({ port: node.length });
    expectTypeOf({ ...OPTIONS, nodes: located }).toExtend<GenRpcOptions>();
    expectTypeOf({ ...OPTIONS, nodes: { 'b@c': { port: 1 } }, keepalive: false as const }).toExtend<GenRpcOptions>();
    expectTypeOf<{ name: string; secret: string; keepalive: true }>().not.toExtend<GenRpcOptions>();
    expectTypeOf<{ name: string; secret: string; castLanes: 'own' }>().not.toExtend<GenRpcOptions>();
    // @ts-expect-error: a place, not only a port
    const wrong: LocateNode = () => 5369;
    expect(wrong).toBeDefined();
  });

  it('throws errors of a closed table', () => {
    expectTypeOf<'timeout'>().toExtend<GenRpcErrorCode>();
    expectTypeOf<'ECONNREFUSED'>().not.toExtend<GenRpcErrorCode>();
    const codeOf = (error: unknown): GenRpcErrorCode | undefined => (isGenRpcError(error) ? error.code : undefined);
    expectTypeOf(codeOf).returns.toEqualTypeOf<GenRpcErrorCode | undefined>();
    expectTypeOf<library.GenRpcError['family']>().toEqualTypeOf<'badrpc' | 'badtcp'>();
    expectTypeOf<library.GenRpcError['maybeExecuted']>().toBeBoolean();
    expectTypeOf<library.GenRpcError['help']>().toBeString();
    expectTypeOf<library.GenRpcError['call']>().toEqualTypeOf<string | undefined>();
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
    expectTypeOf<ConstructorParameters<typeof GenRpcServer>>().toEqualTypeOf<
      [source: GenRpcOptions | GenRpcNode, packets?: library.GenRpcPacketOptions | undefined]
    >();
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
    const async = (client: GenRpcClient): GenRpcAsyncCall<number> => client.asyncSend<number>('math.add', { a: 1 });
    expectTypeOf(async).returns.toExtend<Observable<number>>();
    expectTypeOf<GenRpcAsyncCall<number>['yield']>().returns.resolves.toBeNumber();
    expectTypeOf<GenRpcAsyncCall<number>['nbYield']>().returns.resolves.toEqualTypeOf<{ value: number } | 'timeout'>();
    expectTypeOf<ConstructorParameters<typeof library.GenRpcAsyncCall<number>>>().toEqualTypeOf<
      [call: AsyncCall<number>]
    >();
    expectTypeOf(record).returns.toEqualTypeOf<Observable<unknown>>();
  });

  it('the client comes by every way that Nest has for clients', () => {
    const options: GenRpcClientOptions = { target: 'b@127.0.0.1', secret: OPTIONS.secret };
    @Injectable()
    class Factory implements ClientsModuleOptionsFactory {
      createClientOptions(): ClientProvider {
        return { customClass: GenRpcClient, options };
      }
    }
    const modules: DynamicModule[] = [
      ClientsModule.register([{ name: 'B', customClass: GenRpcClient, options }]),
      ClientsModule.register({ isGlobal: true, clients: [{ name: 'B', customClass: GenRpcClient, options }] }),
      ClientsModule.registerAsync([{ name: 'B', useFactory: () => ({ customClass: GenRpcClient, options }) }]),
      ClientsModule.registerAsync([
        {
          name: 'B',
          inject: [GenRpcNode],
          useFactory: async (node: GenRpcNode) => ({ customClass: GenRpcClient, options: { node, target: 'b@c' } }),
        },
      ]),
      ClientsModule.registerAsync([{ name: 'B', useClass: Factory }]),
      ClientsModule.registerAsync({ isGlobal: true, clients: [{ name: 'B', useExisting: Factory }] }),
    ];
    // Nest's own type for literals knows no custom classes.
    const metadata = { customClass: GenRpcClient, options };
    class WithClient {
      @Client(metadata) readonly client!: ClientProxy;
    }
    expect([...modules, WithClient]).toHaveLength(7);
  });

  it('clients of the module have a name and a target, and no node of their own', () => {
    const clients: GenRpcFeatureClient[] = [
      { name: 'b', target: 'b@c' },
      { name: 'd', target: 'd@e', errors: 'gen_rpc' },
    ];
    class Service {
      @InjectGenRpcClient('b') readonly property!: GenRpcClient;

      constructor(@InjectGenRpcClient('d') readonly parameter: GenRpcClient) {}
    }
    const feature = GenRpcModule.forFeature(clients, { imports: [GenRpcModule] });
    expectTypeOf(feature).toEqualTypeOf<DynamicModule>();
    expect(feature.exports).toHaveLength(2);
    expect(Service).toBeDefined();
    expectTypeOf<GenRpcFeatureClient>().not.toHaveProperty('secret');
    // @ts-expect-error: a name is needed
    expect(() => GenRpcModule.forFeature([{ target: 'b@c' }])).toThrow('name');
    // @ts-expect-error: and a target
    expect(() => GenRpcModule.forFeature([{ name: 'b' }])).toThrow('target');
  });

  it('a hybrid application is connected in one line', () => {
    const connect = (app: INestApplication): INestMicroservice => connectGenRpc(app, { inheritAppConfig: true });
    expectTypeOf(connect).returns.toEqualTypeOf<INestMicroservice>();
    // @ts-expect-error: no such option
    expect((app: INestApplication) => connectGenRpc(app, { inherit: true })).toBeInstanceOf(Function);
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

  it('arguments go through pipes, or are held against any Standard Schema', () => {
    type Schema = NonNullable<ArgOptions['schema']>;
    expectTypeOf<NonNullable<ParameterDecoratorOptions['schema']>>().toExtend<Schema>();
    const pipe = { transform: (value: unknown) => value };
    const decorators = (schema: Schema) => [
      Arg(0, ParseIntPipe, pipe),
      Arg(1, { schema, pipes: [ParseIntPipe] }),
      Arg(2, {}),
    ];
    expectTypeOf(decorators).returns.toEqualTypeOf<ParameterDecorator[]>();
    // @ts-expect-error: no schema
    expect(() => Arg(0, { schema: { validate: () => true } })).toBeInstanceOf(Function);
    // @ts-expect-error: no such option
    expect(() => Arg(0, { shema: pipe })).toBeInstanceOf(Function);
    // @ts-expect-error: arguments have numbers
    expect(() => Arg('goods')).toBeInstanceOf(Function);
  });

  it('records and contexts are typed', () => {
    const builder = new GenRpcRecordBuilder({ id: 1 }).setTarget('b@c').setKey(7).setHeaders({ a: 'b' }).setTimeout(5);
    expectTypeOf(builder.setWaitForReady().build()).toEqualTypeOf<GenRpcRecord<{ id: number }>>();
    const ordered = builder.setVersion('^1.0.0').setOrdered().setOrdered(false).build();
    expectTypeOf(ordered.directions).toEqualTypeOf<GenRpcDirections>();
    expectTypeOf<GenRpcDirections['version']>().toEqualTypeOf<string | undefined>();
    // @ts-expect-error: a version is text
    builder.setVersion(1);
    // @ts-expect-error: yes or no
    builder.setOrdered('yes');
    expectTypeOf<GenRpcContext['getNode']>().returns.toBeString();
    expectTypeOf<GenRpcContext['getPattern']>().returns.toBeString();
    expectTypeOf<GenRpcContext['getMetadata']>().returns.toEqualTypeOf<Record<string, string> | undefined>();
    expectTypeOf<GenRpcContext['getRemainingTime']>().returns.toBeNumber();
    expectTypeOf<GenRpcContext['getSignal']>().returns.toEqualTypeOf<AbortSignal>();
    expectTypeOf<GenRpcContext['ready']>().returns.toEqualTypeOf<Promise<void>>();
    expectTypeOf<GenRpcItemStream<number>>().toExtend<Observable<number> & AsyncIterable<number>>();
  });
});
