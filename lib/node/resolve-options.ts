/** From what a user wrote to what a node runs on, or one error that names every problem. */
import { getMetadataStorage, validateSync } from 'class-validator';
import { weaknessOf } from '../protocol/handshake.js';
import { isNodeName, NODE_NAME_RULE } from '../protocol/node-name.js';
import { GenRpcConfigError, type Problem } from './config-error.js';
import { nearestName } from './nearest-name.js';
import {
  AdmissionOptions,
  DEFAULT_ADMISSION,
  DEFAULT_LISTEN,
  DEFAULT_OPTIONS,
  DEFAULT_RECONNECT,
  GenRpcOptions,
  ListenOptions,
  NodeLocationOptions,
  ReconnectOptions,
} from './options.js';

export interface ResolvedOptions extends Required<
  Omit<GenRpcOptions, 'secret' | 'listen' | 'nodes' | 'reconnect' | 'admission'>
> {
  readonly secrets: readonly string[];
  readonly listen: Required<ListenOptions> | false;
  readonly nodes: ReadonlyMap<string, NodeLocationOptions>;
  readonly reconnect: Required<ReconnectOptions>;
  readonly admission: Required<AdmissionOptions>;
}

/** What gen_rpc calls it, where that is another word. */
const RENAMED = new Map([
  ['cookie', 'secret'],
  ['authentication_timeout', 'handshakeTimeout'],
  ['call_receive_timeout', 'callTimeout'],
  ['tcp_server_port', 'listen.port'],
  ['socket_ip', 'listen.host'],
  ['tcp_client_port', 'clientPort'],
  ['client_config_per_node', 'nodes'],
  ['default_client_driver', 'driver'],
  ['rpc_module_control', 'moduleControl'],
  ['rpc_module_list', 'moduleList'],
]);

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|localhost)$/i;

/** @throws GenRpcConfigError. `where` names the call that got the options; `drivers` are those that there are. */
export function resolveOptions(
  given: GenRpcOptions,
  where: string,
  drivers: readonly string[] = ['tcp'],
): ResolvedOptions {
  if (!isRecord(given)) {
    throw new GenRpcConfigError(where, [
      { path: 'options', expected: 'an object with at least name and secret', got: given },
    ]);
  }
  const problems = problemsOf(given, drivers);
  if (problems.length > 0) throw new GenRpcConfigError(where, problems);
  const { secret, listen, nodes, reconnect, admission, ...rest } = withoutUndefined(given);
  const flat = { ...DEFAULT_OPTIONS, ...rest };
  return {
    ...flat,
    // One message that is allowed must not close the way to all others.
    maxQueuedBytes: rest.maxQueuedBytes ?? Math.max(DEFAULT_OPTIONS.maxQueuedBytes, 2 * flat.maxMessageBytes),
    secrets: typeof secret === 'string' ? [secret] : secret,
    listen: listen === false ? false : { ...DEFAULT_LISTEN, ...withoutUndefined(listen ?? {}) },
    nodes: new Map(Object.entries(nodes ?? {}).map(([node, location]) => [node, withoutUndefined(location)])),
    reconnect: { ...DEFAULT_RECONNECT, ...withoutUndefined(reconnect ?? {}) },
    admission: { ...DEFAULT_ADMISSION, ...withoutUndefined(admission ?? {}) },
  };
}

function problemsOf(given: GenRpcOptions, drivers: readonly string[]): Problem[] {
  const { listen, nodes, reconnect, admission, ...flat } = given;
  return [
    ...check(GenRpcOptions, flat, ''),
    ...driverProblems(given.driver, drivers, 'driver'),
    ...(listen === undefined || listen === false
      ? []
      : [...check(ListenOptions, listen, 'listen'), ...exposure(listen)]),
    ...(nodes === undefined ? [] : nodeProblems(nodes, drivers)),
    ...(reconnect === undefined ? [] : [...check(ReconnectOptions, reconnect, 'reconnect'), ...order(reconnect)]),
    ...(admission === undefined ? [] : check(AdmissionOptions, admission, 'admission')),
  ];
}

function driverProblems(driver: unknown, drivers: readonly string[], path: string): Problem[] {
  if (typeof driver !== 'string' || drivers.includes(driver)) return [];
  return [{ path, expected: `a driver that there is: ${drivers.join(', ')}`, got: driver }];
}

function nodeProblems(nodes: unknown, drivers: readonly string[]): Problem[] {
  if (!isRecord(nodes)) return [{ path: 'nodes', expected: 'an object from node name to location', got: nodes }];
  return Object.entries(nodes).flatMap(([node, location]) => {
    const path = `nodes[${JSON.stringify(node)}]`;
    const named = isNodeName(node) ? [] : [{ path, expected: NODE_NAME_RULE, got: node }];
    const driver = isRecord(location) ? driverProblems(location['driver'], drivers, `${path}.driver`) : [];
    return [...named, ...check(NodeLocationOptions, location, path), ...driver];
  });
}

/** Plain TCP beyond this machine is a decision, not a default. */
function exposure(listen: ListenOptions): Problem[] {
  if (!isRecord(listen) || typeof listen.host !== 'string' || LOOPBACK.test(listen.host)) return [];
  if (listen.allowPlaintext === true) return [];
  const expected =
    'a loopback address, or listen.allowPlaintext: true (without TLS, others can read and change what is sent)';
  return [{ path: 'listen.host', expected, got: listen.host }];
}

function order(reconnect: ReconnectOptions): Problem[] {
  const { min, max } = isRecord(reconnect)
    ? { ...DEFAULT_RECONNECT, ...withoutUndefined(reconnect) }
    : DEFAULT_RECONNECT;
  return min > max ? [{ path: 'reconnect.max', expected: `at least reconnect.min, which is ${min}`, got: max }] : [];
}

/** Runs class-validator; each rule's message says what is allowed. */
function check(type: new () => object, given: unknown, path: string): Problem[] {
  if (!isRecord(given)) return [{ path, expected: 'an object', got: given }];
  const at = (property: string): string => (path === '' ? property : `${path}.${property}`);
  const options = { whitelist: true, forbidNonWhitelisted: true, forbidUnknownValues: true };
  return validateSync(Object.assign(new type(), given), options).map(({ property, constraints, value }): Problem => {
    if (constraints !== undefined && 'whitelistValidation' in constraints) {
      return { path: at(property), expected: `no option of this name; ${hintFor(property, type)}` };
    }
    const expected = Object.values(constraints ?? {})[0] ?? 'another value';
    return property === 'secret' ? secretProblem(value) : { path: at(property), expected, got: value };
  });
}

function hintFor(property: string, type: new () => object): string {
  const rules = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
  const nearest =
    RENAMED.get(property) ?? nearestName(property, new Set(rules.map(({ propertyName }) => propertyName)));
  return nearest === undefined ? 'see the list of options in the docs' : `did you mean ${nearest}?`;
}

/** Says what is wrong with a secret without repeating it. */
function secretProblem(value: unknown): Problem {
  const secrets: unknown[] = Array.isArray(value) ? value : [value];
  if (value === undefined || secrets.length === 0) {
    return { path: 'secret', expected: 'one that all your nodes share: openssl rand -base64 32' };
  }
  const weakness = secrets.map(weaknessOf).find((one) => one !== undefined);
  return { path: 'secret', expected: `1 to 4 strong secrets; one ${weakness ?? 'is too many'}` };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `{ port: undefined }` means the default, as leaving it out does. */
function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;
}
