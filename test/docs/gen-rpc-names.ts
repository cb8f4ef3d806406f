/** What users of gen_rpc look for: its verbs, settings and errors, and what each of them is here. */
import type { GenRpcErrorCode } from '../../lib/protocol/errors.js';

/** gen_rpc's verbs, and what they are here. */
export const VERBS: Readonly<Record<string, string>> = {
  call: 'call',
  cast: 'cast',
  ordered_cast: 'cast',
  async_call: 'asyncCall',
  yield: 'yield',
  nb_yield: 'nbYield',
  multicall: 'multicall',
  eval_everywhere: 'evalEverywhere',
  abcast: 'abcast',
  sbcast: 'sbcast',
  nodes: 'nodes',
};

/** gen_rpc's settings, and what they are here; `undefined`: nothing, which the page has to explain. */
export const SETTINGS: Readonly<Record<string, string | undefined>> = {
  tcp_server_port: 'listen.port',
  tcp_client_port: 'clientPort',
  ssl_server_port: 'listen.port',
  ssl_client_port: 'clientPort',
  ssl_server_options: 'tls.server',
  ssl_client_options: 'tls.client',
  default_client_driver: 'driver',
  client_config_per_node: 'nodes',
  rpc_module_control: 'moduleControl',
  rpc_module_list: 'moduleList',
  authentication_timeout: 'handshakeTimeout',
  connect_timeout: 'connectTimeout',
  send_timeout: 'sendTimeout',
  call_receive_timeout: 'callTimeout',
  sbcast_receive_timeout: 'sbcastTimeout',
  client_inactivity_timeout: 'clientInactivityTimeout',
  server_inactivity_timeout: 'serverInactivityTimeout',
  async_call_inactivity_timeout: 'asyncCallInactivityTimeout',
  socket_keepalive_idle: 'keepalive.idle',
  socket_keepalive_interval: 'keepalive.interval',
  socket_keepalive_count: 'keepalive.count',
  socket_ip: 'listen.host',
  ipv6_only: 'listen.ipv6Only',
  acceptor_socket_active_n: undefined,
  insecure_auth_fallback_allowed: undefined,
  max_batch_size: 'batching.frames',
  compress: 'compression.level',
  compression_threshold: 'compression.threshold',
};

/** Every code, and what gen_rpc calls it; `undefined`: it has no such error. */
export const ERRORS: Readonly<Record<GenRpcErrorCode, string | undefined>> = {
  timeout: '{badrpc, timeout}',
  node_down: '{badrpc, nodedown}',
  unauthorized: '{badrpc, unauthorized}',
  incompatible: '{badrpc, incompatible}',
  undefined_function: "{badrpc, {'EXIT', {undef, …}}}",
  handler_failed: "{badrpc, {'EXIT', Reason}}",
  invalid_cookie: '{badrpc, invalid_cookie}',
  external_source_error: '{badrpc, {external_source_error, Reason}}',
  protocol_error: '{badrpc, erroneous_data}',
  connection_lost: '{badtcp, closed}',
  send_timeout: '{badtcp, timeout}',
  cancelled: undefined,
  shutting_down: undefined,
  refused: undefined,
  invalid_argument: undefined,
  encode_error: undefined,
  message_too_large: undefined,
  wrong_node: undefined,
  version_mismatch: undefined,
  node_certificate_mismatch: undefined,
};
