/** One node that calls and several that answer: what the verbs for many nodes are tried on. */
import { expect } from 'vitest';
import { GenRpcError, type GenRpcErrorCode } from '../../lib/protocol/errors.js';
import type { Target } from '../../lib/client/target.js';
import type { CallOutcome } from '../../lib/node/broadcasts.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import { Cluster, type ClusterSettings, type NodeSettings } from '../support/cluster.js';

export const HELPER = 'gen_rpc_test_helper';
export const VERSION = '1.0.0';
/** Nobody has this name. */
export const FAKE_NODE = 'fake_node@127.0.0.1';
/** What `abcast` and `sbcast` are sent to; every node has it, unless a test starts one without. */
export const SERVER = 'test_process_123';

export interface CrowdSettings extends ClusterSettings {
  /** For the node that calls only. */
  readonly master?: NodeSettings;
}

export type Crowd = Cluster & {
  readonly master: GenRpcNode;
  readonly others: readonly GenRpcNode[];
  readonly names: readonly string[];
  /** `node function` or `node message`, one for each time that something ran. */
  readonly ran: string[];
  /** `node reason`: functions that wait, and were told that nobody waits for them any more. */
  readonly stopped: string[];
};

/** `master` and `count` others, all of them with the helper module and the server; nobody is connected. */
export async function crowd(count: number, { master: options, ...settings }: CrowdSettings = {}): Promise<Crowd> {
  const cluster = new Cluster(settings);
  const log: Notes = { ran: [], stopped: [] };
  const master = await cluster.start('master', options);
  const others: GenRpcNode[] = [];
  for (let index = 1; index <= count; index += 1) others.push(await cluster.start(`n${index}`));
  for (const node of [master, ...others]) furnish(node, log);
  return Object.assign(cluster, { master, others, names: others.map(({ name }) => name), ...log });
}

interface Notes {
  readonly ran: string[];
  readonly stopped: string[];
}

/** Gives a node what the others have. */
function furnish(node: GenRpcNode, { ran, stopped }: Notes): void {
  const noting =
    (fn: string, run: (args: never) => unknown) =>
    (args: never): unknown => {
      ran.push(`${node.name} ${fn}`);
      return run(args);
    };
  node.register(HELPER, {
    whoami: noting('whoami', () => node.name),
    echo: noting('echo', ([value]: [unknown]) => value),
    nothing: noting('nothing', () => undefined),
    exit: noting('exit', () => {
      throw new Error('fatal');
    }),
    throw: noting('throw', () => {
      throw new GenRpcError('handler_failed', 'throwXup');
    }),
    never: (_args, { signal }) => {
      ran.push(`${node.name} never`);
      signal.addEventListener('abort', () => {
        stopped.push(`${node.name} ${(signal.reason as GenRpcError).code}`);
      });
      return new Promise(() => {});
    },
  });
  node.register(HELPER, { stub_function: noting('stub_function', () => 'stub_function') }, { version: VERSION });
  node.registerEvent(SERVER, (message) => void ran.push(`${node.name} ${String(message)}`));
}

/** Whom a test names, of the nodes it has. */
type Aim = (name: string, index: number) => string | Target;

export const AIMS: readonly (readonly [how: string, aim: Aim])[] = [
  ['nodes', (name) => name],
  ['nodes and keys', (name, index) => (index % 2 === 0 ? { node: name, key: { shard: index } } : name)],
];

/** What became of each target, in one word: `ok`, or the code of its error. */
export function verdicts(outcomes: readonly CallOutcome<unknown>[]): ('ok' | GenRpcErrorCode)[] {
  return outcomes.map((outcome) => (outcome.ok ? 'ok' : outcome.error.code));
}

/** Every one of `nodes` connected from `master`, so that what follows is not about connecting. */
export async function acquaint({ master, names }: Crowd): Promise<void> {
  await Promise.all(names.map((name) => master.connect(name)));
}

/** A node on which functions have failed lives on, and so does its connection. */
export async function unharmed(node: GenRpcNode, peers: readonly string[]): Promise<void> {
  for (const peer of peers) expect(await node.call(peer, HELPER, 'whoami')).toBe(peer);
  expect(node.stats().counts.connection_lost).toBeUndefined();
}
