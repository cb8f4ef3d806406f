/** What a source of nodes in etcd can be told. */
import { Allow } from 'class-validator';
import { check, isRecord, withoutUndefined } from '../options/check-options.js';
import { GenRpcConfigError, type Problem } from '../options/config-error.js';
import { isText, Matches, Milliseconds, Optional, Pem } from '../options/option-rules.js';

/** What etcd is believed by, and what is shown to it. Files are read again whenever another endpoint is turned to. */
export class EtcdTlsOptions {
  /** The only authorities whose certificates are believed. Default: those of Node. */
  @Optional()
  @Pem('several')
  ca?: string | Buffer | (string | Buffer)[];

  /** A certificate of this process, where etcd wants one. */
  @Optional()
  @Pem()
  cert?: string | Buffer;

  /** The key of `cert`. */
  @Optional()
  @Pem()
  key?: string | Buffer;
}

export class EtcdOptions {
  /** Where etcd answers: `http://10.0.0.1:2379`. Whichever answers is used; nodes begin at different ones. */
  @Matches(areEndpoints, "a list of 1 to 16 of 'http://host:port' or 'https://host:port'")
  endpoints!: readonly string[];

  /** What the keys of all nodes begin with; the name of the node follows. Default `/gen-rpc/nodes/`. */
  @Optional()
  @Matches((value) => isText(value) && value !== '' && String(value).length <= 256, 'text of 1 to 256 characters')
  prefix?: string;

  /** ms after its death that a node goes on being told of; etcd counts in seconds. Default 15,000. */
  @Optional()
  @Milliseconds()
  ttl?: number;

  /** Of etcd, where it wants one. */
  @Optional()
  @Matches((value) => isText(value) && value !== '', 'text')
  username?: string;

  /** Belongs to `username`. */
  @Optional()
  @Matches(isText, 'text')
  password?: string;

  /** For endpoints that begin with `https:`. */
  @Allow()
  tls?: EtcdTlsOptions;

  /** ms that an endpoint has for an answer; then another one is asked. Default 3,000. */
  @Optional()
  @Milliseconds()
  requestTimeout?: number;

  /** ms after which everything is read again, whatever has been told of. Default 300,000. Jittered. */
  @Optional()
  @Milliseconds()
  resync?: number;

  /** ms between questions whether anything has changed of which etcd has not told. Default 10,000. Jittered. */
  @Optional()
  @Milliseconds()
  checkInterval?: number;
}

export type ResolvedEtcdOptions = EtcdOptions & Required<Omit<EtcdOptions, 'username' | 'password' | 'tls'>>;

export const DEFAULT_ETCD = {
  prefix: '/gen-rpc/nodes/',
  ttl: 15_000,
  requestTimeout: 3000,
  resync: 300_000,
  checkInterval: 10_000,
} as const;

/** @throws GenRpcConfigError that names every problem. */
export function resolveEtcdOptions(given: EtcdOptions): ResolvedEtcdOptions {
  const problems = problemsOf(given);
  if (problems.length > 0) throw new GenRpcConfigError('new EtcdDiscovery()', problems);
  return { ...DEFAULT_ETCD, ...withoutUndefined(given) };
}

function areEndpoints(value: unknown): boolean {
  return Array.isArray(value) && value.length >= 1 && value.length <= 16 && value.every(isEndpoint);
}

/** Nothing but where it is: what follows would be lost, and names and passwords are options. */
function isEndpoint(value: unknown): boolean {
  if (typeof value !== 'string' || !URL.canParse(value)) return false;
  const { protocol, origin, href } = new URL(value);
  return ['http:', 'https:'].includes(protocol) && href === `${origin}/`;
}

function problemsOf(given: unknown): Problem[] {
  const problems = check(EtcdOptions, given, '');
  if (!isRecord(given)) return problems;
  const { tls, username, password } = given;
  if ((username === undefined) !== (password === undefined)) {
    problems.push({ path: username === undefined ? 'username' : 'password', expected: 'both username and password' });
  }
  // Whoever puts a password where it does not belong does not find it in a log.
  const shown = problems.map((problem) => (problem.path === 'endpoints' ? withoutUsers(problem) : problem));
  return tls === undefined ? shown : [...shown, ...tlsProblems(tls)];
}

function withoutUsers({ path, expected, got }: Problem): Problem {
  return JSON.stringify(got)?.includes('@') === true ? { path, expected } : { path, expected, got };
}

function tlsProblems(tls: unknown): Problem[] {
  if (!isRecord(tls)) return [{ path: 'tls', expected: 'an object { ca, cert, key }' }];
  const problems = check(EtcdTlsOptions, tls, 'tls');
  const { cert, key } = tls;
  if ((cert === undefined) === (key === undefined)) return problems;
  return [...problems, { path: cert === undefined ? 'tls.cert' : 'tls.key', expected: 'both cert and key' }];
}
