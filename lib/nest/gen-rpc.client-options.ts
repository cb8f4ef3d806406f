/** What a client can be told, and the node that it gets by it. */
import { hostname } from 'node:os';
import { systemRandom } from '../system/system.js';
import { GenRpcConfigError, type Problem } from '../options/config-error.js';
import { createNode } from '../node/create-node.js';
import type { GenRpcNode } from '../node/gen-rpc-node.js';
import type { GenRpcOptions } from '../node/options.js';
import { choiceOf, type Target } from '../client/target.js';
import { isNodeName, NODE_NAME_RULE } from '../protocol/node-name.js';
import { nestLog } from './gen-rpc.log.js';
import type { GenRpcPacketOptions } from './gen-rpc.packets.js';

interface ClientOnlyOptions extends GenRpcPacketOptions {
  /**
   * Where messages go, unless a record says otherwise: a node; or `{ module: 'math' }`, or a name without a host, for
   * whichever node will do.
   */
  readonly target: string | Target;
  /** `nest` (default): errors look as with Nest's own transports. `gen_rpc`: every error is a GenRpcError. */
  readonly errors?: 'nest' | 'gen_rpc';
}

/** A client on a node of its own, which only calls; without a name it makes one up. */
export interface GenRpcClientOptions extends ClientOnlyOptions, Omit<GenRpcOptions, 'name' | 'listen'> {
  readonly name?: string;
}

/** A client on a node that somebody else owns and closes. */
export interface GenRpcSharedClientOptions extends ClientOnlyOptions {
  readonly node: GenRpcNode;
}

/** @throws GenRpcConfigError. */
export type MakeNode = (options: GenRpcOptions) => GenRpcNode;

/** A client of `GenRpcModule.forFeature`: on the node of the application, which closes it. */
export interface GenRpcFeatureClient extends ClientOnlyOptions {
  /** What `@InjectGenRpcClient(name)` asks for. */
  readonly name: string;
}

/** Where a client's node comes from. */
export interface NodeSource {
  /** Is every node that comes from here the client's own, for it to close? */
  readonly owned: boolean;
  /** @throws GenRpcConfigError naming every problem of the options. */
  make(makeNode?: MakeNode): GenRpcNode;
}

const WHERE = 'new GenRpcClient()';

/** @throws GenRpcConfigError. Nest hands over nothing where nothing was written. */
export function nodeSourceOf(options: GenRpcClientOptions | GenRpcSharedClientOptions | undefined): NodeSource {
  const problems = problemsOf(options);
  if (options !== undefined && !('node' in options))
    return { owned: true, make: (makeNode) => nodeOf(options, problems, makeNode) };
  if (options !== undefined) problems.push(...nodeProblems(options.node), ...strangersIn(options, 'node'));
  if (options === undefined || problems.length > 0) throw new GenRpcConfigError(WHERE, problems);
  return { owned: false, make: () => options.node };
}

/**
 * What is wrong with the client's own options.
 * @param path ends with a dot unless it is empty
 */
export function problemsOf(options: Partial<ClientOnlyOptions> | undefined, path = ''): Problem[] {
  const { target, errors } = options ?? {};
  const problems: Problem[] = [];
  if (!isTarget(target)) {
    const expected = `the name of the node to call, ${NODE_NAME_RULE}; or { module: 'math' }, for nodes that have it`;
    problems.push({ path: `${path}target`, expected, got: target });
  }
  if (errors !== undefined && errors !== 'nest' && errors !== 'gen_rpc') {
    problems.push({ path: `${path}errors`, expected: 'nest or gen_rpc', got: errors });
  }
  return problems;
}

/** Options of a node, say, where there is one already. */
export function strangersIn(options: object, own: string, path = ''): Problem[] {
  const known = ['target', 'errors', 'serializer', 'deserializer', own];
  const strangers = Object.entries(options).filter(([key, value]) => value !== undefined && !known.includes(key));
  const expected = `no option of this name beside ${known.join(', ')}; those of a node are said to the node`;
  // It may be a secret.
  return strangers.map(([key]) => ({ path: `${path}${key}`, expected }));
}

/** A node of another copy of this package will do. */
function nodeProblems(node: GenRpcNode | undefined): Problem[] {
  if (typeof node?.onStatus === 'function') return [];
  return [{ path: 'node', expected: 'a GenRpcNode; leave it out for a node of its own', got: node }];
}

const makeRealNode: MakeNode = (options) => createNode(options, { log: nestLog }, WHERE);

function isTarget(target: unknown): boolean {
  if (typeof target === 'string') return isNodeName(target) || choiceOf({ node: target }) !== undefined;
  if (typeof target !== 'object' || target === null) return false;
  const { node, module, version } = target as Partial<Record<string, unknown>>;
  if (node !== undefined) return typeof node === 'string' && isTarget(node);
  return typeof module === 'string' && ['undefined', 'string'].includes(typeof version);
}

function nodeOf(given: GenRpcClientOptions, problems: readonly Problem[], makeNode = makeRealNode): GenRpcNode {
  const { target: _, errors: __, serializer: ___, deserializer: ____, ...options } = given;
  const name = options.name ?? inventName();
  try {
    const node = makeNode({ ...options, name, listen: false });
    if (problems.length === 0) return node;
  } catch (error) {
    if (!(error instanceof GenRpcConfigError)) throw error;
    throw new GenRpcConfigError(WHERE, [...problems, ...nameProblems(options, error.problems), ...error.problems]);
  }
  throw new GenRpcConfigError(WHERE, problems);
}

/** A made-up name has this machine's host, which the certificate need not have. */
function nameProblems({ name }: Pick<GenRpcClientOptions, 'name'>, problems: readonly Problem[]): Problem[] {
  if (name !== undefined || !problems.some(({ path }) => /^tls\.(client\.)?cert$/.test(path))) return [];
  return [{ path: 'name', expected: 'the name that tls.cert is for', got: undefined }];
}

/** A client that nobody calls needs a name only to be told apart. */
function inventName(): string {
  const host = hostname().replace(/[^A-Za-z0-9_.-]/g, '-') || 'localhost';
  return `client-${Buffer.from(systemRandom.bytes(6)).toString('hex')}@${host}`;
}
