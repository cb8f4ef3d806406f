/** From what a user wrote to what a node runs on, or one error that names every problem. */
import { validateSync } from 'class-validator';
import { weaknessOf } from '../protocol/handshake.js';
import { isNodeName, NODE_NAME_RULE } from '../protocol/node-name.js';
import { GenRpcConfigError, type Problem } from './config-error.js';
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

export interface ResolvedOptions extends Required<Omit<GenRpcOptions, 'secret' | 'listen' | 'nodes' | 'reconnect' | 'admission'>> {
  readonly secrets: readonly string[];
  readonly listen: Required<ListenOptions> | false;
  readonly nodes: ReadonlyMap<string, NodeLocationOptions>;
  readonly reconnect: Required<ReconnectOptions>;
  readonly admission: Required<AdmissionOptions>;
}

const LOOPBACK = /^(127\.|::1$|localhost$)/;

/** @throws GenRpcConfigError. `where` names the call that got the options. */
export function resolveOptions(given: GenRpcOptions, where: string): ResolvedOptions {
  if (!isRecord(given)) {
    throw new GenRpcConfigError(where, [{ path: 'options', expected: 'an object with at least name and secret', got: given }]);
  }
  const problems = problemsOf(given);
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

function problemsOf(given: GenRpcOptions): Problem[] {
  const { listen, nodes, reconnect, admission, ...flat } = given;
  return [
    ...check(GenRpcOptions, flat, ''),
    ...(listen === undefined || listen === false ? [] : [...check(ListenOptions, listen, 'listen'), ...exposure(listen)]),
    ...(nodes === undefined ? [] : nodeProblems(nodes)),
    ...(reconnect === undefined ? [] : check(ReconnectOptions, reconnect, 'reconnect')),
    ...(admission === undefined ? [] : check(AdmissionOptions, admission, 'admission')),
  ];
}

function nodeProblems(nodes: unknown): Problem[] {
  if (!isRecord(nodes)) return [{ path: 'nodes', expected: 'an object from node name to location', got: nodes }];
  return Object.entries(nodes).flatMap(([node, location]) => {
    const path = `nodes[${JSON.stringify(node)}]`;
    const named = isNodeName(node) ? [] : [{ path, expected: NODE_NAME_RULE, got: node }];
    return [...named, ...check(NodeLocationOptions, location, path)];
  });
}

/** Plain TCP beyond this machine is a decision, not a default. */
function exposure(listen: ListenOptions): Problem[] {
  if (listen.host === undefined || typeof listen.host !== 'string' || LOOPBACK.test(listen.host)) return [];
  if (listen.allowPlaintext === true) return [];
  const expected = 'a loopback address, or listen.allowPlaintext: true (without TLS, others can read and change what is sent)';
  return [{ path: 'listen.host', expected, got: listen.host }];
}

/** Runs class-validator; each rule's message says what is allowed. */
function check(type: new () => object, given: unknown, path: string): Problem[] {
  if (!isRecord(given)) return [{ path, expected: 'an object', got: given }];
  const at = (property: string): string => (path === '' ? property : `${path}.${property}`);
  const options = { whitelist: true, forbidNonWhitelisted: true, forbidUnknownValues: true };
  return validateSync(Object.assign(new type(), given), options).map(({ property, constraints, value }): Problem => {
    if (constraints !== undefined && 'whitelistValidation' in constraints) {
      return { path: at(property), expected: 'no option of this name; see the list of options in the docs' };
    }
    const expected = Object.values(constraints ?? {})[0] ?? 'another value';
    return property === 'secret' ? secretProblem(value) : { path: at(property), expected, got: value };
  });
}

/** Says what is wrong with a secret without repeating it. */
function secretProblem(value: unknown): Problem {
  const secrets: unknown[] = Array.isArray(value) ? value : [value];
  if (value === undefined) return { path: 'secret', expected: 'one that all your nodes share: openssl rand -base64 32' };
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
