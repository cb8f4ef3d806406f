/** The same node without Nest. */
export { createNode, type NodePorts } from './node/create-node.js';
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
export type { TypedModule } from './node/typed-module.js';
export type { OnReplyHeaders } from './client/pending-calls.js';
export type { ModuleTarget, NodeTarget, Target } from './client/target.js';
export type { Discovery, Location, MembershipWatcher, ModuleRecord, NodeRecord, Place } from './discovery/discovery.js';
export { EtcdDiscovery, type EtcdPorts } from './discovery/etcd.discovery.js';
export { EtcdOptions, EtcdTlsOptions } from './discovery/etcd-options.js';
export type { DnsDiscoveryOptions, DnsServiceOptions } from './discovery/dns-options.js';
export { DnsDiscovery, type DnsDiscoveryPorts } from './discovery/dns.discovery.js';
export { FileDiscovery, type FileDiscoveryOptions, type FileDiscoveryPorts } from './discovery/file.discovery.js';
export type {
  Channel,
  ChannelEvents,
  Driver,
  Endpoint,
  ListenAt,
  Listener,
  PeerCertificate,
  VerifiedCertificate,
} from './driver/driver.js';
export type { Calendar } from './ports/calendar.js';
export type { Clock, Timer } from './ports/clock.js';
export type { Files, Watch } from './ports/files.js';
export type { Http, HttpCredentials, HttpRequest, HttpResponse } from './ports/http.js';
export type { Log } from './ports/log.js';
export type { NamedAddress, NameServer, ServiceTarget } from './ports/name-server.js';
export type { ProcessSignals } from './ports/process-signals.js';
export type { Random } from './ports/random.js';
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
export type { Headers } from './protocol/invocation.js';
export { Msgpack5Codec } from './protocol/msgpack/msgpack5.codec.js';
export type { Msgpack5Registry } from './protocol/msgpack/msgpack5-registry.js';
export { MsgpackrCodec } from './protocol/msgpack/msgpackr.codec.js';
export type { Codec } from './protocol/payload.js';
export type { PayloadLimits } from './protocol/msgpack/scan.js';
export type { Callable, CallContext, Caller, Handler } from './server/module-registry.js';
export type { ModuleControl } from './server/module-policy.js';
