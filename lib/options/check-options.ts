/** Holds what a user wrote against the rules of the options, and says what else may have been meant. */
import { getMetadataStorage, validateSync } from 'class-validator';
import { weaknessOf } from '../protocol/handshake.js';
import { nearestName } from '../protocol/nearest-name.js';
import type { Problem } from './config-error.js';

/** What gen_rpc calls it, and Nest's own transports, where that is another word. */
const RENAMED = new Map([
  ['cookie', 'secret'],
  ['authentication_timeout', 'handshakeTimeout'],
  ['call_receive_timeout', 'callTimeout'],
  ['sbcast_receive_timeout', 'sbcastTimeout'],
  ['socket_keepalive_idle', 'keepalive.idle'],
  ['socket_keepalive_interval', 'keepalive.interval'],
  ['socket_keepalive_count', 'keepalive.count'],
  ['max_batch_size', 'batching.frames'],
  ['compress', 'compression.level'],
  ['compression_threshold', 'compression.threshold'],
  ['ipv6_only', 'listen.ipv6Only'],
  ['tcp_server_port', 'listen.port'],
  ['ssl_server_port', 'listen.port'],
  ['socket_ip', 'listen.host'],
  ['tcp_client_port', 'clientPort'],
  ['ssl_client_port', 'clientPort'],
  ['ssl_server_options', 'tls.server'],
  ['ssl_client_options', 'tls.client'],
  ['client_config_per_node', 'nodes'],
  ['default_client_driver', 'driver'],
  ['rpc_module_control', 'moduleControl'],
  ['rpc_module_list', 'moduleList'],
  ['cacertfile', 'ca'],
  ['certfile', 'cert'],
  ['keyfile', 'key'],
  ['password', 'passphrase'],
  ['host', 'listen.host, or, of a client, the host in its target'],
  ['port', 'listen.port, or, of a client, clientPort'],
  ['url', 'listen, or, of a client, target'],
  ['timeout', 'callTimeout'],
  ['tlsOptions', 'tls'],
  ['credentials', 'tls'],
  ['maxBufferSize', 'maxMessageBytes'],
  ['maxReceiveMessageLength', 'maxMessageBytes'],
  ['maxSendMessageLength', 'maxMessageBytes'],
  ['maxSendBufferSize', 'maxQueuedBytes'],
  ['incompleteMessageTimeout', 'frameReadTimeout'],
  ['retryAttempts', 'reconnect, or retry.attempts'],
  ['retryDelay', 'reconnect.min'],
]);

/** Where every option is told. */
const ALL_OPTIONS = 'nestjs-gen-rpc/docs/SETTINGS.md has all that there are';

/** Ways to make TLS prove less, where there are such. */
const SWITCHED_OFF = new Set([
  ...['rejectUnauthorized', 'requestCert', 'checkServerIdentity', 'ciphers', 'secureOptions', 'maxVersion'],
  ...['verify', 'verify_fun', 'fail_if_no_peer_cert', 'server_name_indication', 'versions'],
]);

/** Options whose value must not be repeated: a key may stand in any PEM, beside what was meant. */
const SECRETS = /(^|\.)(key|passphrase|password|cert|ca|crl)$/;

/** Runs class-validator; each rule's message says what is allowed. */
export function check(type: new () => object, given: unknown, path: string): Problem[] {
  if (!isRecord(given)) return [{ path, expected: 'an object', got: given }];
  const at = (property: string): string => (path === '' ? property : `${path}.${property}`);
  const options = { whitelist: true, forbidNonWhitelisted: true, forbidUnknownValues: true };
  return validateSync(Object.assign(new type(), given), options).map(({ property, constraints, value }): Problem => {
    if (constraints !== undefined && 'whitelistValidation' in constraints) {
      return { path: at(property), expected: `no option of this name; ${hintFor(property, type)}` };
    }
    const expected = Object.values(constraints ?? {})[0] ?? 'another value';
    if (property === 'secret') return secretProblem(value);
    return SECRETS.test(property) ? { path: at(property), expected } : { path: at(property), expected, got: value };
  });
}

function hintFor(property: string, type: new () => object): string {
  if (SWITCHED_OFF.has(property)) return 'what TLS proves cannot be made less';
  const rules = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
  const nearest =
    RENAMED.get(property) ?? nearestName(property, new Set(rules.map(({ propertyName }) => propertyName)));
  return nearest === undefined ? ALL_OPTIONS : `did you mean ${nearest}?`;
}

/** Says what is wrong with a secret without repeating it. */
function secretProblem(value: unknown): Problem {
  const secrets: unknown[] = Array.isArray(value) ? value : [value];
  if (value === undefined || secrets.length === 0) {
    const expected = 'one that all your nodes share (openssl rand -base64 32 makes one)';
    return { path: 'secret', expected, got: value };
  }
  const weakness = secrets.map(weaknessOf).find((one) => one !== undefined);
  return { path: 'secret', expected: `1 to 4 strong secrets; one ${weakness ?? 'is too many'}` };
}

export function driverProblems(driver: unknown, drivers: readonly string[], path: string): Problem[] {
  if (typeof driver !== 'string' || drivers.includes(driver)) return [];
  const hint = driver === 'tls' ? '; there is tls where the option tls gives it certificates' : '';
  return [{ path, expected: `a driver that there is: ${drivers.join(', ')}${hint}`, got: driver }];
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `{ port: undefined }` means the default, as leaving it out does. */
export function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;
}

export function withDefaults<T extends object>(defaults: Required<T>, given: T = {} as T): Required<T> {
  return { ...defaults, ...withoutUndefined(given) };
}
