/** For Nest applications: module, strategy, client, decorators, options, errors. */
export { GenRpcAsyncCall } from './nest/gen-rpc.async-call.js';
export { GenRpcClient } from './nest/gen-rpc.client.js';
export type { GenRpcClientEvents, GenRpcClientStatus } from './nest/gen-rpc.client.js';
export type {
  GenRpcClientOptions,
  GenRpcFeatureClient,
  GenRpcSharedClientOptions,
} from './nest/gen-rpc.client-options.js';
export { connectGenRpc } from './nest/gen-rpc.connect.js';
export { GenRpcContext } from './nest/gen-rpc.context.js';
export { Arg, RpcFunction, RpcModule, type ArgOptions } from './nest/gen-rpc.decorators.js';
export {
  GenRpcHealthIndicator,
  type CertificateHealthOptions,
  type GenRpcHealth,
  type NodeHealth,
  type PeerHealth,
  type PeerHealthOptions,
} from './nest/gen-rpc.health.js';
export type { DiscoverySource, GenRpcModuleOptions } from './nest/gen-rpc.discovery.js';
export { GenRpcItemStream } from './nest/gen-rpc.item-stream.js';
export { membershipOf } from './nest/gen-rpc.membership.js';
export { GenRpcModule, type GenRpcOptionsFactory } from './nest/gen-rpc.module.js';
export type { GenRpcPacketOptions } from './nest/gen-rpc.packets.js';
export { GenRpcRecord, GenRpcRecordBuilder, type GenRpcDirections } from './nest/gen-rpc.record-builder.js';
export { GenRpcServer, type GenRpcServerEvents, type GenRpcServerStatus } from './nest/gen-rpc.server.js';
export { StreamItems } from './nest/gen-rpc.stream-items.js';
export { GEN_RPC_TRANSPORT, getGenRpcClientToken, InjectGenRpc, InjectGenRpcClient } from './nest/gen-rpc.tokens.js';
export { GenRpcConfigError, type Problem } from './options/config-error.js';
export { NodeLocationOptions } from './options/node-location-options.js';
export { AsyncCall } from './node/async-call.js';
export type { CallOutcome, CastReport, MulticallResult, SbcastResult, Targets } from './node/broadcasts.js';
export type { CallOptions, CastOptions, EventHandler, ModuleFunction, ModuleRef } from './node/call-options.js';
export { GenRpcNode } from './node/gen-rpc-node.js';
export type { Listening } from './node/advertised.js';
export type { MemberInfo, MembershipEvent, MembershipListener } from './node/directory.js';
export type { ItemsToSend, ModuleCalls, ModuleCasts, ModuleStreams } from './node/module-types.js';
export type { NodePhase } from './node/lifecycle.js';
export type { NodeStats } from './node/node-stats.js';
export {
  AdmissionOptions,
  AdvertiseOptions,
  BatchingOptions,
  CompressionOptions,
  ConcurrencyOptions,
  EjectionOptions,
  KeepaliveOptions,
  ListenOptions,
  MembershipOptions,
  ReconnectOptions,
  RetryOptions,
  type LocateNode,
} from './node/option-groups.js';
export { GenRpcOptions } from './node/options.js';
export { TlsCredentialOptions, TlsOptions } from './node/tls-options.js';
export type { Discovery, Location, MembershipWatcher, ModuleRecord, NodeRecord, Place } from './discovery/discovery.js';
export type { TypedModule } from './node/typed-module.js';
export type { OnReplyHeaders } from './client/pending-calls.js';
export type { ModuleTarget, NodeTarget, Target } from './client/target.js';
export { EtcdDiscovery } from './discovery/etcd.discovery.js';
export { EtcdOptions, EtcdTlsOptions } from './discovery/etcd-options.js';
export type { DnsDiscoveryOptions, DnsServiceOptions } from './discovery/dns-options.js';
export { DnsDiscovery } from './discovery/dns.discovery.js';
export { FileDiscovery, type FileDiscoveryOptions } from './discovery/file.discovery.js';
export type { Endpoint, PeerCertificate } from './driver/driver.js';
export type {
  IncomingCall,
  IncomingTrace,
  OutgoingCall,
  OutgoingTrace,
  TracedCall,
  TracedPlace,
  Tracing,
} from './ports/tracing.js';
export { GenRpcError, isGenRpcError, type ErrorFamily, type GenRpcErrorCode } from './protocol/errors.js';
export { Msgpack5Codec } from './protocol/msgpack/msgpack5.codec.js';
export type { Msgpack5Registry } from './protocol/msgpack/msgpack5-registry.js';
export { MsgpackrCodec } from './protocol/msgpack/msgpackr.codec.js';
export type { Codec } from './protocol/payload.js';
export type { PayloadLimits } from './protocol/msgpack/scan.js';
export type { CallContext, Caller } from './server/module-registry.js';
export type { ModuleControl } from './server/module-policy.js';
